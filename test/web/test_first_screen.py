# SPDX-License-Identifier: Apache-2.0
"""The page's first screen: accessible in every state, and everything within reach in a small window."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamingtalker_ros.web.server import Server
from support.web_page import open_page
from tools.browser.chromium import Chromium, Page

pytestmark = pytest.mark.browser

DESKTOP, ZOOMED, PHONE, PHONE_ON_ITS_SIDE = (1280, 800), (640, 400), (390, 844), (844, 390)
AXE = Path(__file__).absolute().parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
MIN_TARGET = 44  # CSS pixels
VIOLATIONS = """axe.run().then(({ violations }) => violations.map(({ id, nodes }) =>
    `${id}: ${nodes.map(({ html, any }) => html.slice(0, 120) + ' ' + (any[0]?.message ?? ''))}`))"""
# every control of the page: whether a click at its centre meets it, and whether it is as large as a finger
OUT_OF_REACH = f"""(() => {{
  const found = [];
  for (const control of document.querySelectorAll('button, select, input, summary, a, #face')) {{
    if (!control.checkVisibility()) continue;
    const target = control.type === 'checkbox' ? control.closest('label') : control;
    target.scrollIntoView({{ block: 'center', behavior: 'instant' }});
    const {{ left, top, width, height }} = target.getBoundingClientRect();
    const met = document.elementFromPoint(left + width / 2, top + height / 2);
    if (!target.contains(met) || Math.min(width, height) < {MIN_TARGET}) {{
      found.push(`${{control.id || control.name || control.textContent}}: ${{Math.round(width)}} x `
        + `${{Math.round(height)}}, covered by ${{met?.id || met?.tagName}}`);
    }}
  }}
  return found;
}})()"""
# text that is wider than its box or the window
TRUNCATED = """[...document.querySelectorAll('main *')].filter((element) => {
  if (!element.checkVisibility({ visibilityProperty: true }) || !element.innerText?.trim()) return false;
  if (element.closest('#intro') && document.body.classList.contains('active')) return false;
  const { left, right } = element.getBoundingClientRect();
  return element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 || left < -1
    || right > innerWidth + 1;
}).map(({ outerHTML }) => outerHTML.slice(0, 150))"""


@pytest.fixture(scope="module")
def page(browser: Chromium, server: Server) -> Iterator[Page]:
    page = open_page(browser, server, DESKTOP)
    page.run("window.stream = Blob.prototype.stream, 1")
    yield page
    assert page.errors == []


def resize(page: Page, size: tuple[int, int], scheme: str = "dark") -> None:
    """Show the page in a window of this size, in CSS pixels, with these colours."""
    page.call(
        "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], mobile=False, deviceScaleFactor=1
    )
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.wait(f"innerWidth === {size[0]} && innerHeight === {size[1]}")


def show(page: Page, state: str) -> None:
    """Bring the page into a state: "idle" or "speaking", with all groups folded or, "… open", unfolded."""
    source, _, groups = state.partition(" ")
    is_open = str(groups == "open").lower()
    page.run("app.source && app.stop()")
    page.wait("!document.body.classList.contains('active')")
    page.run(f"document.querySelectorAll('details').forEach((group) => (group.open = {is_open})), 1")
    if source == "speaking":
        page.run("app.startMicrophone().then(() => 1)")
        page.wait("document.body.classList.contains('active') && app.timeline.newest")
    page.run("window.scrollTo(0, 0), 1")


STATES = ("idle", "idle open", "speaking", "speaking open")


@pytest.mark.parametrize("state", STATES)
def test_face_and_controls_are_within_reach_of_a_finger_and_nothing_is_truncated(
    page: Page, state: str
) -> None:
    for size in (ZOOMED, PHONE, PHONE_ON_ITS_SIDE):
        resize(page, size)
        show(page, state)
        canvas = page.run("[app.view.scene.canvas.clientWidth, app.view.scene.canvas.clientHeight]")
        assert min(canvas) > 0.35 * min(size)
        assert page.run(OUT_OF_REACH) == []
        assert page.run(TRUNCATED) == []
        assert page.run("document.documentElement.scrollWidth") <= size[0]


def violations(page: Page) -> list[str]:
    """What axe-core finds in the page's present state."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: `npm ci` in frontend/")
    page.run(f"window.axe ?? (() => {{ {AXE.read_text()} }})(), 1")
    return page.run(VIOLATIONS, 60)


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_violation(page: Page, state: str) -> None:
    for size, scheme in ((DESKTOP, "light"), (PHONE, "dark"), (ZOOMED, "light")):
        resize(page, size, scheme)
        show(page, state)
        assert violations(page) == []


def test_the_wheel_and_a_finger_over_the_face_scroll_the_page(page: Page) -> None:
    resize(page, ZOOMED)
    show(page, "idle open")
    distance = page.run("app.view.scene.controls.getDistance()")
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=100, y=200, deltaX=0, deltaY=150)
    page.wait("window.scrollY > 50")
    assert "pan-y" in page.run("getComputedStyle(app.view.scene.canvas).touchAction")
    assert page.run("app.view.scene.controls.getDistance()") == pytest.approx(distance)


def write_wav(path: Path, seconds: int) -> Path:
    """A WAV file of silence, 8000 bytes/s."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 8000 * seconds)
    return path


def test_a_file_that_is_too_long_is_rejected_before_it_is_read(page: Page, tmp_path: Path) -> None:
    page.run("Blob.prototype.stream = () => { throw Error('it is read'); }, 1")
    page.choose_file("#pick-audio", write_wav(tmp_path / "long.wav", 1860))
    page.wait("document.querySelector('#status').textContent.includes('long.wav lasts 31 min')")
    page.run("Blob.prototype.stream = stream, 1")
    page.wait("app.source === null && !app.isOpening")


def test_opening_a_file_shows_its_progress_and_can_be_cancelled(page: Page, tmp_path: Path) -> None:
    resize(page, DESKTOP)
    show(page, "idle")
    page.run("""(() => { const { prototype } = OfflineAudioContext;
        window.decode = prototype.decodeAudioData;
        prototype.decodeAudioData = () => new Promise(() => {}); })()""")
    page.choose_file("#pick-audio", write_wav(tmp_path / "slow.wav", 600))
    page.wait("document.querySelector('#opening').innerText.includes('slow.wav')")
    assert page.run("document.querySelector('#speak').textContent") == "Cancel"
    page.click("#speak")
    page.wait("!app.isOpening && app.source === null && document.querySelector('#opening').hidden")
    page.run("OfflineAudioContext.prototype.decodeAudioData = decode, 1")
    assert "slow.wav" not in page.run("document.querySelector('#status').textContent")
    page.click("#sample")
    page.wait("app.source === 'file'")


def test_axe_finds_no_violation_while_a_file_is_read_nor_beside_a_recording(
    page: Page, tmp_path: Path
) -> None:
    resize(page, PHONE)
    show(page, "speaking")
    page.click("#record")
    page.wait("app.recorder.poses.length > 5")
    page.click("#record")
    page.wait("!document.querySelector('#downloads').hidden")
    assert violations(page) == [] and page.run(OUT_OF_REACH) == [] and page.run(TRUNCATED) == []
    show(page, "idle")
    page.run(
        "Blob.prototype.stream = () => ({ getReader: () => ({ read: () => new Promise(() => {}) }) }), 1"
    )
    page.choose_file("#pick-audio", write_wav(tmp_path / "speech.wav", 60))
    page.wait("document.querySelector('#opening').checkVisibility({ visibilityProperty: true })")
    found = violations(page) + page.run(OUT_OF_REACH) + page.run(TRUNCATED)
    page.run("app.stop(), Blob.prototype.stream = stream, 1")
    assert found == []


@pytest.mark.parametrize(
    ("counter", "words"),
    [("metrics.imageRate", "draws the face too slowly"), ("audioSkipped", "server is too slow")],
)
def test_slowness_is_told_in_words_until_it_is_dismissed(page: Page, counter: str, words: str) -> None:
    resize(page, ZOOMED)
    show(page, "idle")
    owner, value = ("app.view.metrics", "5") if "." in counter else ("app", "performance.now() / 20")
    name = counter.rpartition(".")[2]
    page.run(
        f"Object.defineProperty({owner}, '{name}',"
        f" {{ get: () => {value}, set() {{}}, configurable: true }}), 1"
    )
    notice = "document.querySelector('#notice')"
    page.wait(f"{notice}.checkVisibility() && {notice}.innerText.includes('{words}')")
    assert page.run(OUT_OF_REACH) == [] and page.run(TRUNCATED) == []
    page.click("#dismiss")
    page.wait(f"{notice}.hidden")
    page.run(f"delete {owner}.{name}; app.audioSkipped = 0; 1")
