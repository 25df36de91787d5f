# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus`: every kind has its help, and invalid arguments are rejected before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamingtalker_ros.cli.corpus import SUBCOMMANDS
from support.command_line import run_command


@pytest.mark.parametrize("kind", SUBCOMMANDS)
def test_every_kind_has_help(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command("corpus", kind, "--help")
    assert stop.value.code == 0
    assert f"streamingtalker corpus {kind}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("synthetic", "--minutes", 0), "--minutes must be above 0"),
        (("espeak", "--jobs", 0), "--jobs at least 1"),
        (("speech", "folder", "--minutes", -1), "--minutes must be above 0"),
        (("speech", "folder", "--ages", "18"), "is no range of years"),
        (("speech", "folder", "--ages", "17-3"), "is no range of years"),
        (("quiet", "folder", "--minutes", 0), "--minutes must be above 0"),
        (("from-video", "a.mp4", "--every", -1), "--every must be 0 or more"),
        (("from-video", "a.mp4", "--align", "nowhere"), "there is no folder nowhere"),
        (("revoice", "folder", "--jobs", 0), "--jobs must be at least 1"),
    ],
)
def test_invalid_arguments_are_rejected(
    arguments: tuple[object, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("corpus", *arguments, "--out", tmp_path / "out") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_videos_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("corpus", "from-video", tmp_path, "--out", tmp_path / "out") == 2
    assert "holds no video" in capsys.readouterr().err
