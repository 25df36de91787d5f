# SPDX-License-Identifier: Apache-2.0
"""The queue of a session is bounded in seconds, bytes, packets and commands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.runtime.audio_queue import BoundedAudioQueue
from streamingtalker_ros.runtime.statistics import Statistics


@pytest.mark.parametrize("payload, count", [(bytes(2), 10**6), (bytes(30_000_000), 100)])
def test_the_queue_of_audio_is_bounded_in_packets_and_in_bytes(payload: bytes, count: int) -> None:
    warnings: list[str] = []
    statistics = Statistics()
    queue = BoundedAudioQueue(60.0, statistics, lambda kind, message: warnings.append(kind))
    layout = AudioFormat(192_000, 16, "f32")
    packet = AudioPacket(payload, layout if len(payload) > 2 else AudioFormat(), 1, 0.0)
    accepted = sum(queue.push(packet, packet.format or AudioFormat()) for _ in range(count))
    assert 0 < accepted <= 60_000 and accepted * len(payload) <= 2**27
    assert set(warnings) == {"memory"} and statistics.rejected == count - accepted
    while queue:
        queue.pop()
    assert queue.push(packet, packet.format or AudioFormat()), "room again"


def test_commands_that_nobody_takes_are_bounded() -> None:
    calls: list[int] = []
    queue = BoundedAudioQueue(60.0, Statistics(), lambda kind, message: None)
    actions: list[Callable[[], None]] = [lambda: calls.append(1)] * 100_000
    for action in actions:
        queue.post(action)
    assert len(queue.take_commands()) == 1000
