# SPDX-License-Identifier: Apache-2.0
"""The page's first screen: accessible in every state, and everything within reach in a small window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web.server import Server
from support.web_client import running_server
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
def server(talker: Talker) -> Iterator[Server]:
    with running_server(talker, backlog_seconds=60.0) as server:
        yield server


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    with Chromium(size=DESKTOP) as browser:
        page = browser.open(server.address + "?detail=lowest", DESKTOP)
        page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
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


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: `npm ci` in frontend/")
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_violation(page: Page, state: str) -> None:
    page.run(AXE.read_text() + "; 1")
    for size, scheme in ((DESKTOP, "light"), (PHONE, "dark"), (ZOOMED, "light")):
        resize(page, size, scheme)
        show(page, state)
        assert page.run(VIOLATIONS, 60) == []


def test_the_wheel_and_a_finger_over_the_face_scroll_the_page(page: Page) -> None:
    resize(page, ZOOMED)
    show(page, "idle open")
    distance = page.run("app.view.scene.controls.getDistance()")
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=100, y=200, deltaX=0, deltaY=150)
    page.wait("window.scrollY > 50")
    assert "pan-y" in page.run("getComputedStyle(app.view.scene.canvas).touchAction")
    assert page.run("app.view.scene.controls.getDistance()") == pytest.approx(distance)
