# SPDX-License-Identifier: Apache-2.0
"""Loads a face from a file as a Rig.

Formats: glTF with ARKit morph targets, a folder of OBJ shapes, or a PLY template. Files have y up, z out of
the face, x to the person's left, as glTF, ICT-FaceKit and VOCASET agree; the rig has x out of the face, y to
the person's left, z up, in metres. Names of shapes are matched without regard to case, with Left/Right, L/R
or _L/_R; shapes that a face lacks stay zero.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.gltf import read_gltf
from streamingtalker_ros.face.formats.imported_mesh import ImportedMesh
from streamingtalker_ros.face.formats.obj import read_obj
from streamingtalker_ros.face.formats.ply import read_ply
from streamingtalker_ros.face.geometry.lip_landmarks import find_lip_landmarks
from streamingtalker_ros.face.rig import DEFAULT_COLOR, Rig
from streamingtalker_ros.face.rotation import y_up_to_ros

OBJ_UNIT_M = 0.01  # ICT-FaceKit's OBJ files are in centimetres
FORMATS = ".glb, .gltf, .ply or a folder of .obj shapes"
_NEUTRAL_NAMES = ("basis", "base", "rest")
_NAMES_BY_KEY = {name.lower(): name for name in ARKIT_NAMES}


class _RigExtras(TypedDict, total=False):
    parts: dict[str, tuple[int, int]]
    landmarks: dict[str, npt.NDArray[np.int64]]
    pivot: npt.NDArray[np.float32]


def load_face(
    path: str | os.PathLike[str],
    unit: float | None = None,
    landmarks: Mapping[str, npt.ArrayLike] | None = None,
) -> Rig:
    """Load a face.

    Args:
        path: A .glb, .gltf or .ply file, or a folder of .obj files with a neutral one among them.
        unit: Metres per unit of the file; None for 1 (glTF, PLY) or 0.01 (OBJ).
        landmarks: Vertex indices by name: `inner_lip_upper` and `inner_lip_lower`, paired, and
            `mouth_corners`, left and right. None takes those of the file, or else searches the lips by the
            motion of jawOpen; without success the rig has no landmarks.

    Returns:
        The rig; that of a PLY has no shapes.

    Raises:
        TalkerError: If the file is missing, damaged, of an unknown format, or has no shape with an ARKit
            name, or if a landmark lies outside the mesh.
    """
    path = Path(path)
    if not path.exists():
        raise TalkerError(f"no face at {path}: give a .glb, .gltf or .ply file or a folder of .obj shapes")
    mesh = _read_mesh(path)
    if unit is None:
        unit = OBJ_UNIT_M if path.is_dir() else 1.0
    has_shapes = path.suffix.lower() != ".ply" or path.is_dir()
    points = y_up_to_ros(mesh.vertices) * np.float32(unit)
    shape_names: tuple[str, ...] = ()
    deltas = np.zeros((0, len(points), 3), np.float32)
    if has_shapes:
        shape_names = ARKIT_NAMES
        deltas = y_up_to_ros(_arkit_deltas(path, mesh.targets, len(points))) * np.float32(unit)
    extras = _validate_extras(path, mesh.rig, len(points))
    if landmarks is None:
        landmarks = extras.get("landmarks")
    if landmarks is None:
        landmarks = find_lip_landmarks(points, mesh.triangles, deltas[INDEX["jawOpen"]]) if has_shapes else {}
    vertices_by_name = {name: np.asarray(ids, np.int64) for name, ids in landmarks.items()}
    if any(len(ids) and not 0 <= ids.min() <= ids.max() < len(points) for ids in vertices_by_name.values()):
        raise TalkerError(
            f"a landmark lies outside the {len(points)} vertices of {path.name}: count them from 0"
        )
    return Rig(
        name=path.stem,
        vertices=points,
        triangles=np.asarray(mesh.triangles, np.uint32),
        shape_names=shape_names,
        deltas=deltas,
        parts=extras.get("parts") or mesh.parts or {"skin": (0, len(points))},
        landmarks=vertices_by_name,
        colors=np.asarray(mesh.colors, np.float32),
        pivot=y_up_to_ros(extras["pivot"]) * np.float32(unit)
        if "pivot" in extras
        else _estimate_pivot(points),
        follow=mesh.follow,
    )


def _read_mesh(path: Path) -> ImportedMesh:
    """The content of a file of any format, in the axes and units of the file."""
    if path.is_dir():
        return _read_obj_folder(path)
    if path.suffix.lower() in (".glb", ".gltf"):
        return read_gltf(path)
    if path.suffix.lower() == ".ply":
        vertices, triangles = read_ply(path)
        return ImportedMesh(vertices, triangles, _default_colors(len(vertices)), {}, {}, {}, None)
    raise TalkerError(f"{path.name} is not of a supported face format: give {FORMATS}")


def _default_colors(count: int) -> npt.NDArray[np.float32]:
    return np.tile(np.array(DEFAULT_COLOR, np.float32), (count, 1))


def _estimate_pivot(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A point in the neck, from the bounding box of the face."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array(
        [low[0] + 0.4 * (high[0] - low[0]), (low[1] + high[1]) / 2, low[2] + 0.2 * (high[2] - low[2])],
        np.float32,
    )


def _validate_extras(path: Path, extras: dict[str, Any], num_vertices: int) -> _RigExtras:
    """`extras.rig` of a .glb file (see `gltf_writer`) with the types of a Rig; empty for other files."""
    if not extras:
        return {}
    try:
        parts = {str(name): (int(first), int(last)) for name, (first, last) in extras["parts"].items()}
        landmarks = {str(name): np.asarray(ids, np.int64) for name, ids in extras["landmarks"].items()}
        pivot = np.array(extras["pivot"], np.float32).reshape(3)
        if not all(0 <= first <= last <= num_vertices for first, last in parts.values()):
            raise ValueError("a part lies outside the vertices")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TalkerError(f"{path} has damaged extras of a rig ({error}): export it again") from None
    return {"parts": parts, "landmarks": landmarks, "pivot": pivot}


def arkit_name(label: str) -> str | None:
    """Match a file's name of a shape: mouthSmile_L, mouth_smile_left, Face.M_MouthSmileLeft.

    Halves of a shape that ARKit keeps whole, such as ICT-FaceKit's browInnerUp_L and browInnerUp_R, match the
    whole.

    Args:
        label: The name in the file.

    Returns:
        The ARKit name, or None if the label matches none.
    """
    tail = re.split(r"[.:|/]", label)[-1]
    for text in (tail, label):
        side = re.search(r"[_\-. ]([lr])$", text, re.IGNORECASE)
        if side is None:
            stem = text
        else:
            stem = text[: side.start()] + ("left" if side.group(1).lower() == "l" else "right")
        key = re.sub(r"[^a-z0-9]", "", stem.lower())
        for candidate in (
            key,
            re.sub(r"^(blendshapes?\d*|face|bs|m|key)", "", key),
            re.sub(r"(left|right)$", "", key),
        ):
            if candidate in _NAMES_BY_KEY:
                return _NAMES_BY_KEY[candidate]
    return None


def _arkit_deltas(
    path: Path, targets: Mapping[str, npt.NDArray[np.float32]], num_vertices: int
) -> npt.NDArray[np.float32]:
    """Displacements (52, V, 3) of the ARKit shapes; several targets of one shape are added."""
    deltas = np.zeros((len(ARKIT_NAMES), num_vertices, 3), np.float32)
    matched = False
    for label, delta in targets.items():
        name = arkit_name(label)
        if name is not None:
            deltas[INDEX[name]] += delta
            matched = True
    if not matched:
        examples = ", ".join(list(targets)[:3]) or "none"
        raise TalkerError(
            f"{path} has no shape with an ARKit name (it has: {examples}): "
            "name the shapes jawOpen, mouthSmileLeft, …"
        )
    return deltas


def _read_obj_folder(path: Path) -> ImportedMesh:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".obj")
    neutral = [file for file in files if "neutral" in file.stem.lower()]
    neutral = neutral or [file for file in files if file.stem.lower() in _NEUTRAL_NAMES]
    if not neutral:
        raise TalkerError(
            f"{path} has no neutral .obj: it needs one file with `neutral` in its name beside the shapes"
        )
    vertices, triangles = read_obj(neutral[0])
    targets: dict[str, npt.NDArray[np.float32]] = {}
    for file in files:
        if file != neutral[0] and arkit_name(file.stem):
            shape, _ = read_obj(file, with_triangles=False)
            if shape.shape != vertices.shape:
                raise TalkerError(
                    f"{file.name} has {len(shape)} vertices, {neutral[0].name} has {len(vertices)}: "
                    "all shapes of a folder must be the same mesh"
                )
            targets[file.stem] = shape - vertices
    return ImportedMesh(vertices, triangles, _default_colors(len(vertices)), targets, {}, {}, None)
