# SPDX-License-Identifier: Apache-2.0
"""Mistakes that senders of audio make, as packets: when each is sent, and with which stamp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S

PACKET_S: Final = 0.02
_MS: Final = 1_000_000  # ns
_SEND_S: Final = 0.0002  # that sending a packet takes, in a burst


@dataclass(frozen=True)
class SentPacket:
    """One packet of a voice.

    Attributes:
        at: s after the start.
        stamp: ns after the start, None for a stamp that was never set.
        begin: First sample, in s.
        end: Its end, in s.
    """

    at: float
    stamp: int | None
    begin: float
    end: float


Stamps = Callable[[int, int, float, np.random.Generator], int | None]
"""Number of a packet, ns of its first sample, s of sending → stamp."""

MISTAKES: Final[dict[str, Stamps]] = {
    "none": lambda number, first, at, random: first,
    "shared": lambda number, first, at, random: 0,
    "zero": lambda number, first, at, random: None,
    "sending time": lambda number, first, at, random: round(at * NS_PER_S) + int(random.uniform(0, 100_000)),
    "jittering": lambda number, first, at, random: first + int(random.uniform(-30, 30) * _MS),
    "jumping": lambda number, first, at, random: first + (1000 * _MS if number % 10 == 7 else 0),
    "missing": lambda number, first, at, random: None if number % 3 == 1 else first,
}
DELIVERIES: Final = ("live", "burst", "one message")


def sent_packets(
    mistake: str, delivery: str, seconds: float, packet: float = PACKET_S, seed: int = 0
) -> list[SentPacket]:
    """Return the packets of a voice.

    Args:
        mistake: A key of `MISTAKES`.
        delivery: "live" (a packet is sent when it has been recorded), "burst" (all at once) or "one message".
        seconds: Duration of the voice.
        packet: Duration of a packet.
        seed: Of the random numbers.
    """
    random, packet = np.random.default_rng(seed), seconds if delivery == "one message" else packet
    packets = []
    for number in range(round(seconds / packet)):
        begin, end = number * packet, (number + 1) * packet
        at = end if delivery == "live" else number * _SEND_S
        stamp = MISTAKES[mistake](number, round(begin * NS_PER_S), at, random)
        packets.append(SentPacket(at, stamp, begin, end))
    return packets
