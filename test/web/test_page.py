# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: motion, synchrony of audio and face, microphone, recording, avatars."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
import scipy.signal
import soundfile

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.server import Server
from support.face_files import append_accessor, edit_glb
from support.scheduler_harness import offline, small_talker
from support.web_client import WebClient
from support.web_page import open_page
from tools.browser.chromium import Chromium, Page

pytestmark = pytest.mark.browser

SPEECH_SECONDS = 8.0
WINDOW = (480, 480)  # while a source plays, the canvas is about 480 x 360
MAX_AV_OFFSET_MS = 40
MOUTH = (slice(200, 300), slice(170, 300))  # rows and columns of the canvas
BACKGROUND = (slice(None, 40), slice(None, 80))
COMPRESSED = Path(__file__).absolute().parents[1] / "data" / "meshopt_face.glb"
SHAPES = {name: name for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight")}


@dataclasses.dataclass(frozen=True)
class Playback:
    """What the page showed while it played a file.

    Attributes:
        poses: rows of [time in s, 52 weights], one for each image.
        frames: rows of [time in s, 52 weights], as received.
        images: rows of [now in ms, time shown in s, A/V offset in ms].
        image_rate: images/s.
        speaking: the canvas with an open mouth.
        silent: the same with the face at rest.
    """

    poses: npt.NDArray[np.float64]
    frames: npt.NDArray[np.float64]
    images: npt.NDArray[np.float64]
    image_rate: float
    speaking: npt.NDArray[np.float64]
    silent: npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory, voice_path: Path) -> Path:
    """The demo's voice, repeated with a pause after each."""
    pcm, rate = read_audio(voice_path)
    path = tmp_path_factory.mktemp("page") / "speech.wav"
    once = np.concatenate([pcm, np.zeros(rate // 2, np.float32)])
    soundfile.write(path, np.resize(once, round(SPEECH_SECONDS * rate)), rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(wav: Path) -> Iterator[Chromium]:
    with Chromium(microphone=wav, size=WINDOW) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser: Chromium, server: Server) -> Page:
    return open_page(browser, server, WINDOW, "low")


@pytest.fixture(scope="module")
def playback(page: Page, wav: Path) -> Playback:
    page.choose_file("#pick-audio", wav)
    page.wait(
        "app.source === 'file' && (app.frameLog = [], app.view.poseLog = [],"
        " app.view.metrics.log = {images: [], frames: []})"
    )
    speaking, silent = (
        page.run("""new Promise((resolve) => { const { pose, index, scene } = app.view, poll = () => {
        if (app.source === 'file' && pose.weights[index.jawOpen] < 0.2) return requestAnimationFrame(poll);
        const draw = () => { scene.render(); return scene.canvas.toDataURL(); }, speaking = draw();
        app.view.faces.default.pose(new Float32Array(52), [0, 0, 0, 1]);
        resolve([speaking, draw()]); }; poll(); })""")
    )
    page.wait("app.source === null", SPEECH_SECONDS + 40, interval=0.3)
    log = json.loads(
        page.run(
            "JSON.stringify([app.view.poseLog, app.view.metrics.log.images,"
            " app.frameLog.map(({ time, weights }) => [time, ...weights])])",
            60,
        )
    )
    page.run("app.view.metrics.log = app.view.poseLog = app.frameLog = null, 1")
    page.wait("app.view.pose.weights[app.view.index.jawOpen] < 0.01")
    poses, images, frames = until_idle(log[0], 0), until_idle(log[1], 1), until_idle(log[2], 0)
    images = images[images[:, 1] < SPEECH_SECONDS - 0.2]
    image_rate = len(images) / np.ptp(images[:, 0]) * 1000
    return Playback(poses, frames, images, image_rate, decode_image(speaking), decode_image(silent))


def until_idle(rows: list[list[float]], column: int) -> npt.NDArray[np.float64]:
    """The rows before the time in a column counts from 0 again: those of the file."""
    log = np.array(rows)
    return np.split(log, 1 + np.flatnonzero(np.diff(log[:, column]) < -1))[0]


def decode_image(data_url: str) -> npt.NDArray[np.float64]:
    """(H, W, 3) of a data URL, 0..255."""
    data = base64.b64decode(data_url.partition(",")[2])
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


def test_the_page_loads_without_errors_and_from_its_own_server_only(page: Page, server: Server) -> None:
    assert page.errors == []
    own_origins = (server.origin, server.origin.replace("http", "ws"), "data:", "blob:")
    assert all(address.startswith(own_origins) for address in page.fetched)
    assert page.run("document.querySelector('#connection').className") == "on"


def test_the_glb_face_deforms_as_the_rig_does(page: Page) -> None:
    """For random weights and a turned head."""
    rng, rig = np.random.default_rng(0), default_rig()
    for _ in range(2):
        weights = (rng.random(52) * (rng.random(52) < 0.4)).astype(np.float32)
        head = rng.standard_normal(4) * 0.1 + (0, 0, 0, 1)
        points = page.run(f"""(() => {{ const {{ morphTargets }} = app.view.faces.default;
            morphTargets.pose(new Float32Array({weights.tolist()}), {head.tolist()});
            return Array.from(morphTargets.points); }})()""")
        vertices = np.array(points, np.float32).reshape(-1, 3)[:, [2, 0, 1]]  # scene axes -> the package's
        np.testing.assert_allclose(vertices, rig.pose(weights, head / np.linalg.norm(head)), atol=2e-6)


def test_the_lip_gap_of_the_page_equals_the_rigs(page: Page) -> None:
    weights = np.random.default_rng(1).random(52).astype(np.float32)
    lip_gap = page.run(f"app.view.lipGap(new Float32Array({weights.tolist()}))")
    assert lip_gap == pytest.approx(1000 * default_rig().lip_gap(weights), abs=1e-3)


def test_the_mouth_follows_the_file(playback: Playback, talker: Talker, wav: Path) -> None:
    """The frames are those of the offline pass, and each image shows the pose between two of them."""
    frames = offline(talker, to_16k(*read_audio(wav)))
    times, shown_times = playback.frames[:, 0], playback.poses[:, 0]
    is_compared = (times > 0.2) & (times < SPEECH_SECONDS - 0.3)
    assert is_compared.sum() > 40
    for k, name in enumerate(ARKIT_NAMES, 1):
        offline_weights = np.interp(
            times[is_compared], [frame.time for frame in frames], [frame.weights[k - 1] for frame in frames]
        )
        np.testing.assert_allclose(playback.frames[is_compared, k], offline_weights, atol=5e-3, err_msg=name)
        is_between = (shown_times > max(times[0], 0.3)) & (shown_times < times[-1])  # behind the cross-fade
        weights = np.interp(shown_times[is_between], times, playback.frames[:, k])
        np.testing.assert_allclose(playback.poses[is_between, k], weights, atol=1e-3, err_msg=name)
    assert is_between.sum() > 40


def test_sound_and_face_stay_within_40_ms(playback: Playback) -> None:
    """For every image after the first second, except within a second of a stall of the machine."""
    if playback.image_rate < 24:
        pytest.skip(f"this machine draws {playback.image_rate:.0f} images/s, too few to measure")
    log = playback.images[playback.images[:, 1] > 1.0]
    offsets, stalls = np.abs(log[:, 2]), log[1:, 0][np.diff(log[:, 0]) > 60]
    affected = ((log[:, :1] >= stalls - 100) & (log[:, :1] < stalls + 1000)).any(axis=1)
    if affected.mean() > 0.5:
        pytest.skip(f"this machine stalls: {len(stalls)} gaps of 60 ms in {SPEECH_SECONDS:g} s")
    assert offsets[~affected].max() <= MAX_AV_OFFSET_MS, (
        f"{playback.image_rate:.0f} images/s, {len(stalls)} stalls"
    )


def test_the_mouths_pixels_change_between_silence_and_speech(playback: Playback) -> None:
    difference = np.abs(playback.silent - playback.speaking)
    assert difference[MOUTH].max(axis=2).mean() > 4
    assert difference[BACKGROUND].mean() < 1


def test_microphone_audio_is_processed_and_its_level_measured(page: Page) -> None:
    page.click("#speak")
    page.wait("app.source === 'microphone' && app.view.metrics.latency.length > 20", 40)
    latency = page.wait(
        r"/^\d+ \/ \d+ ms$/.test(document.querySelector('#stat-latency dd').textContent)"
        " && document.querySelector('#stat-latency dd').textContent",
        20,
    )
    assert int(latency.split()[0]) > 100  # no less than the look-ahead and half a frame
    assert page.run("app.audio.muted")
    assert page.run("document.querySelector('#sound').getAttribute('aria-pressed')") == "false"
    assert page.wait("app.timeline.frames.some((frame) => frame.speaking)", 20)
    assert page.wait("parseFloat(document.querySelector('#stat-inference dd').textContent) > 0")
    assert page.errors == []


def start_microphone(page: Page) -> None:
    if page.run("app.source") != "microphone":
        page.click("#speak")
        page.wait("app.source === 'microphone'")


def test_recorded_files_have_one_time_axis_whatever_is_dropped(page: Page, wav: Path, tmp_path: Path) -> None:
    """WAV, CSV and video of a file, while frames are dropped for a while, and then up to the end."""
    original, rate = soundfile.read(wav, dtype="int16")
    original = np.tile(original, 5)  # longer than the test on a slow machine
    soundfile.write(tmp_path / "long.wav", original, rate)
    page.choose_file("#pick-audio", tmp_path / "long.wav")
    page.wait("app.source === 'file' && app.timeline.newest && app.timeline.newest.time > 0.5", 40)
    page.run("app.frameLog = [], 1")
    page.click("#record")
    page.wait("app.recorder && app.recorder.poses.length > 25", 40)
    page.run("""new Promise((resolve) => {
        const { connection } = app, { received } = connection;
        window.receive = connection.callbacks.onBinaryMessage;
        window.drop = () => {};
        connection.callbacks.onBinaryMessage = drop;
        const poll = () => {
          if (connection.received < received + 20) return setTimeout(poll, 10);
          connection.callbacks.onBinaryMessage = receive;
          resolve(1);
        };
        poll(); })""")
    count = page.run("app.recorder.poses.length")
    page.wait(f"app.recorder.poses.length > {count} + 20", 40)
    received = page.run("app.connection.callbacks.onBinaryMessage = drop, app.connection.received")
    page.wait(f"app.connection.received > {received} + 12", 40)
    page.click("#record")
    page.wait("!document.querySelector('#downloads').hidden", 20)
    page.run("app.connection.callbacks.onBinaryMessage = receive, 1")
    page.click("#speak")
    page.wait("app.source === null && app.timeline.newest")
    files = download(page)
    assert {"wav", "csv"} <= files.keys() and len(files) == 3
    (tmp_path / "face.csv").write_bytes(files.pop("csv"))
    recorded, _ = soundfile.read(io.BytesIO(files.pop("wav")), dtype="int16")
    motion = read_livelink_csv(tmp_path / "face.csv")
    durations = [len(recorded) / rate, motion.times[-1] + 1 / FRAME_RATE, video_seconds(*files.values())]
    assert durations[0] > 2.5 and np.ptp(durations) < 0.04, durations
    np.testing.assert_allclose(np.linalg.norm(motion.head, axis=1), 1, atol=1e-5)
    # a shown frame and the sound at its side come from the same time of the file
    log = page.run("app.frameLog")
    page.run("app.frameLog = null, 1")
    logged = np.array([frame["weights"] for frame in log])
    nearest = np.array([np.abs(logged - row).max(axis=1).argmin() for row in motion.weights])
    is_frame = np.abs(logged[nearest] - motion.weights).max(axis=1) < 1e-6
    shown = np.flatnonzero(is_frame & (np.diff(nearest, prepend=-1) != 0))  # not those that are repeated
    assert len(shown) > 40
    width = rate // 4
    start = max(range(0, len(recorded) - width, width // 2), key=lambda k: recorded[k : k + width].std())
    position = find_excerpt(recorded[start : start + width], original)
    frame = min(shown, key=lambda k: abs(motion.times[k] - (start + width / 2) / rate))
    difference = (start - position) / rate - (motion.times[frame] - log[nearest[frame]]["time"])
    period = len(original) / rate / 5
    assert abs((difference + period / 2) % period - period / 2) < 0.04


def find_excerpt(excerpt: npt.NDArray[Any], audio: npt.NDArray[Any]) -> int:
    """Index of the sample at which audio is most like an excerpt."""
    a, b = audio / 32768.0, excerpt / 32768.0
    energy = np.concatenate([[0.0], np.cumsum(a * a)])
    distance = energy[len(b) :] - energy[: -len(b)] - 2 * scipy.signal.correlate(a, b, "valid")
    return int(distance.argmin())


def download(page: Page) -> dict[str, bytes]:
    """The recorded files by their extension."""
    downloads = page.run("""Promise.all([...document.querySelectorAll('#downloads a')].map(async (a) => {
        const bytes = new Uint8Array(await (await fetch(a.href)).arrayBuffer());
        let text = '';
        for (let i = 0; i < bytes.length; i += 4096) {
          text += String.fromCharCode(...bytes.subarray(i, i + 4096));
        }
        return [a.download, btoa(text)]; }))""")
    return {name.rpartition(".")[2]: base64.b64decode(data) for name, data in downloads}


def video_seconds(data: bytes) -> float:
    """Time of the last image."""
    with av.open(io.BytesIO(data)) as container:
        return max(float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.pts)


def test_an_emotion_changes_the_frames(page: Page) -> None:
    for emotion, condition in (("surprised", "> 0.5"), ("neutral", "< 0.4")):
        page.run(f"""(() => {{ const select = document.querySelector('[name=emotion]');
            select.value = '{emotion}'; select.dispatchEvent(new Event('change')); }})()""")
        page.wait(f"app.timeline.newest.weights[app.view.index.browInnerUp] {condition}", 20)


def test_an_interruption_closes_the_mouth_and_the_microphone_resumes(page: Page) -> None:
    start_microphone(page)
    page.wait("app.view.pose.weights[app.view.index.jawOpen] > 0.08", 20)
    epoch = page.run("app.epoch")
    page.click("#interrupt")
    page.wait(f"app.epoch !== {epoch} && app.view.pose.weights[app.view.index.jawOpen] < 0.01", 20)
    page.wait(f"app.epoch > {epoch} + 1 && app.timeline.newest", 20)
    page.click("#speak")
    page.wait("app.source === null && app.timeline.newest && app.timeline.newest.idle", 20)


def test_an_avatar_is_opened_in_the_browser_and_unusable_files_are_rejected(
    page: Page, tmp_path: Path
) -> None:
    page.choose_file("#pick-face", write_small_face(tmp_path / "me.glb", SHAPES))
    page.wait("app.view.shownFace === 'avatar' && app.view.faces.avatar.targets.length === 3")
    influences = page.run("""(() => {
        const { faces: { avatar }, index } = app.view, weights = new Float32Array(52);
        weights[index.jawOpen] = 0.75;
        avatar.pose(weights, [0, 0, 0, 1], index);
        return avatar.targets.map(({ mesh, influence }) => mesh.morphTargetInfluences[influence]); })()""")
    assert influences == [0.75, 0, 0]
    assert page.run("app.view.scene.target.size[1]") > 0.02
    complete = write_small_face(tmp_path / "none.glb", {"wobble": "jawOpen"}).read_bytes()
    (tmp_path / "cut.glb").write_bytes(complete[:200])
    (tmp_path / "far.glb").write_bytes(with_external_buffer(complete))
    ring = [{"mesh": 0}, {"children": [2]}, {"children": [1]}]
    edit_glb(write_small_face(tmp_path / "ring.glb", SHAPES), lambda document, _: document.update(nodes=ring))
    for name, word in (
        ("none.glb", "ARKit"),
        ("cut.glb", "GLB"),
        ("far.glb", "others beside it"),
        ("ring.glb", "no tree"),
    ):
        page.choose_file("#pick-face", tmp_path / name)
        page.wait(f"document.querySelector('#status').textContent.includes({json.dumps(word)})")
        assert page.run("app.view.shownFace") == "avatar"
    assert all("evil" not in address for address in page.fetched)
    page.run("app.view.show('default')")


def test_a_simplified_avatar_moves_as_its_morph_targets_do(page: Page, tmp_path: Path) -> None:
    """On a software renderer they are added on the CPU."""
    page.choose_file("#pick-face", write_small_face(tmp_path / "plain.glb", SHAPES))
    page.wait("app.view.shownFace === 'avatar' && app.view.faces.avatar.name === 'plain.glb'")
    error, is_restored = page.run("""(() => {
        const { faces: { avatar }, index, detail } = app.view, weights = new Float32Array(52);
        weights[index.jawOpen] = 0.75;
        avatar.pose(weights, [0, 0, 0, 1], index);
        const errors = avatar.simplified.flatMap(({ points, rest, detailed }) => {
          const { geometry, morphTargetInfluences } = detailed;
          const all = geometry.attributes.position.array;
          const moved = Float32Array.from(all, (value, i) => value + geometry.morphAttributes.position.reduce(
            (sum, { array }, k) => sum + morphTargetInfluences[k] * array[i], 0));
          const distance = (a, i, b, j) => Math.hypot(a[i] - b[j], a[i + 1] - b[j + 1], a[i + 2] - b[j + 2]);
          const vertices = [...all.keys()].filter((i) => i % 3 === 0);
          return vertices.slice(0, points.length / 3).map((i) => Math.min(...vertices
            .filter((j) => !distance(rest, i, all, j)).map((j) => distance(points, i, moved, j))));
        });
        const isDetailed = () => avatar.simplified.every(
          ({ mesh, detailed }) => !mesh.parent && detailed.layers.isEnabled(0));
        detail.choose('medium');
        const isRestored = isDetailed();
        detail.choose('low');
        return [errors.reduce((a, b) => Math.max(a, b)), isRestored && !isDetailed()]; })()""")
    assert error < 1e-6 and is_restored
    page.run("app.view.show('default')")


def test_the_head_of_a_figure_without_bones_turns_without_its_body(page: Page, tmp_path: Path) -> None:
    def add_body(document: dict[str, Any], binary: bytearray) -> None:
        corners = [[x, y, 0.0] for y in (-1.6, -0.2) for x in (-0.2, 0.2)]
        position = append_accessor(document, binary, np.array(corners, "<f4"), "VEC3", 5126)
        index = append_accessor(document, binary, np.array([0, 1, 2, 1, 3, 2], "<u2"), "SCALAR", 5123)
        document["meshes"].append(
            {"name": "Body", "primitives": [{"attributes": {"POSITION": position}, "indices": index}]}
        )
        document["nodes"].append({"mesh": 1, "name": "Body"})
        document["scenes"][0]["nodes"].append(len(document["nodes"]) - 1)
        document["buffers"][0]["byteLength"] = len(binary)

    path = edit_glb(write_small_face(tmp_path / "figure.glb", SHAPES), add_body)
    page.choose_file("#pick-face", path)
    page.wait("app.view.shownFace === 'avatar' && app.view.faces.avatar.name === 'figure.glb'")
    parents = page.run("""(() => { const found = {};
        const { avatar } = app.view.faces;
        const head = avatar.bones.head?.node;
        for (const { detailed } of avatar.simplified) found[detailed.name] = detailed.parent === head;
        return found; })()""")
    assert parents.pop("Body") is False and list(parents.values()) == [True]
    page.run("app.view.show('default')")


def test_a_meshopt_compressed_avatar_is_decoded_on_the_page(page: Page) -> None:
    page.choose_file("#pick-face", COMPRESSED)
    page.wait("app.view.shownFace === 'avatar' && app.view.faces.avatar.name === 'meshopt_face.glb'", 60)
    assert page.run("app.view.faces.avatar.targets.length") == 3
    rig = default_rig()
    moving = np.abs(rig.deltas[[INDEX[name] for name in ("jawOpen", "mouthClose", "eyeBlinkLeft")]]).max(
        axis=(0, 2)
    )
    first, last = rig.parts["skin"]
    moved = rig.vertices[first:last][moving[first:last] > 1e-5]
    size = np.array(page.run("app.view.scene.target.size"))
    assert size[0] == pytest.approx(1.25 * np.ptp(moved[:, 1]), rel=0.02)  # metres, not units of the file
    page.run("app.view.show('default')")


def test_expressions_and_the_head_bone_of_a_vrm_move_on_the_page(page: Page, tmp_path: Path) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        def group(preset: str, target: int, weight: int) -> dict[str, Any]:
            binds = [{"mesh": 0, "index": target, "weight": weight}]
            return {"name": preset, "presetName": preset, "binds": binds}

        document["nodes"].append({"name": "Bone.007"})
        document["scenes"][0]["nodes"].append(len(document["nodes"]) - 1)
        document["extensions"] = {
            "VRM": {
                "blendShapeMaster": {"blendShapeGroups": [group("a", 0, 100), group("blink_l", 1, 50)]},
                "humanoid": {"humanBones": [{"bone": "head", "node": len(document["nodes"]) - 1}]},
            }
        }

    shapes = {"x": "jawOpen", "y": "eyeBlinkLeft"}
    page.choose_file("#pick-face", edit_glb(write_small_face(tmp_path / "girl.vrm", shapes), edit))
    page.wait("app.view.shownFace === 'avatar' && app.view.faces.avatar.name === 'girl.vrm'")
    # in one call: the page poses the face as well, in every picture
    influences, turn = page.run("""((shapes) => {
        const { faces: { avatar }, index } = app.view;
        const influences = shapes.map((shape) => {
          const weights = new Float32Array(52);
          for (const name of shape) weights[index[name]] = 0.5;
          avatar.pose(weights, [0, 0, 0.3, 0.954], index);
          return avatar.targets.map(({ mesh, influence }) => mesh.morphTargetInfluences[influence]);
        });
        return [influences, avatar.bones.head.node.quaternion.y];
        })([['jawOpen'], ['jawOpen', 'mouthClose'], ['eyeBlinkLeft']])""")
    assert 0.5 < influences[0][0] < 1.2 and influences[0][1] == 0  # an open jaw shows the vowel a
    assert influences[1][0] == pytest.approx(0, abs=1e-6)  # mouthClose takes it back
    assert influences[2] == pytest.approx([0, 0.25])
    assert turn == pytest.approx(0.3, abs=1e-3)
    page.run("app.view.show('default')")


def write_small_face(path: Path, shapes: dict[str, str]) -> Path:
    """The default face with a few of its shapes, {name in the file: name in the rig}, as GLB."""
    rig = default_rig()
    deltas = rig.deltas[[INDEX[name] for name in shapes.values()]]
    path.write_bytes(write_glb(dataclasses.replace(rig, shape_names=tuple(shapes), deltas=deltas)))
    return path


def with_external_buffer(data: bytes) -> bytes:
    """A GLB file whose buffer lies at another address."""
    size = int.from_bytes(data[12:16], "little")
    document: dict[str, Any] = json.loads(data[20 : 20 + size])
    document["buffers"][0]["uri"] = "https://evil.example/x.bin"
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    sizes = [(20 + len(text) + len(rest)).to_bytes(4, "little"), len(text).to_bytes(4, "little")]
    return data[:8] + b"".join(sizes) + data[16:20] + text + rest


def test_a_file_without_audio_is_rejected_with_a_message(page: Page, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 40)
    page.choose_file("#pick-audio", tmp_path / "noise.wav")
    page.wait("document.querySelector('#status').textContent.includes('is not audio')")
    page.wait("app.source === null && app.timeline.newest", 20)


def test_malformed_messages_are_reported_and_frames_go_on(page: Page) -> None:
    page.run("app.connection.socket.send('{'), app.connection.socket.send(new Uint8Array([9, 9, 9])), 1")
    page.wait("document.querySelector('#status').textContent.length > 0")
    newest = page.run("app.timeline.newest.time")
    page.wait(f"app.timeline.newest.time > {newest} + 0.2")


def test_the_page_gets_its_frames_among_twenty_sessions(page: Page, server: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(WebClient(server)) for _ in range(19)]
        for k, client in enumerate(clients):
            client.send(type="rest", epoch=k)
        assert all(client.wait_until(lambda c=client: len(c.frames) > 12, 30) for client in clients)
        newest = page.run("app.timeline.newest.time")
        page.wait(f"app.timeline.newest.time > {newest} + 0.5", 30)
        assert server.context.session_count >= 20


def test_the_page_reconnects_when_the_server_restarts(browser: Chromium) -> None:
    talker = small_talker()
    first = Server(WebContext(talker, warn=lambda message: None))
    with first.background():
        page = open_page(browser, first, WINDOW)
    page.wait("!document.querySelector('#connection').classList.contains('on')", 20)
    assert page.run("document.querySelector('#status').textContent") != ""
    with Server(WebContext(talker, warn=lambda message: None), port=first.port).background():
        page.wait("app.connected && app.timeline.newest.idle", 30)
        newest = page.run("app.timeline.newest.time")
        page.wait(f"app.timeline.newest.time > {newest} + 0.2", 20)
    page.close()
