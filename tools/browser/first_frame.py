# SPDX-License-Identifier: Apache-2.0
"""Time from the navigation to the first image of the face: `python -m tools.browser.first_frame --face maya`.

A headless Chromium opens the page with an empty cache and draws it by a software renderer (SwiftShader). The
image counts once the GPU has finished it. Exit code 1 if the bound is exceeded.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from streamingtalker_ros.errors import TalkerError
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

WINDOW = (1280, 800)
MAX_FIRST_FRAME_S = 4.0
LOAD_TIMEOUT_S = 60.0
# since the navigation, ms; an image that has been drawn is pending until the GPU has finished it
_FIRST_FRAME_MS = """new Promise((resolve) => {{
  let shownAt = null;
  let image = null;
  const poll = () => {{
    const {{ view }} = window.app ?? {{}};
    if (view?.shownFace === '{face}') shownAt ??= performance.now();
    if (shownAt !== null) image ??= view.metrics.pending.find(({{ drawnAt }}) => drawnAt > shownAt) ?? null;
    if (image !== null && !view.metrics.pending.includes(image)) resolve(performance.now());
    else requestAnimationFrame(poll);
  }};
  poll();
}})"""


def first_frame_s(address: str, face: str) -> float:
    """Seconds from the navigation until the first image of a face is finished, in a new browser.

    Args:
        address: URL of the page.
        face: "default", or "avatar" for the face that the server was started with.
    """
    with Chromium(size=WINDOW) as browser:
        page = browser.open(address, WINDOW)
        page.wait("document.readyState !== 'loading' && location.href !== 'about:blank'", LOAD_TIMEOUT_S)
        seconds = page.run(_FIRST_FRAME_MS.format(face=face), LOAD_TIMEOUT_S) / 1000
        if page.errors:
            raise TalkerError(f"the page reported an error: {page.errors[0]}")
        return seconds


def main() -> int:
    """Measure, and print the times.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--face", help="as of `streamingtalker web`; the default head if left out")
    parser.add_argument("--repeat", type=int, default=5, help="page loads")
    args = parser.parse_args()
    try:
        with server_process(*(["--face", args.face] if args.face else [])) as (address, _):
            face = "avatar" if args.face else "default"
            seconds = [first_frame_s(address, face) for _ in range(args.repeat)]
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2
    is_kept = max(seconds) <= MAX_FIRST_FRAME_S
    print(
        f"first image of {args.face or 'the default head'} after {np.median(seconds):.1f} s (median of "
        f"{args.repeat}), at most {max(seconds):.1f} s; bound {MAX_FIRST_FRAME_S:g} s: "
        f"{'kept' if is_kept else 'NOT kept'}"
    )
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
