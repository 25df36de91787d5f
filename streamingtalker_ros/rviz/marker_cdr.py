# SPDX-License-Identifier: Apache-2.0
"""A visualization_msgs/Marker that is serialized once and then updated in place: `SerializedMarker`.

Filling and serializing a list of thousands of Points is too slow for every frame; numpy views into the
serialized bytes update the points in place. This works with any serializer of plain little-endian CDR:
rclpy's `serialize_message`, and `serialize` of the classes of `dds.message_types`. rclpy's publishers accept
the bytes as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.header import MessageClassLookup

MARKER_TYPE: Final = "visualization_msgs/msg/Marker"
POINT_TYPE: Final = "geometry_msgs/msg/Point"
COLOR_TYPE: Final = "std_msgs/msg/ColorRGBA"
TRIANGLE_LIST: Final = 11  # Marker.TRIANGLE_LIST
_STAMP: Final = slice(4, 12)  # header.stamp behind the encapsulation header
# values that are searched for in the bytes
_POINT_PATTERN: Final = (-1.25, 2.5, -3.75)
_COLOR_PATTERN: Final = (0.125, 0.25, 0.375, 0.5)


class SerializedMarker:
    """A TRIANGLE_LIST with a colour for each corner.

    Args:
        message_class: returns the class of a message type.
        serialize: returns the bytes of a message.
        triangles: number of triangles.
        ns: namespace of the marker in RViz.
        marker_id: id of the marker in RViz.
        frame_id: tf frame of the points.

    Attributes:
        points: (3 · triangles, 3) float64, metres; a view to write into.
        colors: (3 · triangles, 4) float32, rgba 0..1; a view to write into.

    Raises:
        TalkerError: if the serializer does not write little-endian CDR.
    """

    def __init__(
        self,
        message_class: MessageClassLookup,
        serialize: Callable[[Any], bytes],
        triangles: int,
        ns: str,
        marker_id: int,
        frame_id: str,
    ) -> None:
        message = message_class(MARKER_TYPE)()
        message.header.frame_id, message.ns, message.id = frame_id, ns, marker_id
        message.type = TRIANGLE_LIST
        message.pose.orientation.w = 1.0
        message.scale.x = message.scale.y = message.scale.z = 1.0
        message.color.a = 1.0
        message.frame_locked = True
        corners = 3 * triangles
        x, y, z = _POINT_PATTERN
        r, g, b, a = _COLOR_PATTERN
        message.points = [message_class(POINT_TYPE)(x=x, y=y, z=z)] * corners
        message.colors = [message_class(COLOR_TYPE)(r=r, g=g, b=b, a=a)] * corners
        serialized = serialize(message)
        # CDR aligns doubles to 8 bytes, counted from behind the encapsulation header of 4; so does the buffer
        buffer = np.zeros(len(serialized) + 12, np.uint8)
        start = (4 - buffer.ctypes.data) % 8
        self._buffer = buffer[start : start + len(serialized)]
        self._buffer[:] = np.frombuffer(serialized, np.uint8)
        point_bytes, color_bytes = struct.pack("<3d", *_POINT_PATTERN), struct.pack("<4f", *_COLOR_PATTERN)
        self.points: npt.NDArray[np.float64] = self._view(serialized, point_bytes * corners, "<f8", 3)
        self.colors: npt.NDArray[np.float32] = self._view(serialized, color_bytes * corners, "<f4", 4)

    def _view(self, serialized: bytes, pattern: bytes, dtype: str, columns: int) -> npt.NDArray[Any]:
        """Return the array (n, columns) that lies in the buffer where `pattern` lies in the bytes."""
        start = serialized.find(pattern)
        if serialized[:2] != b"\x00\x01" or start < 0:
            raise TalkerError(
                "markers are not serialized as little-endian CDR here: use rmw_cyclonedds_cpp or "
                "rmw_fastrtps_cpp on a little-endian machine"
            )
        return self._buffer[start : start + len(pattern)].view(dtype).reshape(-1, columns)

    def set_stamp(self, ns: int) -> None:
        """Set header.stamp to a time in ns since the epoch."""
        self._buffer[_STAMP] = np.frombuffer(struct.pack("<iI", *divmod(int(ns), NS_PER_S)), np.uint8)

    def to_bytes(self) -> bytes:
        """Return the serialized message."""
        return self._buffer.tobytes()
