# SPDX-License-Identifier: Apache-2.0
"""The face for RViz: FaceMotion in, serialised visualization_msgs/Marker and a head transform out.

Two markers, both TRIANGLE_LISTs in the frame of the turning head: `moving`, which any shape or the neck
moves, sent at `rate`; `still` (hair, ears, …), sent once a second and to each new listener. RViz does not
light a marker that has colours, so the light is painted into them. Transport-free: `make` and `serialize`
come from rclpy or from `messages`; see `marker_block`.
"""

import numpy as np

from streamingtalker_ros.face.geometry.normals import smooth_normals, vertex_corners
from streamingtalker_ros.face.rotation import rotation_matrix
from streamingtalker_ros.rviz.marker_cdr import MarkerBlock

STILL_EVERY = 1.0  # s
_REST = (0.0, 0.0, 0.0, 1.0)
# light: direction towards it (x out of the face, y to the person's left, z up) and strength
_LIGHTS = (((0.80, -0.40, 0.45), 0.55), ((0.75, 0.62, 0.10), 0.25), ((-0.6, 0.3, 0.6), 0.12))
_AMBIENT = 0.42


class MarkerBuilder:
    """Builds the two markers of a rig. make: type name -> message class; serialize: message -> bytes;
    frame_id: of the markers' headers; ns: RViz's name for them."""

    def __init__(self, rig, make, serialize, frame_id="face", ns="face") -> None:
        self.rig = rig
        follow = np.ones(len(rig.vertices), np.float32) if rig.follow is None else rig.follow
        faces = rig.triangles.astype(np.int64)
        moved = (rig.deltas != 0).any(axis=(0, 2)) | (follow < 1)
        moves = moved[faces].any(axis=1)
        # normals need the triangles around a moving one, too
        touched = np.zeros(len(rig.vertices), bool)
        touched[faces[moves]] = True
        ring = faces[touched[faces].any(axis=1)]
        self._used, corners = np.unique(ring, return_inverse=True)
        self._ring = corners.reshape(-1, 3)
        self._corners = self._ring[moves[touched[faces].any(axis=1)]].ravel()
        self._sums = vertex_corners(self._ring)
        self._rest = rig.vertices[self._used].astype(np.float32)
        self._deltas = np.ascontiguousarray(rig.deltas[:, self._used].reshape(len(rig.deltas), -1))
        self._bent = np.flatnonzero(follow[self._used] < 1)
        self._follow = follow[self._used][self._bent, None]
        self._colors = np.clip(rig.colors[self._used], 0, 1).astype(np.float32)
        self._rgba = np.ones((len(self._used), 4), np.float32)
        self._points = np.zeros((len(self._used), 3))
        self._moving = MarkerBlock(make, serialize, int(moves.sum()), ns, 0, frame_id)
        self._still = None
        if not moves.all():
            self._still = MarkerBlock(make, serialize, int((~moves).sum()), ns, 1, frame_id)
            normals = smooth_normals(rig.vertices, faces, vertex_corners(faces))
            flat = faces[~moves].ravel()
            self._still.points[:] = rig.vertices[flat]
            self._still.colors[:, 3] = 1.0
            self._still.colors[:, :3] = (np.clip(rig.colors, 0, 1) * _light(normals)[:, None]).clip(0, 1)[
                flat
            ]

    def moving(self, weights, head, stamp):
        """weights (S,) of the rig's shapes, head (4,) xyzw as the face frame is turned, stamp ns -> bytes of
        a Marker."""
        points = self._rest + (weights @ self._deltas).reshape(-1, 3)
        if len(self._bent):
            # the neck takes a share of the rotation only: what stays behind turns back in the head's frame
            pivot = self.rig.pivot
            back = (points[self._bent] - pivot) @ rotation_matrix(head) + pivot
            points[self._bent] = back + self._follow * (points[self._bent] - back)
        self._points[:] = points
        light = _light(smooth_normals(points, self._ring, self._sums))
        np.clip(self._colors * light[:, None], 0, 1, out=self._rgba[:, :3])
        block = self._moving
        np.take(self._points, self._corners, axis=0, out=block.points, mode="clip")
        np.take(self._rgba, self._corners, axis=0, out=block.colors, mode="clip")
        block.stamp(stamp)
        return block.bytes()

    def still(self, stamp):
        """stamp ns -> bytes of a Marker, or None where everything moves."""
        if self._still is None:
            return None
        self._still.stamp(stamp)
        return self._still.bytes()


class FaceMarkers:
    """When what is sent. rig, make, serialize: as MarkerBuilder; rate: markers per second at most; rotate:
    turn the face by a transform from FaceMotion's frame to `face_frame`; without it the markers are in
    `frame_id` and the head stands still; frame_id: of FaceMotion, until the first one tells it."""

    def __init__(
        self, rig, make, serialize, rate=25.0, rotate=True, face_frame="face", frame_id="head"
    ) -> None:
        self._make, self.rig = make, rig
        self.period, self.rotate, self.face_frame, self.frame_id = 1.0 / rate, rotate, face_frame, frame_id
        self._build = lambda frame: MarkerBuilder(rig, make, serialize, frame)
        self._builder = self._build(face_frame if rotate else frame_id)
        self._names, self._order = None, None
        self._weights, self._head, self._stamp = np.zeros(len(rig.shape_names), np.float32), _REST, None
        self._new = False  # a motion waits to be shown
        self._shown = self._told = -1e9  # s, when the last moving and the last still marker were made
        self._listeners = 0

    def hear(self, motion):
        """Take a FaceMotion message. Returns a tf2_msgs/TFMessage that turns the head, or None without
        `rotate`."""
        self._weights = self._by_name(motion)
        head = np.array([motion.head.x, motion.head.y, motion.head.z, motion.head.w])
        size = np.abs(head).max()  # the length itself could overflow
        usable = np.isfinite(size) and size > 1e-6
        self._head = head / size / np.linalg.norm(head / size) if usable else np.array(_REST)
        self._stamp = motion.header.stamp.sec * 1_000_000_000 + motion.header.stamp.nanosec
        frame_id = motion.header.frame_id or self.frame_id
        if frame_id != self.frame_id and not self.rotate:
            self._builder = self._build(frame_id)
        self.frame_id, self._new = frame_id, True
        return self.transform(self._stamp) if self.rotate else None

    def markers(self, now, stamp, listeners):
        """The markers that are due: a list of serialised Markers, empty when nobody listens.

        Call it after each `hear` and about `rate` times a second. now: seconds, monotonic; stamp: ns, the
        time of a face that rests because no motion was ever heard; listeners: subscribers of the topic.
        """
        fresh, self._listeners = listeners > self._listeners, listeners
        if not listeners:
            return []
        out = []
        due = self._new and now - self._shown >= 0.9 * self.period
        # once a second even without new motion: a new listener may miss what was sent as it was discovered
        if due or fresh or now - self._shown >= STILL_EVERY:
            self._new, self._shown = False, now
            out.append(
                self._builder.moving(
                    self._weights,
                    self._head if self.rotate else np.array(_REST),
                    stamp if self._stamp is None else self._stamp,
                )
            )
        if fresh or now - self._told >= STILL_EVERY:
            self._told = now
            out.append(self._builder.still(stamp if self._stamp is None else self._stamp))
        return [blob for blob in out if blob is not None]

    def transform(self, stamp):
        """tf2_msgs/TFMessage at `stamp` ns: the head's rotation about the rig's pivot."""
        message = self._make("tf2_msgs/msg/TFMessage")()
        turn = self._make("geometry_msgs/msg/TransformStamped")()
        turn.header.stamp.sec, turn.header.stamp.nanosec = divmod(int(stamp), 1_000_000_000)
        turn.header.frame_id, turn.child_frame_id = self.frame_id, self.face_frame
        pivot = self.rig.pivot.astype(np.float64)
        shift = pivot - rotation_matrix(self._head).astype(np.float64) @ pivot
        move, rotation = turn.transform.translation, turn.transform.rotation
        move.x, move.y, move.z = (float(value) for value in shift)
        rotation.x, rotation.y, rotation.z, rotation.w = (float(value) for value in self._head)
        message.transforms = [turn]
        return message

    def _by_name(self, motion):
        """Weights (S,) in the rig's order; 0 for shapes that the message does not name, NaN becomes 0."""
        names = tuple(motion.names)
        values = np.asarray(motion.weights, np.float32)
        if names != self._names:
            places = {name: place for place, name in enumerate(names)}
            self._names = names
            self._order = np.array([places.get(name, -1) for name in self.rig.shape_names], np.int64)
        if len(values) != len(names):
            return self._weights
        padded = np.append(values, np.float32(0))
        return np.nan_to_num(padded[self._order], nan=0.0, posinf=0.0, neginf=0.0).clip(0, 1)


def _light(normals):
    """Unit normals (V, 3) -> brightness (V,)."""
    light = np.full(len(normals), _AMBIENT, np.float32)
    for direction, strength in _LIGHTS:
        direction = np.asarray(direction, np.float32) / np.float32(np.linalg.norm(direction))
        light += np.float32(strength) * np.maximum(normals @ direction, 0)
    return light
