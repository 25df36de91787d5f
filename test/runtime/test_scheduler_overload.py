# SPDX-License-Identifier: Apache-2.0
"""Overload, changes of format, bad packets and failures: what is skipped, what is counted, what is told."""

import time

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.statistics import Reservoir
from streamingtalker_ros.runtime.worker import AudioPacket, TalkerWorker, load_talker
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
def talker():
    return small_talker()


def slow_harness(talker, seconds):
    """A harness in which every hop costs `seconds`, as on a weak machine, and the list of the hops."""
    hops = []

    def on_accept(chunks) -> None:
        harness.stall(seconds)
        hops.extend(chunks)

    harness = SchedulerHarness(talker, on_accept=on_accept)
    return harness, hops


def test_under_overload_the_newest_audio_is_spoken_with_true_stamps_and_the_rest_counted(talker) -> None:
    stage, heard = slow_harness(talker, 0.1)  # 2.5 times too slow
    pcm = voice(10.0)
    stage.send_realtime(pcm)
    stage.run(11.0)
    statistics = stage.statistics
    assert statistics.overloads > 0 and statistics.streams == 1
    assert statistics.frames + statistics.dropped == 250
    assert 250 / 2.5 * 0.8 < statistics.frames < 250 / 2.5 * 1.2
    for _, frame in stage.frames:
        assert frame.stamp == S0 + frame.index * FRAME  # numbers and stamps skip together
    speaking = [(at, frame) for at, frame in stage.frames if not frame.idle]
    hops = np.concatenate(heard)[: 640 * len(speaking)].reshape(-1, 640)
    for (_, frame), hop in zip(speaking, hops):  # the stamp is that of the audio that was heard
        np.testing.assert_array_equal(floats(pcm)[640 * frame.index : 640 * (frame.index + 1)], hop)
    lags = [at - 100 - (frame.stamp - S0) / 1e9 for at, frame in speaking]
    assert max(lags) < 0.5 + 0.12 + 0.5
    assert stage.session.queued_seconds == 0
    assert sum("too slow" in sentence for sentence in stage.warnings) >= 1


def test_idle_frames_keep_up_with_the_clock_on_a_machine_that_is_too_slow_for_them(talker) -> None:
    stage, _ = slow_harness(talker, 0.1)
    stage.send_realtime(voice(0.4))
    stage.run(10.0)
    at, frame = stage.frames[-1]
    assert frame.idle and abs(at - 100 - (frame.stamp - S0) / 1e9) < 0.5 + 0.12 + 0.2
    assert frame.stamp == S0 + frame.index * FRAME and stage.statistics.dropped == 0


def test_a_machine_that_is_slow_for_a_moment_drops_nothing(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(2.0))
    stage.at(100.5, lambda: stage.stall(0.3))
    stage.run(3.0)
    assert len(stage.audio) == 50 and stage.statistics.dropped == 0


def test_a_change_of_format_begins_a_new_stream(talker) -> None:
    stage = SchedulerHarness(talker)
    first, second = voice(0.5), voice(0.5, 48000, seed=1)
    stage.send_realtime(first)
    stage.send_realtime(np.repeat(second, 2), S0 + 500 * MS, start=100.5, rate=48000, channels=2)
    # live() cuts by samples of all channels: the packets are 10 ms long and come at twice the pace
    stage.run(2.0)
    assert stage.statistics.format_changes == 1 and stage.statistics.streams == 2
    assert stage.statistics.errors == 0


def test_broken_floats_become_silence_and_are_counted(talker) -> None:
    stage = SchedulerHarness(talker)
    pcm = floats(voice(0.4))
    pcm[100:110] = np.nan
    pcm[200] = np.inf
    for first in range(0, len(pcm), 320):
        stage.send(
            None,
            S0 + first * MS // 16,
            100 + (first + 320) / 16000,
            AudioFormat(16000, 1, "f32"),
            payload=pcm[first : first + 320].tobytes(),
        )
    stage.run(1.0)
    silent = np.nan_to_num(pcm, nan=0, posinf=0)
    assert stage.statistics.nonfinite == 11
    np.testing.assert_allclose(weights(stage.audio), weights(offline(talker, silent)), atol=1e-5)


def test_bad_packets_are_refused_and_told_once_per_kind_while_the_voice_goes_on(talker) -> None:
    told = []
    core = TalkerWorker(talker, TalkerParameters(queue_seconds=5.0), lambda frame: None, told.append)
    for _ in range(30):
        assert not core.push(AudioPacket(b"", None, S0, 0.0))
        assert not core.push(AudioPacket(bytes(10_000_000), None, S0, 0.0))  # five minutes in one packet
        core.reject("message", "this message contradicts itself")
    assert core.push(AudioPacket(bytes(640), None, S0, 0.0))
    numbers = core.statistics()
    assert numbers["rejected"] == 90 and numbers["packets"] == 91
    assert len(told) == 3 and len(set(told)) == 3
    assert numbers["queued_seconds"] == pytest.approx(0.02)


def test_a_full_queue_refuses_what_comes_beyond(talker) -> None:
    stage = SchedulerHarness(talker, queue_seconds=2.0)
    for packet in range(30):
        stage.send(voice(0.1), S0 + 100 * packet * MS)
    stage.run(0.01)
    assert stage.statistics.rejected == 10
    stage.run(3.0)
    assert len(stage.audio) == 50


def test_the_worker_survives_a_model_that_fails(talker) -> None:
    calls = []

    def failing(chunks) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("out of memory")

    stage = SchedulerHarness(talker, on_accept=failing)
    stage.send_realtime(voice(1.0))
    stage.run(2.0)
    assert stage.statistics.errors == 1 and stage.statistics.streams == 2
    assert len(stage.warnings) == 1 and "out of memory" in stage.warnings[0]
    new = [frame for frame in stage.faces if frame.stamp >= S0 + 200 * MS and not frame.idle]
    begin = new[0].stamp  # a packet's stamp: the new stream's sample 0
    assert (begin - S0) % (20 * MS) == 0 and new[-1].stamp + FRAME >= S0 + 1000 * MS
    assert [(frame.index, frame.stamp) for frame in new] == [
        (index, begin + index * FRAME) for index in range(len(new))
    ]


def test_the_worker_survives_a_publisher_that_fails(talker) -> None:
    publish = []

    def failing(frame) -> None:
        publish.append(frame)
        if len(publish) == 5:
            raise RuntimeError("no route")

    stage = SchedulerHarness(talker, on_publish=failing)
    stage.send_realtime(voice(1.0))
    stage.run(2.0)
    assert stage.statistics.errors == 1 and stage.statistics.streams == 1
    assert [frame.index for frame in publish] == list(range(len(publish))) and len(publish) > 40


def test_live_parameters_change_without_a_gap(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(1.0))
    settings = stage.session.parameters
    stage.at(100.5, lambda: stage.session.set_parameters(settings.replace(seed=7, steps=1)))
    stage.run(1.5)
    assert [frame.index for frame in stage.faces] == list(range(len(stage.faces)))
    assert {b.stamp - a.stamp for a, b in zip(stage.faces, stage.faces[1:])} == {FRAME}
    plain = weights(offline(talker, floats(voice(1.0))))
    changed = weights(stage.audio)
    np.testing.assert_allclose(changed[:9], plain[:9], atol=1e-5)
    assert np.abs(changed[12:25] - plain[12:25]).max() > 1e-3


def test_the_core_publishes_a_live_voice_through_its_worker(talker) -> None:
    frames = []
    core = TalkerWorker(talker, TalkerParameters(), frames.append, lambda sentence: None)
    core.start()
    start, pcm = time.monotonic(), voice(0.6)
    for packet in range(30):
        while time.monotonic() < start + 0.02 * (packet + 1):
            time.sleep(0.001)
        part = pcm[320 * packet : 320 * (packet + 1)]
        core.push(AudioPacket(part.tobytes(), AudioFormat(), S0 + 20 * packet * MS, time.monotonic()))
    deadline = time.monotonic() + 5
    while core.state != "idle" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert core.close_mouth()
    core.stop()
    count = len(frames)
    time.sleep(0.1)
    assert len(frames) == count  # the worker has ended
    assert [frame.index for frame in frames] == list(range(count))
    assert core.statistics()["frames"] == 15
    assert core.summary().startswith("frames of audio 15, idle ")


def watched(speak, used):
    """The frame step, noting into the set `used` on what kind of device it works."""

    def step(*given):
        motion = speak(*given)
        used.add(motion.device.type)
        return motion

    return step


def test_the_device_parameter_decides_where_the_diffusion_runs(talker, tmp_path) -> None:
    import torch

    from streamingtalker_ros.model.blendshape import checkpoint

    checkpoint.save(tmp_path, talker.network)
    used = set()
    where = load_talker(TalkerParameters(model=str(tmp_path), device="cpu"))
    assert where.device == "cpu"
    where.fused.generate_frame = watched(where.fused.generate_frame, used)
    where.open_stream().accept(np.zeros(4 * where.hop, np.float32))
    assert used == {"cpu"}
    if not torch.cuda.is_available():
        with pytest.raises(TalkerError, match="cuda.*choose auto or cpu"):
            load_talker(TalkerParameters(model=str(tmp_path), device="cuda"))


def test_on_a_cuda_machine_the_node_diffuses_on_cuda(talker, tmp_path) -> None:
    import torch

    from streamingtalker_ros.model.blendshape import checkpoint

    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    checkpoint.save(tmp_path, talker.network)
    for device in ("auto", "cuda"):
        settings = TalkerParameters(model=str(tmp_path), device=device, pacing="none")
        loaded, used, frames = load_talker(settings), set(), []
        loaded.fused.generate_frame = watched(loaded.fused.generate_frame, used)
        core = TalkerWorker(loaded, settings, frames.append)
        core.push(AudioPacket(voice(1.0).tobytes(), AudioFormat(), S0, time.monotonic()))
        core.start()
        deadline = time.monotonic() + 20
        while len(frames) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        core.stop()
        assert loaded.device.startswith("cuda") and used == {"cuda"}
        reference = weights(offline(talker, floats(voice(1.0))))[5:20]
        np.testing.assert_allclose(weights(frames)[5:20], reference, atol=1e-3)


def test_a_style_or_a_number_of_steps_that_the_model_lacks_is_refused(talker) -> None:
    with pytest.raises(TalkerError, match="style"):
        TalkerWorker(talker, TalkerParameters(style="operatic"), print)
    core = TalkerWorker(talker, TalkerParameters(), print)
    with pytest.raises(TalkerError, match="style"):
        core.set_parameters(TalkerParameters(style="operatic"))
    assert core.parameters.style == ""


def test_the_reservoir_is_bounded_and_its_percentiles_are_those_of_all() -> None:
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
