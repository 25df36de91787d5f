# SPDX-License-Identifier: Apache-2.0
"""Preview of the markers without RViz: their bytes are read back as messages and drawn off-screen.

RViz draws a coloured TRIANGLE_LIST without lighting it; so does this, with the z-buffer of
`face.rendering.software_renderer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import require
from streamingtalker_ros.face.rendering.software_renderer import rasterize
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import rotation_matrix
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE
from streamingtalker_ros.rviz.markers import MarkerBuilder

_BACKGROUND = (0.19, 0.19, 0.19)  # RViz's default
_HEAD = (0.0, 0.0, 0.09, 0.996)  # a slight turn, so that the relief is visible
_SUPERSAMPLING = 2


def triangles(data: bytes) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Read the triangles of a serialized Marker.

    Args:
        data: The message in CDR with its encapsulation header; `points` holds three corners per triangle
            and `colors` one colour per corner.

    Returns:
        Corners (T, 3, 3) in metres, and their colours (T, 3, 3) in 0..1.
    """
    marker_class: Any = message_types.message_class(MARKER_TYPE)
    message = marker_class.deserialize(data)
    points = np.array([(point.x, point.y, point.z) for point in message.points], np.float32)
    colors = np.array([(color.r, color.g, color.b) for color in message.colors], np.float32)
    return points.reshape(-1, 3, 3), colors.reshape(-1, 3, 3)


def render(
    rig: Rig,
    faces: Sequence[npt.NDArray[np.float32]],
    size: tuple[int, int],
    head: Sequence[float] = _HEAD,
) -> Any:
    """Draw faces side by side.

    Args:
        rig: The face.
        faces: Weights (S,) of each face.
        size: Width and height of each in pixels.
        head: Rotation of the head, a quaternion xyzw.

    Returns:
        A PIL image.
    """
    image = require("PIL.Image", "the picture of the markers")
    builder = MarkerBuilder(rig, message_types.message_class, lambda message: message.serialize())
    rotation = np.array(head) / np.linalg.norm(head)
    static = builder.static(0)
    tiles: list[npt.NDArray[np.uint8]] = []
    for weights in faces:
        markers = [data for data in (builder.dynamic(weights, rotation, 0), static) if data is not None]
        points, colors = (np.concatenate(values) for values in zip(*map(triangles, markers), strict=True))
        rotated = (points - rig.pivot) @ rotation_matrix(rotation).T + rig.pivot  # as /tf rotates it
        tiles.append(_draw(rotated, colors, size, rig.vertices))
    return image.fromarray(np.concatenate(tiles, axis=1))


def _draw(
    points: npt.NDArray[Any],
    colors: npt.NDArray[np.float32],
    size: tuple[int, int],
    rest: npt.NDArray[np.float32],
    over: int = _SUPERSAMPLING,
) -> npt.NDArray[np.uint8]:
    """Draw triangles orthographically from the front, x towards the viewer; return (height, width, 3)."""
    width, height = size[0] * over, size[1] * over
    low, high = rest.min(axis=0), rest.max(axis=0)
    scale = 0.94 * min(width / (high - low)[1], height / (high - low)[2])
    middle = (low + high) / 2
    # the nearer a corner, the higher its third number
    screen = np.stack(
        [
            width / 2 + scale * (points[..., 1] - middle[1]),
            height / 2 - scale * (points[..., 2] - middle[2]),
            10 + points[..., 0],
        ],
        axis=-1,
    )
    pixel, triangle, corner = rasterize(screen, width, height)
    out = np.tile(np.array(_BACKGROUND, np.float32), (height * width, 1))
    out[pixel] = np.einsum("nk,nkc->nc", corner, colors[triangle])
    out = out.reshape(size[1], over, size[0], over, 3).mean(axis=(1, 3))
    return (out * 255).round().astype(np.uint8)
