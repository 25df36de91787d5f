# SPDX-License-Identifier: Apache-2.0
"""Lifecycle: a manager, two talkers of one graph, a killed talker, an audio source that disappears."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import pytest
import soundfile
from ament_index_python.packages import get_package_prefix
from launch_ros.actions import Node
from lifecycle_msgs.msg import Transition

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceMotion
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker

START = 1_700_000_000_000_000_000
FRAME = 40_000_000
MOUTH = [index for index, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth", "tongue"))]
DOMAIN = own_domain()
FIRST = Node(
    package="streamingtalker_ros",
    executable="talker",
    name="talker",
    respawn=True,
    respawn_delay=0.1,
    parameters=[{"overload_after": 10.0}],
)
PLAY = Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros" / "play"


@launch_pytest.fixture(scope="module")
def two_talkers() -> Any:
    """/talker, which is respawned when it exits, and /left/talker, which waits for a manager."""
    return launch_talker(DOMAIN, FIRST, namespace="left", autostart="false", device="cpu")


@pytest.fixture(scope="module")
def graph(two_talkers: Any) -> Iterator[Any]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


launched = pytest.mark.launch(fixture=two_talkers)


def expect(graph: Graph, frames: Any, start: int, count: int) -> None:
    """The next frames are numbers 0 to `count` at the audio's times."""
    assert wait_for(lambda: len(frames) >= count), f"{len(frames)} of {count} frames"
    assert [frame.frame for frame in frames[:count]] == list(range(count))
    stamps = [
        stamp_to_ns(frame.header.stamp) - start - FRAME * index for index, frame in enumerate(frames[:count])
    ]
    assert max(map(abs, stamps)) <= 1000


@launched
def test_a_manager_runs_all_transitions_twice(graph: Graph) -> None:
    talker, frames = "/left/talker", graph.subscribe(FaceMotion, "/left/face_motion")
    assert graph.state(talker) == "unconfigured"
    assert not graph.change(Transition.TRANSITION_ACTIVATE, talker), "not before it is configured"
    for attempt in range(2):
        assert graph.change(Transition.TRANSITION_CONFIGURE, talker) and graph.state(talker) == "inactive"
        assert graph.change(Transition.TRANSITION_ACTIVATE, talker) and graph.state(talker) == "active"
        frames.clear()
        start = START + attempt * 10**12
        graph.publish_audio(voice(0.4), start, namespace="/left")
        expect(graph, frames, start, 10)
        assert graph.change(Transition.TRANSITION_DEACTIVATE, talker) and graph.state(talker) == "inactive"
        assert graph.change(Transition.TRANSITION_CLEANUP, talker) and graph.state(talker) == "unconfigured"
        assert not graph.node.get_subscriptions_info_by_topic("/left/audio")
    names = {name for name, _ in graph.node.get_service_names_and_types()}
    assert "/left/talker/interrupt" not in names, "cleanup destroys what configure created"


@launched
def test_each_talker_receives_the_audio_of_its_namespace(graph: Graph) -> None:
    other = graph.subscribe(FaceMotion, "/left/face_motion")
    assert graph.change(Transition.TRANSITION_CONFIGURE, "/left/talker")
    assert graph.change(Transition.TRANSITION_ACTIVATE, "/left/talker")
    assert graph.set("/left/talker", overload_after=10.0)[0].successful  # a busy machine skips no frames
    graph.reset_talker()
    graph.publish_audio(voice(0.4), START)
    expect(graph, graph.frames, START, 10)
    assert not other
    graph.publish_audio(voice(0.4), START, namespace="/left")
    expect(graph, other, START, 10)
    assert wait_for(
        lambda: (
            {status.name for array in graph.diagnostics for status in array.status}
            >= {"talker", "left/talker"}
        )
    )


@launched
def test_a_killed_player_leaves_a_closed_mouth_and_the_next_audio_is_received(
    graph: Graph, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "voice.wav", voice(5.0), 16000)
    graph.reset_talker()
    player = subprocess.Popen(
        [PLAY, str(tmp_path / "voice.wav")],
        env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)},
        stderr=subprocess.DEVNULL,
    )
    assert wait_for(lambda: any(frame.speaking for frame in graph.frames), 60)
    player.send_signal(signal.SIGKILL)
    player.wait(10)
    previous_count = len(graph.frames)

    def is_at_rest() -> bool:
        late = graph.frames[previous_count + 10 :][-10:]
        mouths = [max(frame.weights[index] for index in MOUTH) for frame in late]
        return len(late) == 10 and max(mouths) == 0 and not any(frame.speaking for frame in late)

    assert wait_for(is_at_rest, 10), "idle frames with a closed mouth follow the received audio"
    previous_count = len(graph.frames)
    graph.publish_audio(voice(0.4), START)
    assert wait_for(lambda: any(frame.frame == 0 for frame in graph.frames[previous_count:]))
    first = next(
        index for index, frame in enumerate(graph.frames) if index >= previous_count and frame.frame == 0
    )
    expect(graph, graph.frames[first:] if wait_for(lambda: len(graph.frames) > first + 10) else [], START, 10)


@launched
def test_a_killed_talker_is_respawned_and_generates_frames(graph: Graph) -> None:
    graph.reset_talker()

    def subscription_ids() -> Any:
        """The participants that subscribe: the first twelve bytes of the endpoints' identifiers."""
        return {bytes(end.endpoint_gid)[:12] for end in graph.node.get_subscriptions_info_by_topic("/audio")}

    previous_ids = subscription_ids()
    os.kill(FIRST.process_details["pid"], signal.SIGKILL)
    assert wait_for(lambda: subscription_ids() - previous_ids), (
        "another talker subscribes, while the graph may still list the first"
    )
    graph.frames.clear()
    graph.publish_audio(voice(0.4), START)
    expect(graph, graph.frames, START, 10)
