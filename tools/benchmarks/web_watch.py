# SPDX-License-Identifier: Apache-2.0
"""Frames and sound of a running talker on the page of `streamingtalker web`, in a headless Chromium.

    ros2 launch streamingtalker_ros talker.launch.py       # or: streamingtalker talk
    ros2 run streamingtalker_ros play voice.wav            # or: streamingtalker play voice.wav
    python -m tools.benchmarks.web_watch [--seconds 10] [--domain N]

Start it while the audio is playing, or just before. Exit code 1 if the face is not shown as the talker
publishes it: fewer than 24 frames a second, no speech, no sound, or an image that does not change.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

WINDOW = (480, 480)  # pixels
MOUTH = (slice(200, 300), slice(170, 300))  # rows and columns of the canvas
MIN_FRAME_RATE = 24
MIN_JAW_RANGE = 0.1
MIN_PIXEL_CHANGE = 4
MIN_PEAK = 0.05
# the canvas at the most open and at the most closed jaw
_CAPTURE_EXTREMES = """new Promise((resolve) => {
    const { pose, index, scene } = app.view, end = performance.now() + DURATION_MS;
    const extremes = { open: [-1, ''], shut: [2, ''] };
    const poll = () => {
      const jaw = pose.weights[index.jawOpen];
      const name = jaw > extremes.open[0] + 0.02 ? 'open' : jaw < extremes.shut[0] - 0.02 ? 'shut' : null;
      if (name) {
        scene.render();
        extremes[name] = [jaw, scene.canvas.toDataURL()];
      }
      if (performance.now() < end) requestAnimationFrame(poll); else resolve(JSON.stringify(extremes));
    };
    poll(); })"""
_READ_STATE = """JSON.stringify({
    times: app.frameLog.map((frame) => frame.time),
    jaw: app.frameLog.map((frame) => frame.weights[app.view.index.jawOpen]),
    images: app.view.metrics.log.images,
    peak: Math.max(0, ...page.plots.envelope.map(([, peak]) => peak))})"""


def main() -> int:
    """Measure, and print the result.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure, once the talker speaks")
    parser.add_argument("--domain", type=int, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for speech")
    args = parser.parse_args()
    try:
        return report(*measure(args.seconds, args.domain, args.wait))
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2


def measure(seconds: float, domain: int | None, timeout: float) -> tuple[dict[str, Any], float, float]:
    """Watch the talker.

    Returns:
        State of the page; mean change of the mouth's pixels between open and shut, 0..255; measured seconds.
    """
    arguments = [] if domain is None else ["--domain", str(domain)]
    with server_process(*arguments) as (address, _), Chromium(size=WINDOW) as browser:
        page = browser.open(f"{address}?detail=low", WINDOW)
        page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
        page.click("#watch")
        page.wait("app.source === 'watch' && app.timeline.frames.some((frame) => frame.speaking)", timeout)
        time.sleep(1.0)
        page.run("app.frameLog = [], app.view.metrics.log = {images: [], frames: []}, 1")
        begin = time.monotonic()
        script = _CAPTURE_EXTREMES.replace("DURATION_MS", str(1000 * seconds))
        extremes = json.loads(page.run(script, seconds + 60))
        measured = time.monotonic() - begin
        state = json.loads(page.run(_READ_STATE)) | {"errors": page.errors}
    open_mouth, shut_mouth = (decode_image(extremes[name][1]) for name in ("open", "shut"))
    change = np.abs(open_mouth - shut_mouth)[MOUTH].max(axis=2).mean()
    return state, float(change), measured


def decode_image(data_url: str) -> npt.NDArray[np.float64]:
    """(H, W, 3) of a data URL, 0..255."""
    images = require("PIL.Image", "comparing images")
    data = base64.b64decode(data_url.partition(",")[2])
    return np.asarray(images.open(io.BytesIO(data)).convert("RGB"), np.float64)


def report(state: dict[str, Any], change: float, seconds: float) -> int:
    """Print the result.

    Returns:
        0 if the bounds are kept, 1 otherwise.
    """
    times, jaw, images = (np.array(state[name]) for name in ("times", "jaw", "images"))
    offsets = np.abs(images[:, 2])
    frame_rate = len(times) / seconds
    regular = (np.abs(np.diff(times) - 0.04) < 0.002).mean()
    print(
        f"{len(times)} frames in {seconds:.1f} s, {frame_rate:.1f}/s; {regular:.1%} of them 40 ms after the "
        f"previous one; jawOpen {jaw.min():.2f} to {jaw.max():.2f}"
    )
    print(
        f"{len(images) / seconds:.0f} images/s; the mouth's pixels differ by {change:.1f} of 255 between "
        f"shut and open; peak of the sound {state['peak']:.2f}; A/V offset: median "
        f"{np.median(offsets):.1f} ms, 95 % {np.percentile(offsets, 95):.1f} ms"
    )
    is_kept = (
        frame_rate >= MIN_FRAME_RATE
        and np.ptp(jaw) > MIN_JAW_RANGE
        and change > MIN_PIXEL_CHANGE
        and state["peak"] > MIN_PEAK
        and not state["errors"]
    )
    print("kept" if is_kept else f"NOT kept {state['errors']}")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
