# SPDX-License-Identifier: Apache-2.0
"""The page in a person's hands: turned by keys, its sliders dragged, on a network that stalls. In a real Chromium."""

import json
import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.cli.animate import animate
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import assets
from support.web_client import serving
from tools.browser import chromium

SIZE = (480, 667)


@pytest.fixture(scope="module")
def server(talker):
    with serving(talker, backlog_seconds=60.0) as server:
        yield server


@pytest.fixture(scope="module")
def page(server):
    if chromium.find() is None:
        pytest.skip("no Chromium is installed: `apt install chromium`, or name one with CHROMIUM=…")
    if not assets.is_built():
        pytest.skip(assets.NOT_BUILT)
    with chromium.Chromium(size=SIZE) as browser:
        page = browser.open(server.address + "?detail=lowest", SIZE)
        page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
        yield page


def press(page, key) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else "")


def test_keys_turn_the_face_and_bring_it_back(page) -> None:
    """Each key does what a drag of the mouse that way does."""
    where = "app.view.scene.camera.position.toArray()"
    page.run("document.querySelector('#face').focus()")
    began = np.array(page.run(where))
    for key, axis, sign in (("ArrowLeft", 0, 1), ("ArrowUp", 1, -1)):  # the camera goes the other way
        press(page, key)
        page.wait(f"{sign} * ({where}[{axis}] - {began[axis]}) > 0.01")
        press(page, "0")
        page.wait(f"Math.abs({where}[{axis}] - {began[axis]}) < 1e-3")
    away = "app.view.scene.controls.getDistance()"
    far = page.run(away)
    press(page, "+")
    page.wait(f"{away} < {0.97 * far}")
    press(page, "0")


def test_buttons_tell_what_is_on(page) -> None:
    pressed = "document.querySelector('#{}').getAttribute('aria-pressed')"
    page.click("#sample")
    page.wait("app.source === 'file'")
    assert page.run(pressed.format("sample")) == "true" and page.run(pressed.format("file")) == "false"
    page.click("#sample")  # once more: it ends
    page.wait("app.source === null")
    assert page.run(pressed.format("sample")) == "false"


def test_every_control_has_a_name(page) -> None:
    """What a screen reader says of it."""
    nameless = page.run("""[...document.querySelectorAll('button, input:not([hidden]), select, canvas[tabindex]')]
        .filter((e) => !(e.textContent.trim() && e.matches('button')) && !e.getAttribute('aria-label')
          && ![...(e.labels || [])].some((label) => label.firstChild.textContent.trim()))
        .map((e) => e.outerHTML)""")
    assert nameless == []


def test_a_slider_may_be_dragged_for_long(page) -> None:
    """Sixty changes a second, as a mouse makes them, end no session; the last of them holds."""
    epoch = page.run("app.epoch")
    page.run(
        """new Promise((resolve) => {
        const input = document.querySelector('[name=mouth_expressiveness]');
        let k = 0;
        const drag = setInterval(() => {
          input.value = 0.5 + 0.05 * (k++ % 20);
          input.dispatchEvent(new Event('input'));
          if (k === 360) { clearInterval(drag); resolve(1); }
        }, 16); })""",
        60,
    )
    time.sleep(0.5)
    assert page.run("app.connected && app.epoch") == epoch
    assert page.run("app.controlValues().mouth_expressiveness") == 1.45
    page.run("""(() => { const input = document.querySelector('[name=mouth_expressiveness]'); input.focus();
        input.dispatchEvent(new KeyboardEvent('keydown', {key: 'Delete'})); })()""")
    assert page.run("app.controlValues().mouth_expressiveness") == 1


def test_sound_waits_for_late_frames(page, voice_path) -> None:
    """Frames that come half a second too late: the sound stops where they end, and goes on from there; nothing is heard
    twice."""
    page.choose_file("#pick-audio", voice_path)
    page.wait("app.source === 'file' && app.timeline.newest && app.timeline.newest.time > 1.5")
    rows = np.array(
        json.loads(
            page.run(
                """new Promise((resolve) => {
        const { callbacks } = app.connection, receive = callbacks.onBinary, held = [], rows = [];
        const begin = performance.now();
        const { clock, newest } = app.timeline, late = 1000 * (newest.time - clock.playbackTime(begin)) + 500;
        callbacks.onBinary = (message) => held.push(message);
        const look = () => {
          const now = performance.now(), { clock, newest } = app.timeline;
          rows.push([now - begin - late, clock.playbackTime(now), newest.time]);
          if (now - begin > late && callbacks.onBinary !== receive) {
            callbacks.onBinary = receive;
            held.forEach(receive);
          }
          if (now - begin < late + 1800) setTimeout(look, 8); else resolve(JSON.stringify(rows));
        };
        look(); })""",
                60,
            )
        )
    )
    heard = rows[:, 1]
    # the page reckons from one message of the audio thread to the next, which come late on a busy machine
    assert (heard - rows[:, 2]).max() < 0.25
    assert np.diff(heard).min() > -0.25
    assert heard[-1] > rows[rows[:, 0] < 0, 2][-1] + 0.8  # and on it goes
    page.click("#file")
    page.wait("app.source === null")


def test_sound_that_a_stalled_network_lost_moves_nothing_in_time(page, voice_path) -> None:
    """A hole in what is sent: a new voice begins behind it, and its frames lie where their sound lies."""
    page.choose_file("#pick-audio", voice_path)
    page.wait("app.source === 'file' && app.timeline.newest && app.timeline.newest.time > 1")
    epoch = page.run("app.epoch")
    page.run(
        "Object.defineProperty(app.connection.socket, 'bufferedAmount', {get: () => 1e9, configurable: true}), 1"
    )
    time.sleep(0.6)
    page.run("delete app.connection.socket.bufferedAmount, 1")
    page.wait(f"app.epoch > {epoch} && app.timeline.newest && (app.frameLog = [], true)")
    begin = page.run("app.audio.clock.origin")  # sample of the file that is the new voice's first
    pcm, rate = read_audio(voice_path)
    assert begin > 1.5 * rate
    page.wait("app.source === null", 30)  # it ends when the file does
    shown = page.run("app.frameLog")
    page.run("app.frameLog = null, 1")
    motion = animate(Talker.load(device="cpu"), to_16k(pcm[begin:], rate))
    times = np.array([frame["time"] for frame in shown])
    idle = np.argmax(np.append(np.diff(times), -1) < 0) + 1  # of the next timeline, after the file
    own = (times[:idle] > 0.2) & (
        times[:idle] < (len(pcm) - begin) / rate - 0.2
    )  # behind the seam of the two voices
    assert own.sum() > 80
    for name in ("jawOpen", "mouthPucker", "browInnerUp"):
        reference = np.interp(times[:idle][own], motion.times, motion.weights[:, INDEX[name]])
        given = np.array([frame["weights"][INDEX[name]] for frame in shown[:idle]])[own]
        np.testing.assert_allclose(given, reference, atol=5e-3)
    assert page.errors == []
