# SPDX-License-Identifier: Apache-2.0
"""The content of a face file of any format, before it becomes a Rig."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class ImportedMesh(NamedTuple):
    """All meshes of a file as one, in the axes and units of the file.

    Attributes:
        vertices: (V, 3).
        triangles: (T, 3).
        colors: (V, 3) sRGB, 0..1.
        targets: Displacements (V, 3) of each morph target.
        parts: Vertex range of each mesh; empty if the format has none.
        rig: `extras.rig` of the only mesh of a .glb, as `gltf_writer.write_glb` writes it; empty for other
            files.
        follow: (V,) the attribute `_HEAD_FOLLOW` of the only primitive of a .glb; None without one.
    """

    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int64]
    colors: npt.NDArray[np.floating]
    targets: dict[str, npt.NDArray[np.float32]]
    parts: dict[str, tuple[int, int]]
    rig: dict[str, Any]
    follow: npt.NDArray[np.float32] | None
