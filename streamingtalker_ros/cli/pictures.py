# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker pictures`: the documentation's pictures of the face, each a PNG of labelled tiles.

Takes a folder to write and optionally a user's face; writes face.png (three
views), expressions.png (from front and three-quarter), visemes.png (from
front and profile) and shapes.png (all 52 ARKit shapes at weight 1).
"""

import sys
from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX

EXPRESSIONS = {
    "neutral": {},
    "smile": {"mouthSmile": 0.8, "cheekSquint": 0.4},
    "laugh": {
        "mouthSmile": 0.8,
        "jawOpen": 0.4,
        "mouthUpperUp": 0.2,
        "cheekSquint": 0.7,
        "eyeSquint": 0.4,
        "browOuterUp": 0.2,
    },
    "surprise": {
        "jawOpen": 0.45,
        "mouthFunnel": 0.3,
        "eyeWide": 0.8,
        "browInnerUp": 0.9,
        "browOuterUp": 0.8,
    },
    "sadness": {"mouthFrown": 0.7, "browInnerUp": 0.9, "eyeSquint": 0.3, "mouthShrugLower": 0.4},
    "anger": {"browDown": 1.0, "eyeSquint": 0.5, "noseSneer": 0.6, "mouthPress": 0.7, "mouthFrown": 0.3},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.9, "mouthSmileRight": 0.4, "cheekSquintLeft": 0.6},
    "blink": {"eyeBlink": 1.0},
    "puffed cheeks": {"cheekPuff": 1.0, "mouthPress": 0.3},
    "kiss": {"mouthPucker": 1.0, "eyeBlink": 0.3},
    "tongue": {"tongueOut": 1.0, "jawOpen": 0.45, "mouthSmile": 0.3},
    "doubt": {
        "browDownLeft": 0.7,
        "browOuterUpRight": 0.9,
        "mouthLeft": 0.5,
        "eyeLookOutLeft": 0.5,
        "eyeLookInRight": 0.5,
    },
}
VISEMES = {
    "p b m": {"jawOpen": 0.2, "mouthClose": 0.2, "mouthPress": 0.4},
    "f v": {"jawOpen": 0.05, "mouthRollLower": 0.8, "mouthUpperUp": 0.3},
    "t d n s": {"jawOpen": 0.1, "mouthLowerDown": 0.2, "mouthStretch": 0.2},
    "sh ch": {"jawOpen": 0.12, "mouthFunnel": 0.7},
    "ah": {"jawOpen": 0.7, "mouthLowerDown": 0.1},
    "eh": {"jawOpen": 0.38, "mouthStretch": 0.25, "mouthUpperUp": 0.1},
    "ee": {"jawOpen": 0.15, "mouthSmile": 0.45, "mouthStretch": 0.3, "mouthLowerDown": 0.2},
    "oh": {"jawOpen": 0.4, "mouthFunnel": 0.5, "mouthPucker": 0.3},
    "oo": {"jawOpen": 0.15, "mouthPucker": 0.75, "mouthFunnel": 0.25},
}
SHAPES = {name: {name: 1.0} for name in ARKIT_NAMES}
SHAPES["mouthClose"] = {"mouthClose": 0.5, "jawOpen": 0.5}  # it undoes the jaw, alone it means nothing
SHAPES["tongueOut"] = {"tongueOut": 1.0, "jawOpen": 0.4}
VIEWS = {"front": {}, "three-quarter": {}, "profile": {}}
_INK, _PAPER = (52, 58, 66), (250, 250, 250)


def add_arguments(parser) -> None:
    """The command's options."""
    parser.add_argument("--out", default="docs/pictures", help="folder to write the PNG files into")
    parser.add_argument(
        "--face",
        default=None,
        metavar="PATH",
        help="a face of yours: .glb, .gltf, .ply or a folder of .obj shapes (default: the built-in face)",
    )


def run(args) -> int:
    """Render and write the pictures; prints each file's name and
    size. Raises TalkerError for an unusable face or folder."""
    from streamingtalker_ros.face.default_head.assemble import default_rig
    from streamingtalker_ros.face.formats.importers import load_face

    rig = default_rig() if args.face is None else load_face(args.face)
    if rig.shape_names != ARKIT_NAMES:
        raise TalkerError(
            f"{args.face} has no expressions to show: "
            "give a .glb with ARKit shapes or a folder of .obj shapes"
        )
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as broken:
        raise TalkerError(f"cannot write into {out} ({broken.strerror}): choose another --out") from None
    low, high = rig.vertices.min(axis=0), rig.vertices.max(axis=0)
    face = np.append((low + high)[:2] / 2 + (0.1 * (high - low)[0], 0.0), low[2] + 0.56 * (high - low)[2])
    mouth = face + (0.2 * (high - low)[0], 0.0, -0.19 * (high - low)[2])
    if "mouth_corners" in rig.landmarks:
        mouth[2] = rig.vertices[rig.landmarks["mouth_corners"], 2].mean() + 0.02 * (high - low)[2]
    pages = (  # file, cases, views, tile in pixels, columns, zoom, middle of the picture
        ("face", VIEWS, None, (400, 500), 3, 1.06, None),
        ("expressions", EXPRESSIONS, ("front", "three_quarter"), (170, 210), 4, 1.06, None),
        ("visemes", VISEMES, ("front", "profile"), (200, 170), 3, 2.1, mouth),
        ("shapes", SHAPES, ("front",), (134, 150), 9, 1.45, face),
    )
    for name, *page in pages:
        path = out / f"{name}.png"
        picture = _page(rig, *page)
        picture.save(path, optimize=True)
        print(
            f"{path}  {picture.width} x {picture.height}, {path.stat().st_size // 1024} kB", file=sys.stderr
        )
    return 0


def weights_of(case):
    """{shape or pair of shapes: weight} -> (52,) float32;
    `mouthSmile` sets mouthSmileLeft and mouthSmileRight."""
    out = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in case.items():
        for label in (name,) if name in INDEX else (name + "Left", name + "Right"):
            out[INDEX[label]] = value
    return out


def _page(rig, cases, views, size, columns, zoom, center):
    """Tiles of the cases, each seen from all views side by side;
    views None: each case's label names its own view."""
    image, draw = require("PIL.Image", "the pictures"), require("PIL.ImageDraw", "the pictures")
    font = require("PIL.ImageFont", "the pictures").load_default(12)
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    width, height = size
    across = 1 if views is None else len(views)
    step = across * width + 6, height + 22
    rows = -(-len(cases) // columns)
    page = image.new("RGB", (columns * step[0] - 6, rows * step[1]), _PAPER)
    pen = draw.Draw(page)
    names = [label.replace("-", "_") for label in cases] if views is None else views
    renderers = {view: create_renderer(rig, width, height, view, zoom=zoom, center=center) for view in names}
    for k, (label, case) in enumerate(cases.items()):
        left, top = k % columns * step[0], k // columns * step[1]
        for n, view in enumerate([names[k]] if views is None else views):
            page.paste(image.fromarray(renderers[view].render(weights_of(case))), (left + n * width, top))
        pen.text((left + across * width / 2, top + height + 3), label, fill=_INK, font=font, anchor="ma")
    for renderer in renderers.values():
        renderer.close()
    return page
