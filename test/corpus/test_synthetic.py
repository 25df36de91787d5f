# SPDX-License-Identifier: Apache-2.0
"""Synthetic corpus: equal seeds give equal files, one voice is held out, audio and phones are in step."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.coarticulation import dominance, residual, upper_face
from streamingtalker_ros.corpus import storage, synthetic
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.phones import BILABIALS, VOWELS
from support.command_line import run_command

FLITE_VOICES = ("slt", "awb", "kal16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of half a minute, of the voices that come with flite."""
    required = {*FLITE_VOICES, flite_festival_tts.HELD_OUT_VOICE}
    if not required <= set(flite_festival_tts.available_voices()):
        pytest.skip("flite is not installed")
    path = tmp_path_factory.mktemp("corpus")
    index = synthetic.build_synthetic_corpus(path, 0.5, 4, num_workers=1, voices=FLITE_VOICES)
    assert set(index["sources"]) == required
    return path


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[storage.Clip]:
    return storage.load_corpus(folder)


def test_the_held_out_voice_and_its_sentences_are_in_test_only(
    folder: Path, clips: list[storage.Clip]
) -> None:
    held_out = flite_festival_tts.HELD_OUT_VOICE
    assert {clip.voice for clip in clips if clip.split == "test"} == {held_out, "none"}
    assert all(clip.voice != held_out for clip in clips if clip.split != "test")
    texts = {
        split: {
            entry["text"]
            for entry in storage.read_index(folder)["clips"]
            if entry["split"] == split and entry["text"]
        }
        for split in storage.SPLITS
    }
    assert all(texts.values()) and not texts["train"] & (texts["validation"] | texts["test"])


def test_clips_are_complete_and_in_range(clips: list[storage.Clip]) -> None:
    seconds = sum(len(clip.pcm) for clip in clips if clip.split == "train" and clip.voice != "none") / 16000
    assert seconds >= 30
    for clip in clips:
        assert len(clip.pcm) == 640 * len(clip.weights) == 640 * len(clip.head)
        assert 4.0 <= len(clip.pcm) / 16000 <= 12.0 and np.abs(clip.pcm).max() <= 1.0
        assert clip.weights.shape[1:] == (52,) and clip.head.shape[1:] == (3,)
        assert clip.weights.min() >= 0.0 and clip.weights.max() <= 1.0
        assert clip.phones[0].start == 0.0 and abs(clip.phones[-1].end - len(clip.pcm) / 16000) < 0.05
        if clip.voice != "none":
            assert clip.phones[0].end >= 0.2 and clip.phones[-1].end - clip.phones[-1].start >= 0.2


def test_the_mouth_rests_in_clips_without_speech(clips: list[storage.Clip]) -> None:
    without_speech = [clip for clip in clips if clip.voice == "none"]
    assert without_speech
    for clip in without_speech:
        assert not clip.weights[:, ~upper_face.UPPER_FACE_MASK].any()
        assert clip.weights.any()


def test_stored_lips_are_those_of_the_coarticulation_model(folder: Path, clips: list[storage.Clip]) -> None:
    speakers = {entry["name"]: entry["speaker"] for entry in storage.read_index(folder)["clips"]}
    lips = ~upper_face.UPPER_FACE_MASK
    for clip in clips[:6]:
        style = dominance.speaker_style(speakers[clip.name], clip.name)
        expected = residual.synthesize_lips(clip.phones, len(clip.weights), clip.pcm, style)
        np.testing.assert_allclose(clip.weights[:, lips], expected[:, lips], atol=2e-3)


def test_vowels_are_loud_and_pauses_are_20_db_softer(clips: list[storage.Clip]) -> None:
    pauses, vowels = [], []
    for clip in clips:
        if clip.voice == "none":
            continue
        level = 10 * np.log10(np.square(clip.pcm).reshape(-1, 640).mean(1) + 1e-9)
        t = dominance.frame_times(len(level))
        in_pause, in_vowel = np.zeros(len(t), bool), np.zeros(len(t), bool)
        for phone in clip.phones:
            inside = (t > phone.start + 0.04) & (t < phone.end - 0.03)
            in_pause |= inside & (phone.name == "pau")
            in_vowel |= inside & (phone.name in VOWELS)
        median = np.median(level[in_vowel])
        pauses.append(level[in_pause] < median - 20)
        vowels.append(level[in_vowel] > median - 20)
    assert np.concatenate(pauses).mean() > 0.95
    assert np.concatenate(vowels).mean() > 0.95


def test_bilabials_close_the_lips(clips: list[storage.Clip]) -> None:
    for clip in clips:
        gap = clip.weights[:, INDEX["jawOpen"]] - clip.weights[:, INDEX["mouthClose"]]
        t = dominance.frame_times(len(gap))
        for phone in clip.phones:
            if phone.name in BILABIALS:
                near = (t > phone.start - 0.03) & (t < phone.end + 0.03)
                assert gap[near].min() < 0.004


def test_an_interrupted_build_finishes_with_the_same_files(folder: Path, tmp_path: Path) -> None:
    resumed = tmp_path / "resumed"
    shutil.copytree(folder, resumed)
    (resumed / "index.json").unlink()
    for part in sorted((resumed / "parts").iterdir())[::2]:
        for path in resumed.glob(f"*/*_{part.stem[-3:]}_*"):
            if path.parent.name == part.stem.rpartition("_")[0]:
                path.unlink()
        part.unlink()
    synthetic.build_synthetic_corpus(resumed, 0.5, 4, num_workers=1, voices=FLITE_VOICES)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(resumed) for path in resumed.rglob("*.*"))
    assert all((folder / path).read_bytes() == (resumed / path).read_bytes() for path in files)


def test_a_folder_with_other_settings_is_rejected(folder: Path) -> None:
    with pytest.raises(TalkerError, match="another corpus"):
        synthetic.build_synthetic_corpus(folder, 2.0, 4, voices=FLITE_VOICES)


def test_the_command_builds_with_all_voices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    required = {*synthetic.VOICE_ROTATION, flite_festival_tts.HELD_OUT_VOICE}
    if not required <= set(flite_festival_tts.available_voices()):
        pytest.skip("festival or one of its voices is not installed")
    assert run_command("corpus", "synthetic", "--out", tmp_path, "--minutes", 0.1) == 0
    assert f"the voice {flite_festival_tts.HELD_OUT_VOICE} only in test" in capsys.readouterr().out


def test_a_missing_synthesizer_is_reported_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TalkerError, match="apt install festival"):
        synthetic.build_synthetic_corpus(tmp_path / "c", 1.0)
    with pytest.raises(TalkerError, match="apt install flite"):
        flite_festival_tts.synthesize("slt", ["Hello."])
