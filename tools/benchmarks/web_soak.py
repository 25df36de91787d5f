# SPDX-License-Identifier: Apache-2.0
"""Minutes of speech on the page of `streamingtalker web`: sound and face stay together, the server's memory is flat.

    python tools/benchmarks/web_soak.py [--minutes 10]

A headless Chromium speaks a file of that length. For every picture the page compares the moment that is heard when the
picture is on the screen with the moment that it shows. Ends with 1 where they were more than 40 ms apart after the
first second, or the server's memory grew by more than 5 %.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web.app import SAMPLE_AUDIO
from tools.browser.chromium import Chromium
from tools.browser.server_process import resident_bytes, server_process

SIZE = (480, 667)
APART, GROWTH = 40.0, 0.05
WARM = 60.0  # s after which memory should have settled


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--detail", default="low", help="of the picture: lowest, low, medium or high")
    args = parser.parse_args()
    try:
        return soak(args)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2


def soak(args):
    seconds, sizes, rows = 60 * args.minutes, [], []
    with tempfile.TemporaryDirectory() as scratch:
        wav = Path(scratch) / "speech.wav"
        pcm, rate = soundfile.read(SAMPLE_AUDIO, dtype="float32")
        once = np.concatenate([pcm, np.zeros(rate // 2, np.float32)])
        soundfile.write(wav, np.resize(once, round(seconds * rate)), rate, subtype="PCM_16")
        with server_process() as (address, process), Chromium(size=SIZE) as browser:
            page = browser.open(f"{address}?detail={args.detail}", SIZE)
            page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
            page.run("app.view.metrics.log = {images: [], frames: []}, 1")
            page.choose_file("#pick-audio", wav)
            page.wait("app.source === 'file' && app.timeline.newest", 60)
            begin = time.monotonic()
            while page.run("app.source") == "file" and time.monotonic() - begin < seconds + 60:
                time.sleep(1.0)
                rows += json.loads(
                    page.run("JSON.stringify(app.view.metrics.log.images.splice(0))", 60)
                )
                page.run("app.view.metrics.log.frames.length = 0")
                sizes.append((time.monotonic() - begin, resident_bytes(process)))
            left = page.run("app.sendDropped + app.audioSkipped")
    return report(np.array(rows), np.array(sizes), seconds, left)


def report(rows, sizes, seconds, left) -> int:
    rows = rows[(rows[:, 1] > 1.0) & (rows[:, 1] < seconds - 0.2)]
    apart = np.abs(rows[:, 2])
    settled = sizes[sizes[:, 0] >= min(WARM, 0.3 * seconds), 1]
    grown = (
        settled[-len(settled) // 5 :].mean() / settled[: len(settled) // 5 + 1].mean() - 1
        if settled.any()
        else 0.0
    )
    print(
        f"{seconds / 60:g} min: {len(rows)} pictures, {1000 * len(rows) / np.ptp(rows[:, 0]):.0f} a second; heard up "
        f"to second {rows[:, 1].max():.1f}; frames left out {left}"
    )
    print(
        f"sound and face apart: median {np.median(apart):.1f} ms, 99 % {np.percentile(apart, 99):.1f} ms, most "
        f"{apart.max():.1f} ms; {100 * (apart <= APART).mean():.2f} % within {APART:g} ms"
    )
    print(
        f"server memory: {sizes[0, 1] / 1e6:.0f} MB at first, {sizes[-1, 1] / 1e6:.0f} MB at last, "
        f"{100 * grown:+.1f} % since it settled"
    )
    gaps = np.diff(rows[:, 0], prepend=rows[0, 0])
    for k in np.flatnonzero(apart > APART)[:10]:
        print(
            f"  at {rows[k, 1]:.2f} s: {rows[k, 2]:+.0f} ms apart, {gaps[k]:.0f} ms after the picture before"
        )
    kept = apart.max() <= APART and grown <= GROWTH and rows[:, 1].max() > seconds - 2
    print("kept" if kept else "NOT kept")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
