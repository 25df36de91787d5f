# SPDX-License-Identifier: Apache-2.0
"""A published (vertex) checkpoint in the lifecycle node: face_vertices are the frames of the library."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

import launch_pytest
import numpy as np
import pytest
from launch.launch_description import LaunchDescription

from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceModel, FaceVertices
from streamingtalker_ros.ros import qos
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker

# a mark, since a launch fixture cannot skip
pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "transformers"))),
    reason="torch or transformers, for vertex models, is not installed in ROS's Python",
)
DOMAIN = own_domain()
START = 1_700_000_000_000_000_000
SPOKEN_SECONDS = 2.0
LAST_CHUNK_FRAMES = 12  # completed by silence, or faded


@launch_pytest.fixture(scope="module")
def vertex_talker_launch() -> Iterator[LaunchDescription]:
    from support.published_model import convert_miniature

    with tempfile.TemporaryDirectory() as folder:
        yield launch_talker(DOMAIN, model=str(convert_miniature(Path(folder))), device="cpu")


@pytest.mark.launch(fixture=vertex_talker_launch)
def test_face_vertices_equal_the_frames_of_the_library(
    vertex_talker_launch: LaunchDescription, tmp_path: Path
) -> None:
    from streamingtalker_ros.model.vertex.streaming import VertexTalker
    from streamingtalker_ros.streaming.talker import load_talker
    from support.published_model import convert_miniature

    talker = load_talker(convert_miniature(tmp_path), "cpu")
    assert isinstance(talker, VertexTalker)
    template = talker.template
    pcm = voice(SPOKEN_SECONDS)
    frames = talker.open_stream().accept(pcm.astype(np.float32) / 32768)
    graph = Graph(DOMAIN)
    try:
        assert wait_for(lambda: graph.state() == "active", 60)
        assert graph.set(overload_after=10.0)[0].successful
        models = graph.subscribe(FaceModel, "face_model", qos=qos.LATCHED)
        vertices = graph.subscribe(FaceVertices, "face_vertices", qos=qos.VERTICES)
        graph.publish_audio(pcm, START)
        assert wait_for(lambda: len(vertices) >= len(frames) and models, 30)
        topics = {name for name, _ in graph.node.get_publisher_names_and_types_by_node("talker", "/")}
        counts = graph.counts()
    finally:
        graph.close()
    assert "/face_motion" not in topics and counts["family"] == "vertex"
    np.testing.assert_array_equal(np.reshape(models[0].vertices, (-1, 3)), y_up_to_ros(template))
    assert not models[0].shape_names and models[0].frame_rate == talker.frame_rate
    by_index = {message.frame: message for message in vertices}
    compared = 0
    for frame in frames[:-LAST_CHUNK_FRAMES]:
        message = by_index.get(frame.index)
        if message is None:  # best effort: a frame may be dropped
            continue
        compared += 1
        expected = y_up_to_ros(frame.vertices - template)
        np.testing.assert_allclose(np.reshape(message.offsets, (-1, 3)), expected, atol=1e-5)
        assert abs(stamp_to_ns(message.header.stamp) - START - frame.index * 1e9 / talker.frame_rate) <= 1000
    assert compared > 15
