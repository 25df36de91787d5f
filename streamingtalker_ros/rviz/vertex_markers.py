# SPDX-License-Identifier: Apache-2.0
"""RViz marker of a vertex talker's mesh: FaceModel and FaceVertices in, one serialized Marker out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.messaging.header import MessageClassLookup
from streamingtalker_ros.rviz.lighting import vertex_brightness
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE, SerializedMarker

MAX_COORDINATE_M: Final = 1e6
"""Greatest coordinate or offset of a vertex, in metres, at which no arithmetic of float32 overflows."""

_SKIN_COLOR: Final = (0.80, 0.62, 0.52)
_DELETE_ALL: Final = 3  # Marker.DELETEALL


def is_vertex_model(model: Any) -> bool:
    """Return whether FaceVertices, and not FaceMotion, moves the face of a FaceModel message.

    Args:
        model: A FaceModel message.

    Returns:
        True if the message names no shapes and has at least one triangle and one vertex.
    """
    return not len(model.shape_names) and len(model.triangles) >= 3 and len(model.vertices) >= 3


def check_vertex_model(model: Any) -> None:
    """Check the numbers of a FaceModel message for which `is_vertex_model` holds.

    Args:
        model: A FaceModel message.

    Raises:
        TalkerError: If its vertices or triangles are not threes of numbers, or its vertices NaN or absurd.
    """
    if len(model.vertices) % 3 or len(model.triangles) % 3:
        raise TalkerError(
            f"a face_model has {len(model.vertices)} coordinates and {len(model.triangles)} corners, which "
            "are not threes, and is not shown: check its sender"
        )
    if not (np.abs(np.asarray(model.vertices, np.float32)) <= MAX_COORDINATE_M).all():
        raise TalkerError(
            f"a face_model holds NaN or coordinates of over {MAX_COORDINATE_M:g} m and is not shown: "
            "check its sender"
        )


def delete_all_markers(message_class: MessageClassLookup, serialize: Callable[[Any], bytes]) -> bytes:
    """Return a serialized Marker that removes all markers of its topic.

    Args:
        message_class: Returns the class of a message type.
        serialize: Returns the bytes of a message.

    Returns:
        CDR as `serialize` returns it.
    """
    message = message_class(MARKER_TYPE)()
    message.action = _DELETE_ALL
    return serialize(message)


class VertexMarkerBuilder:
    """Builds the marker of one mesh.

    Args:
        model: A FaceModel message for which `is_vertex_model` holds.
        message_class: Returns the class of a message type.
        serialize: Returns the bytes of a message.
        ns: Namespace of the marker in RViz.
    """

    def __init__(
        self,
        model: Any,
        message_class: MessageClassLookup,
        serialize: Callable[[Any], bytes],
        ns: str = "face",
    ) -> None:
        self._rest = np.asarray(model.vertices, np.float32).reshape(-1, 3)
        triangles = np.asarray(model.triangles, np.int64).reshape(-1, 3)
        self._triangles = triangles[(triangles < len(self._rest)).all(axis=1)]
        self._corner_index = index_corners(self._triangles)
        self._offsets: npt.NDArray[np.float32] = np.zeros_like(self._rest)
        self._marker = SerializedMarker(
            message_class, serialize, len(self._triangles), ns, 0, model.header.frame_id
        )
        self._marker.colors[:, 3] = 1.0

    def set_offsets(self, offsets: Any) -> bool:
        """Set the offsets of a FaceVertices message.

        Args:
            offsets: (3V,) floats in metres, of at most `MAX_COORDINATE_M`.

        Returns:
            False if they do not fit the mesh; the previous offsets remain.
        """
        values = np.asarray(offsets, np.float32)
        if values.size != self._rest.size or not (np.abs(values) <= MAX_COORDINATE_M).all():
            return False
        self._offsets = values.reshape(-1, 3)
        return True

    def build(self, stamp: int) -> bytes:
        """Return the serialized marker with a stamp in ns."""
        points = self._rest + self._offsets
        normals = vertex_normals(points, self._triangles, self._corner_index)
        colors = np.array(_SKIN_COLOR, np.float32) * vertex_brightness(normals)[:, None]
        corners = self._triangles.ravel()
        self._marker.points[:] = points[corners]
        self._marker.colors[:, :3] = colors.clip(0, 1)[corners]
        self._marker.set_stamp(stamp)
        return self._marker.to_bytes()
