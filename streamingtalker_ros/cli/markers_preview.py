# SPDX-License-Identifier: Apache-2.0
"""A look at the markers without RViz: their bytes are read back as messages, their triangles drawn off-screen.

RViz draws a coloured TRIANGLE_LIST without light of its own; so does this, through the z-buffer of
`face.rendering.software_renderer`. Takes a rig and weights, gives a PIL image.
"""

import numpy as np

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import require
from streamingtalker_ros.face.rendering.software_renderer import rasterize
from streamingtalker_ros.face.rotation import rotation_matrix
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE
from streamingtalker_ros.rviz.markers import MarkerBuilder

_PAPER = (0.19, 0.19, 0.19)  # RViz's usual background


def triangles(blob):
    """Bytes of a Marker -> corners (T, 3, 3) float32 in metres, colours (T, 3, 3) 0..1."""
    message = message_types.message_class(MARKER_TYPE).deserialize(blob)
    points = np.array([(point.x, point.y, point.z) for point in message.points], np.float32)
    colors = np.array([(color.r, color.g, color.b) for color in message.colors], np.float32)
    return points.reshape(-1, 3, 3), colors.reshape(-1, 3, 3)


def render(rig, faces, size, head=(0.0, 0.0, 0.09, 0.996)):
    """faces: a list of weights (S,); size: pixels of each. Returns them side by side."""
    image = require("PIL.Image", "the picture of the markers")
    builder = MarkerBuilder(rig, message_types.message_class, lambda message: message.serialize())
    head = np.array(head) / np.linalg.norm(head)
    static = builder.static(0)
    tiles = []
    for weights in faces:
        parts = [triangles(blob) for blob in (builder.dynamic(weights, head, 0), static) if blob is not None]
        points, colors = (np.concatenate(kind) for kind in zip(*parts))
        turned = (points - rig.pivot) @ rotation_matrix(head).T + rig.pivot  # what /tf does
        tiles.append(_fill(turned, colors, size, rig.vertices))
    return image.fromarray(np.concatenate(tiles, axis=1))


def _fill(points, colors, size, rest, over=2):
    """Orthographic from the front, x towards the viewer: (height, width, 3) uint8."""
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
    out = np.tile(np.float32(_PAPER), (height * width, 1))
    out[pixel] = np.einsum("nk,nkc->nc", corner, colors[triangle])
    out = out.reshape(size[1], over, size[0], over, 3).mean(axis=(1, 3))
    return (out * 255).round().astype(np.uint8)
