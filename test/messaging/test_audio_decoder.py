# SPDX-License-Identifier: Apache-2.0
"""What senders put into a message: bare PCM, heads of WAV files, MP3; told by audio_info or not at all."""

from types import SimpleNamespace

import numpy as np
import pytest

from streamingtalker_ros.audio import mp3, wav_header
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common, audio_decoder

RATE, SECOND = 16000, 1_000_000_000
STAMPED = "audio_common_msgs/msg/AudioDataStamped"
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def stamped(payload, stamp):
    seconds, nanoseconds = divmod(stamp, SECOND)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds))
    return SimpleNamespace(header=header, audio=SimpleNamespace(data=payload))


def info(coding, sample_format="S16LE", rate=RATE, channels=1):
    return SimpleNamespace(
        coding_format=coding, sample_format=sample_format, sample_rate=rate, channels=channels
    )


def mp3_frames(rate=RATE, channels=1):
    """TONE as the packets that GStreamer's encoder puts out: one frame each."""
    av = pytest.importorskip("av", reason="av, which decodes MP3, is not installed")
    codec = av.CodecContext.create("libmp3lame", "w")
    layout = {1: "mono", 2: "stereo"}[channels]
    codec.sample_rate, codec.format, codec.layout, codec.bit_rate = rate, "s16p", layout, 64000
    codec.open()
    made, size = [], codec.frame_size
    samples = np.repeat((TONE * 32767).astype(np.int16)[None], channels, 0)
    for start in range(0, samples.shape[1] - size, size):
        part = np.ascontiguousarray(samples[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(part, "s16p", layout)
        frame.sample_rate, frame.pts = rate, start
        made += [bytes(packet) for packet in codec.encode(frame)]
    return made + [bytes(packet) for packet in codec.encode(None)], size


class Listener:
    """An AudioMessageDecoder with what it refused."""

    def __init__(self) -> None:
        self.refused = []
        self.hearing = audio_decoder.AudioMessageDecoder(lambda *what: self.refused.append(what))

    def hear(self, *messages):
        """(payload, stamp) pairs -> the packets that come of them."""
        heard = [self.hearing.decode(stamped(*message), STAMPED) for message in messages]
        return [packet for packet in heard if packet is not None]


def sound(packets):
    return np.concatenate([PcmDecoder(packet.format).decode(packet.payload) for packet in packets])


@pytest.mark.parametrize("told", ["mp3", "MP3", None])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_gives_the_sound_with_the_stamps_of_its_packets(told, channels) -> None:
    frames, size = mp3_frames(channels=channels)
    listener = Listener()
    if told:
        listener.hearing.on_audio_info(info(told))
    stamps = [SECOND + round(index * size * SECOND / RATE) for index in range(len(frames))]
    packets = listener.hear(*zip(frames, stamps))
    assert not listener.refused
    assert {packet.format for packet in packets} == {AudioFormat(RATE, channels, "f32")}
    late = 1105  # samples, LAME's and the decoder's, are left out at the beginning: see test_audio_coded.py
    assert packets[0].stamp == stamps[0] and len(packets) == len(frames) - late // size
    assert [packet.stamp for packet in packets[1:]] == [stamp - late * SECOND // RATE for stamp in stamps[2:]]
    heard = sound(packets)[4000:12000]
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert power.argmax() == round(440 * len(heard) / RATE)
    np.testing.assert_allclose(np.sqrt(np.mean(heard**2)), 0.5 / np.sqrt(2), rtol=0.06)  # LAME takes 5 %


def test_pcm_is_not_taken_for_mp3() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        assert not mp3.looks_like_mp3(b"\xff\xfb" + random.bytes(638))
    assert not mp3.looks_like_mp3(b"") and not mp3.looks_like_mp3(b"\xff")


def test_broken_mp3_is_refused_and_what_follows_is_heard() -> None:
    frames, _ = mp3_frames()
    listener = Listener()
    listener.hearing.on_audio_info(info("mp3"))
    assert not listener.hear(
        (b"no such thing" * 500, 1), (b"\xff" * audio_decoder.MAX_MP3_BYTES + b"\xff", 1)
    )
    assert all(kind == "message" for kind, _ in listener.refused) and listener.refused
    assert len(sound(listener.hear(*[(frame, SECOND) for frame in frames]))) > 10_000


def head(code, channels, rate, bits, before=b"", size=0xFFFFFFFF, more=b""):
    """The head of a WAV file, written by its specification."""
    width = bits // 8 * channels
    form = (
        b"".join(
            int(value).to_bytes(length, "little")
            for value, length in (
                (code, 2),
                (channels, 2),
                (rate, 4),
                (rate * width, 4),
                (width, 2),
                (bits, 2),
            )
        )
        + more
    )
    return (
        b"RIFF\xff\xff\xff\xffWAVE"
        + before
        + b"fmt "
        + len(form).to_bytes(4, "little")
        + form
        + b"data"
        + size.to_bytes(4, "little")
    )


@pytest.mark.parametrize(
    "made, expected",
    [
        (head(1, 1, 16000, 16), AudioFormat(16000, 1, "s16")),
        (head(1, 2, 44100, 24, before=b"LIST\x03\0\0\0abc\0"), AudioFormat(44100, 2, "s24")),
        (head(3, 1, 48000, 32, size=0), AudioFormat(48000, 1, "f32")),
        (
            head(0xFFFE, 1, 22050, 16, more=b"\x16\0\x10\0\4\0\0\0\1\0" + bytes(14)),
            AudioFormat(22050, 1, "s16"),
        ),
    ],
)
def test_the_head_of_a_wav_file_tells_the_format_of_what_follows(made, expected) -> None:
    assert wav_header.split_header(made + b"samples!") == (expected, b"samples!")
    listener = Listener()
    listener.hearing.on_audio_info(info("wave", "F32LE", 8000))
    packets = listener.hear((made + bytes(24), SECOND), (bytes(24), 2 * SECOND), (made, 3 * SECOND))
    assert [packet.format for packet in packets] == [expected, expected] and not listener.refused
    assert [len(packet.payload) for packet in packets] == [24, 24]


@pytest.mark.parametrize("payload", [head(2, 1, 16000, 4), head(1, 1, 16000, 16)[:30], b"RIFF\0\0\0\0WAVE"])
def test_a_head_that_is_no_pcm_is_refused(payload) -> None:
    with pytest.raises(TalkerError):
        wav_header.split_header(payload)
    listener = Listener()
    assert not listener.hear((payload, SECOND)) and [kind for kind, _ in listener.refused] == ["message"]


def test_an_unknown_coding_is_refused_until_another_is_told() -> None:
    listener = Listener()
    listener.hearing.on_audio_info(info("Vorbis"))
    assert not listener.hear((bytes(640), SECOND), (bytes(640), 2 * SECOND))
    assert {kind for kind, _ in listener.refused} == {"info"} and "format:=wave" in listener.refused[0][1]
    listener.hearing.on_audio_info(info("WAVE", "s16le"))
    assert [packet.format for packet in listener.hear((bytes(640), SECOND))] == [AudioFormat(RATE, 1, "s16")]


def test_typed_samples_are_never_searched_for_heads() -> None:
    message = stamped(None, SECOND)
    message.audio = SimpleNamespace(
        info=SimpleNamespace(format=0x20, channels=1, rate=RATE),
        audio_data=SimpleNamespace(uint8_data=list(b"RIFF\0\0\0\0WAVE")),
    )
    packet = Listener().hearing.decode(message, "audio_common_msgs/msg/AudioStamped")
    assert packet.format == AudioFormat(RATE, 1, "u8") and audio_common.AUDIO_TYPES
