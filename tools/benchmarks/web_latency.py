# SPDX-License-Identifier: Apache-2.0
"""From the microphone to the screen: what a visitor of `streamingtalker web` waits for, in a headless Chromium.

    python tools/benchmarks/web_latency.py [--seconds 30]

The browser's fake microphone speaks the demo's voice, the server runs beside it, the picture has 480 x 360 pixels
without shadows and is drawn by the processor (SwiftShader). The latency of a frame runs from the moment when the middle
of its 40 ms of sound came in to the page until the frame is fully shown: the picture is drawn, the graphics card has
finished it and the next animation frame has begun. What lies before the page (the sound card) and after it (the
screen) is not in it. Ends with 1 where a bound is not kept.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web.app import SAMPLE_AUDIO
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

SIZE = (480, 667)  # of the window: its picture is 480 x 360
MEDIAN, HIGH = 120.0, 200.0  # ms over the look-ahead
WARM = 5.0  # s until it has settled


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="to measure for, after the first %g" % WARM
    )
    parser.add_argument("--detail", default="low", help="of the picture: lowest, low, medium or high")
    args = parser.parse_args()
    try:
        return measure(args)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2


def measure(args):
    with tempfile.TemporaryDirectory() as scratch:
        wav = Path(scratch) / "voice.wav"
        pcm, rate = soundfile.read(SAMPLE_AUDIO, dtype="float32")
        soundfile.write(wav, np.concatenate([pcm, np.zeros(rate // 2, np.float32)]), rate, subtype="PCM_16")
        with server_process() as (address, _), Chromium(microphone=wav, size=SIZE) as browser:
            page = browser.open(f"{address}?detail={args.detail}", SIZE)
            page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
            page.click("#microphone")
            page.wait("app.source === 'microphone' && app.view.metrics.latency.length > 5", 60)
            time.sleep(WARM)
            page.run("app.view.metrics.log = {images: [], frames: []}, 1")
            time.sleep(args.seconds)
            log = json.loads(page.run("JSON.stringify(app.view.metrics.log)", 60))
            told = page.run("""(() => { const { hello, sound, picture: { measure, studio: { canvas } } } = talk;
                return { ahead: 1000 * hello.lookahead, rate: hello.frame_rate, device: hello.device, sound: sound.rate,
                         size: [canvas.width, canvas.height], model: measure.model.map(([, ms]) => ms),
                         left: app.sendDropped + app.audioSkipped }; })()""")
    return report(log, told)


def report(log, told) -> int:
    latency = np.array(log["frames"])[:, 2]
    pictures = np.array(log["pictures"])[:, 0]
    drawn = 1000 * (len(pictures) - 1) / np.ptp(pictures)
    median, high = np.percentile(latency, (50, 95))
    half = 500 / told["rate"]
    print(
        f"{len(latency)} frames, {drawn:.0f} pictures/s of {told['size'][0]} x {told['size'][1]}, microphone at "
        f"{told['sound']} Hz, model {np.median(told['model']):.1f} ms on {told['device']}, {told['left']} frames "
        f"left out, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print("| latency, ms | median | 95 % | least | most |")
    print("|---|---|---|---|---|")
    for name, extra in (
        ("middle of a frame's sound to screen", 0.0),
        ("its beginning to screen", half),
        ("its end to screen", -half),
    ):
        cells = (value + extra for value in (median, high, latency.min(), latency.max()))
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in cells) + " |")
    kept = median <= told["ahead"] + MEDIAN and high <= told["ahead"] + HIGH
    print(
        f"bounds: median <= look-ahead + {MEDIAN:g} = {told['ahead'] + MEDIAN:g} ms, 95 % <= look-ahead + {HIGH:g} = "
        f"{told['ahead'] + HIGH:g} ms: {'kept' if kept else 'NOT kept'}"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
