# SPDX-License-Identifier: Apache-2.0
"""The content of a face file of any format, before it becomes a Rig."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.formats.shape_drivers import ShapeDrivers, find_drivers
from streamingtalker_ros.face.surface_material import MaterialRange


@dataclass
class ImportedMesh:
    """All meshes of a file as one, in the axes and units of the file.

    Attributes:
        vertices: (V, 3).
        triangles: (T, 3).
        colors: (V, 3) sRGB, 0..1.
        deltas: (52, V, 3) displacements of the ARKit shapes; (0, V, 3) if the format has none.
        labels: Names of all morph targets in the file, and of the expressions that move some.
        drivers: What drives them.
        unused: Names of those that nothing drives.
        parts: Vertex range of each mesh; empty if the format has none.
        rig: `extras.rig` of the only mesh of a .glb, as `gltf_writer.write_glb` writes it; empty for other
            files.
        follow: (V,) the attribute `_HEAD_FOLLOW` of the only primitive of a .glb; None without one.
        head_weights: (V,) weights of the head's joints in a skeleton, NaN where it says nothing; None without
            one.
        head_position: (3,) position of the head's joint; None without a skeleton.
        uv: (V, 2) texture coordinates; None without textures that can be drawn.
        materials: Materials with textures, and their vertices.
        normals: (V, 3) of meshes without morph targets, NaN for others; None if the format has none.
    """

    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int64]
    colors: npt.NDArray[np.floating]
    deltas: npt.NDArray[np.float32]
    labels: tuple[str, ...] = ()
    drivers: ShapeDrivers = field(default_factory=lambda: find_drivers(()))
    unused: tuple[str, ...] = ()
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    rig: dict[str, Any] = field(default_factory=dict)
    follow: npt.NDArray[np.float32] | None = None
    head_weights: npt.NDArray[np.float32] | None = None
    head_position: npt.NDArray[np.float64] | None = None
    uv: npt.NDArray[np.float32] | None = None
    materials: tuple[MaterialRange, ...] = ()
    normals: npt.NDArray[np.float32] | None = None
