# SPDX-License-Identifier: Apache-2.0
"""Face markers for RViz: FaceMotion in, serialized visualization_msgs/Marker and a head transform out.

Two markers, both TRIANGLE_LISTs in the frame of the head: the dynamic one holds the triangles that a shape or
the neck moves and is sent at `rate`; the static one (hair, ears, …) is sent once per second and to each new
subscriber. A vertex talker's mesh, announced by its FaceModel, is one marker that FaceVertices moves. RViz
does not light a marker that has colours, so the lighting is computed into the colours. The module imports no
transport.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import rotation_matrix
from streamingtalker_ros.messaging.header import MessageClassLookup, set_stamp, stamp_to_ns
from streamingtalker_ros.rviz.lighting import vertex_brightness
from streamingtalker_ros.rviz.marker_cdr import SerializedMarker
from streamingtalker_ros.rviz.vertex_markers import (
    VertexMarkerBuilder,
    check_vertex_model,
    delete_all_markers,
    is_vertex_model,
)

_LOGGER = logging.getLogger(__name__)

STATIC_PERIOD_S: Final = 1.0
DYNAMIC_ID: Final = 0
STATIC_ID: Final = 1
_IDENTITY: Final = (0.0, 0.0, 0.0, 1.0)
_MIN_PERIOD_FRACTION: Final = 0.9  # of the period between two dynamic markers: the caller's timer jitters

Serializer = Callable[[Any], bytes]


class MarkerBuilder:
    """Builds the two markers of a rig.

    Args:
        rig: the face.
        message_class: returns the class of a message type.
        serialize: returns the bytes of a message.
        frame_id: tf frame of the markers.
        ns: namespace of the markers in RViz.
    """

    def __init__(
        self,
        rig: Rig,
        message_class: MessageClassLookup,
        serialize: Serializer,
        frame_id: str = "face",
        ns: str = "face",
    ) -> None:
        self.rig = rig
        follow = np.ones(len(rig.vertices), np.float32) if rig.follow is None else rig.follow
        triangles = rig.triangles.astype(np.int64)
        vertex_moves = (rig.deltas != 0).any(axis=(0, 2)) | (follow < 1)
        triangle_moves = vertex_moves[triangles].any(axis=1)
        # the normals of moving triangles depend on their neighbours, too
        touched = np.zeros(len(rig.vertices), bool)
        touched[triangles[triangle_moves]] = True
        has_touched = touched[triangles].any(axis=1)
        used_vertices, corners = np.unique(triangles[has_touched], return_inverse=True)
        self._used_triangles = corners.reshape(-1, 3)
        self._moving_corners = self._used_triangles[triangle_moves[has_touched]].ravel()
        self._corner_index = index_corners(self._used_triangles)
        self._rest = rig.vertices[used_vertices].astype(np.float32)
        self._deltas = np.ascontiguousarray(rig.deltas[:, used_vertices].reshape(len(rig.deltas), -1))
        self._neck = np.flatnonzero(follow[used_vertices] < 1)
        self._neck_follow = follow[used_vertices][self._neck, None]
        self._base_colors = np.clip(rig.colors[used_vertices], 0, 1).astype(np.float32)
        self._rgba = np.ones((len(used_vertices), 4), np.float32)
        self._points = np.zeros((len(used_vertices), 3))
        self._dynamic = SerializedMarker(
            message_class, serialize, int(triangle_moves.sum()), ns, DYNAMIC_ID, frame_id
        )
        self._static: SerializedMarker | None = None
        if not triangle_moves.all():
            self._static = SerializedMarker(
                message_class, serialize, int((~triangle_moves).sum()), ns, STATIC_ID, frame_id
            )
            normals = vertex_normals(rig.vertices, triangles, index_corners(triangles))
            static_corners = triangles[~triangle_moves].ravel()
            self._static.points[:] = rig.vertices[static_corners]
            self._static.colors[:, 3] = 1.0
            lit = (np.clip(rig.colors, 0, 1) * vertex_brightness(normals)[:, None]).clip(0, 1)
            self._static.colors[:, :3] = lit[static_corners]

    @property
    def dynamic_triangles(self) -> int:
        """Number of triangles of the dynamic marker."""
        return len(self._moving_corners) // 3

    def dynamic(self, weights: npt.NDArray[np.float32], head: npt.ArrayLike, stamp: int) -> bytes:
        """Return the serialized dynamic marker.

        Args:
            weights: (S,) weights of the rig's shapes.
            head: (4,) rotation of the head, xyzw; the marker's frame rotates with it.
            stamp: ns.
        """
        points = self._rest + (weights @ self._deltas).reshape(-1, 3)
        if len(self._neck):
            # the neck takes a part of the rotation only: in the head's frame the rest of it rotates back
            pivot = self.rig.pivot
            rotated_back = (points[self._neck] - pivot) @ rotation_matrix(head) + pivot
            points[self._neck] = rotated_back + self._neck_follow * (points[self._neck] - rotated_back)
        self._points[:] = points
        brightness = vertex_brightness(vertex_normals(points, self._used_triangles, self._corner_index))
        np.clip(self._base_colors * brightness[:, None], 0, 1, out=self._rgba[:, :3])
        marker = self._dynamic
        np.take(self._points, self._moving_corners, axis=0, out=marker.points, mode="clip")
        np.take(self._rgba, self._moving_corners, axis=0, out=marker.colors, mode="clip")
        marker.set_stamp(stamp)
        return marker.to_bytes()

    def static(self, stamp: int) -> bytes | None:
        """Return the serialized static marker with a stamp in ns, or None if every triangle moves."""
        if self._static is None:
            return None
        self._static.set_stamp(stamp)
        return self._static.to_bytes()


class FaceMarkers:
    """Decides which markers are sent when.

    Args:
        rig: the face.
        message_class: returns the class of a message type.
        serialize: returns the bytes of a message.
        rate: dynamic markers per second at most.
        rotate: rotate the face by a transform from FaceMotion's frame to `face_frame`; otherwise the markers
            are in FaceMotion's frame and the head does not turn.
        face_frame: tf frame of the rotating head.
        frame_id: frame of FaceMotion, until the first message states it.
    """

    def __init__(
        self,
        rig: Rig,
        message_class: MessageClassLookup,
        serialize: Serializer,
        rate: float = 25.0,
        rotate: bool = True,
        face_frame: str = "face",
        frame_id: str = "head",
    ) -> None:
        self._message_class, self._serialize, self.rig = message_class, serialize, rig
        self.period, self.rotate, self.face_frame, self.frame_id = 1.0 / rate, rotate, face_frame, frame_id
        self._builder = self._create_builder(face_frame if rotate else frame_id)
        self._names: tuple[str, ...] | None = None  # of the last message
        self._order: npt.NDArray[np.int64] = np.zeros(
            0, np.int64
        )  # index of each shape in its weights, or -1
        self._weights = np.zeros(len(rig.shape_names), np.float32)
        self._head: npt.NDArray[np.float64] = np.array(_IDENTITY)
        self._stamp: int | None = None
        self._pending = False  # a motion has not been shown yet
        self._last_dynamic = self._last_static = float("-inf")  # s, when the marker was last built
        self._subscribers = 0
        self._mesh: VertexMarkerBuilder | None = None  # of a vertex talker
        self._has_warned = False  # of a damaged model
        self._cleared = True  # whether the markers of the other kind of face have been deleted

    def on_model(self, model: Any) -> bool:
        """Accept a FaceModel message; a damaged one is reported in the log and changes nothing.

        Args:
            model: A FaceModel message.

        Returns:
            Whether its motion arrives as FaceVertices, for `on_vertices`; otherwise `rig` is shown.
        """
        try:
            if is_vertex_model(model):
                check_vertex_model(model)
        except TalkerError as error:
            if not self._has_warned:
                self._has_warned = True
                _LOGGER.warning("%s", error)
            return self._mesh is not None
        was_mesh, self._mesh = self._mesh is not None, None
        if is_vertex_model(model):
            self._mesh = VertexMarkerBuilder(model, self._message_class, self._serialize)
            self._stamp = None
        if self._mesh is not None or was_mesh:
            self._cleared, self._pending = False, True
            self._last_dynamic = self._last_static = float("-inf")
        return self._mesh is not None

    def on_vertices(self, vertices: Any) -> None:
        """Accept a FaceVertices message; ignored if it does not fit the mesh of the FaceModel.

        Args:
            vertices: A FaceVertices message; its offsets are in metres, 3 per vertex of the mesh.
        """
        if self._mesh is not None and self._mesh.set_offsets(vertices.offsets):
            self._stamp, self._pending = stamp_to_ns(vertices.header.stamp), True

    def on_motion(self, motion: Any) -> Any:
        """Accept a FaceMotion message.

        Args:
            motion: A FaceMotion message; shapes of the rig that it does not name are 0.

        Returns:
            A tf2_msgs/TFMessage that rotates the head, or None without `rotate`.
        """
        self._weights = self._weights_by_name(motion)
        head = np.array([motion.head.x, motion.head.y, motion.head.z, motion.head.w])
        size = np.abs(head).max()  # the length itself could overflow
        valid = np.isfinite(size) and size > 1e-6
        self._head = head / size / np.linalg.norm(head / size) if valid else np.array(_IDENTITY)
        self._stamp = stamp_to_ns(motion.header.stamp)
        frame_id = motion.header.frame_id or self.frame_id
        if frame_id != self.frame_id and not self.rotate:
            self._builder = self._create_builder(frame_id)
        self.frame_id, self._pending = frame_id, True
        return self.transform(self._stamp) if self.rotate else None

    def markers(self, now: float, stamp: int, subscribers: int) -> list[bytes]:
        """Return the serialized markers that are due.

        Call it after each `on_motion` and about `rate` times per second.

        Args:
            now: s, monotonic.
            stamp: ns, stamp of a face that is at rest because no motion has arrived.
            subscribers: subscribers of the topic; without any nothing is built.
        """
        has_new_subscriber, self._subscribers = subscribers > self._subscribers, subscribers
        if not subscribers:
            return []
        stamp = stamp if self._stamp is None else self._stamp
        due: list[bytes] = []
        if not self._cleared:
            self._cleared = True
            due.append(delete_all_markers(self._message_class, self._serialize))
        since_dynamic = now - self._last_dynamic
        motion_due = self._pending and since_dynamic >= _MIN_PERIOD_FRACTION * self.period
        # once per second even without new motion: a new subscriber may miss what is sent while it is
        # discovered
        if motion_due or has_new_subscriber or since_dynamic >= STATIC_PERIOD_S:
            self._pending, self._last_dynamic = False, now
            if self._mesh is not None:
                due.append(self._mesh.build(stamp))
            else:
                head = self._head if self.rotate else np.array(_IDENTITY)
                due.append(self._builder.dynamic(self._weights, head, stamp))
        if self._mesh is None and (has_new_subscriber or now - self._last_static >= STATIC_PERIOD_S):
            self._last_static = now
            static = self._builder.static(stamp)
            if static is not None:
                due.append(static)
        return due

    def transform(self, stamp: int) -> Any:
        """Return a tf2_msgs/TFMessage at `stamp` ns: the head's rotation about the rig's pivot."""
        message = self._message_class("tf2_msgs/msg/TFMessage")()
        transform = self._message_class("geometry_msgs/msg/TransformStamped")()
        set_stamp(transform.header.stamp, stamp)
        transform.header.frame_id, transform.child_frame_id = self.frame_id, self.face_frame
        pivot = self.rig.pivot.astype(np.float64)
        shift = pivot - rotation_matrix(self._head).astype(np.float64) @ pivot
        translation, rotation = transform.transform.translation, transform.transform.rotation
        translation.x, translation.y, translation.z = (float(value) for value in shift)
        rotation.x, rotation.y, rotation.z, rotation.w = (float(value) for value in self._head)
        message.transforms = [transform]
        return message

    def _create_builder(self, frame_id: str) -> MarkerBuilder:
        return MarkerBuilder(self.rig, self._message_class, self._serialize, frame_id)

    def _weights_by_name(self, motion: Any) -> npt.NDArray[np.float32]:
        """Return weights (S,) in the rig's order.

        Shapes that the message does not name are 0, and so are NaN and infinities. The last weights are
        returned for a message whose names and weights differ in number.
        """
        names = tuple(motion.names)
        values = np.asarray(motion.weights, np.float32)
        if names != self._names:
            index = {name: i for i, name in enumerate(names)}
            self._names = names
            self._order = np.array([index.get(name, -1) for name in self.rig.shape_names], np.int64)
        if len(values) != len(names):
            return self._weights
        padded = np.append(values, np.float32(0))
        return np.nan_to_num(padded[self._order], nan=0.0, posinf=0.0, neginf=0.0).clip(0, 1)
