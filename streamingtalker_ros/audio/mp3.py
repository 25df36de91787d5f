"""MP3 packets to PCM, one after another: what `audio_capture` of ros-drivers sends unless it is told otherwise.

`looks_like_mp3(payload)` tells MP3 from bare PCM before any message has told the coding; `Mp3Decoder` takes the
payloads of one voice. The decoding is FFmpeg's, through `av`.
"""
import array

from ..errors import TalkerError, require

# kbit/s of layer III by index 1…14, ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2, and 2.5 as it is used)
_BITRATES = {1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
             2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def frame_length(data):
    """Bytes of the MP3 frame that begins `data`; 0 where no header of layer III stands there."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return 0
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    bitrate, rate = data[2] >> 4, data[2] >> 2 & 3
    if version not in _RATES or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0
    mpeg1 = version == 3
    per_second = 1000 * _BITRATES[1 if mpeg1 else 2][bitrate - 1]
    return (144 if mpeg1 else 72) * per_second // _RATES[version][rate] + (data[2] >> 1 & 1)


def looks_like_mp3(payload):
    """Whether a payload is a row of whole MP3 frames. By chance PCM is so about once in a billion packets."""
    at = 0
    while at < len(payload):
        length = frame_length(payload[at:at + 4])
        if not length:
            return False
        at += length
    return at == len(payload) and at > 0


class Mp3Decoder:
    """One voice's decoder. Raises TalkerError where `av` is not installed."""

    def __init__(self):
        self._av = require("av", "MP3 audio")
        self.reset()

    def reset(self):
        """Forget the bytes and the filters' memory of what came before."""
        self._codec = self._av.CodecContext.create("mp3float", "r")
        self._fed = self._parsed = 0     # bytes so far
        self._starts = [(0, 0)]          # (byte at which a payload begins, its mark), the latest last

    def decode(self, payload, mark=None):
        """bytes -> (interleaved float32 as bytes, sample rate in Hz, channels, mark), or None when no frame is
        whole yet.

        mark: anything, such as the payload's time; what comes back is that of the payload with which the PCM's
        first frame began. Raises TalkerError for bytes that are no MP3, or whose rate changes midway.
        """
        self._starts.append((self._fed, mark))
        self._fed += len(payload)
        pcm, kind, first = array.array("f"), None, None
        try:
            for packet in self._codec.parse(payload):
                begun, self._parsed = self._parsed, self._parsed + packet.size
                for frame in self._codec.decode(packet):
                    channels = len(frame.layout.channels)
                    if kind not in (None, (frame.sample_rate, channels)):
                        raise TalkerError("the rate of the MP3 audio changes within a packet: send whole frames")
                    kind, first = (frame.sample_rate, channels), begun if first is None else first
                    pcm.frombytes(frame.to_ndarray().T.tobytes())    # planes -> samples side by side
        except self._av.error.FFmpegError as error:
            self.reset()
            raise TalkerError(f"a packet of MP3 audio cannot be decoded ({error.strerror}): check its "
                              "sender") from None
        if first is None:
            return None
        begins = max(index for index, (start, _) in enumerate(self._starts) if start <= first)
        self._starts = self._starts[begins:]
        return pcm.tobytes(), *kind, self._starts[0][1]
