# SPDX-License-Identifier: Apache-2.0
"""Reader of meshes in Wavefront OBJ files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError


def read_obj(
    path: str | Path, with_triangles: bool = True
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read a mesh; polygons are split into fans of triangles.

    Args:
        path: File to read.
        with_triangles: False reads the vertices only, for a shape of a mesh whose triangles are known.

    Returns:
        vertices: (V, 3), in the axes and units of the file.
        triangles: (T, 3); (0, 3) if they are not read.

    Raises:
        TalkerError: If the file is damaged, has no mesh, or its faces name vertices that it lacks.
    """
    points: list[list[str]] = []
    fans: list[tuple[int, int, int]] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("v "):
                    points.append(line.split()[1:4])
                elif with_triangles and line.startswith("f "):
                    corners = [int(word.partition("/")[0]) for word in line.split()[1:]]
                    # indices count from 1, or from the last vertex backwards
                    corners = [index - 1 if index > 0 else len(points) + index for index in corners]
                    fans += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
        vertices = np.array(points, np.float32).reshape(-1, 3)
    except ValueError as error:
        raise TalkerError(f"{path} is not a readable OBJ file ({error}): export it again") from None
    triangles = np.array(fans, np.int64).reshape(-1, 3)
    has_faces = len(triangles) > 0 and 0 <= triangles.min() <= triangles.max() < len(vertices)
    if len(vertices) == 0 or (with_triangles and not has_faces):
        raise TalkerError(f"{path} holds no mesh, or its faces name vertices that it lacks: export it again")
    return vertices, triangles
