# SPDX-License-Identifier: Apache-2.0
"""Laws of the benchmark: it measures real passes of both families, and its stages are parts of the pass."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.cli.bench import format_results
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.evaluation import bench
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.streaming.talker import Talker
from support.backends import TORCH
from support.scheduler_harness import small_talker
from support.tiny_vertex_talker import tiny_vertex_talker


@pytest.fixture(scope="module", params=["blendshape", "vertex, 1 frame", "vertex, 12 frames"])
def talker(request: pytest.FixtureRequest) -> TalkerProtocol:
    if request.param == "blendshape":
        return small_talker()
    return tiny_vertex_talker(int(request.param.split()[1]))


def test_every_pass_returns_its_number_of_frames(talker: TalkerProtocol) -> None:
    runner = bench.PassRunner(talker)
    stream, first_ms = runner.open_stream()
    frames = [len(talker.accept([stream], [runner.audio[n, 0]])[0]) for n in range(10)]
    assert frames == [runner.frames] * 10 and first_ms > 0
    assert runner.budget_ms == pytest.approx(1000 * runner.frames / talker.frame_rate)


def test_measuring_stages_does_not_change_the_talker(talker: TalkerProtocol) -> None:
    owners = [talker, *vars(talker).values(), *vars(getattr(talker, "backend", talker)).values()]
    attributes = [set(vars(owner)) for owner in owners if hasattr(owner, "__dict__")]
    stages = bench.measure_stages(talker, count=12)
    assert list(stages)[-1] == "other" and len(stages) >= 4
    assert all(0 < stage["p50"] <= stage["p95"] <= stage["p99"] for stage in stages.values())
    assert attributes == [set(vars(owner)) for owner in owners if hasattr(owner, "__dict__")]


def test_a_slow_stage_increases_its_time_and_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    talker = small_talker(TORCH)
    decoder = talker.torch_backend.fused.decoder

    def slow_decoder(*args: Any) -> Any:
        time.sleep(0.02)
        return decoder(*args)

    monkeypatch.setattr(talker.torch_backend.fused, "decoder", slow_decoder)
    stages = bench.measure_stages(talker, count=8)
    assert stages["decoder"]["p50"] >= 20 > stages["head"]["p50"]
    assert bench.measure_stream(talker, frames=10)["p50"] >= 20


def test_late_over_early_detects_a_cost_that_grows_with_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: dict[int, int] = {}
    growth, now = 0.0, 0.0  # seconds: the clock is simulated, since a busy machine disturbs a real one
    accept = Talker.accept

    def timed_accept(self: Talker, streams: Any, chunks: Any) -> Any:
        nonlocal now
        for stream in streams:
            passes[id(stream)] = passes.get(id(stream), 0) + 1
            now += 0.002 + growth * (passes[id(stream)] > 100)
        return accept(self, streams, chunks)

    monkeypatch.setattr(Talker, "accept", timed_accept)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now)
    for seconds, ratio in ((0.0, 1.0), (0.002, 2.0), (0.01, 6.0)):
        growth = seconds
        passes.clear()
        measured = bench.measure_stream(small_talker(), frames=120)["late_over_early"]
        assert measured == pytest.approx(ratio, rel=1e-6)


def test_results_are_complete_and_printable(talker: TalkerProtocol) -> None:
    results = json.loads(json.dumps(bench.run_benchmark(talker, frames=24, max_voices=2, passes=4)))
    text = "\n".join(format_results(results))
    stream = results["one_voice"]
    names = ("p50", "p99", "cpu", "first_frame", "real_time_factor", "late_over_early", "memory_mb")
    assert np.isfinite([stream[name] for name in names]).all()
    assert set(results["voices_ms"]) <= {"1", "2"} and results["voices_ms"]["1"]["p50"] > 0
    assert f"this machine: {stream['p50']:.2f} ms" in text and text.count(results["backend"]) == 2
    assert "float32" in results["backend"] or "int8" in results["backend"]
    assert "one voice, total" in text and f"{stream['p50']:.2f}" in text
    assert ("at_frames_ms" in results) == (talker.family == "vertex")


def test_the_command_measures_the_default_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cpu", "--frames", "30", "--streams", "2", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["model"] == "default" and results["lookahead_ms"] <= 80 and results["budget_ms"] == 40


def test_invalid_counts_and_limits_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--threads", "0"]) == 2
    assert main(["bench", "--hop", "3"]) == 2
    assert "only a vertex checkpoint has these limits" in capsys.readouterr().err
