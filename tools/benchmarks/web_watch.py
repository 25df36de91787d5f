# SPDX-License-Identifier: Apache-2.0
"""A running talker seen on the page: what comes of its frames and of its voice, in a headless Chromium.

    ros2 launch streamingtalker_ros talker.launch.py       # or: streamingtalker talk
    ros2 run streamingtalker_ros play voice.wav            # or: streamingtalker play voice.wav
    python tools/benchmarks/web_watch.py [--seconds 10] [--domain N]

Start it while the voice is playing, or just before. Ends with 1 where the face does not come as the talker sends it:
fewer than 24 frames a second, no speech, no sound, or a picture that stays the same.
"""

import argparse
import base64
import io
import json
import sys
import time

import numpy as np

from streamingtalker_ros.errors import TalkerError, require
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

SIZE = (480, 667)
SEEN = """new Promise((resolve) => {
    const { now, index, studio } = talk.picture, until = performance.now() + MS;
    const best = { open: [-1, ''], shut: [2, ''] };
    const look = () => {
      const jaw = now.weights[index.jawOpen];
      const name = jaw > best.open[0] + 0.02 ? 'open' : jaw < best.shut[0] - 0.02 ? 'shut' : null;
      if (name) {
        studio.render();
        best[name] = [jaw, studio.canvas.toDataURL()];
      }
      if (performance.now() < until) requestAnimationFrame(look); else resolve(JSON.stringify(best));
    };
    look(); })"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="to look on for, once the talker speaks")
    parser.add_argument("--domain", type=int, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for speech")
    args = parser.parse_args()
    try:
        return watch(args)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2


def watch(args):
    images = require("PIL.Image", "comparing pictures")
    given = [] if args.domain is None else ["--domain", str(args.domain)]
    with server_process(*given) as (address, _), Chromium(size=SIZE) as browser:
        page = browser.open(f"{address}?detail=low", SIZE)
        page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
        page.click("#watch")
        page.wait(
            "app.source === 'watch' && app.timeline.frames.some((frame) => frame.speaking)", args.wait
        )
        time.sleep(1.0)
        page.run("app.frameLog = [], app.view.metrics.log = {images: [], frames: []}, 1")
        begin = time.monotonic()
        best = json.loads(page.run(SEEN.replace("MS", str(1000 * args.seconds)), args.seconds + 60))
        seconds = time.monotonic() - begin
        shown = page.run(
            """JSON.stringify({times: app.frameLog.map((f) => f.time), jaw: app.frameLog.map((f) =>
            f.weights[app.view.index.jawOpen]), pictures: app.view.metrics.log.images,
            loud: Math.max(0, ...app.plots.envelope.map(([, peak]) => peak)), errors: %s})"""
            % json.dumps(page.errors)
        )
    open_, shut = (
        np.asarray(
            images.open(io.BytesIO(base64.b64decode(best[name][1].partition(",")[2]))).convert("RGB"), float
        )
        for name in ("open", "shut")
    )
    mouth = slice(200, 300), slice(170, 300)
    return report(json.loads(shown), np.abs(open_ - shut)[mouth].max(axis=2).mean(), seconds)


def report(shown, changed, seconds) -> int:
    times, jaw, pictures = (np.array(shown[name]) for name in ("times", "jaw", "pictures"))
    apart = np.abs(pictures[:, 2])
    steps = np.diff(times)
    rate = len(times) / seconds
    print(
        f"{len(times)} frames in {seconds:.1f} s, {rate:.1f} a second; {(np.abs(steps - 0.04) < 0.002).mean():.1%} of "
        f"them 40 ms after the one before; jawOpen {jaw.min():.2f} to {jaw.max():.2f}"
    )
    print(
        f"{len(pictures) / seconds:.0f} pictures/s; the mouth's pixels differ by {changed:.1f} of 255 between shut and "
        f"open; loudest sound {shown['loud']:.2f}; sound and face apart: median {np.median(apart):.1f} ms, 95 % "
        f"{np.percentile(apart, 95):.1f} ms"
    )
    kept = rate >= 24 and np.ptp(jaw) > 0.1 and changed > 4 and shown["loud"] > 0.05 and not shown["errors"]
    print("kept" if kept else f"NOT kept {shown['errors']}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
