# SPDX-License-Identifier: Apache-2.0
"""The loop's laws: exact resumption from any save, schedules as written, one step of all processes, clear refusals."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.training import distributed  # noqa: E402
from streamingtalker_ros.training.trainer import Loop, LoopConfig, rate_at  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("able", [False, True])
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, able) -> None:
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": able}, raising=False
    )
    for mixed in (False, True):
        with distributed.find("cpu").autocast(mixed):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (
                torch.bfloat16 if able and mixed else torch.float32
            )


class Stage:
    """Fits a line to noise; counts its calls in a tensor of its own, which enters the loss."""

    def __init__(self, seed=0) -> None:
        torch.manual_seed(seed)
        self.line = torch.nn.Linear(4, 1)
        self.unused = torch.nn.Parameter(torch.ones(2))
        self.calls = torch.zeros(1)
        self.kept = {"calls": self.calls}

    def parameters(self):
        return {**dict(self.line.named_parameters()), "unused": self.unused}

    def __call__(self, step, rng):
        self.calls += 1
        x = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32)) + 0.1 * torch.randn(8, 4)
        loss = (self.line(x) - x.sum(1, keepdim=True) * (1 + self.calls)).square().mean()
        return loss, {"first": float(x[0, 0])}


def interrupted(folder, config, at):
    """A run that is cut in step `at`; returns the stage that went on from its last save to the end."""
    stage = Stage()

    class Cut(Stage):
        kept = None

        def __call__(self, step, rng):
            if step == at:
                raise KeyboardInterrupt
            return stage(step, rng)

    with pytest.raises(KeyboardInterrupt):
        cut = Cut()
        cut.kept = stage.kept
        Loop(stage.parameters(), config, folder, "line").run(cut)
    stage = Stage(seed=1)  # other weights: all must come from the state
    loop = Loop(stage.parameters(), config, folder, "line")
    assert 0 < loop.step < at
    loop.run(stage)
    return stage, loop


def test_resume_is_exact_between_saves_with_what_the_stage_keeps(tmp_path) -> None:
    config = LoopConfig(steps=30, rate=1e-2, warmup=2, save_every=7, log_every=2, mixed=False)
    straight = Stage()
    loop = Loop(straight.parameters(), config, tmp_path / "a", "line")
    loop.run(straight)
    again, resumed = interrupted(tmp_path / "b", config, at=19)
    for name, tensor in straight.parameters().items():
        assert torch.equal(tensor, again.parameters()[name]), name
        assert torch.equal(loop.average[name], resumed.average[name]), name
    assert torch.equal(straight.calls, again.calls)
    logs = [
        [
            row.split(",")[0:1] + row.split(",")[2:]
            for row in (tmp_path / run / "log.csv").read_text().splitlines()
        ]
        for run in "ab"
    ]
    assert logs[0] == logs[1]  # rows written after the last save do not come twice


def test_a_state_written_before_stages_kept_anything_resumes(tmp_path) -> None:
    config = LoopConfig(steps=4, warmup=1)
    stage = Stage()
    Loop(stage.parameters(), config, tmp_path, "line").run(stage)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["kept"]
    torch.save(state, tmp_path / "state.pt")
    assert Loop(Stage().parameters(), config, tmp_path, "line").step == 4


def test_schedules() -> None:
    halving = LoopConfig(rate=1.0, warmup=2, schedule="halving", halve_every=10)
    assert [rate_at(step, halving) for step in (0, 1, 2, 9, 10, 35)] == [0.5, 1.0, 1.0, 1.0, 0.5, 0.125]
    assert rate_at(10**6, LoopConfig(rate=1.0, schedule="constant")) == 1.0
    cosine = LoopConfig(rate=1.0, warmup=0, steps=100)
    assert rate_at(50, cosine) == pytest.approx(0.51) and rate_at(100, cosine) == pytest.approx(0.02)
    with pytest.raises(TalkerError, match="cosine, halving, constant"):
        LoopConfig(schedule="poly")


def test_a_state_of_another_network_or_a_damaged_one_is_named(tmp_path) -> None:
    stage = Stage()
    Loop(stage.parameters(), LoopConfig(steps=1), tmp_path, "line").run(stage)
    with pytest.raises(TalkerError, match="state.pt is of another network"):
        Loop({"weight": torch.zeros(3, requires_grad=True)}, LoopConfig(steps=1), tmp_path, "line")
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(TalkerError, match="state.pt is damaged"):
        Loop(stage.parameters(), LoopConfig(steps=1), tmp_path, "line")


def test_alone_nothing_of_accelerate_is_asked_for(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    stage = Stage()
    Loop(stage.parameters(), LoopConfig(steps=2), tmp_path, "line").run(stage)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TalkerError, match="several processes needs accelerate"):
        distributed.find()


WORKER = """
import sys
from pathlib import Path
import torch
from streamingtalker_ros.training.trainer import Loop, LoopConfig
sys.path.insert(0, sys.argv[1])
from training.test_trainer import Stage, CONFIG
import os
rank = int(os.environ["RANK"])
stage = Stage(seed=rank)  # different beginnings: the main process's counts
loop = Loop(stage.parameters(), LoopConfig(**CONFIG), Path(sys.argv[2]) / "run", "line")
loop.run(stage)
torch.save(stage.parameters(), Path(sys.argv[2]) / f"{rank}.pt")
"""
CONFIG = dict(steps=6, rate=1e-2, warmup=2, save_every=4, mixed=False)


def test_two_processes_take_the_step_of_their_mean(tmp_path) -> None:
    pytest.importorskip("accelerate")
    (tmp_path / "worker.py").write_text(WORKER)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    # torch's launcher, which sets the same variables as `accelerate launch`
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(tmp_path / "worker.py"),
        str(ROOT / "test"),
        str(tmp_path),
    ]
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]

    class Both(Stage):
        """What both processes draw, in one."""

        def __call__(self, step, rng):
            losses = []
            self.calls += 1
            for extra in ([], [1]):
                rng = np.random.default_rng([0, step, *extra])
                torch.manual_seed(int(rng.integers(2**31)))
                self.calls -= 1
                losses.append(super().__call__(step, rng)[0])
            return sum(losses) / 2, {}

    one = Both(seed=0)
    Loop(one.parameters(), LoopConfig(**CONFIG), tmp_path / "one", "line").run(one)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, tensor in one.parameters().items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], tensor, atol=1e-6), name
    assert (tmp_path / "run" / "state.pt").exists()
