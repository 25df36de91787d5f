# SPDX-License-Identifier: Apache-2.0
"""Laws of other voices: the time stays, the pitch and the formants move, the motion is the clip's own."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

try:
    import pyworld  # noqa: F401
except ImportError as missing:
    pytest.skip(f"pyworld cannot be imported ({missing})", allow_module_level=True)

from streamingtalker_ros.cli import main
from streamingtalker_ros.corpus.storage import Clip, load_corpus, save_clip
from streamingtalker_ros.corpus.voice_conversion import put_together, revoice_corpus, take_apart
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.phones import Phone


@pytest.fixture(scope="module")
def vowel():
    """A second of silence, a second of a vowel (f0 120 Hz, formants near 700 and 1200 Hz), half a second of silence."""
    t = np.arange(16000) / 16000
    voice = np.zeros(16000)
    for k in range(1, 60):
        gain = sum(1.0 / (1.0 + ((k * 120 - f) / 90.0) ** 2) for f in (700, 1200)) + 0.01
        voice += gain * np.sin(2 * np.pi * 120 * k * t)
    pcm = np.concatenate((np.zeros(16000), 0.1 * voice, np.zeros(8000)))
    return (pcm + 1e-4 * np.random.default_rng(0).normal(size=len(pcm))).astype(np.float32)


def centroid(pcm):
    power = np.abs(np.fft.rfft(pcm[16000:32000] * np.hanning(16000))) ** 2
    return float((np.arange(len(power)) * power)[200:2500].sum() / power[200:2500].sum())


def test_sounds_stay_where_they_are(vowel) -> None:
    made = put_together(take_apart(vowel), 1.5, 1.2, len(vowel))
    assert len(made) == len(vowel)
    envelope = [np.sqrt(np.square(x).reshape(-1, 400).mean(1)) for x in (vowel, made)]
    assert np.corrcoef(*envelope)[0, 1] > 0.97


def test_pitch_and_throat_move_apart(vowel) -> None:
    parts = take_apart(vowel)
    same, higher, shorter = (put_together(parts, *way, len(vowel)) for way in ((1, 1), (1.5, 1), (1, 1.2)))
    f0 = [np.median(f[f > 0]) for f, _, _ in map(take_apart, (same, higher, shorter))]
    assert f0[1] == pytest.approx(1.5 * f0[0], rel=0.03) and f0[2] == pytest.approx(f0[0], rel=0.03)
    assert centroid(shorter) == pytest.approx(1.2 * centroid(same), rel=0.07)


def test_a_corpus_keeps_its_motion_and_repeats(vowel, tmp_path) -> None:
    weights = np.random.default_rng(0).random((62, 52)).astype(np.float16).astype(np.float32)
    clip = Clip(
        vowel[: 62 * 640],
        weights,
        np.zeros((62, 3), np.float32),
        [Phone("aa", 1.0, 2.0)],
        "ann",
        "train",
        "x",
    )
    entry = save_clip(tmp_path / "a", clip)
    (tmp_path / "a" / "index.json").write_text(json.dumps({"kind": "test", "clips": [entry]}))
    for name in "bc":
        revoice_corpus(tmp_path / "a", tmp_path / name, copies=2, jobs=1)
    first, second = (load_corpus(tmp_path / name, "train") for name in "bc")
    assert len(first) == 2 and all(np.array_equal(made.weights, weights) for made in first)
    assert not np.allclose(first[0].pcm, first[1].pcm, atol=0.01)
    assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(first, second))
    kept = (tmp_path / "b" / "train" / "x_v0.flac").stat().st_mtime_ns
    (tmp_path / "b" / "index.json").unlink()  # as if interrupted
    assert (
        main(["corpus", "revoice", str(tmp_path / "a"), "--out", str(tmp_path / "b"), "--copies", "2"]) == 0
    )
    assert (tmp_path / "b" / "train" / "x_v0.flac").stat().st_mtime_ns == kept
    assert (tmp_path / "b" / "index.json").read_bytes() == (tmp_path / "c" / "index.json").read_bytes()
    save_clip(tmp_path / "a", replace(clip, weights=weights[::-1]))  # solved again: the other voices follow
    revoice_corpus(tmp_path / "a", tmp_path / "b", copies=2, jobs=1)
    assert np.array_equal(load_corpus(tmp_path / "b", "train")[1].weights, weights[::-1])
    with pytest.raises(TalkerError, match="folder of its own"):
        revoice_corpus(tmp_path / "a", tmp_path / "a")


def test_setuptools_without_pkg_resources_is_one_sentence(vowel, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "pyworld")
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # as if it were not installed
    with pytest.raises(TalkerError, match=r"pip install 'setuptools<81'"):
        take_apart(vowel)
