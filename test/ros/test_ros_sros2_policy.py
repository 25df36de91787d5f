# SPDX-License-Identifier: Apache-2.0
"""config/sros2_policy.xml allows the ROS nodes the topics and services that they use, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import launch_pytest
import pytest
from launch.actions import SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node

from streamingtalker_ros.resources import DEMO_AUDIO
from support.ros_graph import Graph, own_domain, wait_for
from support.sros2_policy import AllowedNames, action_names, read_policy
from support.tts_command import command

DOMAIN = own_domain()
NODES = {
    "talker": {
        "executable": "talker",
        "parameters": [{"device": "cpu", "publish_vertices": True, "tts_command": command("silent")}],
    },
    "head_driver": {"executable": "head_driver", "parameters": [{"head": "jaw"}]},
    "face_markers": {"executable": "face_markers"},
    "audio_source": {"executable": "play", "arguments": [str(DEMO_AUDIO), "--loop"]},
}
CONDITIONAL = {
    "/clock",  # with use_sim_time
    "/tf",  # after the first gaze target of another frame
    "/tf_static",
    "/joint_states",  # with feedback in the head's file
    "/face_vertices",  # markers: after the model of a vertex talker
    "/audio_info",  # ros-drivers' variant
    "/partner_audio_info",
    "/audio_synced_info",
    *action_names({"/tts_engine/tts"}),  # where tts_msgs is sourced
}


@launch_pytest.fixture(scope="module")
def nodes_launch() -> Any:
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            *(Node(package="streamingtalker_ros", output="screen", **options) for options in NODES.values()),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.fixture(scope="module")
def graph(nodes_launch: Any) -> Iterator[Graph]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


def used_names(graph: Graph, node: str) -> AllowedNames:
    """Return what a node uses at present."""
    peer = graph.node
    try:
        return AllowedNames(
            {name for name, _ in peer.get_publisher_names_and_types_by_node(node, "/")},
            {name for name, _ in peer.get_subscriber_names_and_types_by_node(node, "/")},
            {name for name, _ in peer.get_service_names_and_types_by_node(node, "/")},
        )
    except Exception:  # the node is not there yet
        return AllowedNames()


@pytest.mark.launch(fixture=nodes_launch)
@pytest.mark.parametrize("node", NODES)
def test_policy_lists_what_the_node_uses(graph: Graph, node: str) -> None:
    allowed = read_policy()[node]

    def differences() -> list[set[str]]:
        used = used_names(graph, node)
        return [
            (allowed.publish - CONDITIONAL) ^ (used.publish - CONDITIONAL),
            (allowed.subscribe - CONDITIONAL) ^ (used.subscribe - CONDITIONAL),
            (allowed.reply - CONDITIONAL) ^ (used.reply - CONDITIONAL),
            used.reply - allowed.reply,
            (used.publish - allowed.publish) | (used.subscribe - allowed.subscribe),
        ]

    wait_for(lambda: not any(differences()), 60)
    assert not any(differences()), differences()
