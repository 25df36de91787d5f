# SPDX-License-Identifier: Apache-2.0
"""Sources deliver every sample with its exact time, at the pace of a microphone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio import sources
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.sources import load_pcm16, microphone_packets, paced_packets
from streamingtalker_ros.errors import TalkerError


def test_packets_hold_all_samples_and_their_exact_times() -> None:
    samples = np.arange(1000, dtype=np.int16)
    packets = list(paced_packets(samples, 22050, 0.01, speed=0))
    np.testing.assert_array_equal(np.concatenate([packet for _, packet in packets]), samples)
    start = packets[0][0]
    expected = [round(index * 220 * NS_PER_S / 22050) for index in range(len(packets))]
    assert [stamp - start for stamp, _ in packets] == expected


def test_a_packet_is_delivered_when_its_last_sample_would_have_been_recorded() -> None:
    begin = time.monotonic()
    arrivals = [time.monotonic() - begin for _ in paced_packets(np.zeros(1600, np.int16), 16000, 0.02, 2.0)]
    assert len(arrivals) == 5 and all(
        arrival >= (index + 1) * 0.01 - 1e-3 for index, arrival in enumerate(arrivals)
    )


def test_a_file_is_loaded_as_16_bit_mono(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 32767, -32768], np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    loaded, rate = load_pcm16(tmp_path / "a.wav")
    assert rate == 8000 and loaded.dtype == np.int16
    np.testing.assert_array_equal(loaded, samples)


class FakeStream:
    """sounddevice's RawInputStream, which delivers four blocks at once."""

    def __init__(self, callback: Callable[..., None], blocksize: int, **_: Any) -> None:
        for block in range(4):
            callback(memoryview(np.full(blocksize, block, np.int16).tobytes()), blocksize, None, None)

    def __enter__(self) -> FakeStream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_stamps_of_the_microphone_count_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    sounddevice = SimpleNamespace(RawInputStream=FakeStream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)
    packets = list(microphone_packets(16000, 0.02, seconds=0.06))
    assert [packet.tolist() for _, packet in packets] == [[block] * 320 for block in range(3)]
    assert np.diff([stamp for stamp, _ in packets]).tolist() == [20_000_000] * 2


def test_a_microphone_that_cannot_be_opened_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("no device")

    sounddevice = SimpleNamespace(RawInputStream=fail, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)
    with pytest.raises(TalkerError, match="microphone cannot be opened"):
        next(microphone_packets(16000))


def test_a_microphone_that_falls_silent_is_reported_instead_of_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "MICROPHONE_TIMEOUT_S", 0.2)
    sounddevice = SimpleNamespace(RawInputStream=FakeStream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)
    packets = microphone_packets(16000, 0.02)
    assert len([next(packets) for _ in range(4)]) == 4
    with pytest.raises(TalkerError, match=r"delivered no audio for 0\.2 s"):
        next(packets)
