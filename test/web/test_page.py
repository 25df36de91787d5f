# SPDX-License-Identifier: Apache-2.0
"""The page in a real Chromium: it loads without a word of complaint, the mouth follows the file, sound and face stay
together, the microphone comes through, recordings are what was shown, and it comes back when the server does."""

import base64
import dataclasses
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="torch is not installed")

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.cli.animate import animate
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.formats.livelink import read_livelink_csv
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import assets
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.server import Server
from support.scheduler_harness import small_talker
from support.web_client import Client, serving
from tools.browser import chromium

SECONDS = 20.0  # of speech in which sound and face must stay together
SIZE = (480, 667)  # its picture is 480 x 360
SHAPES = {name: name for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight")}
READY = "app.serverInfo && app.timeline && app.timeline.newest"


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    if chromium.find() is None:
        pytest.skip("no Chromium is installed: `apt install chromium`, or name one with CHROMIUM=…")
    if not assets.is_built():
        pytest.skip(assets.NOT_BUILT)


@pytest.fixture(scope="module")
def wav(tmp_path_factory, voice_path):
    """Twenty seconds of the demo's voice, over and over, with a pause after each."""
    pcm, rate = read_audio(voice_path)
    path = tmp_path_factory.mktemp("page") / "speech.wav"
    once = np.concatenate([pcm, np.zeros(rate // 2, np.float32)])
    soundfile.write(path, np.resize(once, round(SECONDS * rate)), rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def server(talker):
    """It never leaves old audio out: what a busy machine shows late is right all the same."""
    with serving(talker, max_sessions=24, backlog_seconds=60.0) as server:
        yield server


@pytest.fixture(scope="module")
def browser(wav):
    with chromium.Chromium(microphone=wav, size=SIZE) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, server):
    page = browser.open(server.address + "?detail=low", SIZE)
    page.wait(READY, 60)
    return page


@pytest.fixture(scope="module")
def spoken(page, wav):
    """What the page showed while it spoke the file: {trace: rows of [time, weights], log: rows of [now, time, ms
    apart], rate: pictures a second, still, moving: pictures of the mouth}."""
    page.run("app.view.metrics.log = {images: [], frames: []}, app.view.poseLog = [], 1")
    page.choose_file("#pick-audio", wav)
    page.wait("app.source === 'file' && app.timeline.newest")
    moving = page.run("""new Promise((resolve) => { const { pose, index } = app.view, look = () => {
        if (app.source === 'file' && pose.weights[index.jawOpen] < 0.2) return requestAnimationFrame(look);
        app.view.scene.render(); resolve(app.view.scene.canvas.toDataURL()); }; look(); })""")
    page.wait("app.source === null", SECONDS + 40, interval=0.3)
    shown = page.run("JSON.stringify({log: app.view.metrics.log.images, trace: app.view.poseLog})", 60)
    page.run("app.view.metrics.log = app.view.poseLog = null, 1")
    time.sleep(0.5)
    still = page.run("(app.view.scene.render(), app.view.scene.canvas.toDataURL())")
    out = json.loads(shown)
    out |= {"trace": np.array(out["trace"]), "log": np.array(out["log"]), "moving": moving, "still": still}
    out["log"] = out["log"][out["log"][:, 1] < SECONDS - 0.2]
    out["rate"] = len(out["log"]) / np.ptp(out["log"][:, 0]) * 1000
    return out


def image(address):
    picture = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    return np.asarray(
        picture.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"), float
    )


def test_it_loads_without_complaint_and_fetches_nothing_from_elsewhere(page, server) -> None:
    assert page.errors == []
    own = (server.origin, server.origin.replace("http", "ws"), "data:", "blob:")
    assert all(address.startswith(own) for address in page.fetched)
    assert page.run("document.querySelector('#connection').className") == "on"
    assert page.run("[app.view.scene.canvas.width, app.view.scene.canvas.height]")[1] == 360


def test_the_page_moves_the_face_as_the_rig_does(page) -> None:
    """Vertices of the page's own arithmetic, for random weights and a turned head."""
    rng, rig = np.random.default_rng(0), default_rig()
    for _ in range(2):
        weights = (rng.random(52) * (rng.random(52) < 0.4)).astype(np.float32)
        head = rng.standard_normal(4) * 0.1 + (0, 0, 0, 1)
        given = page.run(f"""(() => {{ const s = app.view.faces.default.morphTargets;
            s.pose(new Float32Array({weights.tolist()}), {head.tolist()}); return Array.from(s.points); }})()""")
        points = np.array(given, np.float32).reshape(-1, 3)[:, [2, 0, 1]]  # the picture's axes -> ours
        np.testing.assert_allclose(points, rig.pose(weights, head / np.linalg.norm(head)), atol=2e-6)


def test_the_mouth_follows_the_file(spoken, wav) -> None:
    """Weights shown on the page against those of `streamingtalker animate`, shape by shape."""
    motion = animate(Talker.load(device="cpu"), to_16k(*read_audio(wav)))
    trace = spoken["trace"][(spoken["trace"][:, 0] > 0.3) & (spoken["trace"][:, 0] < SECONDS - 0.3)]
    assert len(trace) > 40
    alike = {}
    for k, name in enumerate(ARKIT_NAMES):
        reference = np.interp(trace[:, 0], motion.times, motion.weights[:, k])
        if reference.std() > 0.02 and name.startswith(("jaw", "mouth")):
            alike[name] = np.corrcoef(reference, trace[:, 1 + k])[0, 1]
    assert len(alike) >= 5
    # pictures come when the machine has time for them: a shape that jumps within a frame suffers most
    assert np.median(list(alike.values())) > 0.98 and min(alike.values()) > 0.85, alike


def test_sound_and_face_stay_together(spoken) -> None:
    """At every picture after the first second, by the page's own clocks; but for the second after a stall, in which the
    machine gave the browser no time to draw."""
    if spoken["rate"] < 24:
        pytest.skip(f"this machine draws {spoken['rate']:.0f} pictures a second, too few to tell")
    log = spoken["log"][spoken["log"][:, 1] > 1.0]
    apart, stalls = np.abs(log[:, 2]), log[1:, 0][np.diff(log[:, 0]) > 60]
    shaken = ((log[:, :1] >= stalls - 100) & (log[:, :1] < stalls + 1000)).any(axis=1)
    if shaken.mean() > 0.5:
        pytest.skip(f"this machine stalls: {len(stalls)} times in {SECONDS:g} s no picture for 60 ms")
    assert apart[~shaken].max() <= 40, (
        f"{apart.max():.0f} ms at {spoken['rate']:.0f} pictures/s, {len(stalls)} stalls"
    )


def test_the_picture_changes_between_silence_and_speech(spoken) -> None:
    still, moving = image(spoken["still"]), image(spoken["moving"])
    mouth = slice(200, 300), slice(170, 300)
    assert np.abs(still - moving)[mouth].max(axis=2).mean() > 4
    assert np.abs(still - moving)[:40, :80].mean() < 1  # the wall behind does not


def test_the_microphone_comes_through_and_figures_appear(page) -> None:
    page.click("#microphone")
    page.wait("app.source === 'microphone' && app.view.metrics.latency.length > 20", 40)
    figure = page.wait(
        r"/^\d+ \/ \d+ ms$/.test(document.querySelector('#stat-latency strong').textContent)"
        " && document.querySelector('#stat-latency strong').textContent",
        20,
    )
    assert int(figure.split()[0]) > 100  # no less than the look-ahead and a half frame
    assert page.run("app.audio.muted")
    assert page.run("document.querySelector('#sound').getAttribute('aria-pressed')") == "false"
    assert page.wait("app.timeline.frames.some((frame) => frame.speaking)", 20)
    assert page.wait("parseFloat(document.querySelector('#stat-model strong').textContent) > 0")
    assert page.errors == []


def test_a_recording_is_what_was_heard_and_shown(page, tmp_path) -> None:
    if page.run("app.source") != "microphone":
        page.click("#microphone")
        page.wait("app.source === 'microphone'")
    page.run("app.frameLog = [], 1")
    page.click("#record")
    page.wait("app.recorder && app.recorder.frames.length > 60", 40)
    page.click("#record")
    page.wait("!document.querySelector('#downloads').hidden", 20)
    files = page.run("""Promise.all([...document.querySelectorAll('#downloads a')].map(async (a) => {
        const bytes = new Uint8Array(await (await fetch(a.href)).arrayBuffer());
        let text = '';
        for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i +
        4096));
        return [a.download, btoa(text)]; }))""")
    files = {name.rpartition(".")[2]: base64.b64decode(data) for name, data in files}
    assert {"wav", "csv"} <= set(files) and len(files) == 3
    (tmp_path / "face.csv").write_bytes(files["csv"])
    weights, head, rate = read_livelink_csv(tmp_path / "face.csv")
    history = np.array([frame["weights"] for frame in page.run("app.frameLog")])
    first = next(k for k in range(len(history)) if np.abs(history[k] - weights[0]).max() < 1e-6)
    np.testing.assert_allclose(weights, history[first : first + len(weights)], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(head, axis=1), 1, atol=1e-5)
    pcm, sampled = soundfile.read(io.BytesIO(files["wav"]))
    assert abs(len(pcm) / sampled - len(weights) / 25) < 0.001
    assert len(weights) > 50 and np.abs(pcm).max() > 0.02
    loudness = np.abs(pcm[: len(weights) * (sampled // 25)]).reshape(len(weights), -1).mean(axis=1)
    assert np.corrcoef(loudness > 0.01, weights[:, INDEX["jawOpen"]])[0, 1] > 0.1  # of the same seconds
    video = next(files[kind] for kind in ("webm", "mp4") if kind in files)
    assert len(video) > 10_000 and (video[:4] == b"\x1aE\xdf\xa3" or video[4:8] == b"ftyp")


def test_controls_reach_the_face(page) -> None:
    page.run(
        "(() => { const box = document.querySelector('[name=mood]'); box.value = 'surprised';"
        " box.dispatchEvent(new Event('change')); })()"
    )
    page.wait("app.timeline.newest.weights[app.view.index.browInnerUp] > 0.5", 20)
    page.run(
        "(() => { const box = document.querySelector('[name=mood]'); box.value = 'none';"
        " box.dispatchEvent(new Event('change')); })()"
    )
    page.wait("app.timeline.newest.weights[app.view.index.browInnerUp] < 0.4", 20)


def test_an_interruption_closes_the_mouth(page) -> None:
    if page.run("app.source") != "microphone":
        page.click("#microphone")
        page.wait("app.source === 'microphone'")
    page.wait("app.view.pose.weights[app.view.index.jawOpen] > 0.08", 20)
    epoch = page.run("app.epoch")
    page.click("#interrupt")
    page.wait(f"app.epoch !== {epoch} && app.view.pose.weights[app.view.index.jawOpen] < 0.01", 20)
    page.wait(f"app.epoch > {epoch} + 1 && app.timeline.newest", 20)  # and it listens again
    page.click("#microphone")
    page.wait("app.source === null && app.timeline.newest && app.timeline.newest.idle", 20)


def test_an_own_avatar_is_opened_in_the_browser(page, tmp_path) -> None:
    page.choose_file("#pick-face", write_small_face(tmp_path / "me.glb", SHAPES))
    page.wait("app.view.shownFace === 'avatar' && app.view.faces.avatar.targets.length === 3")
    given = page.run("""(() => { const {faces: {avatar}, index} = app.view, jaw = new Float32Array(52);
        jaw[index.jawOpen] = 0.75;
        avatar.pose(jaw, [0, 0, 0, 1], index);
        return avatar.targets.map(({mesh, influence}) => mesh.morphTargetInfluences[influence]); })()""")
    assert given == [0.75, 0, 0]
    assert page.run("app.view.scene.target.size[1]") > 0.02
    path = write_small_face(tmp_path / "none.glb", {"wobble": "jawOpen"})
    whole = path.read_bytes()
    (tmp_path / "cut.glb").write_bytes(whole[:200])
    (tmp_path / "far.glb").write_bytes(_with_far_buffer(whole))
    for name, word in (("none.glb", "ARKit"), ("cut.glb", "GLB"), ("far.glb", "others beside it")):
        page.choose_file("#pick-face", tmp_path / name)
        page.wait(f"document.querySelector('#status').textContent.includes({json.dumps(word)})")
        assert page.run("app.view.shownFace") == "avatar"
    assert all("evil" not in address for address in page.fetched)
    page.run("app.view.show('default')")


def write_small_face(path: Path, shapes: dict[str, str]) -> Path:
    """The default face with a few of its shapes only, {their name in the file: their own}, as GLB."""
    rig = default_rig()
    deltas = rig.deltas[[INDEX[name] for name in shapes.values()]]
    path.write_bytes(write_glb(dataclasses.replace(rig, shape_names=tuple(shapes), deltas=deltas)))
    return path


def _with_far_buffer(whole):
    size = int.from_bytes(whole[12:16], "little")
    tree = json.loads(whole[20 : 20 + size])
    tree["buffers"][0]["uri"] = "https://evil.example/x.bin"
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = whole[20 + size :]
    sizes = [(20 + len(text) + len(rest)).to_bytes(4, "little"), len(text).to_bytes(4, "little")]
    return whole[:8] + b"".join(sizes) + whole[16:20] + text + rest


def test_a_file_that_is_no_audio_is_one_sentence(page, tmp_path) -> None:
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 40)
    page.choose_file("#pick-audio", tmp_path / "noise.wav")
    page.wait("document.querySelector('#status').textContent.includes('no audio')")
    page.wait("app.source === null && app.timeline.newest", 20)


def test_garbage_on_the_socket_is_told_and_survived(page) -> None:
    page.run("app.connection.socket.send('{'), app.connection.socket.send(new Uint8Array([9, 9, 9])), 1")
    page.wait("document.querySelector('#status').textContent.length > 0")
    newest = page.run("app.timeline.newest.time")
    page.wait(f"app.timeline.newest.time > {newest} + 0.2")


def test_twenty_at_once(page, server) -> None:
    """A page among twenty: every one gets its frames."""
    clients = [Client(server) for _ in range(19)]
    try:
        for k, client in enumerate(clients):
            client.say(type="rest", epoch=k)
        assert all(client.wait(lambda client=client: len(client.faces) > 12, 30) for client in clients)
        newest = page.run("app.timeline.newest.time")
        page.wait(f"app.timeline.newest.time > {newest} + 0.5", 30)
        assert server.context.session_count >= 20
    finally:
        for client in clients:
            client.close()


def test_it_comes_back_when_the_server_does(browser) -> None:
    talker = small_talker()
    first = Server(WebContext(talker, warn=lambda sentence: None))
    with first.background():
        page = browser.open(first.address + "?detail=lowest", SIZE)
        page.wait(READY, 60)
    page.wait("!document.querySelector('#connection').classList.contains('on')", 20)
    assert page.run("document.querySelector('#status').textContent") != ""
    with Server(WebContext(talker, warn=lambda sentence: None), port=first.port).background():
        page.wait(
            "document.querySelector('#connection').classList.contains('on') && app.timeline.newest.idle", 30
        )
        newest = page.run("app.timeline.newest.time")
        page.wait(f"app.timeline.newest.time > {newest} + 0.2", 20)
    page.close()
