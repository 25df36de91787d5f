# SPDX-License-Identifier: Apache-2.0
"""Voice conversion: times stay, pitch and formants move, the motion is that of the source clip."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.corpus.storage import Clip, load_corpus, save_clip, write_index
from streamingtalker_ros.corpus.voice_conversion import (
    analyze,
    convert_voices,
    import_vocoder,
    sample_speaker,
    synthesize,
)
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.phones import Phone
from support.command_line import run_command


@pytest.fixture(scope="module")
def vocoder() -> None:
    """Skips a test where pyworld, which no extra but `voices` installs, cannot be imported."""
    try:
        import_vocoder()
    except TalkerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def vowel() -> np.ndarray:
    """A second of silence, a second of a vowel (f0 120 Hz, formants near 700 and 1200 Hz), half a second of
    silence."""
    t = np.arange(16000) / 16000
    voice = np.zeros(16000)
    for k in range(1, 60):
        gain = sum(1.0 / (1.0 + ((k * 120 - f) / 90.0) ** 2) for f in (700, 1200)) + 0.01
        voice += gain * np.sin(2 * np.pi * 120 * k * t)
    pcm = np.concatenate((np.zeros(16000), 0.1 * voice, np.zeros(8000)))
    return (pcm + 1e-4 * np.random.default_rng(0).normal(size=len(pcm))).astype(np.float32)


def spectral_centroid(pcm: np.ndarray) -> float:
    """Centroid of the power between 200 and 2500 Hz of the second second."""
    power = np.abs(np.fft.rfft(pcm[16000:32000] * np.hanning(16000))) ** 2
    return float((np.arange(len(power)) * power)[200:2500].sum() / power[200:2500].sum())


@pytest.mark.usefixtures("vocoder")
def test_conversion_keeps_times(vowel: np.ndarray) -> None:
    converted = synthesize(analyze(vowel), 1.5, 1.2, len(vowel))
    assert len(converted) == len(vowel)
    envelopes = [np.sqrt(np.square(pcm).reshape(-1, 400).mean(1)) for pcm in (vowel, converted)]
    assert np.corrcoef(*envelopes)[0, 1] > 0.97


@pytest.mark.usefixtures("vocoder")
def test_pitch_and_formants_scale_independently(vowel: np.ndarray) -> None:
    parameters = analyze(vowel)
    same, higher, shorter = (
        synthesize(parameters, pitch_scale, formant_scale, len(vowel))
        for pitch_scale, formant_scale in ((1, 1), (1.5, 1), (1, 1.2))
    )
    f0 = [np.median(f[f > 0]) for f, _, _ in map(analyze, (same, higher, shorter))]
    assert f0[1] == pytest.approx(1.5 * f0[0], rel=0.03) and f0[2] == pytest.approx(f0[0], rel=0.03)
    assert spectral_centroid(shorter) == pytest.approx(1.2 * spectral_centroid(same), rel=0.07)


@pytest.fixture
def clip(vowel: np.ndarray) -> Clip:
    weights = np.random.default_rng(0).random((62, 52)).astype(np.float16).astype(np.float32)
    head = np.zeros((62, 3), np.float32)
    return Clip(vowel[: 62 * 640], weights, head, [Phone("aa", 1.0, 2.0)], "ann", "train", "x")


@pytest.fixture
def source(clip: Clip, tmp_path: Path) -> Path:
    """A corpus of one clip."""
    write_index(tmp_path / "a", {"kind": "test", "clips": [save_clip(tmp_path / "a", clip)]})
    return tmp_path / "a"


@pytest.mark.usefixtures("vocoder")
def test_converted_clips_keep_the_motion_and_equal_seeds_give_equal_audio(
    source: Path, clip: Clip, tmp_path: Path
) -> None:
    for name in "bc":
        convert_voices(source, tmp_path / name, copies=2, num_workers=1)
    first, second = (load_corpus(tmp_path / name, "train") for name in "bc")
    assert len(first) == 2
    assert all(np.array_equal(converted.weights, clip.weights) for converted in first)
    assert not np.allclose(first[0].pcm, first[1].pcm, atol=0.01)
    assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(first, second, strict=True))


@pytest.mark.usefixtures("vocoder")
def test_an_interrupted_conversion_keeps_what_it_wrote(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    convert_voices(source, out, copies=2, num_workers=1)
    index, written = (out / "index.json").read_bytes(), (out / "train" / "x_v0.flac").stat().st_mtime_ns
    (out / "index.json").unlink()
    assert run_command("corpus", "revoice", source, "--out", out, "--copies", 2) == 0
    assert (out / "train" / "x_v0.flac").stat().st_mtime_ns == written
    assert (out / "index.json").read_bytes() == index


@pytest.mark.usefixtures("vocoder")
def test_a_clip_whose_source_changed_is_converted_again(source: Path, clip: Clip, tmp_path: Path) -> None:
    convert_voices(source, tmp_path / "b", copies=2, num_workers=1)
    reversed_weights = clip.weights[::-1]
    save_clip(source, replace(clip, weights=reversed_weights))
    convert_voices(source, tmp_path / "b", copies=2, num_workers=1)
    assert np.array_equal(load_corpus(tmp_path / "b", "train")[1].weights, reversed_weights)


def test_the_corpus_itself_is_rejected_as_output(source: Path) -> None:
    with pytest.raises(TalkerError, match="another folder to write"):
        convert_voices(source, source)


def test_random_speakers_stay_in_range_and_shorter_tracts_have_higher_pitch() -> None:
    rng = np.random.default_rng(0)
    speakers = np.array([sample_speaker(rng) for _ in range(400)])
    pitch, formants = speakers.T
    assert formants.min() >= 0.84 and formants.max() <= 1.25
    voiced = pitch > 0
    assert 0.9 < voiced.mean() < 1.0
    assert pitch[voiced].min() >= 0.55 and pitch[voiced].max() <= 2.2
    assert np.corrcoef(pitch[voiced], formants[voiced])[0, 1] > 0.5


@pytest.mark.usefixtures("vocoder")
def test_a_missing_pkg_resources_is_reported_with_its_package(
    vowel: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pyworld")
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # an import of it fails
    with pytest.raises(TalkerError, match=r"pip install 'setuptools<81'"):
        analyze(vowel)
