# SPDX-License-Identifier: Apache-2.0
"""A published (vertex) checkpoint in the node without ROS: messages, markers, diagnostics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.markers_node import FaceMarkersNode
from streamingtalker_ros.dds.node import DdsNode, matched_writers
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.messaging.face_messages import MODEL_TYPE, MOTION_TYPE, VERTICES_TYPE
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import load_talker
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE
from support.dds_domain import own_domain
from support.published_model import VERTEX_COUNT, convert_miniature
from support.scheduler_harness import floats, voice
from support.waiting import wait_for

SPOKEN_SECONDS = 2.0
CROSSFADE_AND_LAST_CHUNK = 12  # frames at the end that silence may complete


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> TalkerParameters:
    folder = convert_miniature(tmp_path_factory.mktemp("converted"))
    return TalkerParameters(model=str(folder), device="cpu", overload_after=10.0, idle_after=0.5)


@pytest.fixture(scope="module")
def talker(parameters: TalkerParameters) -> TalkerProtocol:
    return load_talker(parameters)


class Session:
    """Messages of one utterance of the node: by topic, with the talker's node still there."""

    def __init__(self, parameters: TalkerParameters, talker: TalkerProtocol) -> None:
        domain = own_domain()
        self.node = TalkerNode(parameters, "", domain, talker, warn=print)
        self.markers = FaceMarkersNode(domain=domain)
        self.peer = DdsNode("peer", "", domain)
        self.messages: dict[str, list[Any]] = {}
        self.motion = self._listen("face_motion", MOTION_TYPE)
        self._listen("face_model", MODEL_TYPE, depth=1, latched=True)
        vertices = self._listen("face_vertices", VERTICES_TYPE, depth=1000, reliable=False)
        self._listen("face_markers", MARKER_TYPE)
        self._listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        self.peer.start()
        source = AudioPublisher(16000, domain=domain)
        assert source.wait_for_subscriber(10) and wait_for(lambda: matched_writers(vertices.reader))
        for stamp, packet in paced_packets(voice(SPOKEN_SECONDS), 16000):
            source.publish(packet, stamp)
        frames = round(SPOKEN_SECONDS * talker.frame_rate)
        assert wait_for(lambda: len(self.messages["face_vertices"]) >= frames)
        assert wait_for(lambda: self.messages["/diagnostics"])
        assert wait_for(
            lambda: [marker for marker in self.messages["face_markers"] if len(marker.points) == 66]
        )
        source.close()

    def _listen(self, topic: str, type_name: str, **qos: Any) -> Any:
        received = self.messages.setdefault(topic, [])
        return self.peer.create_subscription(topic, type_name, received.append, self.peer.qos(**qos))

    def close(self) -> None:
        self.peer.close()
        self.markers.close()
        self.node.close()


@pytest.fixture(scope="module")
def session(parameters: TalkerParameters, talker: TalkerProtocol) -> Iterator[Session]:
    session = Session(parameters, talker)
    yield session
    session.close()


def expected_vertices(talker: TalkerProtocol) -> npt.NDArray[np.float32]:
    """(T, V, 3) of the library, in the axes of the messages."""
    stream = talker.open_stream()
    frames = stream.accept(floats(voice(SPOKEN_SECONDS)))
    return y_up_to_ros(np.stack([getattr(frame, "vertices") for frame in frames]))  # noqa: B009 either family


def test_face_vertices_equal_the_frames_of_the_library(session: Session, talker: TalkerProtocol) -> None:
    expected = expected_vertices(talker)
    assert len(expected) > 30
    assert talker.template is not None
    template = y_up_to_ros(talker.template)
    messages = session.messages["face_vertices"]
    assert [message.frame for message in messages[: len(expected)]] == list(range(len(expected)))
    for message, vertices in zip(messages, expected[:-CROSSFADE_AND_LAST_CHUNK], strict=False):
        offsets = np.reshape(message.offsets, (VERTEX_COUNT, 3))
        np.testing.assert_allclose(template + offsets, vertices, atol=1e-5)
    period = 1e9 / talker.frame_rate
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in messages]
    np.testing.assert_allclose(np.diff(stamps[: len(expected)]), period, atol=1e3)


def test_face_model_is_the_template_of_the_checkpoint(session: Session, talker: TalkerProtocol) -> None:
    (model,) = session.messages["face_model"]
    assert talker.template is not None and talker.triangles is not None
    np.testing.assert_array_equal(np.reshape(model.vertices, (-1, 3)), y_up_to_ros(talker.template))
    np.testing.assert_array_equal(np.reshape(model.triangles, (-1, 3)), talker.triangles)
    assert model.frame_rate == talker.frame_rate and not len(model.shape_names)


def test_a_vertex_talker_does_not_publish_face_motion(session: Session) -> None:
    assert session.node.topics == ["/face_vertices"]
    assert not session.messages["face_motion"] and not matched_writers(session.motion.reader)


def test_diagnostics_state_the_family(session: Session) -> None:
    status = session.messages["/diagnostics"][-1].status[0]
    assert {item.key: item.value for item in status.values}["family"] == "vertex"


def test_the_markers_are_the_mesh_that_face_vertices_moves(session: Session, talker: TalkerProtocol) -> None:
    meshes = [marker for marker in session.messages["face_markers"] if len(marker.points) == 66]
    assert meshes[0].header.frame_id == "head"
    by_stamp = {
        (message.header.stamp.sec, message.header.stamp.nanosec): message
        for message in session.messages["face_vertices"]
    }
    assert talker.template is not None and talker.triangles is not None
    compared = 0
    for marker in meshes:
        message = by_stamp.get((marker.header.stamp.sec, marker.header.stamp.nanosec))
        if message is None:
            continue
        compared += 1
        vertices = y_up_to_ros(talker.template) + np.reshape(message.offsets, (-1, 3))
        points = [(point.x, point.y, point.z) for point in marker.points]
        np.testing.assert_allclose(points, vertices[talker.triangles.ravel()], atol=1e-6)
    assert compared
