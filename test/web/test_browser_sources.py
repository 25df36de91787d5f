# SPDX-License-Identifier: Apache-2.0
"""Further sources and faces of the page: a watched talker, vertex models, a face of the server."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.streaming.talker import load_talker
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.server import Server
from support.dds_domain import own_domain
from support.published_model import convert_miniature
from support.scheduler_harness import small_talker, voice
from support.web_client import WebClient, running_server
from support.web_page import open_page
from tools.browser.chromium import Chromium

WINDOW = (480, 480)


@pytest.fixture(scope="module")
def vertex_talker(tmp_path_factory: pytest.TempPathFactory) -> VertexTalker:
    """The published miniature as `streamingtalker convert` writes it, with a strip of triangles."""
    folder = convert_miniature(tmp_path_factory.mktemp("converted"))
    talker = load_talker(folder, "cpu")
    assert isinstance(talker, VertexTalker)
    return talker


def test_vertex_frames_equal_the_talkers_own(
    vertex_talker: VertexTalker, speech: npt.NDArray[np.float32]
) -> None:
    """In the package's axes, quantised to 1/32767 of the largest offset."""
    pcm = (np.round(speech[:32000] * 32767) / 32768).astype(np.float32)
    frames = vertex_talker.open_stream().accept(pcm)
    reference = y_up_to_ros(np.stack([frame.vertices for frame in frames]))
    template = y_up_to_ros(vertex_talker.template)
    with running_server(vertex_talker, backlog_seconds=60.0) as server, WebClient(server) as client:
        info = client.wait_for_text("hello")
        assert info["vertices"] and set(info["controls"]) == {"seed"}
        client.send_audio(speech[:32000])
        assert client.wait_until(lambda: len(client.frames) >= len(frames))
        received = client.frames[: len(frames)]
        vertices = template + np.stack([frame["offsets"] for frame in received])
        largest = np.abs(reference - template).max(axis=(1, 2))
        assert (np.abs(vertices - reference).max(axis=(1, 2)) < 1.2e-4 * largest + 1e-6).all()
        times = [frame.time for frame in frames]
        np.testing.assert_allclose([frame["time"] for frame in received], times, atol=1e-9)


@pytest.mark.browser
def test_a_published_checkpoint_moves_its_own_template(
    browser: Chromium, vertex_talker: VertexTalker
) -> None:
    with running_server(vertex_talker) as server:
        page = browser.open(server.address + "?detail=low", WINDOW)
        page.wait("app.view.shownFace === 'template' && app.timeline && app.timeline.newest", 60)
        vertices = page.run("Array.from(app.view.faces.template.mesh.vertices)")
        np.testing.assert_allclose(np.reshape(vertices, (-1, 3)), vertex_talker.template, atol=1e-6)
        page.run("window.before = app.view.faces.template.morphTargets.points.slice(), 1")
        page.click("#sample")  # without audio the face rests
        page.wait(
            """app.view.faces.template.morphTargets.points.some((value, i) =>
              Math.abs(value - window.before[i]) > 1e-4)""",
            30,
        )
        difference = page.run("""(() => {
            const { offsets, scale } = app.timeline.newest, { morphTargets, mesh } = app.view.faces.template;
            morphTargets.displace(offsets, scale);
            let largest = 0;
            for (let v = 0; v < mesh.vertices.length; v += 3) {
              for (const [to, from] of [[0, 1], [1, 2], [2, 0]]) {
                const expected = mesh.vertices[v + to] + scale * offsets[v + from];
                largest = Math.max(largest, Math.abs(morphTargets.points[v + to] - expected));
              }
            }
            return largest; })()""")
        assert difference < 1e-5 and page.errors == []
        page.close()


@pytest.mark.browser
def test_a_face_of_the_server_is_shown_in_place_of_the_default(
    browser: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People whose heads have been built are offered, and shown when they are chosen."""
    people = {name: tmp_path / f"{name}.glb" for name in ("maya", "kofi")}
    for path in people.values():
        path.write_bytes(write_glb(default_rig()))
    monkeypatch.setattr("streamingtalker_ros.web.app.prepared_faces", lambda: people)
    talker: TalkerProtocol = small_talker()
    with Server(WebContext(talker, warn=lambda message: None, face=people["maya"])).background() as server:
        page = browser.open(server.address + "?detail=low", WINDOW)
        page.wait("app.view.shownFace === 'avatar' && app.timeline && app.timeline.newest", 60)
        assert page.run("app.view.faces.avatar.targets.length") == 52
        choice = "document.querySelector('#face-choice')"
        page.wait(f"{choice}.options.length === 3")
        assert page.run(f"{choice}.selectedOptions[0].textContent") == "maya"
        page.run(f"{choice}.value = 'person:kofi', {choice}.dispatchEvent(new Event('change')), 1")
        page.wait(
            f"app.view.faces.avatar.name === 'kofi' && {choice}.selectedOptions[0].textContent === 'kofi'", 60
        )
        assert page.errors == []
        page.close()


@pytest.mark.browser
def test_a_watched_talker_is_shown_and_its_audio_played(
    browser: Chromium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    domain = own_domain()
    node = TalkerNode(TalkerParameters(device="cpu"), domain=domain, talker=small_talker())
    source = AudioPublisher(16000, domain=domain)
    try:
        with running_server(small_talker(), domain=domain) as server:
            page = open_page(browser, server, WINDOW, "low")
            page.click("#watch")
            page.wait(f"document.querySelector('#status').textContent.includes('domain {domain}')", 20)
            page.run("app.view.poseLog = [], 1")
            assert source.wait_for_subscriber(20, settling_time=1.0)
            samples = voice(3.0)

            def publish() -> None:
                for stamp, packet in paced_packets(samples, 16000):
                    source.publish(packet, stamp)

            publisher = threading.Thread(target=publish)
            publisher.start()
            page.wait("app.view.poseLog.length > 30 && app.source === 'watch'", 30)
            page.wait("page.plots.envelope.some(([, peak]) => peak > 0.2)", 20)
            loudest = page.run("""new Promise((resolve) => {
                const { delayLine, context } = app.audio.graph, analyser = new AnalyserNode(context);
                delayLine.connect(analyser);
                const values = new Float32Array(analyser.fftSize), end = performance.now() + 4000;
                let peak = 0;
                const poll = () => {
                  analyser.getFloatTimeDomainData(values);
                  for (const value of values) peak = Math.max(peak, Math.abs(value));
                  if (peak > 0.1 || performance.now() > end) resolve(peak); else setTimeout(poll, 30);
                };
                poll(); })""")
            publisher.join()
            assert loudest > 0.1
            poses = np.array(page.run("app.view.poseLog"))
            assert np.ptp(poses[:, 0]) > 0.3 and np.ptp(poses[:, 1:], axis=0).max() > 0.01
            assert page.errors == []
            page.close()
    finally:
        source.close()
        node.close()
