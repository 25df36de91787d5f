# SPDX-License-Identifier: Apache-2.0
"""Frames and rigs are written into messages completely, with their stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging.face_messages import (
    MODEL_TYPE,
    MOTION_TYPE,
    VERTICES_TYPE,
    to_face_model,
    to_face_motion,
    to_face_vertices,
)
from streamingtalker_ros.messaging.header import stamp_to_ns

STAMP = 1_700_000_000_123_456_789


@dataclass(frozen=True)
class Frame:
    """A stamped frame of the blendshape family."""

    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    index: int = 7
    stamp: int = STAMP
    speaking: bool = True


FRAME = Frame(np.linspace(0, 1, 52, dtype=np.float32), np.array([0.1, 0.2, 0.3, 0.9], np.float32))


def test_face_motion_holds_names_weights_rotation_and_stamp() -> None:
    message = to_face_motion(message_types.message_class(MOTION_TYPE)(), FRAME, "head")
    message = type(message).deserialize(message.serialize())
    assert stamp_to_ns(message.header.stamp) == STAMP and message.header.frame_id == "head"
    assert (message.frame, tuple(message.names), message.speaking) == (7, ARKIT_NAMES, True)
    np.testing.assert_array_equal(message.weights, FRAME.weights)
    head = message.head
    np.testing.assert_array_equal(np.array([head.x, head.y, head.z, head.w], np.float32), FRAME.head)


def test_face_vertices_and_face_model_add_up_to_the_posed_rig() -> None:
    rig = default_rig()
    vertices = to_face_vertices(
        message_types.message_class(VERTICES_TYPE)(), FRAME, rig.offsets(FRAME.weights), "head"
    )
    model = to_face_model(message_types.message_class(MODEL_TYPE)(), rig, 25, "head", STAMP)
    assert (vertices.frame, stamp_to_ns(vertices.header.stamp)) == (7, STAMP)
    assert (model.frame_rate, stamp_to_ns(model.header.stamp)) == (25.0, STAMP)
    assert tuple(model.shape_names) == rig.shape_names
    posed = np.asarray(model.vertices, np.float32) + np.asarray(vertices.offsets, np.float32)
    np.testing.assert_allclose(posed.reshape(-1, 3), rig.pose(FRAME.weights), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(model.triangles).reshape(-1, 3), rig.triangles)
