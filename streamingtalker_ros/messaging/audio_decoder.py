# SPDX-License-Identifier: Apache-2.0
"""Audio messages as they come to `AudioPacket`s of bare PCM: the format told by audio_info, heads of WAV files,
MP3.

`Hearing` keeps what a voice's messages have told about those after them; both nodes and the bag replay have one
for their audio topic. What cannot be heard goes to `refuse`, as (kind, sentence).
"""

import dataclasses

from streamingtalker_ros.audio import mp3, wav_header
from streamingtalker_ros.audio.clock import LONGEST_GAP
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common

LONGEST_MP3 = 1_000_000  # bytes; decoding more in one go would hold up the thread that listens
BARREN = 32_000  # bytes without a frame, of which none is longer than 1441: it is not MP3
_JUMP = round(LONGEST_GAP * NS_PER_S)  # ns; stamps that jump by more begin a new stream


class Hearing:
    """refuse: called with (kind, sentence) for each message that cannot be used."""

    def __init__(self, refuse) -> None:
        self._refuse = refuse
        self._coding = None  # "pcm" or "mp3" as audio_info told; None before
        self._format = None  # of bare PCM: as audio_info or the head of a WAV file told
        self._problem = None  # why what audio_info tells cannot be heard
        self._decoder = None  # of MP3, while it is that
        self._last = None  # ns, stamp of the newest packet of MP3
        self._next = 0  # ns, where its sound ends
        self._barren = 0  # bytes in a row without a frame of MP3
        self._guessed = 0  # packets in a row that looked like MP3 though nothing told so

    def tell(self, info) -> None:
        """Hear an AudioInfo message of ros-drivers."""
        try:
            self._coding, format = audio_common.info_format(info)
        except TalkerError as error:
            self._problem = str(error)
            self._refuse("info", self._problem)
            return
        self._problem, self._format = None, format

    def hear(self, message, name, now_ns=None, arrival=None):
        """A message of type `name` -> AudioPacket, or None: it was refused, or holds no whole frame of MP3 yet.

        now_ns, arrival: as `lineages.packet` takes them.
        """
        try:
            packet = audio_common.packet(message, name, self._format, now_ns, arrival)
            if audio_common.AUDIO_TYPES[name] == "mgonzs13":  # typed samples: nothing else can be in them
                return packet
            if wav_header.is_wav(packet.payload):
                self._format, payload = wav_header.split_header(packet.payload)
                self._guessed = 0
                return dataclasses.replace(packet, payload=payload, format=self._format) if payload else None
            if self._problem:
                self._refuse("info", self._problem)
                return None
            if self._coding == "mp3" or self._coding is None and self._guess(packet.payload):
                return self._decoded(packet)
        except TalkerError as error:
            self._refuse("message", str(error))
            return None
        self._decoder = self._last = None
        return packet

    @property
    def delay(self):
        """Seconds by which the coding holds the sound back: 0 for PCM."""
        return self._decoder.delay if self._decoder else 0.0

    def _guess(self, payload):
        """Whether a payload of unknown coding is MP3: once two packets in a row were, all are until PCM would be told
        by audio_info or by the head of a WAV file."""
        if self._guessed < 2:
            self._guessed = self._guessed + 1 if mp3.looks_like_mp3(payload) else 0
        return self._guessed > 0

    def _decoded(self, packet):
        if len(packet.payload) > LONGEST_MP3:
            raise TalkerError(
                f"a packet holds {len(packet.payload)} bytes of MP3: send at most {LONGEST_MP3} at once"
            )
        if not packet.payload:
            return packet  # refused where all empty packets are
        self._decoder = self._decoder or mp3.Mp3Decoder()
        if packet.stamp is not None and self._last is not None:
            if -_JUMP < packet.stamp - self._last <= 0:
                return self._heard_before(packet)
            if abs(packet.stamp - self._next) >= _JUMP:
                self._decoder.reset()
        before = self._decoder.decoded
        made = self._decoder.decode(packet.payload, packet.stamp)
        if packet.stamp is not None:
            self._last = packet.stamp
            self._next = packet.stamp + round((self._decoder.decoded - before) * NS_PER_S)
        self._barren = self._barren + len(packet.payload) if self._decoder.decoded == before else 0
        if self._barren >= BARREN:
            self._barren = self._guessed = 0
            if self._coding == "mp3":
                raise TalkerError(
                    "the audio is told to be MP3 and holds none: check what its sender publishes on "
                    "audio_info and on audio"
                )
        if made is None:
            return None
        return dataclasses.replace(
            packet,
            payload=made.pcm,
            format=AudioFormat(made.rate, made.channels, "f32"),
            stamp=made.stamp,
            received=packet.received - round(self._decoder.delay * NS_PER_S),
        )

    def _heard_before(self, packet):
        """A packet that came twice or too late would disturb the decoder: silence of its length tells the core, which
        leaves it out and counts it. None where its length is not known."""
        found = mp3.duration(packet.payload)
        if found is None:
            return None
        samples, header = found
        stamp = packet.stamp - round(self._decoder.delay * NS_PER_S)
        return dataclasses.replace(
            packet,
            payload=bytes(4 * samples * header.channels),
            stamp=stamp,
            format=AudioFormat(header.rate, header.channels, "f32"),
        )
