# SPDX-License-Identifier: Apache-2.0
"""The mouth closes at the end of the audio, however long its packets are, and the face never freezes."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.streaming import Talker
from support.scheduler_harness import MS, S0, START, SchedulerHarness, small_talker, voice

RATE = 16000
MAX_CLOSING_S = 0.2
MAX_PAUSE_S = 0.25  # between two frames: the look-ahead, and the delay that a packet may have
PACKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


def send(harness: SchedulerHarness, packet: float, seconds: float, delivery: str, is_stamped: bool) -> None:
    pcm, size = voice(seconds), round(packet * RATE)
    for first in range(0, len(pcm), size):
        at = (first + len(pcm[first : first + size])) / RATE if delivery == "live" else 0.0
        stamp = S0 + round(first * 1e9 / RATE) if is_stamped else None
        harness.send(pcm[first : first + size], stamp, START + at)


@pytest.mark.parametrize("is_stamped", [True, False], ids=["stamped", "unstamped"])
@pytest.mark.parametrize("delivery", ["live", "burst", "one message"])
@pytest.mark.parametrize("packet", PACKETS)
def test_the_mouth_closes_within_200_ms_and_idle_frames_go_on(
    talker: Talker, packet: float, delivery: str, is_stamped: bool
) -> None:
    seconds = packet if delivery == "one message" else max(1.0, 2 * packet)
    harness = SchedulerHarness(talker)
    send(harness, packet, seconds, delivery, is_stamped)
    harness.run(2 * seconds + 3.0)
    # a packet of a microphone is played from its arrival on
    end = START + seconds + (packet if delivery == "live" else 0.0)
    times = np.array([at for at, _ in harness.frames if at < end + 2.0])
    is_open = [at for at, frame in harness.frames if np.abs(frame.weights[MOUTH_MASK]).max() > 0]
    closed = [at for at, frame in harness.frames if at >= is_open[-1] and not frame.weights[MOUTH_MASK].any()]
    assert is_open[-1] > end - 0.2 and closed[0] <= end + MAX_CLOSING_S
    assert np.diff(times).max() <= MAX_PAUSE_S
    assert len(harness.audio) == -(-round(1000 * seconds) // 40)
    assert [frame.index for frame in harness.faces] == list(range(len(harness.faces)))
    assert harness.statistics.streams == 1


@pytest.mark.parametrize("packet", [0.1, 0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("is_stamped", [True, False], ids=["stamped", "unstamped"])
def test_long_packets_that_arrive_in_time_never_close_the_mouth(
    talker: Talker, packet: float, is_stamped: bool
) -> None:
    harness, random = SchedulerHarness(talker), np.random.default_rng(2)
    count = round(max(4 * packet, 3.0) / packet)
    pcm, size = voice(count * packet), round(packet * RATE)
    for number in range(count):
        at = START + (number + 1) * packet + float(random.uniform(0.0, 0.03))  # the network's jitter
        stamp = S0 + round(number * packet * 1e9) if is_stamped else None
        harness.send(pcm[number * size : (number + 1) * size], stamp, at)
    harness.run(count * packet + packet - 0.1)
    assert not any(frame.idle for frame in harness.faces)
    assert harness.statistics.streams == 1 and harness.statistics.late == harness.statistics.overlaps == 0


def test_two_sentences_in_one_message_each_are_spoken_with_idle_frames_between(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send(voice(2.0), S0, START)
    harness.send(voice(1.0, seed=1), S0 + 4_000 * MS, START + 4.0)
    harness.run(7.0)
    assert len(harness.audio) == 75 and harness.statistics.streams == 2
    times = [at for at, _ in harness.frames]
    assert np.diff(times).max() <= MAX_PAUSE_S
