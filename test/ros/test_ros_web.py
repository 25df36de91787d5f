# SPDX-License-Identifier: Apache-2.0
"""The web page watches the ROS 2 talker: it shows the frames of rclpy's node and plays its audio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ament_index_python.packages import get_package_prefix

from streamingtalker_ros import Talker
from support.processes import ProcessGroup
from support.ros_graph import VARIANT, Graph, own_domain, voice, wait_for

DOMAIN = own_domain()
TALKER = str(Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros" / "talker")
SIZE = (480, 480)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """start(*command): a process in the test's domain that is ended after the test."""
    for module in ("cyclonedds", "rosbags", "starlette", "uvicorn", "websockets"):
        pytest.importorskip(module, reason=f"{module} is not installed in ROS's Python")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    with ProcessGroup() as processes:
        yield processes.start


def test_the_page_shows_a_genuine_ros_talker(start: Callable[..., Any], tmp_path: Path) -> None:
    from streamingtalker_ros.web import assets
    from support.web_client import WebClient, running_server
    from tools.browser import chromium

    soundfile.write(tmp_path / "voice.wav", voice(4.0), 16000)
    graph = Graph(DOMAIN)
    try:
        with running_server(Talker.load(device="cpu"), domain=DOMAIN) as server, WebClient(server) as client:
            client.send(type="watch", epoch=1)
            client.wait_for_text("watching")
            page = browser = None
            if chromium.find() and assets.is_built():
                browser = chromium.Chromium(size=SIZE)
            try:
                if browser:
                    page = browser.open(server.address + "?detail=low", SIZE)
                    page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
                    page.click("#watch")
                    page.wait("app.source === 'watch'", 20)
                    page.run("app.view.poseLog = [], app.frameLog = [], 1")
                start(TALKER, "--ros-args", "-p", "overload_after:=10.0")  # a busy machine skips no frames
                assert wait_for(
                    lambda: graph.state() == "active"
                )  # the page subscribes too, so play would not wait for the talker
                start(
                    sys.executable,
                    "-m",
                    "streamingtalker_ros",
                    "play",
                    str(tmp_path / "voice.wav"),
                    "--lineage",
                    VARIANT,
                    "--wait",
                    "60",
                )
                assert wait_for(lambda: len(graph.frames) >= 60 and len(client.frames) >= 60, 90)
                _same(graph.frames, {frame["index"]: frame["weights"] for frame in client.frames[:60]})
                assert sum(len(block["samples"]) for block in client.audio) > 16000
                if page is not None:
                    page.wait("app.view.poseLog.length > 40 && app.frameLog.length > 60", 30)
                    shown = np.array(page.run("app.view.poseLog"))
                    assert np.ptp(shown[:, 1:], axis=0).max() > 0.05  # and the face moves
                    page.wait("page.plots.envelope.some(([, peak]) => peak > 0.05)", 20)
                    assert page.errors == []
            finally:
                if browser:
                    browser.close()
    finally:
        graph.close()


def _same(messages: Any, shown: Any) -> None:
    both = [message for message in messages if message.frame in shown][:40]
    assert len(both) >= 30
    for message in both:
        np.testing.assert_allclose(shown[message.frame], message.weights, atol=1e-6)
