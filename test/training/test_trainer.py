# SPDX-License-Identifier: Apache-2.0
"""Laws of the training loop: exact resumption, schedules, one step of several processes, clear errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.training import distributed
from streamingtalker_ros.training.trainer import Stage, Trainer, TrainerConfig, learning_rate_at
from support import line_stage
from support.line_stage import DISTRIBUTED_CONFIG, LineStage

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_bfloat16_is_used_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has_bfloat16}, raising=False
    )
    for mixed_precision in (False, True):
        with distributed.get_process("cpu").autocast(mixed_precision):
            expected = torch.bfloat16 if has_bfloat16 and mixed_precision else torch.float32
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


class InterruptedStage:
    """A stage that is interrupted in one step."""

    def __init__(self, stage: LineStage, at: int) -> None:
        self.stage, self.at, self.buffers = stage, at, stage.buffers

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, Any]]:
        if step == self.at:
            raise KeyboardInterrupt
        return self.stage(step, rng)


def _train(folder: Path, config: TrainerConfig, stage: LineStage, loss: Stage | None = None) -> Trainer:
    trainer = Trainer(stage.parameters(), config, folder, "line")
    trainer.run(loss or stage)
    return trainer


def test_a_run_interrupted_between_saves_resumes_exactly(tmp_path: Path) -> None:
    config = TrainerConfig(
        steps=30, lr=1e-2, warmup_steps=2, save_every=7, log_every=2, mixed_precision=False
    )
    straight = LineStage()
    uninterrupted = _train(tmp_path / "a", config, straight)
    first_part = LineStage()
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "b", config, first_part, InterruptedStage(first_part, at=19))
    resumed_stage = LineStage(seed=1)  # other weights: all must come from the state
    resumed = Trainer(resumed_stage.parameters(), config, tmp_path / "b", "line")
    assert 0 < resumed.step < 19
    resumed.run(resumed_stage)
    for name, tensor in straight.parameters().items():
        assert torch.equal(tensor, resumed_stage.parameters()[name]), name
        assert torch.equal(uninterrupted.ema[name], resumed.ema[name]), name
    assert torch.equal(straight.calls, resumed_stage.calls)
    logs = [
        [
            row.split(",")[0:1] + row.split(",")[2:]
            for row in (tmp_path / run / "log.csv").read_text().splitlines()
        ]
        for run in "ab"
    ]
    assert logs[0] == logs[1]  # rows written after the last save do not come twice


@pytest.mark.parametrize("cut", ["", "4", "4,17", "4,17000000", "x,1,2\n", "\0\0\0"])
def test_a_row_that_a_kill_has_cut_is_removed_from_the_log(cut: str, tmp_path: Path) -> None:
    config = TrainerConfig(steps=4, warmup_steps=1, log_every=1)
    _train(tmp_path, config, LineStage())
    path = tmp_path / "log.csv"
    whole = path.read_text()
    path.write_text(whole + cut)
    Trainer(LineStage(seed=1).parameters(), config, tmp_path, "line")
    assert path.read_text() == whole


def test_states_of_earlier_versions_resume(tmp_path: Path) -> None:
    config = TrainerConfig(steps=4, warmup_steps=1)
    trained = _train(tmp_path, config, LineStage())
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    state["average"], state["kept"] = state.pop("ema"), state.pop("buffers")
    for keys in ((), ("kept",)):  # the first versions had no buffers
        for key in keys:
            del state[key]
        torch.save(state, tmp_path / "state.pt")
        resumed = Trainer(LineStage(seed=1).parameters(), config, tmp_path, "line")
        assert resumed.step == 4
        assert all(torch.equal(resumed.ema[name], tensor) for name, tensor in trained.ema.items())


def test_learning_rate_schedules() -> None:
    halving = TrainerConfig(lr=1.0, warmup_steps=2, lr_schedule="halving", lr_halving_steps=10)
    rates = [learning_rate_at(step, halving) for step in (0, 1, 2, 9, 10, 35)]
    assert rates == [0.5, 1.0, 1.0, 1.0, 0.5, 0.125]
    assert learning_rate_at(10**6, TrainerConfig(lr=1.0, lr_schedule="constant")) == 1.0
    cosine = TrainerConfig(lr=1.0, warmup_steps=0, steps=100)
    assert learning_rate_at(50, cosine) == pytest.approx(0.51)
    assert learning_rate_at(100, cosine) == pytest.approx(0.02)
    with pytest.raises(TalkerError, match="cosine, halving, constant"):
        TrainerConfig(lr_schedule="poly")


def test_a_state_of_another_network_or_a_damaged_one_is_rejected(tmp_path: Path) -> None:
    _train(tmp_path, TrainerConfig(steps=1), LineStage())
    with pytest.raises(TalkerError, match=r"state\.pt is of another network"):
        Trainer({"weight": torch.zeros(3, requires_grad=True)}, TrainerConfig(steps=1), tmp_path, "line")
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(TalkerError, match=r"state\.pt is damaged"):
        Trainer(LineStage().parameters(), TrainerConfig(steps=1), tmp_path, "line")


def test_a_single_process_does_not_need_accelerate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    _train(tmp_path, TrainerConfig(steps=2), LineStage())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TalkerError, match="several processes needs accelerate"):
        distributed.get_process()


class BothProcesses(LineStage):
    """The batches of two processes in one step."""

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, Any]]:
        losses = []
        self.calls += 1
        for rank in ([], [1]):
            rng = np.random.default_rng([0, step, *rank])
            torch.manual_seed(int(rng.integers(2**31)))
            self.calls -= 1
            losses.append(super().__call__(step, rng)[0])
        return sum(losses) / 2, {}  # pyright: ignore[reportReturnType]


def test_two_processes_take_the_step_of_their_mean_gradient(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    environment = {  # as `accelerate launch` sets it
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'test'}",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, line_stage.__file__, str(tmp_path)],
            env={**environment, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    one = BothProcesses(seed=0)
    _train(tmp_path / "one", DISTRIBUTED_CONFIG, one)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, tensor in one.parameters().items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], tensor, atol=1e-6), name
    assert (tmp_path / "run" / "state.pt").exists()
