# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker face export`: the written .glb is the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.cli import main
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.importers import load_face
from support.face_files import mouth_patch, write_test_glb


def test_the_exported_default_face_reads_back_with_its_52_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["face", "export", "--out", str(tmp_path / "head.glb")]) == 0
    assert "52 shapes" in capsys.readouterr().out
    rig = load_face(tmp_path / "head.glb")
    assert rig.shape_names == ARKIT_NAMES
    np.testing.assert_array_equal(rig.vertices, default_rig().vertices)
    np.testing.assert_array_equal(rig.deltas, default_rig().deltas)


def test_a_custom_face_is_exported(tmp_path: Path) -> None:
    source = write_test_glb(tmp_path / "mine.glb", *mouth_patch())
    assert main(["face", "export", "--face", str(source), "--out", str(tmp_path / "out.glb")]) == 0
    mine, exported = load_face(source), load_face(tmp_path / "out.glb")
    np.testing.assert_allclose(exported.vertices, mine.vertices, atol=1e-7)
    np.testing.assert_allclose(exported.deltas, mine.deltas, atol=1e-7)


@pytest.mark.parametrize(
    "words, message",
    [
        ("export --out head.obj", "does not end in .glb"),
        ("export --out no/such/folder/head.glb", "choose another --out"),
        ("export --out head.glb --face none.glb", "no face at"),
        ("build --out head.obj", "does not end in .glb"),
        ("build --out head.glb --data .", "base.obj"),
        ("build --out head.glb --ancestry martian", "ancestry martian is unknown"),
        ("build --out head.glb --ancestry asian=some", "asian=some is not a name and a number"),
        ("build --out head.glb --age 3", "at most 90"),
        ("prepare martian", "nobody is called martian"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line_and_nothing_is_written(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["face", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_check_names_what_moves_and_what_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_test_glb(tmp_path / "a.glb", *mouth_patch(), names=["jawOpen", "hat", "eyeBlnkRight"])
    assert main(["face", "check", str(path)]) == 0
    output = capsys.readouterr()
    assert "moves: 1 of 52 ARKit shapes" in output.out and output.err == ""
    assert "cannot smile" in output.out and "cannot open the mouth" not in output.out
    assert "is eyeBlnkRight meant to be eyeBlinkRight?" in output.out and "hat" in output.out


def test_check_of_an_unusable_face_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["face", "check", "none.vrm"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
