# SPDX-License-Identifier: Apache-2.0
"""Interaction with the page in a browser: keys, sliders, and a network that stalls."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web.server import Server
from support.scheduler_harness import offline
from support.web_page import open_page
from tools.browser.chromium import Chromium, Page

pytestmark = pytest.mark.browser

WINDOW = (480, 480)
CLIP_SECONDS = 5.5


@pytest.fixture(scope="module")
def page(browser: Chromium, server: Server) -> Page:
    return open_page(browser, server, WINDOW)


def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else "")


def test_keys_rotate_and_zoom_the_face_and_0_resets_the_view(page: Page) -> None:
    """Each key has the effect of a mouse drag in that direction."""
    position = "app.view.scene.camera.position.toArray()"
    page.run("document.querySelector('#face').focus()")
    initial = np.array(page.run(position))
    for key, axis, sign in (("ArrowLeft", 0, 1), ("ArrowUp", 1, -1)):  # the camera moves against the face
        press(page, key)
        page.wait(f"{sign} * ({position}[{axis}] - {initial[axis]}) > 0.01")
        press(page, "0")
        page.wait(f"Math.abs({position}[{axis}] - {initial[axis]}) < 1e-3")
    distance = "app.view.scene.controls.getDistance()"
    initial_distance = page.run(distance)
    press(page, "+")
    page.wait(f"{distance} < {0.97 * initial_distance}")
    press(page, "0")


def test_the_first_button_stops_what_plays(page: Page) -> None:
    label = "document.querySelector('#speak').textContent"
    page.click("#sample")
    page.wait(f"app.source === 'file' && {label} === 'Stop'")
    page.click("#speak")
    page.wait(f"app.source === null && {label} === 'Speak'")


def test_dragging_a_slider_keeps_the_session_and_its_last_value_holds(page: Page) -> None:
    """Sixty changes a second, as a mouse makes them, more than a session may send."""
    epoch = page.run("app.epoch")
    page.run(
        """new Promise((resolve) => {
        const input = document.querySelector('[name=mouth_expressiveness]');
        let k = 0;
        const drag = setInterval(() => {
          input.value = 0.5 + 0.05 * (k++ % 20);
          input.dispatchEvent(new Event('input'));
          if (k === 200) { clearInterval(drag); resolve(1); }
        }, 16); })""",
        60,
    )
    newest = page.run("app.timeline.newest.time")
    page.wait(f"app.timeline.newest.time > {newest} + 0.4")
    assert page.run("app.connected && app.epoch") == epoch
    assert page.run("app.controlValues().mouth_expressiveness") == 1.45
    page.run("""(() => { const input = document.querySelector('[name=mouth_expressiveness]'); input.focus();
        input.dispatchEvent(new KeyboardEvent('keydown', {key: 'Delete'})); })()""")
    assert page.run("app.controlValues().mouth_expressiveness") == 1


def test_audio_waits_for_late_frames_and_none_is_played_twice(page: Page, voice_path: Path) -> None:
    """Frames that arrive half a second late: playback stops where they end, and continues from there."""
    page.choose_file("#pick-audio", voice_path)
    page.wait("app.source === 'file' && app.timeline.newest && app.timeline.newest.time > 1.5")
    script = """new Promise((resolve) => {
        const { callbacks } = app.connection, receive = callbacks.onBinaryMessage, held = [], rows = [];
        const begin = performance.now();
        const { clock, newest } = app.timeline;
        const late = 1000 * (newest.time - clock.playbackTime(begin)) + 500;
        callbacks.onBinaryMessage = (message) => held.push(message);
        const poll = () => {
          const now = performance.now(), { clock, newest } = app.timeline;
          rows.push([now - begin - late, clock.playbackTime(now), newest.time]);
          if (now - begin > late && callbacks.onBinaryMessage !== receive) {
            callbacks.onBinaryMessage = receive;
            held.forEach(receive);
          }
          if (now - begin < late + 1800) setTimeout(poll, 8); else resolve(JSON.stringify(rows));
        };
        poll(); })"""
    time_to_release, playback, newest = np.array(json.loads(page.run(script, 60))).T
    # the page extrapolates between two reports of the audio thread, which are late on a busy machine
    assert (playback - newest).max() < 0.25
    assert np.diff(playback).min() > -0.25
    assert playback[-1] > newest[time_to_release < 0][-1] + 0.8
    page.click("#speak")
    page.wait("app.source === null")


def test_frames_stay_in_time_with_sound_after_a_network_stall(
    page: Page, talker: Talker, voice_path: Path, tmp_path: Path
) -> None:
    """After a gap in the sent audio a new stream starts; its frames are shown at the time of their audio."""
    pcm, rate = read_audio(voice_path)
    pcm = pcm[: round(CLIP_SECONDS * rate)]
    soundfile.write(tmp_path / "clip.wav", pcm, rate, subtype="FLOAT")
    page.choose_file("#pick-audio", tmp_path / "clip.wav")
    page.wait("app.source === 'file' && app.timeline.newest && app.timeline.newest.time > 1")
    epoch = page.run("app.epoch")
    page.run(
        "Object.defineProperty(app.connection.socket, 'bufferedAmount',"
        " {get: () => 1e9, configurable: true}), 1"
    )
    time.sleep(0.6)
    page.run("delete app.connection.socket.bufferedAmount, 1")
    page.wait(f"app.epoch > {epoch} && app.timeline.newest && (app.frameLog = [], true)")
    origin = page.run("app.audio.clock.origin")  # the file's sample at time 0 of the new stream
    assert origin > 1.5 * rate
    page.wait("app.source === null", 30)
    log = page.run("app.frameLog")
    page.run("app.frameLog = null, 1")
    frames = offline(talker, to_16k(pcm[origin:], rate))
    frame_times = [frame.time for frame in frames]
    times = np.array([frame["time"] for frame in log])
    end = int(np.argmax(np.append(np.diff(times), -1) < 0)) + 1  # idle frames follow on another timeline
    duration = (len(pcm) - origin) / rate
    compared = (times[:end] > 0.2) & (times[:end] < duration - 0.2)  # behind the cross-fade of the streams
    assert compared.sum() > 25
    for name in ("jawOpen", "mouthPucker", "browInnerUp"):
        reference = np.interp(
            times[:end][compared], frame_times, [frame.weights[INDEX[name]] for frame in frames]
        )
        weights = np.array([frame["weights"][INDEX[name]] for frame in log[:end]])[compared]
        np.testing.assert_allclose(weights, reference, atol=5e-3)
    assert page.errors == []
