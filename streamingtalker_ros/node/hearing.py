"""Audio messages as they come to `AudioPacket`s of bare PCM: the format told by audio_info, heads of WAV files,
MP3.

`Hearing` keeps what a voice's messages have told about those after them; both nodes and the bag replay have one
for their audio topic. What cannot be heard goes to `refuse`, as (kind, sentence).
"""
import dataclasses

from ..audio import mp3, riff
from ..audio.payload import AudioFormat
from ..errors import TalkerError
from . import lineages

LONGEST_MP3 = 1_000_000     # bytes; decoding more in one go would hold up the thread that listens


class Hearing:
    """refuse: called with (kind, sentence) for each message that cannot be used."""

    def __init__(self, refuse):
        self._refuse = refuse
        self._coding = None         # "pcm" or "mp3" as audio_info told; None before
        self._format = None         # of bare PCM: as audio_info or the head of a WAV file told
        self._problem = None        # why what audio_info tells cannot be heard
        self._decoder = None        # of MP3, while it is that

    def tell(self, info):
        """Hear an AudioInfo message of ros-drivers."""
        try:
            self._coding, format = lineages.info_format(info)
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
            packet = lineages.packet(message, name, self._format, now_ns, arrival)
            if lineages.AUDIO_TYPES[name] == "mgonzs13":    # typed samples: nothing else can be in them
                return packet
            if riff.is_riff(packet.payload):
                self._format, payload = riff.split(packet.payload)
                return dataclasses.replace(packet, payload=payload, format=self._format) if payload else None
            if self._problem:
                self._refuse("info", self._problem)
                return None
            if self._coding == "mp3" or self._coding is None and mp3.looks_like_mp3(packet.payload):
                return self._decoded(packet)
        except TalkerError as error:
            self._refuse("message", str(error))
            return None
        self._decoder = None
        return packet

    def _decoded(self, packet):
        if len(packet.payload) > LONGEST_MP3:
            raise TalkerError(f"a packet holds {len(packet.payload)} bytes of MP3: send at most {LONGEST_MP3} at once")
        if not packet.payload:
            return packet           # refused where all empty packets are
        self._decoder = self._decoder or mp3.Mp3Decoder()
        made = self._decoder.decode(packet.payload, (packet.stamp, packet.received))
        if made is None:
            return None
        pcm, rate, channels, (stamp, received) = made
        return dataclasses.replace(packet, payload=pcm, format=AudioFormat(rate, channels, "f32"), stamp=stamp,
                                   received=received)
