# SPDX-License-Identifier: Apache-2.0
"""Screenshots of the page while it speaks the sample: `python -m tools.browser.screenshots --out docs`.

Drawn by a processor at full detail, which takes a second a picture: the page speaks at low detail until the
lips are open, stops there, and draws that moment finely. Writes web-desktop.png and web-phone.png.
"""

import argparse
import sys
from pathlib import Path

from streamingtalker_ros.errors import TalkerError
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

SHOTS = {  # name: (page in pixels, telephone, seconds of the voice, least jawOpen, camera to the person's left and up)
    "web-desktop": ((1280, 800), False, 5.0, 0.24, (0.0, 0.0)),
    "web-phone": ((390, 844), True, 3.0, 0.16, (0.55, 0.02)),
}
_FREEZE = """new Promise((resolve) => {{
  let most = 0;
  const look = () => {{
    const {{ now, index, state }} = talk.picture, jaw = now.weights[index.jawOpen];
    const late = app.timeline.clock.heard(performance.now()) > {seconds};
    if (late && jaw > most) talk.held = state;
    most = late ? Math.max(most, jaw) : 0;
    if (most < {jaw} || jaw > most - 0.02) return setTimeout(look, 10); // until it closes again
    window.requestAnimationFrame = () => 0;
    resolve(1);
  }};
  look();
}})"""
_FINE = """(() => {{
  const {{ picture }} = talk, {{ studio }} = picture;
  picture.detail.set('high');
  studio.controls.enableDamping = false;
  const from = studio.camera.position.clone().sub(studio.controls.target), away = from.length();
  from.x += {aside} * away; from.y += {up} * away;
  studio.camera.position.copy(studio.controls.target).add(from.setLength(away));
  picture.faces.default.pose(talk.held.weights, talk.held.head);
  studio.render();
  studio.renderer.getContext().finish();
}})()"""


def shoot(browser, address, name, out) -> None:
    size, phone, seconds, jaw, (aside, up) = SHOTS[name]
    page = browser.open(f"{address}?detail=high", size, phone)
    page.wait("!!app.view.faces.default", 120)
    page.run("app.view.detail.choose('lowest')", 120)
    page.wait("app.serverInfo && app.timeline && app.timeline.newest && app.view.metrics.imageRate > 15", 120)
    page.click("#sample")
    page.wait("app.source === 'file' && app.view.metrics.latency.length > 3", 60)
    if phone:
        page.run("window.scrollTo(0, 0)")
    page.run(_FREEZE.format(seconds=seconds, jaw=jaw), 60)
    page.run("document.querySelector('#detail').value = 'auto', 1")
    page.run(_FINE.format(aside=aside, up=up), 120)
    path = Path(out) / f"{name}.png"
    page.screenshot(path)
    page.close()
    if page.errors:
        raise TalkerError(f"the page complained: {page.errors[0]}")
    print(f"{path}  {size[0]} x {size[1]}, {path.stat().st_size // 1024} kB", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", default="docs", help="folder to write them into")
    args = parser.parse_args()
    try:
        with server_process() as (address, _), Chromium() as browser:
            for name in SHOTS:
                shoot(browser, address, name, args.out)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
