# SPDX-License-Identifier: Apache-2.0
"""Payload bytes to mono float32: widths, channels, odd tails, broken numbers, audio files."""

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.errors import TalkerError

WAVE = np.sin(np.arange(997) * 0.07) * np.linspace(0, 0.99, 997)


def encode(signal, encoding):
    """The other direction, written independently of the decoder: signal in -1..1 -> bytes."""
    if encoding == "f32":
        return signal.astype("<f4").tobytes()
    bits = int(encoding[1:])
    integers = (
        np.round(signal * 2 ** (bits - 1)).clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int64)
    )
    if encoding == "u8":
        return (integers + 128).astype(np.uint8).tobytes()
    return b"".join(int(value).to_bytes(bits // 8, "little", signed=True) for value in integers.ravel())


@pytest.mark.parametrize(
    "encoding, bits", [("u8", 8), ("s8", 8), ("s16", 16), ("s24", 24), ("s32", 24), ("f32", 24)]
)
def test_each_encoding_gives_the_wave_back(encoding, bits) -> None:
    pcm = PcmDecoder(AudioFormat(16000, 1, encoding)).decode(encode(WAVE, encoding))
    assert pcm.dtype == np.float32 and pcm.shape == WAVE.shape
    assert np.abs(pcm - WAVE).max() <= 2.0 ** (1 - bits)


def test_full_scale_and_rest_are_exact() -> None:
    for encoding, data, expected in (
        ("u8", [0, 128, 192], [-1, 0, 0.5]),
        ("s16", [0, 128, 0, 0, 0, 64], [-1, 0, 0.5]),
        ("s24", [0, 0, 128, 255, 255, 255], [-1, -(2.0**-23)]),
        ("s32", [0, 0, 0, 128], [-1]),
    ):
        assert PcmDecoder(AudioFormat(encoding=encoding)).decode(bytes(data)).tolist() == expected


def test_channels_are_averaged() -> None:
    left, right = WAVE * 0.5, WAVE * -0.25
    data = encode(np.stack([left, right], axis=1), "s16")
    pcm = PcmDecoder(AudioFormat(48000, 2, "s16")).decode(data)
    np.testing.assert_allclose(pcm, (left + right) / 2, atol=2**-15)


@pytest.mark.parametrize("encoding, channels", [("s16", 1), ("s24", 1), ("s24", 3), ("f32", 2), ("s32", 5)])
def test_any_cut_of_the_bytes_gives_the_same_samples(encoding, channels) -> None:
    data = encode(np.stack([WAVE * gain for gain in np.linspace(-0.9, 0.9, channels)], axis=1), encoding)
    whole = PcmDecoder(AudioFormat(16000, channels, encoding)).decode(data)
    rng = np.random.default_rng(1)
    cuts = np.concatenate([[0], np.sort(rng.integers(0, len(data), 300)), [len(data)]])
    decoder, pieces = PcmDecoder(AudioFormat(16000, channels, encoding)), []
    for start, end in zip(cuts[:-1], cuts[1:]):
        expected = decoder.sample_count(data[start:end])
        pieces.append(decoder.decode(data[start:end]))
        assert len(pieces[-1]) == expected
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("encoding, channels", [("s16", 1), ("s24", 2), ("f32", 1)])
def test_a_packet_that_was_cut_short_spoils_no_other(encoding, channels) -> None:
    format = AudioFormat(16000, channels, encoding)
    packets = [encode(np.tile(WAVE[at : at + 20, None], channels), encoding) for at in range(0, 900, 20)]
    whole = PcmDecoder(format).decode(b"".join(packets)).reshape(-1, 20)
    decoder, heard = PcmDecoder(format), []
    for number, packet in enumerate(packets):
        packet = packet[:-1] if number == 15 else packet
        expected = decoder.sample_count(packet)
        heard.append(decoder.decode(packet))
        assert len(heard[-1]) == expected
    assert len(heard.pop(15)) == 19
    np.testing.assert_array_equal(np.concatenate(heard), np.delete(whole, 15, axis=0).ravel())


def test_reset_drops_the_odd_byte() -> None:
    decoder = PcmDecoder(AudioFormat(encoding="s16"))
    assert decoder.decode(b"\x00\x40\x7f").tolist() == [0.5]
    decoder.reset()
    assert decoder.decode(b"\x00\x40").tolist() == [0.5]


def test_broken_floats_become_silence_and_are_counted() -> None:
    decoder = PcmDecoder(AudioFormat(encoding="f32"))
    signal = np.array([0.25, np.nan, np.inf, -np.inf, 1.5, -7.0, 0.5], "<f4")
    assert decoder.decode(signal.tobytes()).tolist() == [0.25, 0, 0, 0, 1, -1, 0.5]
    assert decoder.nonfinite == 3
    decoder.decode(signal.tobytes())
    assert decoder.nonfinite == 6


def test_names_of_audio_info_messages_are_understood() -> None:
    assert AudioFormat(16000, 1, "S16LE").encoding == "s16"
    assert AudioFormat(16000, 1, "F32LE").encoding == "f32"


@pytest.mark.parametrize(
    "fields",
    [(16000, 1, "S16BE"), (16000, 1, "mp3"), (7999, 1, "s16"), (192001, 1, "s16"), (16000, 0, "s16")],
)
def test_a_format_that_cannot_be_is_refused(fields) -> None:
    with pytest.raises(TalkerError, match="send"):
        AudioFormat(*fields)


def test_files_are_read_as_the_mean_of_their_channels(tmp_path) -> None:
    stereo = np.stack([WAVE * 0.5, WAVE * 0.25], axis=1)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, stereo, 22050, subtype="PCM_24")
        pcm, rate = read_audio(tmp_path / name)
        assert rate == 22050 and pcm.dtype == np.float32
        np.testing.assert_allclose(pcm, WAVE * 0.375, atol=1e-6)


def test_a_file_that_is_no_audio_is_refused_in_one_sentence(tmp_path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    for name, cure in (("text.wav", "convert it"), ("empty.wav", "no audio"), ("absent.wav", "no file")):
        with pytest.raises(TalkerError, match=cure):
            read_audio(tmp_path / name)
