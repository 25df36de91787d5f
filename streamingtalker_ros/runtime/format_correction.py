# SPDX-License-Identifier: Apache-2.0
"""Finds the true format of audio whose sender describes another one, and reads its packets in that format."""

from __future__ import annotations

from typing import Final

from streamingtalker_ros.audio.format_check import describe_difference, find_encoding, find_format
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.runtime.stamp_monitor import StampMonitor

MAX_ENCODING_PACKETS: Final = 25
"""Packets of a stream whose encoding is verified."""

_MIN_ENCODING_PACKETS: Final = 3  # in a row that show another encoding; or one
_CERTAIN_BYTES: Final = 512  # of so many bytes


class FormatCorrection:
    """The formats that packets have, by the formats that describe them.

    Args:
        default_format: Layout of the packets that do not describe theirs.
        monitor: Observes the stamps and arrivals of the packets.
    """

    def __init__(self, default_format: AudioFormat, monitor: StampMonitor) -> None:
        self._default_format = default_format
        self._monitor = monitor
        self._corrections: dict[AudioFormat, AudioFormat] = {}
        self._faults: dict[AudioFormat, tuple[str, str]] = {}  # kind and message, by stated format
        self._encoding_packets = 0  # in a row whose samples have another encoding than stated

    def clear(self) -> None:
        """Believe what the sender says."""
        self._corrections.clear()
        self._faults.clear()

    def format(self, packet: AudioPacket) -> AudioFormat:
        """Return the true format of a packet."""
        stated = self._stated(packet)
        return self._corrections.get(stated, stated) if self._corrections else stated

    def fault(self, packet: AudioPacket) -> tuple[str, str] | None:
        """Return kind and message of what is wrong with the described format of a packet, or None."""
        return self._faults.get(self._stated(packet)) if self._faults else None

    def check_encoding(self, packet: AudioPacket) -> None:
        """Find the encoding of a stream's first packets, if their sender describes another one.

        Args:
            packet: One of the first `MAX_ENCODING_PACKETS` packets.
        """
        current = self.format(packet)
        found = find_encoding(current, packet.payload)
        self._encoding_packets = 0 if found is None else self._encoding_packets + 1
        is_certain = len(packet.payload) >= _CERTAIN_BYTES or self._encoding_packets >= _MIN_ENCODING_PACKETS
        if found is not None and is_certain:
            self._correct(packet, found, "samples are")

    def check_rate(self, packet: AudioPacket, current: AudioFormat) -> None:
        """Find the format that fits the stamps or the times of arrival, if the stated one does not.

        The next packet begins a new stream in that format.

        Args:
            packet: A packet that the monitor has observed.
            current: The format of its stream.
        """
        measured = self._monitor.byte_rate_ratio(0.0)
        if measured is None:
            return
        found = find_format(current, measured[0], packet.payload)
        evidence = "samples are"
        if found is not None and found.sample_rate != current.sample_rate:
            measured = self._monitor.byte_rate_ratio()
            if measured is None:
                return
            ratio, by_stamps = measured
            if ratio > 1 and not (by_stamps and self._monitor.stamps_precede_arrival):
                return  # sent faster than real time, with times of sending or none: the format is right
            found = find_format(current, ratio, packet.payload)
            evidence = "stamps fit" if by_stamps else "arrival of the audio fits"
        if found is not None:
            self._correct(packet, found, evidence)

    def _stated(self, packet: AudioPacket) -> AudioFormat:
        return packet.format or self._default_format

    def _correct(self, packet: AudioPacket, found: AudioFormat, evidence: str) -> None:
        """Read audio of a sender that describes another format in the format that it has.

        Args:
            packet: A packet.
            found: Its true format.
            evidence: How the log message goes on behind the stated format.
        """
        stated = self._stated(packet)
        self._monitor.forget_rate()
        self._encoding_packets = 0
        if found == stated:
            self._corrections.pop(stated, None)
            self._faults.pop(stated, None)
            return
        stated_text, actual = describe_difference(stated, found)
        source, remedy = "audio_info says", "what its sender announces"
        if packet.format is None:  # nothing describes it but the parameters
            source, remedy = "the talker's parameters say", "sample_rate, sample_format or channels"
        fault = (
            "format",
            f"{source} {stated_text} but the {evidence} {actual.removesuffix(' Hz')}: the audio is played as "
            f"{actual}; correct {remedy}",
        )
        self._corrections[stated], self._faults[stated] = found, fault
