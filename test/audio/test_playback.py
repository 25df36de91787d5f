# SPDX-License-Identifier: Apache-2.0
"""The buffer before a sound card: every sample once and in order, silence only between sounds."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from streamingtalker_ros.audio.playback import AudioPlayback, JitterBuffer
from streamingtalker_ros.errors import TalkerError

RATE, FRAME, BLOCK = 16_000, 640, 256


@pytest.mark.parametrize("late", [0, 300, 600])
def test_pieces_that_are_late_by_a_piece_less_than_the_prefill_leave_no_gap(late: int) -> None:
    buffer, sound = JitterBuffer(RATE, prefill=0.06), np.arange(1, 20 * FRAME + 1).astype(np.int16)
    heard: list[np.ndarray] = []
    arrivals = [index * FRAME + (late if index % 3 == 2 else 0) for index in range(20)]
    sent = 0
    for now in range(0, 30 * FRAME, BLOCK):
        while sent < 20 and arrivals[sent] <= now:
            buffer.write(sound[sent * FRAME : (sent + 1) * FRAME])
            sent += 1
        if sent == 20:
            buffer.end()
        heard.append(buffer.read(BLOCK))
    played = np.concatenate(heard)
    begin = int(np.flatnonzero(played)[0])
    assert begin <= 0.1 * RATE
    assert np.array_equal(played[begin : begin + len(sound)], sound)
    assert not played[begin + len(sound) :].any()


def test_a_sound_shorter_than_the_prefill_is_heard_when_it_has_ended() -> None:
    buffer = JitterBuffer(RATE, prefill=0.06)
    buffer.write(np.full(100, 7, np.int16))
    assert not buffer.read(BLOCK).any()
    buffer.end()
    assert buffer.read(BLOCK).sum() == 700


def test_what_waits_is_bounded_and_can_be_dropped() -> None:
    buffer = JitterBuffer(RATE)
    buffer.write(np.ones(100 * RATE, np.int16))
    assert sum(int(buffer.read(BLOCK).sum()) for _ in range(1000)) <= RATE
    buffer.write(np.ones(RATE // 4, np.int16))
    buffer.clear()
    assert not buffer.read(BLOCK).any()


@pytest.mark.skipif(importlib.util.find_spec("sounddevice") is None, reason="sounddevice is not installed")
def test_a_machine_without_a_loudspeaker_says_so_in_one_sentence() -> None:
    try:
        playback = AudioPlayback(RATE)
    except TalkerError as error:
        assert "loudspeaker" in str(error) or "sounddevice" in str(error)
    else:  # there is one
        assert playback.latency > 0
        playback.close()
