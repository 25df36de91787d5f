# SPDX-License-Identifier: Apache-2.0
"""Overload, format changes, bad packets and failures: what is skipped, counted and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.statistics import Reservoir
from streamingtalker_ros.runtime.worker import AudioPacket, TalkerWorker, load_talker
from streamingtalker_ros.streaming import Talker
from support.scheduler_harness import (
    FRAME,
    MS,
    S0,
    SchedulerHarness,
    floats,
    offline,
    small_talker,
    voice,
    weights,
)


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


def slow_harness(talker: Talker, seconds: float) -> tuple[SchedulerHarness, list[np.ndarray]]:
    """A harness in which every hop costs `seconds`, as on a slow machine, and the list of the hops."""
    hops: list[np.ndarray] = []

    def on_accept(chunks: Sequence[np.ndarray]) -> None:
        harness.stall(seconds)
        hops.extend(chunks)

    harness = SchedulerHarness(talker, on_accept=on_accept)
    return harness, hops


def test_overload_skips_to_newest_audio_and_keeps_stamps_exact(talker: Talker) -> None:
    harness, consumed = slow_harness(talker, 0.1)  # 2.5 times too slow
    pcm = voice(10.0)
    harness.send_realtime(pcm)
    harness.run(11.0)
    statistics = harness.statistics
    assert statistics.overloads > 0 and statistics.streams == 1
    assert statistics.frames + statistics.dropped == 250
    assert 250 / 2.5 * 0.8 < statistics.frames < 250 / 2.5 * 1.2
    for _, frame in harness.frames:
        assert frame.stamp == S0 + frame.index * FRAME  # numbers and stamps skip together
    speaking = [(at, frame) for at, frame in harness.frames if not frame.idle]
    hops = np.concatenate(consumed)[: 640 * len(speaking)].reshape(-1, 640)
    for (_, frame), hop in zip(speaking, hops, strict=False):  # the stamp is that of the audio
        np.testing.assert_array_equal(floats(pcm)[640 * frame.index : 640 * (frame.index + 1)], hop)
    lags = [at - 100 - (frame.stamp - S0) / 1e9 for at, frame in speaking]
    assert max(lags) < 0.5 + 0.12 + 0.5
    assert harness.session.queued_seconds == 0
    assert sum("too slow" in message for message in harness.warnings) >= 1


def test_idle_frames_keep_up_with_the_clock_on_a_slow_machine(talker: Talker) -> None:
    harness, _ = slow_harness(talker, 0.1)
    harness.send_realtime(voice(0.4))
    harness.run(10.0)
    at, frame = harness.frames[-1]
    assert frame.idle and abs(at - 100 - (frame.stamp - S0) / 1e9) < 0.5 + 0.12 + 0.2
    assert frame.stamp == S0 + frame.index * FRAME and harness.statistics.dropped == 0


def test_a_short_stall_drops_nothing(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(2.0))
    harness.at(100.5, lambda: harness.stall(0.3))
    harness.run(3.0)
    assert len(harness.audio) == 50 and harness.statistics.dropped == 0


def test_a_format_change_starts_a_new_stream(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    first, second = voice(0.5), voice(0.5, 48000, seed=1)
    harness.send_realtime(first)
    harness.send_realtime(np.repeat(second, 2), S0 + 500 * MS, start=100.5, rate=48000, channels=2)
    # live() cuts by samples of all channels: the packets are 10 ms long and come at twice the pace
    harness.run(2.0)
    assert harness.statistics.format_changes == 1 and harness.statistics.streams == 2
    assert harness.statistics.errors == 0


def test_nonfinite_samples_become_silence_and_are_counted(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = floats(voice(0.4))
    pcm[100:110] = np.nan
    pcm[200] = np.inf
    for first in range(0, len(pcm), 320):
        harness.send(
            None,
            S0 + first * MS // 16,
            100 + (first + 320) / 16000,
            AudioFormat(16000, 1, "f32"),
            payload=pcm[first : first + 320].tobytes(),
        )
    harness.run(1.0)
    silent = np.nan_to_num(pcm, nan=0, posinf=0)
    assert harness.statistics.nonfinite == 11
    np.testing.assert_allclose(weights(harness.audio), weights(offline(talker, silent)), atol=1e-5)


def test_bad_packets_are_rejected_and_reported_once_per_kind(talker: Talker) -> None:
    warnings = []
    worker = TalkerWorker(talker, TalkerParameters(queue_seconds=5.0), lambda frame: None, warnings.append)
    for _ in range(30):
        assert not worker.push(AudioPacket(b"", None, S0, 0.0))
        assert not worker.push(AudioPacket(bytes(10_000_000), None, S0, 0.0))  # five minutes in one packet
        worker.reject("message", "this message contradicts itself")
    assert worker.push(AudioPacket(bytes(640), None, S0, 0.0))
    numbers = worker.statistics()
    assert numbers["rejected"] == 90 and numbers["packets"] == 91
    assert len(warnings) == 3 and len(set(warnings)) == 3
    assert numbers["queued_seconds"] == pytest.approx(0.02)


def test_a_full_queue_rejects_further_packets(talker: Talker) -> None:
    harness = SchedulerHarness(talker, queue_seconds=2.0)
    for packet in range(30):
        harness.send(voice(0.1), S0 + 100 * packet * MS)
    harness.run(0.01)
    assert harness.statistics.rejected == 10
    harness.run(3.0)
    assert len(harness.audio) == 50


def test_a_model_error_loses_a_frame_and_starts_a_new_stream(talker: Talker) -> None:
    calls = []

    def failing(chunks: Sequence[np.ndarray]) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("out of memory")

    harness = SchedulerHarness(talker, on_accept=failing)
    harness.send_realtime(voice(1.0))
    harness.run(2.0)
    assert harness.statistics.errors == 1 and harness.statistics.streams == 2
    assert len(harness.warnings) == 1 and "out of memory" in harness.warnings[0]
    new = [frame for frame in harness.faces if frame.stamp >= S0 + 200 * MS and not frame.idle]
    begin = new[0].stamp  # a packet's stamp: the new stream's sample 0
    assert (begin - S0) % (20 * MS) == 0 and new[-1].stamp + FRAME >= S0 + 1000 * MS
    assert [(frame.index, frame.stamp) for frame in new] == [
        (index, begin + index * FRAME) for index in range(len(new))
    ]


def test_a_publisher_error_loses_one_frame(talker: Talker) -> None:
    publish = []

    def failing(frame: object) -> None:
        publish.append(frame)
        if len(publish) == 5:
            raise RuntimeError("no route")

    harness = SchedulerHarness(talker, on_publish=failing)
    harness.send_realtime(voice(1.0))
    harness.run(2.0)
    assert harness.statistics.errors == 1 and harness.statistics.streams == 1
    assert [frame.index for frame in publish] == list(range(len(publish))) and len(publish) > 40


def test_dynamic_parameters_change_without_a_gap(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    settings = harness.session.parameters
    harness.at(100.5, lambda: harness.session.set_parameters(settings.replace(seed=7, steps=1)))
    harness.run(1.5)
    assert [frame.index for frame in harness.faces] == list(range(len(harness.faces)))
    assert {b.stamp - a.stamp for a, b in pairwise(harness.faces)} == {FRAME}
    plain = weights(offline(talker, floats(voice(1.0))))
    changed = weights(harness.audio)
    np.testing.assert_allclose(changed[:9], plain[:9], atol=1e-5)
    assert np.abs(changed[12:25] - plain[12:25]).max() > 1e-3


def test_the_worker_thread_publishes_a_live_voice(talker: Talker) -> None:
    frames = []
    worker = TalkerWorker(talker, TalkerParameters(), frames.append, lambda message: None)
    worker.start()
    start, pcm = time.monotonic(), voice(0.6)
    for packet in range(30):
        while time.monotonic() < start + 0.02 * (packet + 1):
            time.sleep(0.001)
        part = pcm[320 * packet : 320 * (packet + 1)]
        worker.push(AudioPacket(part.tobytes(), AudioFormat(), S0 + 20 * packet * MS, time.monotonic()))
    deadline = time.monotonic() + 5
    while worker.state != "idle" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.close_mouth()
    worker.stop()
    count = len(frames)
    time.sleep(0.1)
    assert len(frames) == count  # the worker has ended
    assert [frame.index for frame in frames] == list(range(count))
    assert worker.statistics()["frames"] == 15
    assert worker.summary().startswith("frames of audio 15, idle ")


def record_device(step: Callable[..., Any], used: set[str]) -> Callable[..., Any]:
    """The frame step, recording the kind of its device in `used`."""

    def observed(*arguments: Any) -> Any:
        motion = step(*arguments)
        used.add(motion.device.type)
        return motion

    return observed


def test_the_device_parameter_selects_the_device_of_the_diffusion(
    torch_talker: Talker, tmp_path: Path
) -> None:
    import torch

    from streamingtalker_ros.model.blendshape import checkpoint

    checkpoint.save(tmp_path, torch_talker.network)
    used: set[str] = set()
    loaded = cast(Talker, load_talker(TalkerParameters(model=str(tmp_path), device="cpu")))
    assert loaded.device == "cpu"
    fused = loaded.torch_backend.fused
    fused.generate_frame = record_device(fused.generate_frame, used)
    loaded.open_stream().accept(np.zeros(4 * loaded.hop, np.float32))
    assert used == {"cpu"}
    if not torch.cuda.is_available():
        with pytest.raises(TalkerError, match=r"cuda.*choose auto or cpu"):
            load_talker(TalkerParameters(model=str(tmp_path), device="cuda"))


def test_with_cuda_the_diffusion_runs_on_cuda(torch_talker: Talker, tmp_path: Path) -> None:
    import torch

    from streamingtalker_ros.model.blendshape import checkpoint

    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    checkpoint.save(tmp_path, torch_talker.network)
    for device in ("auto", "cuda"):
        settings = TalkerParameters(model=str(tmp_path), device=device, pacing="none")
        loaded, used, frames = cast(Talker, load_talker(settings)), set(), []
        fused = loaded.torch_backend.fused
        fused.generate_frame = record_device(fused.generate_frame, used)
        worker = TalkerWorker(loaded, settings, frames.append)
        worker.push(AudioPacket(voice(1.0).tobytes(), AudioFormat(), S0, time.monotonic()))
        worker.start()
        deadline = time.monotonic() + 20
        while len(frames) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        worker.stop()
        assert loaded.device.startswith("cuda") and used == {"cuda"}
        reference = weights(offline(torch_talker, floats(voice(1.0))))[5:20]
        np.testing.assert_allclose(weights(frames)[5:20], reference, atol=1e-3)


def test_an_unknown_style_is_rejected(talker: Talker) -> None:
    with pytest.raises(TalkerError, match="style"):
        TalkerWorker(talker, TalkerParameters(style="operatic"), print)
    worker = TalkerWorker(talker, TalkerParameters(), print)
    with pytest.raises(TalkerError, match="style"):
        worker.set_parameters(TalkerParameters(style="operatic"))
    assert worker.parameters.style == ""


def test_the_reservoir_is_bounded_and_its_percentiles_match_all_values() -> None:
    reservoir = Reservoir(500)
    for value in range(20_000):
        reservoir.add(value)
    assert len(reservoir) == 500
    assert reservoir.percentile(50) == pytest.approx(10_000, rel=0.1)
    assert reservoir.percentile(99) == pytest.approx(19_800, rel=0.02)
    small = Reservoir()
    for value in (3, 1, 2):
        small.add(value)
    assert (small.percentile(0), small.percentile(50), small.percentile(99)) == (1, 2, 3)
