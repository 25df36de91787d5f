# SPDX-License-Identifier: Apache-2.0
"""Screenshots of the page: `python -m tools.browser.screenshots`.

web-desktop.webp is the first screen, web-phone.webp a phone while the page speaks the sample.

A software renderer draws an image at full detail in a second: the page speaks at the lowest detail until the
lips are open, stops there, and draws that moment at full detail.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from streamingtalker_ros.errors import TalkerError
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

LOAD_TIMEOUT_S = 120.0
SPEECH_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Shot:
    """One screenshot.

    Attributes:
        size: of the page, in CSS pixels.
        mobile: whether a phone is emulated.
        scheme: "light" or "dark".
        min_time: seconds of the sample, before which no moment is taken; None: nothing is played.
        min_jaw_open: least weight of jawOpen.
        camera: shift of the camera to the person's left and up, in units of its distance.
    """

    size: tuple[int, int]
    mobile: bool
    scheme: str
    min_time: float | None
    min_jaw_open: float
    camera: tuple[float, float]


SHOTS = {
    "web-desktop": Shot((1280, 800), False, "dark", None, 0.0, (0.0, 0.0)),
    "web-phone": Shot((390, 844), True, "light", 3.0, 0.16, (0.55, 0.02)),
}
# stops the page when the jaw begins to close, and keeps the most open pose
_STOP_AT_OPEN_MOUTH = """new Promise((resolve) => {{
  let widest = 0;
  const poll = () => {{
    const {{ view, timeline }} = app, jaw = view.pose.weights[view.index.jawOpen];
    const isLate = timeline.clock.playbackTime(performance.now()) > {min_time};
    if (isLate && jaw > widest) window.shownPose = view.copyPose();
    widest = isLate ? Math.max(widest, jaw) : 0;
    if (widest < {min_jaw_open} || jaw > widest - 0.02) return setTimeout(poll, 10);
    window.requestAnimationFrame = () => 0;
    resolve(1);
  }};
  poll();
}})"""
_DRAW_AT_FULL_DETAIL = """(() => {{
  const {{ view, view: {{ scene }} }} = app;
  view.detail.choose('high');
  scene.controls.enableDamping = false;
  const offset = scene.camera.position.clone().sub(scene.controls.target), distance = offset.length();
  offset.x += {left} * distance; offset.y += {up} * distance;
  scene.camera.position.copy(scene.controls.target).add(offset.setLength(distance));
  view.faces.default.pose(window.shownPose.weights, window.shownPose.head);
  scene.render();
  scene.gl.finish();
}})()"""


def take_screenshot(browser: Chromium, address: str, name: str, folder: Path) -> None:
    """Write one of SHOTS.

    Args:
        browser: that shows the page.
        address: URL of the page.
        name: of the shot.
        folder: to write into.

    Raises:
        TalkerError: if the page reports an error.
    """
    shot = SHOTS[name]
    page = browser.open("about:blank", shot.size, shot.mobile)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": shot.scheme}])
    page.call("Page.navigate", url=f"{address}?detail=high")
    page.wait("!!app.view.faces.default", LOAD_TIMEOUT_S)
    page.run("app.view.detail.choose('lowest')", LOAD_TIMEOUT_S)
    page.wait(
        "app.serverInfo && app.timeline && app.timeline.newest && app.view.metrics.imageRate > 15",
        LOAD_TIMEOUT_S,
    )
    if shot.min_time is None:
        page.run("window.shownPose = app.view.copyPose(), window.requestAnimationFrame = () => 0, 1")
    else:
        page.click("#sample")
        page.wait("app.source === 'file' && app.view.metrics.latency.length > 3", SPEECH_TIMEOUT_S)
        stop = _STOP_AT_OPEN_MOUTH.format(min_time=shot.min_time, min_jaw_open=shot.min_jaw_open)
        page.run(stop, SPEECH_TIMEOUT_S)
    page.run("document.querySelector('#detail').value = 'auto', 1")
    page.run(_DRAW_AT_FULL_DETAIL.format(left=shot.camera[0], up=shot.camera[1]), LOAD_TIMEOUT_S)
    path = folder / f"{name}.webp"
    page.screenshot(path)
    page.close()
    if page.errors:
        raise TalkerError(f"the page reported an error: {page.errors[0]}")
    kilobytes = path.stat().st_size // 1024
    print(f"{path}  {shot.size[0]} x {shot.size[1]}, {kilobytes} kB", file=sys.stderr)


def main() -> int:
    """Write all screenshots.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder to write them into")
    args = parser.parse_args()
    try:
        with server_process() as (address, _), Chromium() as browser:
            for name in SHOTS:
                take_screenshot(browser, address, name, args.out)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
