# SPDX-License-Identifier: Apache-2.0
"""`<talking-face>` on a page of another origin, in a browser; and the npm package."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import assets
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.server import Server
from support.scheduler_harness import offline, small_talker
from support.static_server import static_server
from support.tts_command import command
from support.web_client import WebClient, running_server
from tools.browser.chromium import Chromium, Page

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "web_component"
FRONTEND = ROOT / "frontend"
MAX_BUNDLE_BYTES = 1_000_000
FRAME_S = 0.04
FACE = "document.querySelector('talking-face')"
MESSAGE = f"{FACE}.shadowRoot.querySelector('.message').textContent"
RECORD = f"""(() => {{
  const face = {FACE}, record = {{ frames: [], states: [], errors: [] }};
  face.addEventListener('frame', ({{ detail: d }}) =>
    record.frames.push([d.index, d.time, d.playbackTime, +d.idle, ...d.weights]));
  face.addEventListener('state', ({{ detail }}) => record.states.push(detail.state));
  face.addEventListener('error', ({{ detail }}) => record.errors.push(detail.message));
  return Boolean(window.record = record);
}})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium(size=(480, 640)) as browser:
        yield browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page that serves its own copy of the bundle, as one that is bundled from the npm package does."""
    shutil.copy(assets.STATIC / "talking-face.js", tmp_path)
    (tmp_path / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href=data:,>"
        "<script type=module src=talking-face.js></script>"
    )
    return tmp_path


@contextlib.contextmanager
def opened(browser: Chromium, address: str) -> Iterator[Page]:
    page = browser.open(address)
    try:
        yield page
    finally:
        page.close()


@contextlib.contextmanager
def face_page(
    browser: Chromium, folder: Path, talker: Any, allowed: bool = True
) -> Iterator[tuple[Page, Server, str]]:
    """A page of another origin with the bundle, a server that may allow it, and the origin."""
    with (
        static_server(folder) as origin,
        running_server(talker, origins=[origin] if allowed else []) as server,
        opened(browser, origin) as page,
    ):
        page.wait("customElements.get('talking-face')")
        yield page, server, origin


def add_face(page: Page, **attributes: str) -> None:
    page.run(
        f"(() => {{ const face = document.createElement('talking-face');"
        f" for (const [k, v] of Object.entries({json.dumps(attributes)})) face.setAttribute(k, v);"
        " document.body.append(face); })()"
    )
    page.run(RECORD)


def speech(page: Page) -> npt.NDArray[np.float64]:
    """Rows of [index, time, playback time, idle, 52 weights] of the frames of the sound that were shown."""
    rows = np.array([row for row in page.run("record.frames") if row[3] == 0 and row[2] is not None], float)
    ends = np.nonzero(np.diff(rows[:, 1]) < -1.0)[
        0
    ]  # those behind it close the mouth, on a timeline of their own
    return rows[: ends[0] + 1] if len(ends) else rows


@pytest.mark.browser
def test_the_example_speaks_on_a_page_of_another_origin(browser: Chromium, talker: Talker) -> None:
    """The mouth follows the sound that is audible, and a stalled page drops the frames that are late."""
    with (
        static_server(EXAMPLE) as origin,
        running_server(talker, origins=[origin], backlog_seconds=60.0) as server,
        opened(browser, f"{origin}/?server={server.origin}") as page,
    ):
        page.wait(f"{FACE}.state === 'idle'")
        page.run(RECORD)
        page.click("#speak")
        page.wait(f"{FACE}.state === 'speaking'")
        page.wait("record.frames.some((row) => row[3] === 0 && row[1] > 0.8)")
        page.run("(() => { const end = performance.now() + 500; while (performance.now() < end); })()")
        page.wait(f"{FACE}.state === 'idle'", 40)
        rows, stats = speech(page), page.run(f"{FACE}.stats")
        assert page.run("record.errors.length") == 0
        fetched = [url for url in page.fetched if url.startswith(server.origin)]
        assert {url.removeprefix(server.origin) for url in fetched} == {
            "/talking-face.js",
            "/face.glb",
            "/voice.flac",
        }
    pcm, rate = read_audio(assets.STATIC.parents[1] / "data" / "voice.flac")
    frames = offline(talker, to_16k(pcm, rate))
    jaw = np.array([frame.weights[INDEX["jawOpen"]] for frame in frames])
    index, times, playback = rows[:, 0].astype(int), rows[:, 1], rows[:, 2]
    known = index < len(jaw)
    assert known.sum() > 0.5 * len(jaw)
    # the motion is that of the sound, frame by frame ...
    np.testing.assert_allclose(rows[known, 4 + INDEX["jawOpen"]], jaw[index[known]], atol=0.02)
    assert np.ptp(rows[known, 4 + INDEX["jawOpen"]]) > 0.2
    # ... each frame is shown once, in order, when its sound is audible ...
    assert np.all(np.diff(times) > 0)
    assert np.median(np.abs(playback - times)) < FRAME_S
    # ... and those of the stall are not shown afterwards
    assert np.diff(index).max() > 2 and stats["shown"] < stats["received"]
    after_stall = np.argmax(np.diff(index)) + 1
    assert np.median(np.abs(playback[after_stall:] - times[after_stall:])) < FRAME_S


@pytest.mark.browser
def test_an_origin_that_is_not_allowed_is_refused_in_one_sentence(browser: Chromium, folder: Path) -> None:
    with face_page(browser, folder, small_talker(), allowed=False) as (page, server, origin):
        add_face(page, src=server.origin.replace("http", "ws"))
        page.wait("record.errors.length")
        sentence = (
            f"A page of {origin} may not use this server: start it with `streamingtalker web "
            f"--allow-origin {origin}`."
        )
        assert page.run("record.errors") == [sentence] and page.run(MESSAGE) == sentence
        reason = f"{FACE}.speak(new ArrayBuffer(8)).then(() => '', (error) => error.message)"
        assert page.run(reason) == sentence
        page.run("new Promise((resolve) => setTimeout(resolve, 2500))")  # it tries again, and says nothing
        assert page.run("record.errors") == [sentence] and server.context.session_count == 0


@pytest.mark.browser
@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "needs the attribute src"),
        ({"src": "ftp://host/"}, "no address of a server"),
        ({"src": "ws://["}, "no address of a server"),
        ({"src": "ws://127.0.0.1:1"}, "cannot be reached"),
        ({"src": "SERVER", "face": "missing.glb"}, "missing.glb cannot be fetched (status 404)"),
        ({"src": "SERVER", "face": "index.html"}, "not a complete GLB"),
        ({"src": "SERVER", "share": "a b"}, "no name of a session"),
        ({"src": "SERVER", "listen": "a b"}, "no name of a session"),
    ],
)
def test_what_is_wrong_is_shown_in_one_sentence(
    browser: Chromium, folder: Path, attributes: dict[str, str], words: str
) -> None:
    with face_page(browser, folder, small_talker()) as (page, server, _):
        values = {name: value.replace("SERVER", server.origin) for name, value in attributes.items()}
        add_face(page, **values)
        page.wait(f"{MESSAGE}.includes({json.dumps(words)})")


@pytest.mark.browser
def test_an_avatar_of_the_page_is_shown_and_speech_ends_as_it_is_told(
    browser: Chromium, folder: Path, voice_path: Path
) -> None:
    (folder / "avatar.glb").write_bytes(write_glb(default_rig()))
    pcm, rate = read_audio(voice_path)
    soundfile.write(folder / "voice.wav", pcm[: 2 * rate], rate)
    get_sound = "const sound = await (await fetch('voice.wav')).arrayBuffer();"
    with face_page(browser, folder, small_talker()) as (page, server, _):
        add_face(page, src=server.origin, face="avatar.glb")
        page.wait(f"{FACE}.state === 'idle'")
        assert not any("face.glb" in url for url in page.fetched)
        assert page.run(f"{FACE}.names.length") == 52
        complete = page.run(f"(async () => {{ {get_sound} return {FACE}.speak(sound); }})()", 40)
        assert complete is True and page.run(f"{FACE}.state") == "idle"
        stopped = page.run(
            f"(async () => {{ {get_sound} const speech = {FACE}.speak(sound);"
            f" while ({FACE}.state !== 'speaking') await new Promise((done) => setTimeout(done, 20));"
            f" const again = {FACE}.speak(new File([sound], 'voice.wav')); const first = await speech;"
            f" while ({FACE}.state !== 'speaking') await new Promise((done) => setTimeout(done, 20));"
            f" await {FACE}.stop(); return [first, await again]; }})()",
            40,
        )
        assert stopped == [False, False]
        # a stream, such as that of a call, until its track ends
        page.run(
            "(() => { const context = new AudioContext(); const tone = new OscillatorNode(context);"
            " const end = new MediaStreamAudioDestinationNode(context); tone.connect(end); tone.start();"
            f" window.stream = end.stream; window.speech = {FACE}.speak(end.stream); }})()"
        )
        count = page.run("record.frames.length")
        page.wait(f"{FACE}.state === 'speaking' && record.frames.length > {count + 10}")
        page.run(f"{FACE}.stop()")
        assert page.run("speech", 20) is False
        assert page.run("stream.getTracks()[0].readyState") == "live"  # it is the page's
        assert page.run("record.errors") == []


@pytest.mark.browser
def test_a_face_listens_to_a_shared_session_and_leaves_nothing_behind(
    browser: Chromium, folder: Path
) -> None:
    with face_page(browser, folder, small_talker()) as (page, server, _):
        add_face(page, src=server.origin, listen="stage", muted="")
        page.wait(f"{FACE}.state === 'listening'")
        with WebClient(server) as speaker:
            speaker.send(type="share", session="stage")
            speaker.send(type="rest", epoch=1)
            page.wait("record.frames.length > 10")
        page.run(f"{FACE}.remove()")
        page.wait("true")
        assert page.run("record.states.at(-1)") == "closed"
        page.run("new Promise((resolve) => setTimeout(resolve, 300))")
        assert server.context.session_count == 0 and server.context.shared_sessions.count == 0
        assert page.run("record.errors") == []


@pytest.mark.browser
def test_a_face_looks_smiles_and_nods_and_looks_again_when_the_server_has_restarted(
    browser: Chromium, folder: Path, talker: Talker
) -> None:
    smile, left = (4 + INDEX[name] for name in ("mouthSmileLeft", "eyeLookOutLeft"))
    last = "record.frames.at(-1)"
    shown = f"{last}[{left}] > 0.2 && {last}[{smile}] > 0.2"
    with static_server(folder) as origin, opened(browser, origin) as page:
        with running_server(talker, origins=[origin]) as server:
            page.run(  # before the face is there, which may be ready at once
                "document.addEventListener('ready', ({ detail }) => window.offered = detail, true)"
            )
            add_face(page, src=server.origin, muted="")
            page.wait("offered.gestures.includes('nod') && offered.emotions.includes('happy')")
            page.run(f"({FACE}.lookAt([1, 1, 0]), {FACE}.express('happy', {{ strength: 1 }}))")
            page.wait(shown)
        page.wait(f"{FACE}.state === 'connecting'")
        page.run("record.frames.length = 0")
        context = WebContext(talker, warn=lambda message: None)
        with Server(context, port=server.port, origins=[origin]).background():
            page.wait(f"{FACE}.state !== 'connecting'", 30)
            page.wait(shown)
            page.run(f"({FACE}.gesture('bow'), {FACE}.lookAt(null), {FACE}.express(null))")
            page.wait(f"{last}[{left}] < 0.1 && {last}[{smile}] < 0.1")
            page.wait("record.errors.join().includes('unknown gesture')")


@pytest.mark.browser
def test_a_face_says_a_text_to_its_end_and_tells_where_the_server_says_none(
    browser: Chromium, folder: Path, tmp_path: Path, talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    (tmp_path / "text.pcm").write_bytes(to_int16(speech[:24_000]).tobytes())
    tts = TtsCommand.parse(command("pcm", tmp_path / "text.pcm"), 16_000)
    with static_server(folder) as origin, opened(browser, origin) as page:
        with running_server(talker, origins=[origin], tts=tts) as server:
            add_face(page, src=server.origin)
            assert page.run(f"{FACE}.say('hello')", 40) is True
            spoken = [row for row in page.run("record.frames") if row[3] == 0]
            assert max(row[4 + INDEX["jawOpen"]] for row in spoken) > 0.05
            assert page.run("record.errors") == []
        page.run(f"{FACE}.remove()")
        with running_server(talker, origins=[origin]) as server:
            add_face(page, src=server.origin)
            said = page.run(f"{FACE}.say('hello').catch(({{ message }}) => message)", 40)
            assert "--tts" in said


def test_the_bundle_is_one_file_of_less_than_a_megabyte() -> None:
    if not assets.is_built():
        pytest.skip(assets.NOT_BUILT)
    bundle = assets.STATIC / "talking-face.js"
    assert bundle.stat().st_size <= MAX_BUNDLE_BYTES


@pytest.mark.skipif(
    shutil.which("npm") is None or not (FRONTEND / "node_modules" / "esbuild").exists(),
    reason="npm and the packages of frontend/ are not installed",
)
def test_the_npm_package_holds_the_bundle_its_types_and_licences(tmp_path: Path) -> None:
    """It is packed as it is published, and node resolves what its package.json exports."""
    package = json.loads((FRONTEND / "package.json").read_text())
    assert package["version"] == __version__ and package["license"] == "Apache-2.0"
    assert "dependencies" not in package and not package.get("private")
    subprocess.run(
        ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(tmp_path)],
        cwd=FRONTEND,
        check=True,
        capture_output=True,
    )
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as file:
        names = {name.removeprefix("package/") for name in file.getnames()}
        file.extractall(tmp_path, filter="data")
    assert names == {
        "package.json",
        "README.md",
        "talking-face.d.ts",
        "protocol.d.ts",
        "dist/talking-face.js",
        "dist/protocol.js",
        "dist/LICENSE",
        "dist/three-license.txt",
    }
    installed = tmp_path / "node_modules" / package["name"]
    installed.parent.mkdir()
    (tmp_path / "package").rename(installed)
    script = (
        "const face = await import('streamingtalker-face');"  # where pages are rendered on a server, too
        "const protocol = await import('streamingtalker-face/protocol');"
        "console.log(typeof face.TalkingFaceElement, protocol.PROTOCOL_VERSION)"
    )
    command = ["node", "--input-type=module", "-e", script]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["function", "1"]


@pytest.mark.skipif(
    shutil.which("npm") is None or not (FRONTEND / "node_modules" / "typescript").exists(),
    reason="npm and the packages of frontend/ are not installed",
)
def test_the_typescript_example_compiles_against_the_declarations() -> None:
    command = ["npx", "tsc", "-p", "tsconfig.example.json"]
    run = subprocess.run(command, cwd=FRONTEND, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
