# SPDX-License-Identifier: Apache-2.0
"""The page's other sources and faces in a real Chromium: a watched talker, the vertices of a published checkpoint."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("cyclonedds", reason="cyclonedds is not installed")

from streamingtalker_ros.audio.sources import paced_packets  # noqa: E402
from streamingtalker_ros.dds.audio_player import AudioSource  # noqa: E402
from streamingtalker_ros.dds.talker_node import TalkerNode  # noqa: E402
from streamingtalker_ros.runtime.parameters import TalkerParameters  # noqa: E402
from streamingtalker_ros.web import assets
from support.dds_domain import own_domain  # noqa: E402
from support.scheduler_harness import small_talker, voice  # noqa: E402
from support.web_client import Client, serving  # noqa: E402
from tools.browser import chromium  # noqa: E402

SIZE = (480, 667)


@pytest.fixture(scope="module")
def browser():
    if chromium.find() is None:
        pytest.skip("no Chromium is installed: `apt install chromium`, or name one with CHROMIUM=…")
    if not assets.is_built():
        pytest.skip(assets.NOT_BUILT)
    with chromium.Chromium(size=SIZE) as browser:
        yield browser


@pytest.fixture(scope="module")
def vertex_model(tmp_path_factory):
    """A small random network of the published kind, on a grid of triangles."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    from streamingtalker_ros.model.vertex import checkpoint, config
    from streamingtalker_ros.model.vertex.streaming import VertexTalker
    from support import vertex_reference as reference

    folder = tmp_path_factory.mktemp("published")
    reference.write_checkpoint(folder, reference.VOCASET)
    settings = config.read_yaml(
        folder / "config.yaml", config.read_hubert_json(folder / "hubert_config.json")
    )
    network = checkpoint.read_ckpt(folder / "checkpoint.ckpt", settings)
    rng = np.random.default_rng(0)
    network.template.copy_(
        torch.from_numpy(rng.standard_normal(tuple(network.template.shape)).astype(np.float32))
    )
    count = settings.vertices
    corner = np.arange(count - 2)
    network.triangles = torch.from_numpy(np.stack([corner, corner + 1, corner + 2], 1))
    return VertexTalker(network, chunk_frames=5, window=0.8, decode_frames=20)


def test_vertices_of_a_published_checkpoint_are_streamed(vertex_model, speech) -> None:
    """What the socket brings is the model's own motion, in our axes, to a 32767th of the largest offset."""
    pcm = np.round(speech[:32000] * 32767).astype(np.float32) / 32768
    stream = vertex_model.open_stream()
    frames = stream.accept(pcm)
    reference = np.stack([frame.vertices for frame in frames])[..., [2, 0, 1]]
    template = vertex_model.template[:, [2, 0, 1]]
    with serving(vertex_model, backlog_seconds=60.0) as server, Client(server) as client:
        hello = client.text("hello")
        assert hello["vertices"] and set(hello["controls"]) == {"seed"}
        client.speak(speech[:32000])
        assert client.wait(lambda: len(client.faces) >= len(frames)), (len(client.faces), len(frames))
        got = template + np.stack([frame["offsets"] for frame in client.faces[: len(frames)]])
        largest = np.abs(reference - template).max(axis=(1, 2))
        assert (np.abs(got - reference).max(axis=(1, 2)) < 1.2e-4 * largest + 1e-6).all()
        np.testing.assert_allclose(
            [frame["time"] for frame in client.faces[: len(frames)]],
            [frame.time for frame in frames],
            atol=1e-9,
        )


def test_vertices_of_a_published_checkpoint_move_the_page(browser, vertex_model) -> None:
    with serving(vertex_model) as server:
        page = browser.open(server.address + "?detail=low", SIZE)
        page.wait("app.view.shownFace === 'template' && app.timeline && app.timeline.newest", 60)
        page.run(
            "(() => { const s = app.view.faces.template.morphTargets; window.before = s.points.slice(); })()"
        )
        page.wait(
            """(() => { const s = app.view.faces.template.morphTargets; let most = 0;
            for (let i = 0; i < s.points.length; i++) most = Math.max(most, Math.abs(s.points[i] - window.before[i]));
            return most > 1e-3; })()""",
            30,
        )
        apart = page.run("""(() => {
            const f = app.timeline.newest, s = app.view.faces.template.morphTargets, rest = s.mesh.vertices;
            s.displace(f.offsets, f.scale);
            let most = 0;
            for (let v = 0; v < s.points.length; v += 3) for (const [to, from] of [[0, 1], [1, 2], [2, 0]])
              most = Math.max(most, Math.abs(s.points[v + to] - rest[v + to] - f.scale * f.offsets[v + from]));
            return most; })()""")
        assert apart < 1e-5 and page.errors == []
        page.close()


def test_the_page_watches_a_running_talker(browser, monkeypatch) -> None:
    """Frames and sound of the topics: shown, and heard from the page's own line."""
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    domain = own_domain()
    node = TalkerNode(TalkerParameters(device="cpu"), domain=domain, talker=small_talker())
    source = AudioSource(16000, domain=domain)
    try:
        with serving(small_talker(), domain=domain) as server:
            page = browser.open(server.address + "?detail=low", SIZE)
            page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
            page.click("#watch")
            page.wait(f"document.querySelector('#status').textContent.includes('domain {domain}')", 20)
            page.run("app.view.poseLog = [], 1")
            assert source.wait_for_subscriber(20, settle=1.0)
            samples = voice(3.0)
            speaker = threading.Thread(
                target=lambda: [source.publish(part, stamp) for stamp, part in paced_packets(samples, 16000)]
            )
            speaker.start()
            page.wait("app.view.poseLog.length > 30 && app.source === 'watch'", 30)
            page.wait("app.plots.envelope.some(([, peak]) => peak > 0.2)", 20)
            heard = page.run("""new Promise((resolve) => {
                const { delayLine, context } = app.audio.graph, gauge = new AnalyserNode(context);
                delayLine.connect(gauge);
                const values = new Float32Array(gauge.fftSize), end = performance.now() + 4000;
                let most = 0;
                const look = () => {
                  gauge.getFloatTimeDomainData(values);
                  for (const v of values) most = Math.max(most, Math.abs(v));
                  if (most > 0.1 || performance.now() > end) resolve(most); else setTimeout(look, 30);
                };
                look(); })""")
            speaker.join()
            assert heard > 0.1
            rows = np.array(page.run("app.view.poseLog"))
            assert np.ptp(rows[:, 0]) > 0.3 and np.ptp(rows[:, 1:], axis=0).max() > 0.01
            assert page.errors == []
            page.close()
    finally:
        source.close()
        node.close()
