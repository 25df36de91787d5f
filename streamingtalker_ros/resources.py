# SPDX-License-Identifier: Apache-2.0
"""Finds the package's msg/ and config/ files, wherever it is installed.

They lie in one of three places: beside the package in the source tree (and in an editable or symlinked
install), inside of it in a wheel, or in share/streamingtalker_ros below the prefix of a colcon install.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from streamingtalker_ros.errors import TalkerError

_PACKAGE: Final = Path(__file__).absolute().parent

DEMO_AUDIO: Final = _PACKAGE / "data" / "voice.flac"
"""A voice, 9 s, which the demo plays and the benchmarks use."""


def find(folder: Literal["msg", "config"], name: str, package: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a file.

    Args:
        folder: the folder it lies in.
        name: its name, relative to the folder.
        package: directory of the installed package, default this one.

    Raises:
        TalkerError: if the file is in none of the places.
    """
    package = Path(package) if package else _PACKAGE
    for candidate in _candidates(package, folder):
        # test the file, not the folder: in a colcon install the package's msg/ holds generated code
        if (candidate / name).is_file():
            return candidate / name
    raise TalkerError(f"{folder}/{name} is missing from {package}: install the package again")


def _candidates(package: Path, folder: str) -> Iterator[Path]:
    yield package / folder
    yield package.resolve().parent / folder
    for prefix in package.parents:
        yield prefix / "share" / package.name / folder
