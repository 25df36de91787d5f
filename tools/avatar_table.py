# SPDX-License-Identifier: Apache-2.0
"""Pictures and a table of avatars: `python -m tools.avatar_table FOLDER --out FOLDER`.

Each .glb, .vrm and .gltf file of the folder is loaded by the importer and, but for .gltf, by the page in
Chromium; both draw it at rest, on a, on p and with the head turned. `avatars.md` has a row per file, and
`avatars.png` a row of pictures: the off-screen renderer's, then the page's.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.face_report import FaceReport, report_face
from streamingtalker_ros.face.formats.importers import load_mesh
from streamingtalker_ros.face.rendering.renderer import create_renderer
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import rotation_vector_to_quaternion
from streamingtalker_ros.face.visemes import OCULUS_VISEMES, VISEME_POSES
from tools.browser.chromium import Chromium
from tools.browser.server_process import server_process

SUFFIXES: Final = (".glb", ".vrm", ".gltf")
IMAGE_SIZE: Final = (240, 300)  # pixels
LOAD_TIMEOUT_S: Final = 120.0
TURN_RAD: Final = 0.4
CLOSURE: Final = 0.15  # of jawOpen and mouthClose on p, besides the pose of the viseme
_STATE = """(() => {
  const avatar = app.view.faces.avatar;
  return avatar && app.view.shownFace === 'avatar' ? avatar.name : '';
})()"""
_MESSAGE = "(document.querySelector('#status') || {}).textContent || ''"
_DRAW = """((weights, head) => {{
  const {{ view }} = app;
  window.requestAnimationFrame = () => 0;
  view.faces.avatar.pose(Float32Array.from(weights), head, view.index);
  view.scene.recenter();
  view.scene.render();
  return view.scene.canvas.toDataURL('image/png');
}})({weights}, {head})"""


class Pose(NamedTuple):
    """What is drawn of each avatar.

    Attributes:
        name: Of the pose.
        weights: (52,).
        head: (4,) quaternion xyzw.
    """

    name: str
    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]


def make_poses() -> tuple[Pose, ...]:
    """The poses: rest, a, p, and a turned head."""
    still = np.array([0, 0, 0, 1], np.float32)
    rest = np.zeros(len(ARKIT_NAMES), np.float32)
    a, p = (VISEME_POSES[OCULUS_VISEMES.index(viseme)].copy() for viseme in ("aa", "PP"))
    for name in ("jawOpen", "mouthClose"):
        p[INDEX[name]] += CLOSURE
    turn = np.asarray(rotation_vector_to_quaternion(np.array([0.0, 0.0, TURN_RAD])), np.float32)
    return Pose("rest", rest, still), Pose("a", a, still), Pose("p", p, still), Pose("turned", rest, turn)


def draw_offscreen(rig: Rig, poses: Sequence[Pose]) -> list[npt.NDArray[np.uint8]]:
    """Images (H, W, 3) of a rig by the off-screen renderer.

    Args:
        rig: The face.
        poses: What to draw.
    """
    renderer = create_renderer(rig, *IMAGE_SIZE)
    try:
        return [renderer.render(pose.weights, pose.head) for pose in poses]
    finally:
        renderer.close()


def draw_on_page(page: Any, path: Path, poses: Sequence[Pose]) -> list[npt.NDArray[np.uint8]]:
    """Images (H, W, 3) of a file by the page.

    Args:
        page: The page, opened.
        path: The file.
        poses: What to draw.

    Raises:
        TalkerError: If the page does not show it.
    """
    image_module = require("PIL.Image", "the table of avatars")
    page.run("document.querySelector('#status').textContent = ''")
    page.choose_file("#pick-face", path)
    loaded = f"{_STATE} === {json.dumps(path.name[:60])}"
    page.wait(f"({loaded}) || {_MESSAGE}", LOAD_TIMEOUT_S)
    if not page.run(loaded):
        raise TalkerError(str(page.run(_MESSAGE)))
    images: list[npt.NDArray[np.uint8]] = []
    for pose in poses:
        script = _DRAW.format(weights=json.dumps(pose.weights.tolist()), head=json.dumps(pose.head.tolist()))
        data = base64.b64decode(page.run(script, LOAD_TIMEOUT_S).partition(",")[2])
        image = image_module.open(io.BytesIO(data)).convert("RGB").resize(IMAGE_SIZE)
        images.append(np.asarray(image, np.uint8))
    return images


def describe(path: Path, rig: Rig, report: FaceReport, poses: Sequence[Pose]) -> str:
    """Row of the table: what moves, and the lip gap of each pose in mm where the lips were found.

    Args:
        path: The file.
        rig: The face.
        report: What it can show.
        poses: What was drawn.
    """
    gaps = "-"
    if rig.landmarks:
        gaps = " / ".join(f"{1000 * float(rig.lip_gap(pose.weights)):.1f}" for pose in poses[:3])
    height = float(np.ptp(rig.vertices[:, 2]))
    return (
        f"| {path.name} | {report.mouth} | {len(report.driven)} | {', '.join(report.missing) or '-'} "
        f"| {height:.2f} | {gaps} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Command line without the program's name; None for that of the process.

    Returns:
        The exit code: 1 if a file could not be shown.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of .glb, .vrm and .gltf files")
    parser.add_argument("--out", type=Path, default=Path("avatars"), help="folder to write into")
    parser.add_argument("--no-page", action="store_true", help="leave out the page")
    args = parser.parse_args(arguments)
    files = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        parser.error(f"{args.folder} holds no avatar")
    args.out.mkdir(parents=True, exist_ok=True)
    poses = make_poses()
    rows = [
        "| File | Mouth | Shapes | Missing | Height (m) | Lip gap at rest, a, p (mm) |",
        "|---|---|---|---|---|---|",
    ]
    pictures: dict[Path, list[npt.NDArray[np.uint8]]] = {}
    faults: list[str] = []
    for path in files:
        try:
            rig, mesh = load_mesh(path)
            rows.append(describe(path, rig, report_face(rig, mesh), poses))
            pictures[path] = draw_offscreen(rig, poses)
        except TalkerError as error:
            faults.append(f"{path.name}: {error}")
    if not args.no_page:
        with server_process() as (address, _), Chromium() as browser:
            page = browser.open(address, IMAGE_SIZE)
            page.wait("window.app && app.serverInfo && app.view.shownFace", LOAD_TIMEOUT_S)
            page.run("app.view.detail.choose('high')")
            for path in files:
                if path.suffix.lower() == ".gltf":
                    continue
                try:
                    pictures[path] = pictures.get(path, []) + draw_on_page(page, path, poses)
                except TalkerError as error:
                    faults.append(f"{path.name} on the page: {error}")
    (args.out / "avatars.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    image_module = require("PIL.Image", "the table of avatars")
    for path, images in pictures.items():
        image_module.fromarray(np.concatenate(images, axis=1)).save(args.out / f"{path.stem}.png")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{args.out / 'avatars.md'}: {len(pictures)} of {len(files)} avatars")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
