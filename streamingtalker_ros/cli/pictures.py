# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker pictures`: pictures of a face, each of labelled tiles.

Writes face (three views), expressions (front and three-quarter view), visemes (front and profile) and shapes
(all 52 ARKit shapes at weight 1), as PNG or WebP.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.emotion_table import EMOTIONS
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.named_faces import FACE_HELP
from streamingtalker_ros.face.rendering.scene import VIEWS_DEG
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.output_files import atomic_output, check_output_folder
from streamingtalker_ros.process import print_line

if TYPE_CHECKING:
    from PIL.Image import Image

HELP = "render the default face: expressions, visemes, profiles"

Case: TypeAlias = Mapping[str, float]  # weights by shape; a name without its side sets both sides

EXPRESSIONS: dict[str, Case] = {
    **{name: emotion.shapes for name, emotion in EMOTIONS.items()},
    "open smile": {
        **EMOTIONS["happy"].shapes,
        "mouthSmile": 0.62,
        "cheekSquint": 0.6,
        "eyeSquint": 0.3,
        "jawOpen": 0.12,
        "mouthUpperUp": 0.25,
        "mouthLowerDown": 0.1,
    },
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.9, "mouthSmileRight": 0.4, "cheekSquintLeft": 0.6},
    "puffed cheeks": {"cheekPuff": 1.0, "mouthPress": 0.3},
    "kiss": {"mouthPucker": 1.0, "eyeBlink": 0.3},
    "tongue": {"tongueOut": 1.0, "jawOpen": 0.45, "mouthSmile": 0.3},
}
VISEMES: dict[str, Case] = {
    "p b m": {
        "jawOpen": 0.2,
        "mouthClose": 0.2,
        "mouthPress": 0.5,
        "mouthRollLower": 0.15,
        "mouthFrown": 0.24,
    },
    "f v": {"jawOpen": 0.04, "mouthRollLower": 0.5, "mouthUpperUp": 0.34, "mouthFunnel": 0.1},
    "t d n s": {"jawOpen": 0.1, "mouthLowerDown": 0.2, "mouthStretch": 0.2},
    "sh ch": {"jawOpen": 0.12, "mouthFunnel": 0.7},
    "ah": {"jawOpen": 0.7, "mouthLowerDown": 0.1},
    "eh": {"jawOpen": 0.38, "mouthStretch": 0.25, "mouthUpperUp": 0.1},
    "ee": {"jawOpen": 0.12, "mouthSmile": 0.35, "mouthStretch": 0.35, "mouthLowerDown": 0.12},
    "oh": {"jawOpen": 0.4, "mouthFunnel": 0.5, "mouthPucker": 0.3},
    "oo": {"jawOpen": 0.09, "mouthPucker": 0.85, "mouthFunnel": 0.2},
}
SHAPES: dict[str, Case] = {
    **{name: {name: 1.0} for name in ARKIT_NAMES},
    "mouthClose": {"mouthClose": 0.5, "jawOpen": 0.5},  # it counteracts jawOpen and has no effect without it
    "tongueOut": {"tongueOut": 1.0, "jawOpen": 0.4},
}
_TEXT_COLOR, _PAGE_COLOR = (52, 58, 66), (250, 250, 250)
_FONT_SIZE, _GAP, _CAPTION_HEIGHT = 12, 6, 22  # pixels
_WEBP_QUALITY = 82
_PURPOSE = "drawing pictures of a face"


class Page(NamedTuple):
    """A picture of tiles.

    Attributes:
        name: File name without ending.
        tiles: Label, weights and views of each tile, the views side by side.
        size: Width and height of a view in pixels.
        columns: Tiles in a row.
        zoom: As in `create_renderer`.
        center: As in `create_renderer`.
    """

    name: str
    tiles: Sequence[tuple[str, Case, Sequence[str]]]
    size: tuple[int, int]
    columns: int
    zoom: float
    center: npt.NDArray[np.floating] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    parser.add_argument("--out", default="docs/pictures", help="folder to write the pictures into")
    parser.add_argument("--format", default="png", choices=("png", "webp"), help="of the pictures")
    parser.add_argument(
        "--face",
        default=None,
        metavar="PATH",
        help=f"{FACE_HELP}: .glb, .gltf, .ply or a folder of .obj shapes (default: the built-in face)",
    )


def run(args: argparse.Namespace) -> int:
    """Render and write the pictures; prints the name and the size of each file.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If the face is unusable or the folder cannot be written.
    """
    from streamingtalker_ros.face.named_faces import open_face

    out = Path(args.out)
    check_output_folder(out, inputs=[args.face])
    rig = open_face(args.face)
    if rig.shape_names != ARKIT_NAMES:
        raise TalkerError(
            f"{args.face} has no expressions to show: "
            "give a .glb with ARKit shapes or a folder of .obj shapes"
        )
    require("PIL.Image", _PURPOSE)
    out.mkdir(parents=True, exist_ok=True)
    for page in pages(rig):
        save_picture(out / f"{page.name}.{args.format}", draw_page(rig, page))
    return 0


def save_picture(path: Path, picture: Image) -> None:
    """Write a picture; prints its name and size.

    Args:
        path: File to write, .png or .webp.
        picture: The picture.

    Raises:
        TalkerError: If the file cannot be written.
    """
    with atomic_output(path) as partial:
        picture.save(partial, path.suffix[1:], optimize=True, quality=_WEBP_QUALITY)
    kilobytes = path.stat().st_size // 1024
    print_line(f"{path}  {picture.width} x {picture.height}, {kilobytes} kB", error=True)


def case_weights(case: Case) -> npt.NDArray[np.float32]:
    """The weights of a case, (52,); `mouthSmile` sets mouthSmileLeft and mouthSmileRight."""
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in case.items():
        for shape in (name,) if name in INDEX else (name + "Left", name + "Right"):
            weights[INDEX[shape]] = value
    return weights


def pages(rig: Rig) -> list[Page]:
    """The pictures of a face with ARKit shapes.

    Args:
        rig: The face, which decides where the middle of each picture is.

    Returns:
        face, expressions, visemes and shapes.
    """
    low, high = rig.head_bounds()
    size = high - low
    face = np.append((low + high)[:2] / 2 + (0.1 * size[0], 0.0), low[2] + 0.56 * size[2])
    mouth = face + np.array([0.2 * size[0], 0.0, -0.19 * size[2]])
    if "mouth_corners" in rig.landmarks:
        mouth[2] = rig.vertices[rig.landmarks["mouth_corners"], 2].mean() + 0.02 * size[2]

    def tiles(cases: Mapping[str, Case], *views: str) -> list[tuple[str, Case, Sequence[str]]]:
        return [(label, case, views) for label, case in cases.items()]

    neutral: Case = {}
    views = [(view.replace("_", "-"), neutral, (view,)) for view in VIEWS_DEG]
    return [
        Page("face", views, (400, 500), 3, 1.06, None),
        Page("expressions", tiles(EXPRESSIONS, "front", "three_quarter"), (170, 210), 4, 1.06, None),
        Page("visemes", tiles(VISEMES, "front", "profile"), (200, 170), 3, 2.1, mouth),
        Page("shapes", tiles(SHAPES, "front"), (134, 150), 9, 1.45, face),
    ]


def draw_page(rig: Rig, page: Page) -> Image:
    """Draw the tiles of a page in rows, each with its label below.

    Args:
        rig: The face.
        page: The page.

    Returns:
        The picture.

    Raises:
        TalkerError: If Pillow or VTK is not installed.
    """
    image, draw = require("PIL.Image", _PURPOSE), require("PIL.ImageDraw", _PURPOSE)
    font = require("PIL.ImageFont", _PURPOSE).load_default(_FONT_SIZE)
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    width, height = page.size
    tile_width = width * max(len(views) for _, _, views in page.tiles)
    step = tile_width + _GAP, height + _CAPTION_HEIGHT
    rows = -(-len(page.tiles) // page.columns)
    result = image.new("RGB", (page.columns * step[0] - _GAP, rows * step[1]), _PAGE_COLOR)
    pen = draw.Draw(result)
    used_views = {view: None for _, _, views in page.tiles for view in views}  # in order of first use
    renderers = {
        view: create_renderer(rig, width, height, view, zoom=page.zoom, center=page.center)
        for view in used_views
    }
    for k, (label, case, views) in enumerate(page.tiles):
        left, top = k % page.columns * step[0], k // page.columns * step[1]
        for n, view in enumerate(views):
            pixels = renderers[view].render(case_weights(case))
            result.paste(image.fromarray(pixels), (left + n * width, top))
        center = left + tile_width / 2
        pen.text((center, top + height + 3), label, fill=_TEXT_COLOR, font=font, anchor="ma")
    for renderer in renderers.values():
        renderer.close()
    return result
