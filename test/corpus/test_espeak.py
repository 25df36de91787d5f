# SPDX-License-Identifier: Apache-2.0
"""Corpus of espeak-ng voices: one language is held out, and equal seeds give equal files."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.corpus import espeak, storage
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.phonetics import espeak_tts
from support.command_line import run_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not espeak_tts.is_available():
        pytest.skip("libespeak-ng is not installed")
    path = tmp_path_factory.mktemp("espeak")
    assert run_command("corpus", "espeak", "--out", path, "--minutes", 0.3, "--jobs", 1) == 0
    return path


def test_the_held_out_language_is_in_test_only(folder: Path) -> None:
    entries = storage.read_index(folder)["clips"]
    languages = {
        split: {entry["language"] for entry in entries if entry["split"] == split} for split in storage.SPLITS
    }
    assert languages["test"] == {espeak.HELD_OUT_LANGUAGE}
    assert espeak.HELD_OUT_LANGUAGE not in languages["train"] | languages["validation"]


def test_clips_move_mouth_and_eyes(folder: Path) -> None:
    clip = storage.load_corpus(folder, "train")[0]
    assert clip.weights[:, INDEX["jawOpen"]].max() > 0.1
    assert clip.weights[:, upper_face.UPPER_FACE_MASK].any()


def test_equal_seeds_give_equal_files(folder: Path, tmp_path: Path) -> None:
    espeak.build_espeak_corpus(tmp_path, 0.3, num_workers=1)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert all((folder / path).read_bytes() == (tmp_path / path).read_bytes() for path in files)
