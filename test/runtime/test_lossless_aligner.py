# SPDX-License-Identifier: Apache-2.0
"""A lossless connection: the samples are those of the general aligner, whatever the cuts."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.lossless_aligner import LosslessAligner
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.statistics import Statistics


def packets(rate: int, samples: npt.NDArray[np.int16], sizes: npt.NDArray[np.int64]) -> list[AudioPacket]:
    """Packets of these sizes, repeated as needed, stamped by the count of samples."""
    result: list[AudioPacket] = []
    position = k = 0
    while position < len(samples):
        chunk = samples[position : position + int(sizes[k % len(sizes)])]
        stamp = position * NS_PER_S // rate
        result.append(AudioPacket(chunk.tobytes(), AudioFormat(rate), stamp, position / rate))
        position, k = position + len(chunk), k + 1
    return result


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 192000])
def test_samples_and_stamps_are_those_of_the_general_aligner(rate: int) -> None:
    random = np.random.default_rng(rate)
    samples = random.integers(-30000, 30000, 2 * rate, dtype=np.int16)
    general = PacketAligner(AudioFormat(), Statistics())
    regular = packets(rate, samples, np.array([rate // 50]))
    expected = [segment for packet in regular for segment in general.align(packet)]
    reference = np.concatenate([*(segment.pcm for segment in expected), general.flush()])
    for sizes in (np.array([rate // 100]), random.integers(1, rate // 10, 50), np.array([len(samples)])):
        aligner = LosslessAligner(AudioFormat(), Statistics())
        segments = [segment for packet in packets(rate, samples, sizes) for segment in aligner.align(packet)]
        pcm = np.concatenate([*(segment.pcm for segment in segments), aligner.flush()])
        np.testing.assert_array_equal(pcm, reference)
        assert [segment.starts_stream for segment in segments] == [True] + [False] * (len(segments) - 1)
        for index in (0, 1, 12345):
            assert abs(segments[-1].clock.stamp_of(index) - expected[-1].clock.stamp_of(index)) <= 1
        assert not len(aligner.flush())


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 192000])
def test_output_never_exceeds_input_by_more_than_the_surplus(rate: int) -> None:
    random = np.random.default_rng(rate)
    resampler = Resampler(rate)
    for count in random.integers(1, rate // 20, 200):
        bound = count * 16000 / rate + resampler.surplus
        assert len(resampler.accept(np.zeros(count, np.float32))) <= bound


def test_a_reset_begins_a_new_stream_in_any_format_and_without_it_the_format_stays() -> None:
    aligner = LosslessAligner(AudioFormat(), Statistics())
    pcm = np.ones(1000, np.int16).tobytes()
    assert aligner.align(AudioPacket(pcm, AudioFormat(16000), 5, 0.0))[0].starts_stream
    with pytest.raises(TalkerError):
        aligner.align(AudioPacket(pcm, AudioFormat(48000), 5, 0.0))
    for wrong in (AudioPacket(pcm, AudioFormat(16000, 2), 5, 0.0), AudioPacket(pcm[:-1], None, 5, 0.0)):
        with pytest.raises(TalkerError):
            aligner.align(wrong)
    aligner.reset()
    (segment,) = aligner.align(AudioPacket(pcm, AudioFormat(48000), 7, 0.0))
    assert segment.starts_stream and segment.clock.stamp_of(0) == 7
    floats = np.array([np.nan, np.inf, 0.5, 3.0], np.float32).tobytes()
    statistics = Statistics()
    aligner = LosslessAligner(AudioFormat(), statistics)
    (segment,) = aligner.align(AudioPacket(floats, AudioFormat(16000, 1, "f32"), 0, 0.0))
    np.testing.assert_array_equal(segment.pcm, np.array([0, 0, 0.5, 1], np.float32))
    assert statistics.nonfinite == 2


def test_a_resampler_costs_nothing_before_it_gets_audio() -> None:
    Resampler(8000)
    begin = time.process_time()
    for rate in range(8001, 8501):
        Resampler(rate)
    assert time.process_time() - begin < 0.2  # 0.45 s if each measured its delay
