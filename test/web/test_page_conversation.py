# SPDX-License-Identifier: Apache-2.0
"""The page's group "Conversation" in a browser: gaze, emotion, gestures, texts to say, listening."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.conversation.emotion_table import EMOTIONS
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web.server import Server
from support.scheduler_harness import offline, small_talker
from support.tiny_vertex_talker import tiny_vertex_talker
from support.tts_command import command
from support.two_party import RATE, read_voice, with_pauses
from support.web_client import running_server
from support.web_page import READY, open_page
from tools.browser.chromium import Chromium, Page

pytestmark = pytest.mark.browser

WINDOW = (900, 700)
CLOSED_M = 0.0005
LISTENING_S = 14.0
GROUP = "document.querySelector('#conversation')"
LAST = "app.timeline.newest"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, voice_path: Path) -> Path:
    """What the microphone hears, and what a text sounds like."""
    folder, voice = tmp_path_factory.mktemp("conversation"), read_voice(voice_path)
    soundfile.write(folder / "partner.wav", with_pauses(voice, 30.0), RATE)
    (folder / "text.pcm").write_bytes(to_int16(voice[: 2 * RATE]).tobytes())
    return folder


@pytest.fixture(scope="module")
def server(talker: Talker, folder: Path) -> Iterator[Server]:
    tts = TtsCommand.parse(command("pcm", folder / "text.pcm"), RATE)
    with running_server(talker, tts=tts, backlog_seconds=60.0) as server:
        yield server


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Chromium]:
    with Chromium(microphone=folder / "partner.wav", size=WINDOW) as browser:
        yield browser


@pytest.fixture
def page(browser: Chromium, server: Server) -> Iterator[Page]:
    page = open_page(browser, server, WINDOW)
    page.run(f"{GROUP}.open = true")
    page.run("window.log = []; app.callbacks.onFrame = (frame) => log.push(frame)")
    yield page
    assert page.errors == []
    page.close()


def move_pointer(page: Page, x: float, y: float) -> None:
    """Move the pointer to a place of the face's canvas, as fractions of its size."""
    left, top, width, height = page.run(
        "(({ left, top, width, height }) => [left, top, width, height])"
        "(document.querySelector('#face').getBoundingClientRect())"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=left + x * width, y=top + y * height)


def weight(name: str) -> str:
    """JavaScript: a weight of the newest frame."""
    return f"{LAST}.weights[{INDEX[name]}]"


def logged(page: Page) -> list[dict[str, Any]]:
    """The frames that arrived since the page was opened."""
    return page.run(
        "log.map(({ time, idle, speaking, weights, head }) =>"
        " ({ time, idle, speaking, weights: [...weights], head: [...head] }))"
    )


def test_the_eyes_follow_the_pointer_until_they_are_told_not_to(page: Page) -> None:
    move_pointer(page, 0.95, 0.5)  # to the left of the face
    page.wait(f"{weight('eyeLookOutLeft')} > 0.15 && {weight('eyeLookInRight')} > 0.15")
    move_pointer(page, 0.05, 0.5)
    page.wait(f"{weight('eyeLookOutRight')} > 0.15 && {weight('eyeLookInLeft')} > 0.15")
    move_pointer(page, 0.5, 0.02)
    page.wait(f"{weight('eyeLookUpLeft')} > 0.1 && {weight('eyeLookOutRight')} < 0.15")
    page.click("[name=follow]")
    page.wait(f"{weight('eyeLookUpLeft')} < 0.1")
    move_pointer(page, 0.95, 0.5)
    count = page.run("log.length")
    page.wait(f"log.length > {count + 25}")
    assert page.run(weight("eyeLookOutLeft")) < 0.15


def test_the_eyes_of_who_prefers_less_motion_follow_when_that_is_chosen(
    browser: Chromium, server: Server
) -> None:
    page = browser.open("about:blank", WINDOW)
    preference = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.call("Emulation.setEmulatedMedia", features=[preference])
    page.call("Page.navigate", url=server.address + "?detail=lowest")
    page.wait(READY, 60)
    assert page.run("document.querySelector('[name=follow]').checked") is False
    page.run(f"{GROUP}.open = true")
    page.click("[name=follow]")
    move_pointer(page, 0.95, 0.5)
    page.wait(f"{weight('eyeLookOutLeft')} > 0.15")
    page.close()


def test_the_emotions_are_those_of_the_server_and_lips_that_touch_do_so_in_each(
    page: Page, talker: Talker, voice_path: Path
) -> None:
    names = page.run("[...document.querySelectorAll('[name=emotion] option')].map(({ value }) => value)")
    assert names == list(EMOTIONS)
    choose(page, "emotion", "change", "surprised")
    page.wait(f"{weight('browInnerUp')} > 0.5")
    choose(page, "strength", "input", "0.3")
    page.wait(f"{weight('browInnerUp')} < 0.5")
    choose(page, "strength", "input", "1")
    page.run("log.length = 0")
    page.choose_file("#pick-audio", voice_path)
    page.wait("app.source === 'file'")
    page.wait("app.source === null", 40, 0.3)
    spoken = {round(25 * frame["time"]): frame["weights"] for frame in logged(page) if not frame["idle"]}
    rig = default_rig()
    neutral = offline(talker, to_16k(*read_audio(voice_path)))
    closed = [
        k
        for k, frame in enumerate(neutral)
        if k > 5 and k in spoken and frame.speaking and rig.lip_gap(frame.weights) < CLOSED_M
    ]
    assert len(closed) >= 3
    gaps = [rig.lip_gap(np.array(spoken[k], np.float32)) for k in closed]
    assert max(gaps) < 2 * CLOSED_M
    assert min(spoken[k][INDEX["browInnerUp"]] for k in closed) > 0.4


def choose(page: Page, name: str, event: str, value: str) -> None:
    """Set the value of a control, as its user does."""
    page.run(
        f"(() => {{ const control = document.querySelector('[name={name}]'); control.value = '{value}';"
        f" control.dispatchEvent(new Event('{event}')); }})()"
    )


def pitches(page: Page) -> npt.NDArray[np.float64]:
    """Pitch of the head in degrees, of the frames that arrived."""
    return np.degrees([2 * frame["head"][1] for frame in logged(page)])


def test_the_head_nods_when_its_button_is_pressed_with_the_keyboard(page: Page) -> None:
    page.run("document.querySelector('[name=nod]').focus()")
    page.run("log.length = 0")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r")
    page.wait("log.length > 40")
    assert np.ptp(pitches(page)) > 4.0


def test_a_text_is_said_in_step_with_its_sound_and_interrupted(page: Page) -> None:
    page.run("window.sound = 0; app.callbacks.onAudio = (samples) => { sound += samples.length }")
    page.run("document.querySelector('#say input').value = 'good morning'")
    page.click("#say button")
    page.wait(f"app.source === 'text' && {weight('jawOpen')} > 0.05")
    assert page.run("document.querySelector('#speaker').textContent") == "the face speaks"
    page.wait("app.view.pose.weights[app.view.index.jawOpen] > 0.05")
    offsets = page.wait("app.view.metrics.avOffset.length > 10 && app.view.metrics.avOffset")
    assert np.median(np.abs([milliseconds for _, milliseconds in offsets])) < 60
    page.wait("app.source === null", 30)
    assert page.run("sound") == 2 * RATE
    page.wait(f"{LAST}.idle && {weight('jawOpen')} < 0.01")
    page.click("#say button")
    page.wait(f"app.source === 'text' && {weight('jawOpen')} > 0.05")
    page.click("#interrupt")
    page.wait(f"app.source === null && {LAST}.idle && {weight('jawOpen')} < 0.01")


def test_the_face_nods_to_the_microphone_without_moving_its_lips(page: Page) -> None:
    page.click("#listen")
    page.wait("document.querySelector('#speaker').textContent === 'you speak'", 30)
    assert page.run("document.querySelector('#listen').getAttribute('aria-pressed')") == "true"
    page.wait(f"log.length > {25 * LISTENING_S}", 60, 0.3)
    frames = logged(page)
    assert max(frame["weights"][INDEX["jawOpen"]] for frame in frames) == 0.0
    assert np.ptp(pitches(page)) > 3.5
    page.click("#speak")  # the face repeats it instead
    page.wait("app.source === 'microphone' && app.partnerAudio === null")
    page.click("#listen")
    page.wait("app.source === null && app.partnerAudio")
    page.click("#listen")
    page.wait("app.partnerAudio === null")


def test_every_control_has_a_name_and_is_reached_with_the_keyboard(page: Page) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "slider", "checkbox", "textbox", "spinbutton")
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert [role for role, name in found if not name.strip()] == []
    names = {name for _, name in found}
    assert {"Nod", "Shake", "Tilt", "Lean", "Say", "Listen", "text to say"} <= names
    reachable = page.run(
        f"[...{GROUP}.querySelectorAll('input, select, button')].every(({{ tabIndex }}) => tabIndex === 0)"
    )
    assert reachable


@pytest.mark.parametrize(("is_vertex", "hidden"), [(True, True), (False, False)])
def test_the_group_is_there_for_what_the_server_offers(
    browser: Chromium, is_vertex: bool, hidden: bool
) -> None:
    talker = tiny_vertex_talker(1) if is_vertex else small_talker()
    with running_server(talker) as server:
        page = browser.open(server.address + "?detail=lowest", WINDOW)
        page.wait("app.serverInfo")
        page.wait(f"{GROUP}.hidden === {json.dumps(hidden)}")
        assert page.run("document.querySelector('#say')") is None
        page.close()
