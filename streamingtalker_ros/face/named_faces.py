# SPDX-License-Identifier: Apache-2.0
"""Faces by name: people whose heads are built once, on this machine, and kept as .glb files in the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Final

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.human_head import makehuman, makehuman_hair
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData, find_data
from streamingtalker_ros.face.human_head.person import PRESETS
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.output_files import write_bytes

NAMES: Final = tuple(PRESETS)
"""Names that a face can be chosen by."""

FACE_HELP: Final = f"one of {', '.join(NAMES)}, or a file"
"""What an option for a face takes, for its help."""

_LOGGER = logging.getLogger(__name__)


def open_face(face: str | os.PathLike[str] | None) -> Rig:
    """A face by name or from a file.

    Args:
        face: One of `NAMES`, or what `load_face` reads; None or empty for the default head.

    Returns:
        The face; the default head for a name whose data are not installed, with a warning.

    Raises:
        TalkerError: If the file is unusable.
    """
    path = find_face(face)
    return default_rig() if path is None else load_face(path)


def find_face(face: str | os.PathLike[str] | None) -> Path | None:
    """The file of a face; that of a name is built on its first use.

    Args:
        face: As for `open_face`.

    Returns:
        The file; None for the default head, which also stands in for a name whose data are not installed,
        with a warning that says how to get them.

    Raises:
        TalkerError: If the head of a name cannot be built.
    """
    if face is None or not os.fspath(face):
        return None
    if os.fspath(face) not in NAMES or Path(face).exists():
        return Path(face)
    built = _cache_folder() / f"{os.fspath(face)}.glb"
    if not built.is_file():
        try:
            data = MakeHumanData(find_data())
        except TalkerError as error:
            _LOGGER.warning("the default head stands in for %s: %s", os.fspath(face), error)
            return None
        build_named_face(os.fspath(face), data, built)
    return built


def prepared_faces() -> dict[str, Path]:
    """The files of the names whose heads have been built on this machine, by name."""
    folder = _cache_folder()
    return {name: folder / f"{name}.glb" for name in NAMES if (folder / f"{name}.glb").is_file()}


def build_named_face(name: str, data: MakeHumanData, path: Path) -> None:
    """Build the head of a name and write it.

    Args:
        name: One of `NAMES`.
        data: MakeHuman's mesh and targets.
        path: The .glb file to write; its folder is created.

    Raises:
        TalkerError: If the data are damaged, Pillow is not installed or the file cannot be written.
    """
    from streamingtalker_ros.face.human_head.head import build_head

    _LOGGER.info("building the head of %s", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TalkerError(
            f"{path.parent} cannot be created ({error.strerror or error}): set XDG_CACHE_HOME to a folder "
            "that can be written"
        ) from None
    write_bytes(path, write_glb(build_head(PRESETS[name], data, name)))


def _cache_folder() -> Path:
    """Folder of the heads that this code builds: below XDG_CACHE_HOME, or else ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "streamingtalker_ros" / "faces" / _digest()


def _digest() -> str:
    """Digest of the code that builds and writes heads and of the versions of its data."""
    hair = makehuman_hair.VERSION if makehuman_hair.find_hair() is not None else "cards"
    content, folder = hashlib.sha256(f"{makehuman.VERSION} {hair}".encode()), Path(__file__).parent
    for module in [*sorted((folder / "human_head").glob("*.py")), folder / "formats" / "gltf_writer.py"]:
        content.update(module.read_bytes())
    return content.hexdigest()[:12]
