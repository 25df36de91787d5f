# SPDX-License-Identifier: Apache-2.0
"""Decodes audio messages to `AudioPacket`s of PCM: `AudioMessageDecoder`.

A payload's own header overrides what audio_info described. Typed samples and bare PCM pass unchanged, a WAV
header is split off (`audio.wav_header`), MP3 is decoded (`audio.mp3`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, Literal

from streamingtalker_ros.audio import mp3, wav_header
from streamingtalker_ros.audio.clock import MAX_GAP_S
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common

MAX_MP3_BYTES: Final = 1_000_000  # bytes per packet; decoding more at once would block the receiving thread
MAX_BYTES_WITHOUT_FRAME: Final = 32_000  # bytes; an MP3 frame has at most 1441, so it is not MP3
_MIN_DETECTED_PACKETS: Final = (
    2  # consecutive packets of whole frames before undeclared audio is taken as MP3
)
_DISCONTINUITY_NS: Final = round(MAX_GAP_S * NS_PER_S)


class AudioMessageDecoder:
    """Decodes the consecutive messages of one audio topic.

    Args:
        reject: called with (kind, reason) for each message that cannot be used.
    """

    def __init__(self, reject: Callable[[str, str], Any]) -> None:
        self._reject = reject
        self._coding: Literal["pcm", "mp3"] | None = None  # as audio_info described it
        self._format: AudioFormat | None = None  # of PCM, from audio_info or a WAV header
        self._info_error: str | None = None  # why the audio that audio_info describes cannot be decoded
        self._mp3: mp3.Mp3Decoder | None = None  # while the audio is MP3
        self._last_stamp: int | None = None  # ns, of the newest packet of MP3
        self._expected_stamp = 0  # ns, the end of that packet's audio
        self._bytes_without_frame = 0  # consecutive bytes of MP3 in which no frame was found
        self._detected_packets = 0  # consecutive packets of whole MP3 frames that audio_info did not announce

    @property
    def delay(self) -> float:
        """Seconds that the codec delays the audio: 0 for PCM."""
        return self._mp3.delay if self._mp3 else 0.0

    def on_audio_info(self, info: Any) -> None:
        """Accept an AudioInfo message of ros-drivers; `reject` receives a format that cannot be decoded."""
        try:
            self._coding, audio_format = audio_common.parse_audio_info(info)
        except TalkerError as error:
            self._info_error = str(error)
            self._reject("info", self._info_error)
            return
        self._info_error, self._format = None, audio_format

    def decode(
        self, message: Any, type_name: str, now_ns: int | None = None, arrival: float | None = None
    ) -> AudioPacket | None:
        """Decode one audio message.

        Args:
            message: the message.
            type_name: its type, a key of `audio_common.AUDIO_TYPES`.
            now_ns: time of the node's clock, default the system's; for messages without a stamp.
            arrival: s on the clock of `time.monotonic()`, default now.

        Returns:
            A packet of PCM, or None if the message was rejected or completes no MP3 frame.
        """
        try:
            packet = audio_common.to_packet(message, type_name, self._format, now_ns, arrival)
            if (
                audio_common.AUDIO_TYPES[type_name] == "mgonzs13"
            ):  # typed samples carry no header and no codec
                return packet
            if wav_header.is_wav(packet.payload):
                self._format, payload = wav_header.split_header(packet.payload)
                self._detected_packets = 0
                return dataclasses.replace(packet, payload=payload, format=self._format) if payload else None
            if self._info_error:
                self._reject("info", self._info_error)
                return None
            if self._coding == "mp3" or (self._coding is None and self._detect_mp3(packet.payload)):
                return self._decode_mp3(packet)
        except TalkerError as error:
            self._reject("message", str(error))
            return None
        self._mp3 = self._last_stamp = None
        return packet

    def _detect_mp3(self, payload: bytes) -> bool:
        """Return whether a payload of undeclared coding is MP3.

        After two consecutive packets of whole frames all audio is MP3, until audio_info or a WAV header
        announces another coding.
        """
        if self._detected_packets < _MIN_DETECTED_PACKETS:
            self._detected_packets = self._detected_packets + 1 if mp3.looks_like_mp3(payload) else 0
        return self._detected_packets > 0

    def _decode_mp3(self, packet: AudioPacket) -> AudioPacket | None:
        if len(packet.payload) > MAX_MP3_BYTES:
            raise TalkerError(
                f"a packet holds {len(packet.payload)} bytes of MP3: send at most {MAX_MP3_BYTES} at once"
            )
        if not packet.payload:
            return packet  # the audio queue rejects empty packets of every coding
        decoder = self._mp3 = self._mp3 or mp3.Mp3Decoder()
        if packet.stamp is not None and self._last_stamp is not None:
            if -_DISCONTINUITY_NS < packet.stamp - self._last_stamp <= 0:
                return self._conceal_duplicate(packet, decoder)
            if abs(packet.stamp - self._expected_stamp) >= _DISCONTINUITY_NS:
                decoder.reset()
        seconds_before = decoder.decoded
        decoded = decoder.decode(packet.payload, packet.stamp)
        if packet.stamp is not None:
            self._last_stamp = packet.stamp
            self._expected_stamp = packet.stamp + round((decoder.decoded - seconds_before) * NS_PER_S)
        if decoder.decoded == seconds_before:
            self._bytes_without_frame += len(packet.payload)
        else:
            self._bytes_without_frame = 0
        if self._bytes_without_frame >= MAX_BYTES_WITHOUT_FRAME:
            self._bytes_without_frame = self._detected_packets = 0
            if self._coding == "mp3":
                raise TalkerError(
                    "audio_info describes MP3, but the audio contains no MP3 frames: check what its sender "
                    "publishes on audio_info and on audio"
                )
        if decoded is None:
            return None
        return dataclasses.replace(
            packet,
            payload=decoded.pcm,
            format=AudioFormat(decoded.rate, decoded.channels, "f32"),
            stamp=decoded.stamp,
            received=packet.received - round(decoder.delay * NS_PER_S),
        )

    def _conceal_duplicate(self, packet: AudioPacket, decoder: mp3.Mp3Decoder) -> AudioPacket | None:
        """Replace a duplicated or late MP3 packet, which would disturb the decoder, by silence of its length.

        The packet aligner recognizes the duplicate by stamp and length, drops and counts it.

        Returns:
            The silence, or None if the packet's length is not known.
        """
        row = mp3.parse_frames(packet.payload)
        if row is None or packet.stamp is None:
            return None
        samples, header = row
        return dataclasses.replace(
            packet,
            payload=bytes(4 * samples * header.channels),
            stamp=packet.stamp - round(decoder.delay * NS_PER_S),
            format=AudioFormat(header.rate, header.channels, "f32"),
        )
