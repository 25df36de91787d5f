# SPDX-License-Identifier: Apache-2.0
"""Decodes audio messages to `AudioPacket`s of PCM: `AudioMessageDecoder`.

What a payload says of itself, by its signature (`audio.container`), overrides what audio_info described: WAV
is read by `audio.wav_stream`, MP3 by `audio.mp3`, Ogg and WebM by `audio.push_decoder`, other sound files,
whole in one message, by `audio.file_decoder`. What cannot be decoded is rejected and never played. Typed
samples and bare PCM pass unchanged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio import container, mp3
from streamingtalker_ros.audio.clock import MAX_GAP_S
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.container import Container
from streamingtalker_ros.audio.file_decoder import decode_file
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.pcm_decoder import bytes_to_float32
from streamingtalker_ros.audio.push_decoder import PushDecoder
from streamingtalker_ros.audio.wav_stream import WavStream
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common

MAX_MP3_BYTES: Final = 1_000_000  # bytes per packet; decoding more at once would block the receiving thread
MAX_BYTES_WITHOUT_FRAME: Final = 32_000  # bytes; an MP3 frame has at most 1441, so it is not MP3
MAX_CODED_SECONDS: Final = 600.0  # audio that one message may hold
_MIN_DETECTED_PACKETS: Final = (
    2  # consecutive packets of whole frames before undeclared audio is taken as MP3
)
_MAX_RECENT_PACKETS: Final = 64  # of MP3, that are remembered to recognize a duplicate
_MAX_LATE_MP3_PACKETS: Final = 2  # in a row that are dropped; more show that stamps are wrong
_DISCONTINUITY_NS: Final = round(MAX_GAP_S * NS_PER_S)
_MIN_PCM_SAMPLES: Final = 256  # that distinguish PCM from coded bytes, by
_MIN_PCM_CORRELATION: Final = 0.8  # the correlation of neighbouring samples
_MIN_8_BIT_SAMPLES: Final = 16  # that distinguish PCM of printable bytes from text, by the correlation or
_MAX_8_BIT_LEVEL: Final = 6.0  # their standard deviation
_MAX_PCM_BYTES: Final = 16_384  # of a payload that are looked at


class AudioMessageDecoder:
    """Decodes the consecutive messages of one audio topic.

    Args:
        reject: called with (kind, reason) for each message that cannot be used.
        default_format: format of PCM that nothing describes.
    """

    def __init__(self, reject: Callable[[str, str], Any], default_format: AudioFormat | None = None) -> None:
        self._reject = reject
        self._default_format = default_format or AudioFormat()
        self._coding: Literal["pcm", "mp3"] | None = None  # as audio_info described it
        self._format: AudioFormat | None = None  # of PCM, from audio_info
        self._info_error: str | None = None  # why the audio that audio_info describes cannot be decoded
        self._mp3: mp3.Mp3Decoder | None = None  # while the audio is MP3
        self._last_stamp: int | None = None  # ns, of the newest packet of MP3
        self._expected_stamp = 0  # ns, the end of that packet's audio
        self._mp3_packets: deque[int] = deque(maxlen=_MAX_RECENT_PACKETS)  # hashes of payloads
        self._late_mp3_packets = 0  # that were dropped since the last one in order
        self._bytes_without_frame = 0  # consecutive bytes of MP3 in which no frame was found
        self._detected_packets = 0  # consecutive packets of whole MP3 frames that audio_info did not announce
        self._tag_bytes = 0  # of an ID3 tag that are still to come
        self._held = b""  # the beginning of a signature that the next message may complete
        self._wav: WavStream | None = None  # while messages continue a WAV file
        self._push: PushDecoder | None = None  # while messages continue Ogg or WebM
        self._push_origin: int | None = None  # ns, time of its first sample
        self._push_samples = 0  # samples that it has returned
        self._push_bytes: int | None = None  # of the file that are still to come, if it states its length
        self._is_sticky = False  # whether a file may contain what looks like PCM, which is no sign of its end
        self._rejects_text = False  # whether the messages that are dropped are text
        self._rejected: str | None = None  # why messages are dropped that continue a file

    @property
    def delay(self) -> float:
        """Seconds that the codec delays the audio: 0 for PCM."""
        return self._mp3.delay if self._mp3 else 0.0

    def on_audio_info(self, info: Any) -> None:
        """Accept an AudioInfo message of ros-drivers; `reject` receives a format that cannot be decoded.

        A repetition of the last description changes nothing; another one ends a file that arrives in pieces.

        Args:
            info: An audio_common_msgs/AudioInfo message that describes the messages that follow.
        """
        try:
            coding, audio_format = audio_common.parse_audio_info(info)
        except TalkerError as error:
            self._end_file()
            self._info_error = str(error)
            self._reject("info", self._info_error)
            return
        if (coding, audio_format, None) != (self._coding, self._format, self._info_error):
            self._end_file()
        self._coding, self._format, self._info_error = coding, audio_format, None

    def reset(self) -> None:
        """Forget the file that messages continue: the next message begins anew, as audio_info described it.

        Call it before the decoder is discarded, too: it ends the demuxer of a file that arrives in pieces.
        """
        self._end_file()
        self._held = b""

    def decode(
        self, message: Any, type_name: str, now_ns: int | None = None, arrival: float | None = None
    ) -> list[AudioPacket]:
        """Decode one audio message.

        Args:
            message: the message.
            type_name: its type, a key of `audio_common.AUDIO_TYPES`.
            now_ns: time of the node's clock, default the system's; for messages without a stamp.
            arrival: s on the clock of `time.monotonic()`, default now.

        Returns:
            Packets of PCM: one, more if the message holds audio of several formats, none if it was rejected
            or completes no audio.
        """
        try:
            packet = audio_common.to_packet(message, type_name, self._format, now_ns, arrival)
            if (
                audio_common.AUDIO_TYPES[type_name] == "mgonzs13"
            ):  # typed samples carry no header and no codec
                return [packet]
            return self._decode_payload(packet)
        except TalkerError as error:
            self._reject("message", str(error))
        except Exception as fault:  # of a library, on what the message holds
            self._end_file()
            reason = " ".join(str(fault).split())[:200]
            self._reject("message", f"an audio message cannot be decoded ({type(fault).__name__}: {reason})")
        return []

    def _decode_payload(self, packet: AudioPacket) -> list[AudioPacket]:
        if self._held:
            packet = dataclasses.replace(packet, payload=self._held + packet.payload)
            self._held = b""
        if self._tag_bytes and self._looks_like_pcm(packet.payload):
            self._end_file()
        elif self._tag_bytes and _begins_coded_audio(packet.payload):
            self._tag_bytes = 0
        if self._tag_bytes:
            skipped = min(self._tag_bytes, len(packet.payload))
            self._tag_bytes -= skipped
            packet = dataclasses.replace(packet, payload=packet.payload[skipped:])
            if not packet.payload:
                return []
        found = container.identify(packet.payload)
        is_mp3 = self._coding == "mp3" or self._detected_packets >= _MIN_DETECTED_PACKETS
        if found is not None and "text" in found.name and self._is_8_bit_pcm(packet):
            found = None
        if found is not None and not (found is container.TEXT and is_mp3):  # LAME pads frames with letters
            return self._begin_file(packet, found)
        if self._wav is not None:
            return self._decode_wav(packet, self._wav)
        if container.could_be_container(packet.payload):
            self._held = packet.payload
            return []
        if self._push is not None or self._rejected is not None:
            if self._continues_file(packet):
                return self._continue_file(packet)
            self._end_file()
        if self._info_error:
            self._reject("info", self._info_error)
            return []
        if self._coding == "mp3" or self._detect_mp3(packet.payload):
            return _as_list(self._decode_mp3(packet))
        self._mp3 = self._last_stamp = None
        return [packet]

    def _begin_file(self, packet: AudioPacket, found: Container) -> list[AudioPacket]:
        """Decode a payload that begins a file of its own format."""
        if found.reader == "mp3":
            self._end_file()
            size = mp3.id3_size(packet.payload)
            self._tag_bytes = max(0, size - len(packet.payload))
            self._detected_packets = _MIN_DETECTED_PACKETS
            rest = dataclasses.replace(packet, payload=packet.payload[size:])
            if not rest.payload:
                return []
            behind_tag = container.identify(rest.payload) if size else None
            return self._begin_file(rest, behind_tag) if behind_tag else _as_list(self._decode_mp3(rest))
        self._end_file()
        if found.reader == "wav":
            self._wav = WavStream()
            return self._decode_wav(packet, self._wav, found)
        try:
            size = container.stated_bytes(packet.payload, found)
            is_cut = size is not None and size > len(packet.payload)
            if found.reader == "stream" or (found.demuxer and (is_cut or size is None)):
                self._push = PushDecoder(found, MAX_CODED_SECONDS)
                self._push_origin, self._push_samples = packet.stamp, 0
                self._is_sticky = found.reader == "file"
                self._push_bytes = size if found.name != "CAF" else None  # CAF states the next chunk only
                return self._decode_pushed(packet, self._push)
            return [self._decode_whole(packet, found, is_cut)]
        except TalkerError as error:
            self._reject_file(found, str(error))
            return []

    def _decode_wav(
        self, packet: AudioPacket, stream: WavStream, begun: Container | None = None
    ) -> list[AudioPacket]:
        """Decode a payload of a WAV file.

        Args:
            packet: the payload.
            stream: reads the file.
            begun: the file's format if it begins in this payload.
        """
        try:
            segments = stream.accept(packet.payload)
        except TalkerError as error:
            self._end_file()
            if begun is not None and stream.is_coded:
                size = container.stated_bytes(packet.payload, begun)
                with contextlib.suppress(TalkerError):
                    return [
                        self._decode_whole(packet, begun, size is not None and size > len(packet.payload))
                    ]
            self._is_sticky = stream.is_coded
            self._reject_file(Container("WAV", "wav"), str(error))
            return []
        packets: list[AudioPacket] = []
        stamp = packet.stamp
        for audio_format, group in itertools.groupby(segments, lambda segment: segment.format):
            if packets and stamp is not None:
                stamp += _duration_ns(packets[-1])
            payload = b"".join(segment.pcm for segment in group)
            packets.append(dataclasses.replace(packet, payload=payload, format=audio_format, stamp=stamp))
        return packets

    def _decode_pushed(self, packet: AudioPacket, decoder: PushDecoder) -> list[AudioPacket]:
        decoded = [decoder.push(packet.payload)]
        if self._push_bytes is not None:
            self._push_bytes -= len(packet.payload)
            if self._push_bytes <= 0:  # the file is complete
                decoded.append(decoder.close())
                self._push, self._is_sticky = None, False
        blocks = [block for block in decoded if block is not None]
        if not blocks:
            return []
        samples, rate = np.concatenate([samples for samples, _ in blocks]), blocks[0][1]
        stamp: int | None = None
        if packet.stamp is not None:
            if self._push_origin is not None:
                stamp = self._push_origin + self._push_samples * NS_PER_S // rate
            if stamp is None or abs(packet.stamp - stamp) >= 4 * _DISCONTINUITY_NS:  # the sender paused
                self._push_origin, self._push_samples, stamp = packet.stamp, 0, packet.stamp
        self._push_samples += len(samples)
        return [_float_packet(packet, samples, rate, stamp)]

    def _decode_whole(self, packet: AudioPacket, found: Container, is_cut: bool = False) -> AudioPacket:
        """Decode a payload that is a whole file.

        Args:
            packet: the payload.
            found: its format.
            is_cut: whether the file states more bytes than the payload has.

        Raises:
            TalkerError: if it cannot be decoded, or continues in other messages.
        """
        if found.reader == "none":
            raise TalkerError(f"an audio message holds {found.name}, not audio: check its sender")
        reason = "it arrives in pieces"
        samples, rate = np.zeros((0, 1), np.float32), 0
        if not is_cut:
            try:
                samples, rate = decode_file(packet.payload, "the message", MAX_CODED_SECONDS)
            except TalkerError as error:
                reason = str(error).partition(":")[0]
        if not len(samples) or (
            found.name == "FLAC" and len(samples) < container.flac_sample_count(packet.payload)
        ):
            raise TalkerError(
                f"audio in {found.name} cannot be decoded ({reason}): send each file whole in one message, "
                "or send Ogg, WAV, MP3 or bare PCM"
            )
        self._rejected = f"what follows {found.name} in later messages is not audio: send files whole"
        return _float_packet(packet, samples, rate, packet.stamp)

    def _continues_file(self, packet: AudioPacket) -> bool:
        """Return whether a payload without a signature continues the file of the messages before."""
        if self._rejected is not None and self._rejects_text:
            return container.is_text_fragment(packet.payload) and not self._is_8_bit_pcm(packet)
        if self._is_sticky:
            return True
        return not self._looks_like_pcm(packet.payload)

    def _continue_file(self, packet: AudioPacket) -> list[AudioPacket]:
        """Decode or drop a message that continues a file."""
        if self._push is None:
            self._reject("container", self._rejected or "")
            return []
        try:
            return self._decode_pushed(packet, self._push)
        except TalkerError as error:
            self._reject_file(Container("file", "none"), str(error))
            return []

    def _reject_file(self, found: Container, reason: str) -> None:
        """Reject a file, and the messages that continue it."""
        if self._push is not None:
            self._close_push()
        self._rejected, self._rejects_text = reason, "text" in found.name
        self._reject(f"container {found.name}", reason)

    def _end_file(self) -> None:
        """Forget the file that messages continue."""
        self._close_push()
        self._wav = self._rejected = None
        self._rejects_text = self._is_sticky = False
        self._mp3 = self._last_stamp = None
        self._detected_packets = self._bytes_without_frame = self._tag_bytes = 0

    def _close_push(self) -> None:
        push, self._push = self._push, None
        if push is not None:
            with contextlib.suppress(TalkerError):
                push.close()

    def _looks_like_pcm(self, payload: bytes) -> bool:
        """Return whether a payload without a signature is PCM: neighbouring samples resemble each other."""
        audio_format = self._format or self._default_format
        count = min(len(payload), _MAX_PCM_BYTES) // audio_format.frame_bytes
        if count < _MIN_PCM_SAMPLES:
            return False
        samples = bytes_to_float32(payload[: count * audio_format.frame_bytes], audio_format.encoding)
        if not np.isfinite(samples).all() or np.abs(samples).max() > 1.0:
            return False
        channel = samples[:: audio_format.channels].astype(np.float64)
        channel -= channel.mean()
        energy = float(np.square(channel).sum())
        return energy > 0 and float((channel[1:] * channel[:-1]).sum()) > _MIN_PCM_CORRELATION * energy

    def _is_8_bit_pcm(self, packet: AudioPacket) -> bool:
        """Return whether a payload of printable bytes is PCM of 8 bits rather than text.

        A converter with an offset returns such bytes. They change little from one sample to the next, where
        text has spaces and capitals.
        """
        audio_format = packet.format or self._default_format
        if audio_format.encoding not in ("u8", "s8"):
            return False
        channel = np.frombuffer(packet.payload[:_MAX_PCM_BYTES], np.uint8)[:: audio_format.channels]
        if len(channel) < _MIN_8_BIT_SAMPLES:
            return False
        channel = channel - channel.mean()
        energy = float(np.square(channel).sum())
        if energy < len(channel) * _MAX_8_BIT_LEVEL**2:
            return True
        return float((channel[1:] * channel[:-1]).sum()) > _MIN_PCM_CORRELATION * energy

    def _detect_mp3(self, payload: bytes) -> bool:
        """Return whether a payload that is not declared as MP3 is MP3.

        After two consecutive packets of whole frames, or one that is cut behind two frames, all audio is MP3,
        until audio_info or a signature announces another coding.
        """
        if self._detected_packets < _MIN_DETECTED_PACKETS:
            if mp3.looks_like_mp3(payload):
                self._detected_packets += 1
            else:
                self._detected_packets = _MIN_DETECTED_PACKETS if mp3.begins_mp3(payload) else 0
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
            step = packet.stamp - self._last_stamp
            if -_DISCONTINUITY_NS < step <= 0 and self._is_repeated_mp3(packet.payload, step):
                return self._conceal_duplicate(packet, decoder)
            self._late_mp3_packets = 0
            if step <= 0 and abs(step) < _DISCONTINUITY_NS:
                packet = dataclasses.replace(packet, stamp=None)  # shared, or jittering: the samples count
            elif abs(packet.stamp - self._expected_stamp) >= _DISCONTINUITY_NS:
                decoder.reset()
        self._mp3_packets.append(hash(packet.payload))
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

        The packet aligner drops and counts it.

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
            is_repeated=True,
        )

    def _is_repeated_mp3(self, payload: bytes, step: int) -> bool:
        """Return whether a packet of MP3 whose stamp does not advance was received before, or is late.

        Args:
            payload: Its bytes.
            step: ns from the stamp of the newest packet.
        """
        if hash(payload) in self._mp3_packets:
            return True
        if step == 0 or self._late_mp3_packets >= _MAX_LATE_MP3_PACKETS:
            return False
        self._late_mp3_packets += 1
        return True


def _begins_coded_audio(payload: bytes) -> bool:
    """Return whether audio begins where an ID3 tag should go on, whose stated size is then wrong."""
    found = container.identify(payload)
    return (found is not None and found.reader != "none") or mp3.begins_mp3(payload)


def _as_list(packet: AudioPacket | None) -> list[AudioPacket]:
    return [] if packet is None else [packet]


def _float_packet(
    packet: AudioPacket, samples: npt.NDArray[np.float32], rate: int, stamp: int | None
) -> AudioPacket:
    """Return a packet of decoded samples, (n, channels)."""
    return dataclasses.replace(
        packet,
        payload=samples.astype("<f4").tobytes(),
        format=AudioFormat(rate, samples.shape[1], "f32"),
        stamp=stamp,
    )


def _duration_ns(packet: AudioPacket) -> int:
    audio_format = packet.format or AudioFormat()
    return len(packet.payload) // audio_format.frame_bytes * NS_PER_S // audio_format.sample_rate
