# SPDX-License-Identifier: Apache-2.0
"""Face markers: their bytes equal a Marker filled field by field, and they are sent when they are due."""

from __future__ import annotations

import struct
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.cli.markers_preview import triangles
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.markers_node import TF_TYPE, FaceMarkersNode
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import rotation_matrix
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from streamingtalker_ros.messaging.header import set_header, stamp_to_ns
from streamingtalker_ros.rviz.marker_cdr import COLOR_TYPE, MARKER_TYPE, POINT_TYPE, SerializedMarker
from streamingtalker_ros.rviz.markers import (
    DYNAMIC_ID,
    STATIC_ID,
    STATIC_PERIOD_S,
    FaceMarkers,
    MarkerBuilder,
)
from support.dds_domain import own_domain
from support.face_motion import face_motion, shape_weights
from support.waiting import wait_for

STAMP = 1_700_000_000_123_456_789
TURNED = np.array([0.02, 0.1, 0.2, 0.97]) / np.linalg.norm([0.02, 0.1, 0.2, 0.97])
AHEAD = np.array([0.0, 0.0, 0.0, 1.0])
EXPRESSION = shape_weights(jawOpen=0.7, eyeBlinkLeft=0.4, mouthSmileRight=0.5)


def serialize(message: Any) -> bytes:
    return message.serialize()


def deserialize(marker: bytes) -> Any:
    return message_types.message_class(MARKER_TYPE).deserialize(marker)


def motion(weights: npt.ArrayLike = EXPRESSION, stamp: int = STAMP, **fields: Any) -> Any:
    return face_motion(weights, stamp, **fields)


def stamp_of(marker: bytes) -> int:
    seconds, nanoseconds = struct.unpack_from("<iI", marker, 4)
    return seconds * 10**9 + nanoseconds


def ids(markers: list[bytes]) -> list[int]:
    return [deserialize(marker).id for marker in markers]


@pytest.fixture(scope="module")
def builder() -> MarkerBuilder:
    return MarkerBuilder(default_rig(), message_types.message_class, serialize)


@pytest.fixture(scope="module")
def small_rig() -> Rig:
    """A sphere for what does not depend on the face; its upper third never moves."""
    return sphere_rig(6, 12, still=24)


@pytest.fixture
def face_markers(small_rig: Rig) -> FaceMarkers:
    return FaceMarkers(small_rig, message_types.message_class, serialize, rate=25.0)


def sphere_rig(rows: int, columns: int, still: int = 0) -> Rig:
    """Return a sphere of rows x columns vertices, all of which move but for the first ones, `still`."""
    v, u = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rows), np.linspace(0, 2 * np.pi, columns, False), indexing="ij"
    )
    vertices = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1).reshape(-1, 3) * 0.1
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1], np.roll(index, -1, axis=1)[:-1]
    c, d = index[1:], np.roll(index, -1, axis=1)[1:]
    faces = np.concatenate([np.stack([a, c, d], -1).reshape(-1, 3), np.stack([a, d, b], -1).reshape(-1, 3)])
    deltas = np.random.default_rng(0).normal(0, 1e-3, (52, len(vertices), 3))
    deltas[:, :still] = 0.0
    return Rig(
        "sphere",
        vertices.astype(np.float32),
        faces.astype(np.uint32),
        ARKIT_NAMES,
        deltas.astype(np.float32),
        {},
        {},
        np.full((len(vertices), 3), 0.8, np.float32),
    )


def test_the_bytes_equal_a_marker_filled_field_by_field() -> None:
    marker = SerializedMarker(message_types.message_class, serialize, 2, "face", 3, "a frame")
    random = np.random.default_rng(0)
    marker.points[:], marker.colors[:] = random.random((6, 3)), random.random((6, 4))
    marker.set_stamp(STAMP)
    message = message_types.message_class(MARKER_TYPE)()
    set_header(message.header, STAMP, "a frame")
    message.ns, message.id, message.type, message.frame_locked = "face", 3, 11, True
    message.pose.orientation.w = message.scale.x = message.scale.y = message.scale.z = message.color.a = 1.0
    point, color = message_types.message_class(POINT_TYPE), message_types.message_class(COLOR_TYPE)
    message.points = [point(x=x, y=y, z=z) for x, y, z in marker.points.tolist()]
    message.colors = [color(r=r, g=g, b=b, a=a) for r, g, b, a in marker.colors.tolist()]
    is_equal = marker.to_bytes() == serialize(message)  # without pytest's diff of two long byte strings
    assert is_equal


def test_a_serializer_of_another_encoding_is_rejected() -> None:
    with pytest.raises(TalkerError, match="little-endian CDR"):
        SerializedMarker(
            message_types.message_class,
            lambda message: b"\0\0" + serialize(message)[2:],
            1,
            "face",
            0,
            "face",
        )


@pytest.mark.parametrize(("face", "head"), [("sphere", AHEAD), ("default", TURNED)])
def test_both_markers_rotated_by_the_transform_equal_the_posed_rig(
    builder: MarkerBuilder, small_rig: Rig, face: str, head: npt.NDArray[np.float64]
) -> None:
    rig = default_rig()
    if face == "sphere":
        rig = small_rig
        builder = MarkerBuilder(rig, message_types.message_class, serialize)
    dynamic, static = builder.dynamic(EXPRESSION, head, STAMP), builder.static(STAMP)
    assert static is not None
    corners = np.concatenate([triangles(dynamic)[0], triangles(static)[0]])
    rotated = (corners - rig.pivot) @ rotation_matrix(head).T + rig.pivot
    expected = rig.pose(EXPRESSION, head)[rig.triangles]
    assert len(rotated) == len(expected)

    def sort(corners: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return corners[np.lexsort(np.round(corners.reshape(-1, 9).astype(np.float64), 4).T)]

    assert np.abs(sort(rotated) - sort(expected)).max() < 1e-5
    for serialized, marker_id in ((dynamic, DYNAMIC_ID), (static, STATIC_ID)):
        marker = deserialize(serialized)
        assert (marker.id, marker.type, marker.header.frame_id) == (marker_id, 11, "face")
        assert stamp_to_ns(marker.header.stamp) == STAMP
        assert len(marker.colors) == len(marker.points) and marker.colors[0].a == 1.0


def test_lighting_follows_the_shape_of_the_face(builder: MarkerBuilder) -> None:
    _, rest = triangles(builder.dynamic(shape_weights(), AHEAD, STAMP))
    _, expression = triangles(builder.dynamic(EXPRESSION, AHEAD, STAMP))
    assert rest.std() > 0.1 and rest.min() >= 0 and rest.max() <= 1
    assert np.abs(rest - expression).max() > 0.1


def test_colours_are_continuous_where_the_static_marker_meets_the_dynamic_one(builder: MarkerBuilder) -> None:
    colors_at: dict[tuple[float, ...], list[npt.NDArray[np.float32]]] = {}
    static = builder.static(STAMP)
    assert static is not None
    for marker in (builder.dynamic(shape_weights(), AHEAD, STAMP), static):
        points, colors = triangles(marker)
        for point, color in zip(points.reshape(-1, 3), colors.reshape(-1, 3), strict=True):
            colors_at.setdefault(tuple(np.round(point, 5)), []).append(color)
    difference = np.array([np.ptp(np.array(colors), axis=0).max() for colors in colors_at.values()])
    assert np.mean(difference > 0.02) < 0.02 and len(difference) <= len(default_rig().vertices)


def test_a_face_of_5000_vertices_is_built_within_its_time_budget() -> None:
    """Ten times the duration on an idle machine (`tools/benchmarks/markers.py`), since cores are shared."""
    rig = sphere_rig(50, 100)
    builder = MarkerBuilder(rig, message_types.message_class, serialize)
    assert builder.static(0) is None
    times, marker = [], b""
    for _ in range(20):
        start = time.perf_counter()
        marker = builder.dynamic(EXPRESSION, AHEAD, STAMP)
        times.append(time.perf_counter() - start)
    assert sorted(times)[5] < 0.03
    assert len(triangles(marker)[0]) == len(rig.triangles) == builder.dynamic_triangles


def test_nothing_is_built_without_subscribers(
    face_markers: FaceMarkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    face_markers.on_motion(motion())
    monkeypatch.setattr(MarkerBuilder, "dynamic", lambda *_: pytest.fail("built without subscribers"))
    assert face_markers.markers(10.0, STAMP, 0) == []


def test_the_dynamic_marker_is_sent_at_its_rate_with_the_newest_motion_and_the_static_one_once_a_second(
    face_markers: FaceMarkers,
) -> None:
    face_markers.on_motion(motion())
    assert ids(face_markers.markers(10.0, STAMP, 1)) == [DYNAMIC_ID, STATIC_ID]
    sent: list[tuple[int, bytes]] = []
    for frame in range(1, 101):  # 100 frames per second against a rate of 25
        face_markers.on_motion(motion(stamp=STAMP + frame * 10_000_000))
        sent += [(frame, marker) for marker in face_markers.markers(10.0 + frame / 100, STAMP, 1)]
    dynamic = [(frame, marker) for frame, marker in sent if ids([marker]) == [DYNAMIC_ID]]
    assert 24 <= len(dynamic) <= 28 and len(sent) - len(dynamic) == 1
    assert all(stamp_of(marker) == STAMP + frame * 10_000_000 for frame, marker in dynamic)


def test_a_motion_that_arrives_too_early_is_shown_later_and_once(face_markers: FaceMarkers) -> None:
    face_markers.on_motion(motion())
    face_markers.markers(10.0, STAMP, 1)
    face_markers.on_motion(motion(stamp=STAMP + 1))
    assert ids(face_markers.markers(10.01, STAMP, 1)) == []
    assert ids(face_markers.markers(10.04, STAMP, 1)) == [DYNAMIC_ID]
    assert ids(face_markers.markers(10.08, STAMP, 1)) == []


def test_a_new_subscriber_receives_both_markers_at_once(face_markers: FaceMarkers) -> None:
    face_markers.on_motion(motion())
    face_markers.markers(10.0, STAMP, 1)
    assert ids(face_markers.markers(10.3, STAMP, 2)) == [DYNAMIC_ID, STATIC_ID]


def test_a_face_without_motion_is_shown_at_rest(face_markers: FaceMarkers) -> None:
    markers = face_markers.markers(10.0, STAMP, 1)
    assert ids(markers) == [DYNAMIC_ID, STATIC_ID] and stamp_of(markers[0]) == STAMP
    assert ids(face_markers.markers(10.5, STAMP, 1)) == []
    assert ids(face_markers.markers(10.0 + STATIC_PERIOD_S, STAMP, 1)) == [DYNAMIC_ID, STATIC_ID]


def test_shapes_are_matched_by_name(face_markers: FaceMarkers, small_rig: Rig) -> None:
    builder = MarkerBuilder(small_rig, message_types.message_class, serialize)
    order = np.random.default_rng(0).permutation(52)
    face_markers.on_motion(motion(EXPRESSION[order], names=[ARKIT_NAMES[i] for i in order]))
    expected = triangles(builder.dynamic(EXPRESSION, AHEAD, STAMP))[0]
    np.testing.assert_array_equal(triangles(face_markers.markers(10.0, STAMP, 1)[0])[0], expected)
    face_markers.on_motion(motion(np.ones(1), names=["jawOpen"], head=(0, 0, 0, 0)))
    expected = triangles(builder.dynamic(shape_weights(jawOpen=1.0), AHEAD, STAMP))[0]
    np.testing.assert_array_equal(triangles(face_markers.markers(11.0, STAMP, 1)[0])[0], expected)


@pytest.mark.parametrize(
    "broken",
    [
        motion(shape_weights(jawOpen=np.nan, mouthClose=np.inf), head=(np.nan, 0, 0, 0)),
        motion(EXPRESSION[:3]),  # fewer weights than names
    ],
)
def test_a_broken_motion_yields_finite_points(face_markers: FaceMarkers, broken: Any) -> None:
    face_markers.on_motion(motion())
    face_markers.on_motion(broken)
    assert np.isfinite(triangles(face_markers.markers(10.0, STAMP, 1)[0])[0]).all()


def test_the_transform_rotates_about_the_neck(face_markers: FaceMarkers, small_rig: Rig) -> None:
    message = face_markers.on_motion(motion(head=2 * TURNED, frame_id="robot_head"))
    transform = message.transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("robot_head", "face")
    rotation, shift = transform.transform.rotation, transform.transform.translation
    np.testing.assert_allclose([rotation.x, rotation.y, rotation.z, rotation.w], TURNED)
    pivot = small_rig.pivot
    moved = rotation_matrix(TURNED) @ pivot + np.array([shift.x, shift.y, shift.z])
    np.testing.assert_allclose(moved, pivot, atol=1e-6)


def test_without_rotation_the_markers_are_in_the_frame_of_the_motion(small_rig: Rig) -> None:
    rig = small_rig
    face_markers = FaceMarkers(rig, message_types.message_class, serialize, rotate=False)
    assert face_markers.on_motion(motion(head=TURNED, frame_id="robot_head")) is None
    markers = face_markers.markers(10.0, STAMP, 1)
    assert {deserialize(marker).header.frame_id for marker in markers} == {"robot_head"}
    corners = np.sort(np.concatenate([triangles(marker)[0] for marker in markers]), axis=None)
    assert np.abs(corners - np.sort(rig.pose(EXPRESSION)[rig.triangles], axis=None)).max() < 1e-5


def test_a_dds_node_publishes_the_motion_that_it_receives() -> None:
    domain = own_domain()
    node = FaceMarkersNode(domain=domain)
    received = SimpleNamespace(markers=[], transforms=[])
    peer = DdsNode("peer", "", domain)
    try:
        peer.create_subscription("face_markers", MARKER_TYPE, received.markers.append, peer.qos(depth=10))
        peer.create_subscription("/tf", TF_TYPE, received.transforms.append, peer.qos(depth=10))
        writer = peer.create_publisher("face_motion", MOTION_TYPE)
        peer.start()
        assert wait_for(lambda: len(received.markers) >= 2), "the face at rest, for the first subscriber"
        assert wait_for(lambda: matched_readers(writer) == 1)
        writer.write(motion(head=TURNED))
        assert wait_for(
            lambda: [marker for marker in received.markers if stamp_to_ns(marker.header.stamp) == STAMP]
        )
        assert received.transforms and node.dropped == 0
    finally:
        peer.close()
        node.close()
