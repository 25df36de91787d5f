# SPDX-License-Identifier: Apache-2.0
"""Recordings without speech become clips of a mouth at rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.corpus.non_speech import build_non_speech_corpus
from streamingtalker_ros.corpus.storage import SPLITS, load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import MOUTH_MASK
from support.command_line import run_command


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Ten tunes of 9 s in stereo at 44.1 kHz, on two levels of folders."""
    folder = tmp_path / "music"
    (folder / "more").mkdir(parents=True)
    melody = 0.1 * augmentation.ensemble_music(9 * 16000, np.random.default_rng(0))
    melody = np.interp(np.arange(9 * 44100) / 44100, np.arange(len(melody)) / 16000, melody)
    for number in range(10):
        tune = np.roll(melody, number * 22050)
        path = folder / ("more" if number % 2 else "") / f"{number}.flac"
        soundfile.write(path, np.stack((tune, 0.5 * tune), 1), 44100)
    return folder


def test_clips_are_spread_over_all_files_and_every_mouth_rests(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (music / "torn.ogg").write_bytes(b"OggS and no more")
    soundfile.write(music / "nothing.wav", np.zeros(32000), 16000)
    out = tmp_path / "first"
    assert run_command("corpus", "quiet", music, "--out", out, "--minutes", 2, "--jobs", 1) == 0
    printed = capsys.readouterr().out
    assert "nothing.wav is silent" in printed and "torn.ogg cannot be read" in printed
    entries = read_index(out)["clips"]
    assert len({entry["source_file"] for entry in entries}) == 10
    assert {entry["split"] for entry in entries} == set(SPLITS)
    clips = load_corpus(out)
    for clip in clips:
        assert len(clip.pcm) == 640 * len(clip.weights) == 8 * 16000
        assert not clip.weights[:, MOUTH_MASK].any() and {phone.name for phone in clip.phones} == {"pau"}
    levels = [10.0 * np.log10(np.mean(np.square(clip.pcm))) for clip in clips]
    assert min(levels) > -51.0 and max(levels) < -9.0 and max(levels) - min(levels) > 15.0
    index = build_non_speech_corpus([music], tmp_path / "second", 2.0, num_workers=1)
    assert len(index["rejected"]) == 2
    for first, second in zip(clips, load_corpus(tmp_path / "second"), strict=True):
        assert np.array_equal(first.pcm, second.pcm)


def test_folders_without_a_usable_file_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="no audio files below"):
        build_non_speech_corpus([tmp_path], tmp_path / "out", num_workers=1)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(32000), 16000)
    with pytest.raises(TalkerError, match="none of 1 files can be used"):
        build_non_speech_corpus([tmp_path], tmp_path / "out", num_workers=1)
