# SPDX-License-Identifier: Apache-2.0
"""Minutes of speech on the page of `streamingtalker web`: sound and face in sync, the server's memory flat.

    python -m tools.benchmarks.web_soak [--minutes 10]

A headless Chromium plays a file of that length. For every image the page compares the playback time at its
display with the time that it shows. Exit code 1 if they differ by more than 40 ms after the first second, or
the server's memory grows by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web.app import SAMPLE_AUDIO
from tools.browser.chromium import Chromium
from tools.browser.server_process import resident_bytes, server_process

WINDOW = (480, 480)  # pixels
MAX_AV_OFFSET_MS, MAX_GROWTH = 40.0, 0.05
SETTLE_S = 60.0  # after which memory is flat
POLL_S = 1.0
Array = npt.NDArray[np.float64]


def main() -> int:
    """Measure, and print the result.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--detail", default="low", help="level of detail: lowest, low, medium or high")
    args = parser.parse_args()
    seconds = 60 * args.minutes
    try:
        return report(*measure(seconds, args.detail), seconds)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2


def measure(seconds: float, detail: str) -> tuple[Array, Array, int]:
    """Play a file.

    Returns:
        Rows of [now in ms, time shown in s, A/V offset in ms]; rows of [time in s, memory in bytes]; dropped
        frames.
    """
    images: list[Any] = []
    memory: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        pcm, rate = soundfile.read(SAMPLE_AUDIO, dtype="float32")
        once = np.concatenate([pcm, np.zeros(rate // 2, np.float32)])
        soundfile.write(wav, np.resize(once, round(seconds * rate)), rate, subtype="PCM_16")
        with server_process() as (address, process), Chromium(size=WINDOW) as browser:
            page = browser.open(f"{address}?detail={detail}", WINDOW)
            page.wait("app.serverInfo && app.timeline && app.timeline.newest", 60)
            page.run("app.view.metrics.log = {images: [], frames: []}, 1")
            page.choose_file("#pick-audio", wav)
            page.wait("app.source === 'file' && app.timeline.newest", 60)
            begin = time.monotonic()
            while page.run("app.source") == "file" and time.monotonic() - begin < seconds + 60:
                time.sleep(POLL_S)
                images += json.loads(page.run("JSON.stringify(app.view.metrics.log.images.splice(0))", 60))
                page.run("app.view.metrics.log.frames.length = 0")
                memory.append((time.monotonic() - begin, resident_bytes(process)))
            dropped = page.run("app.sendDropped + app.audioSkipped")
    return np.array(images), np.array(memory), dropped


def report(images: Array, memory: Array, dropped: int, seconds: float) -> int:
    """Print the result.

    Returns:
        0 if the bounds are kept, 1 otherwise.
    """
    images = images[(images[:, 1] > 1.0) & (images[:, 1] < seconds - 0.2)]
    offsets = np.abs(images[:, 2])
    settled = memory[memory[:, 0] >= min(SETTLE_S, 0.3 * seconds), 1]
    growth = 0.0
    if settled.any():
        growth = settled[-len(settled) // 5 :].mean() / settled[: len(settled) // 5 + 1].mean() - 1
    print(
        f"{seconds / 60:g} min: {len(images)} images, {1000 * len(images) / np.ptp(images[:, 0]):.0f}/s; "
        f"played up to second {images[:, 1].max():.1f}; {dropped} frames dropped"
    )
    print(
        f"A/V offset: median {np.median(offsets):.1f} ms, 99 % {np.percentile(offsets, 99):.1f} ms, max "
        f"{offsets.max():.1f} ms; {100 * (offsets <= MAX_AV_OFFSET_MS).mean():.2f} % within "
        f"{MAX_AV_OFFSET_MS:g} ms"
    )
    print(
        f"server memory: {memory[0, 1] / 1e6:.0f} MB at first, {memory[-1, 1] / 1e6:.0f} MB at last, "
        f"{100 * growth:+.1f} % since it settled"
    )
    gaps = np.diff(images[:, 0], prepend=images[0, 0])
    for k in np.flatnonzero(offsets > MAX_AV_OFFSET_MS)[:10]:
        print(f"  at {images[k, 1]:.2f} s: {images[k, 2]:+.0f} ms, {gaps[k]:.0f} ms after the previous image")
    is_kept = offsets.max() <= MAX_AV_OFFSET_MS and growth <= MAX_GROWTH and images[:, 1].max() > seconds - 2
    print("kept" if is_kept else "NOT kept")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
