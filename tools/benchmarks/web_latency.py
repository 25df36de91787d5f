# SPDX-License-Identifier: Apache-2.0
"""Latency of `streamingtalker web` from the microphone to the screen, in a headless Chromium.

    python -m tools.benchmarks.web_latency [--seconds 30] [--face maya]

The browser's fake microphone plays the demo's voice, the server runs beside it, the canvas has 480 x 360
pixels without shadows and is drawn by a software renderer (SwiftShader). The latency of a frame runs from the
moment when the middle of its 40 ms of audio reached the page until the frame is displayed: the image is
drawn, the GPU has finished it and the next animation frame has begun. The sound card before the page and the
screen behind it are not included. Exit code 1 if a bound is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web.app import SAMPLE_AUDIO
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

WINDOW = (480, 480)  # pixels; while a source plays, the canvas is about 480 x 360
MAX_MEDIAN_MS, MAX_HIGH_MS = 120.0, 200.0  # median and 95 %, beyond the look-ahead
WARM_UP_S = 5.0
_READ_STATE = """(() => { const { serverInfo, audio, view: { metrics, scene: { canvas } } } = app;
    return { lookahead: 1000 * serverInfo.lookahead, frameRate: serverInfo.frame_rate,
             device: serverInfo.device, sampleRate: audio.sampleRate, size: [canvas.width, canvas.height],
             model: metrics.modelTime.map(([, ms]) => ms),
             dropped: app.sendDropped + app.audioSkipped }; })()"""


def main() -> int:
    """Measure, and print a table.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help=f"to measure, after a warm-up of {WARM_UP_S:g} s"
    )
    parser.add_argument("--detail", default="low", help="level of detail: lowest, low, medium or high")
    parser.add_argument("--face", help="as of `streamingtalker web`; the default head if left out")
    args = parser.parse_args()
    try:
        return report(*measure(args.seconds, args.detail, args.face))
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2


def measure(seconds: float, detail: str, face: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The page's log (see `MetricsLog` of frontend/src/metrics.js) and its state."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "voice.wav"
        pcm, rate = soundfile.read(SAMPLE_AUDIO, dtype="float32")
        soundfile.write(wav, np.concatenate([pcm, np.zeros(rate // 2, np.float32)]), rate, subtype="PCM_16")
        with (
            server_process(*(["--face", face] if face else [])) as (address, _),
            Chromium(microphone=wav, size=WINDOW) as browser,
        ):
            page = browser.open(f"{address}?detail={detail}", WINDOW)
            page.wait(f"app.view.shownFace === '{'avatar' if face else 'default'}'", 60)
            page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
            page.click("#speak")
            page.wait("app.source === 'microphone' && app.view.metrics.latency.length > 5", 60)
            time.sleep(WARM_UP_S)
            page.run("app.view.metrics.log = {images: [], frames: []}, 1")
            time.sleep(seconds)
            log = json.loads(page.run("JSON.stringify(app.view.metrics.log)", 60))
            return log, page.run(_READ_STATE)


def report(log: dict[str, Any], state: dict[str, Any]) -> int:
    """Print the result.

    Returns:
        0 if the bounds are kept, 1 otherwise.
    """
    latency = np.array(log["frames"])[:, 2]
    image_times = np.array(log["images"])[:, 0]
    image_rate = 1000 * (len(image_times) - 1) / np.ptp(image_times)
    median, high = np.percentile(latency, (50, 95))
    half_frame = 500 / state["frameRate"]
    print(
        f"{len(latency)} frames, {image_rate:.0f} images/s of {state['size'][0]} x {state['size'][1]}, "
        f"microphone at {state['sampleRate']} Hz, model {np.median(state['model']):.1f} ms on "
        f"{state['device']}, {state['dropped']} frames dropped, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print("| latency, ms | median | 95 % | min | max |")
    print("|---|---|---|---|---|")
    for name, offset in (
        ("middle of a frame's sound to screen", 0.0),
        ("its beginning to screen", half_frame),
        ("its end to screen", -half_frame),
    ):
        cells = (value + offset for value in (median, high, latency.min(), latency.max()))
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in cells) + " |")
    max_median, max_high = state["lookahead"] + MAX_MEDIAN_MS, state["lookahead"] + MAX_HIGH_MS
    is_kept = median <= max_median and high <= max_high
    print(
        f"bounds: median <= look-ahead + {MAX_MEDIAN_MS:g} = {max_median:g} ms, 95 % <= look-ahead + "
        f"{MAX_HIGH_MS:g} = {max_high:g} ms: {'kept' if is_kept else 'NOT kept'}"
    )
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
