# SPDX-License-Identifier: Apache-2.0
"""Pacing on a simulated clock that stands still: what is published does not depend on the machine's speed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from rosgraph_msgs.msg import Clock

from support.processes import ProcessGroup
from support.ros_graph import Graph, own_domain, voice, wait_for

TALKER = Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros" / "talker"
START = 1_700_000_000_000_000_000
SPOKEN_SECONDS = 2.0
PROMPT_FRAMES = 47  # the others wait for more audio until their look-ahead is complete


@pytest.fixture
def graph() -> Iterator[Graph]:
    domain = own_domain()
    graph = Graph(domain)
    with ProcessGroup() as processes:
        processes.start(
            str(TALKER),
            *("--ros-args", "-p", "use_sim_time:=true", "-p", "device:=cpu", "-p", "overload_after:=10.0"),
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        )
        yield graph
    graph.close()


def test_pacing_holds_frames_until_their_time_and_none_does_not(graph: Graph) -> None:
    clock = graph.node.create_publisher(Clock, "/clock", 10)
    assert wait_for(clock.get_subscription_count)

    def set_clock(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds
        clock.publish(message)

    set_clock(100)
    graph.reset_talker()
    graph.publish_audio(voice(SPOKEN_SECONDS), START, unpaced=True)
    assert wait_for(lambda: graph.frames, 60), "the first frame is due at once"
    for _ in range(3):
        counts = graph.counts()
    assert len(graph.frames) <= 2, f"the clock stands still, {counts}"
    set_clock(100 + round(2 * SPOKEN_SECONDS))
    assert wait_for(lambda: len(graph.frames) >= PROMPT_FRAMES, 60)

    assert graph.set(pacing="none")[0].successful
    graph.reset_talker()
    graph.publish_audio(voice(SPOKEN_SECONDS), START + 10**12, unpaced=True)
    assert wait_for(lambda: len(graph.frames) >= PROMPT_FRAMES, 60), "though the clock stands still"
    assert [frame.frame for frame in graph.frames[:PROMPT_FRAMES]] == list(range(PROMPT_FRAMES))
