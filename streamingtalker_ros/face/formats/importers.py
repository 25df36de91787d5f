# SPDX-License-Identifier: Apache-2.0
"""Loads a face from a file as a Rig.

Formats: glTF with ARKit morph targets, a folder of OBJ shapes, or a PLY template. Files have y up, z out of
the face, x to the person's left, as glTF, ICT-FaceKit and VOCASET agree; the rig has x out of the face, y to
the person's left, z up, in metres. `names` matches the names of shapes; shapes that a face lacks stay zero.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
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
from streamingtalker_ros.face.formats.shape_drivers import find_drivers, suggest_name
from streamingtalker_ros.face.formats.whole_figure import estimate_pivot, find_head
from streamingtalker_ros.face.geometry.lip_landmarks import find_lip_landmarks
from streamingtalker_ros.face.rig import DEFAULT_COLOR, Rig
from streamingtalker_ros.face.rotation import y_up_to_ros

OBJ_UNIT_M = 0.01  # ICT-FaceKit's OBJ files are in centimetres
GLTF_SUFFIXES = (".glb", ".gltf", ".vrm")
FORMATS = ".glb, .gltf, .vrm, .ply or a folder of .obj shapes"
_NEUTRAL_NAMES = ("basis", "base", "rest")

_LOGGER = logging.getLogger(__name__)


class _RigExtras(TypedDict, total=False):
    parts: dict[str, tuple[int, int]]
    landmarks: dict[str, npt.NDArray[np.int64]]
    pivot: npt.NDArray[np.float32]


def load_face(
    path: str | os.PathLike[str],
    unit: float | None = None,
    landmarks: Mapping[str, npt.ArrayLike] | None = None,
) -> Rig:
    """Load a face; a warning names the ARKit shapes that the file lacks.

    Args:
        path: A .glb, .gltf, .vrm or .ply file, or a folder of .obj files with a neutral one among them.
        unit: Metres per unit of the file; None for 1 (glTF, PLY) or 0.01 (OBJ).
        landmarks: Vertex indices by name: `inner_lip_upper` and `inner_lip_lower`, paired, and
            `mouth_corners`, left and right. None takes those of the file, or else searches the lips by the
            motion of jawOpen; without success the rig has no landmarks.

    Returns:
        The rig; that of a PLY has no shapes. Of a whole figure only the head turns.

    Raises:
        TalkerError: If the file is missing, damaged, of an unknown format, or has no shape with an ARKit
            name, or if a landmark lies outside the mesh.
    """
    return load_mesh(path, unit, landmarks)[0]


def load_mesh(
    path: str | os.PathLike[str],
    unit: float | None = None,
    landmarks: Mapping[str, npt.ArrayLike] | None = None,
) -> tuple[Rig, ImportedMesh]:
    """Load a face as `load_face` does, with what its file holds.

    Args:
        path: See `load_face`.
        unit: See `load_face`.
        landmarks: See `load_face`.

    Returns:
        The rig; the content of the file, whose deltas the rig has taken over.

    Raises:
        TalkerError: See `load_face`.
    """
    path = Path(path)
    try:
        return _load(path, unit, landmarks)
    except TalkerError:
        raise
    except OSError as error:
        raise TalkerError(f"{path} cannot be read ({error.strerror or error}): check the file") from None
    except Exception as error:  # whatever a damaged file raises in the arithmetic
        raise TalkerError(
            f"{path} cannot be read as a face ({type(error).__name__}): export it again"
        ) from None


def _load(
    path: Path, unit: float | None, landmarks: Mapping[str, npt.ArrayLike] | None
) -> tuple[Rig, ImportedMesh]:
    if not path.exists():
        raise TalkerError(
            f"no face at {path}: give a .glb, .gltf, .vrm or .ply file or a folder of .obj shapes"
        )
    mesh = _read_mesh(path)
    if unit is None:
        unit = OBJ_UNIT_M if path.is_dir() else 1.0
    points = y_up_to_ros(mesh.vertices) * np.float32(unit)
    deltas = mesh.deltas
    is_moving = np.zeros(len(points), bool)
    for shape, delta in enumerate(deltas):  # in place: the array may be large
        if delta.any():
            is_moving |= delta.any(axis=1)
            deltas[shape] = y_up_to_ros(delta) * np.float32(unit)
    has_shapes = len(deltas) > 0
    if has_shapes:
        _report_loss(path, mesh)
    extras = _validate_extras(path, mesh.rig, len(points))
    pivot, follow, head_mask = (
        y_up_to_ros(extras["pivot"]) * np.float32(unit) if "pivot" in extras else None,
        None,
        None,
    )
    if pivot is not None and mesh.head_weights is not None:
        follow = np.nan_to_num(mesh.head_weights, nan=1.0)
    if pivot is None:
        joint = mesh.head_position
        joint = None if joint is None else (y_up_to_ros(joint) * unit).astype(np.float32)
        head = find_head(points, is_moving, mesh.parts, mesh.head_weights, joint)
        pivot = estimate_pivot(points) if head is None else head.pivot
        if head is not None and (head.follow < 1).any():
            follow, head_mask = head.follow, head.mask
    if landmarks is None:
        landmarks = extras.get("landmarks")
    if landmarks is None:
        landmarks = (
            _find_lips(points, mesh.triangles, deltas[INDEX["jawOpen"]], head_mask) if has_shapes else {}
        )
    vertices_by_name = {name: np.asarray(ids, np.int64) for name, ids in landmarks.items()}
    if any(len(ids) and not 0 <= ids.min() <= ids.max() < len(points) for ids in vertices_by_name.values()):
        raise TalkerError(
            f"a landmark lies outside the {len(points)} vertices of {path.name}: count them from 0"
        )
    rig = Rig(
        name=path.stem,
        vertices=points,
        triangles=np.asarray(mesh.triangles, np.uint32),
        shape_names=ARKIT_NAMES if has_shapes else (),
        deltas=deltas,
        parts=extras.get("parts") or mesh.parts or {"skin": (0, len(points))},
        landmarks=vertices_by_name,
        colors=np.asarray(mesh.colors, np.float32),
        pivot=pivot,
        follow=follow if mesh.follow is None else mesh.follow,
        normals=None if mesh.uv is None or mesh.normals is None else y_up_to_ros(mesh.normals),
        uv=mesh.uv,
        materials=mesh.materials,
    )
    return rig, mesh


def _find_lips(
    points: npt.NDArray[np.float32],
    triangles: npt.NDArray[np.int64],
    jaw_open: npt.NDArray[np.float32],
    head_mask: npt.NDArray[np.bool_] | None,
) -> dict[str, npt.NDArray[np.int64]]:
    """The landmarks of the lips; of a figure, among the vertices of its head, whose size sets the scale."""
    if head_mask is None:
        return find_lip_landmarks(points, triangles, jaw_open)
    ids = np.flatnonzero(head_mask)
    number = np.cumsum(head_mask) - 1
    inside = number[triangles[head_mask[triangles].all(axis=1)]]
    if len(inside) == 0:
        return {}
    return {
        name: ids[found] for name, found in find_lip_landmarks(points[ids], inside, jaw_open[ids]).items()
    }


def _report_loss(path: Path, mesh: ImportedMesh) -> None:
    """Reject a file without a shape that has an ARKit name; warn of the shapes that it lacks."""
    missing = sorted(set(ARKIT_NAMES) - mesh.drivers.driven)
    unknown = mesh.unused
    if len(missing) == len(ARKIT_NAMES):
        raise TalkerError(
            f"{path} has no shape with an ARKit name (it has: {_some(mesh.labels) or 'none'}): "
            f"name the shapes jawOpen, mouthSmileLeft, …{_did_you_mean(mesh.labels, missing)}"
        )
    if missing:
        others = f"; its shapes {_some(unknown)} have no ARKit name and are not used" if unknown else ""
        others += _did_you_mean(unknown, missing)
        _LOGGER.warning(
            "%s lacks %d of the %d ARKit shapes (%s), which will not move%s",
            path.name,
            len(missing),
            len(ARKIT_NAMES),
            _some(missing),
            others,
        )


def _did_you_mean(labels: Sequence[str], missing: Sequence[str]) -> str:
    """A hint at the first label that resembles a missing ARKit name; empty if none does."""
    for label in labels:
        name = suggest_name(label)
        if name in missing:
            return f"; is {label[:40]} meant to be {name}?"
    return ""


def _some(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(name[:40] for name in names[:3]) + (", …" if len(names) > 3 else "")


def _read_mesh(path: Path) -> ImportedMesh:
    """The content of a file of any format, in the axes and units of the file."""
    if path.is_dir():
        return _read_obj_folder(path)
    if path.suffix.lower() in GLTF_SUFFIXES:
        return read_gltf(path)
    if path.suffix.lower() == ".ply":
        vertices, triangles = read_ply(path)
        no_shapes = np.zeros((0, len(vertices), 3), np.float32)
        return ImportedMesh(vertices, triangles, _default_colors(len(vertices)), no_shapes)
    raise TalkerError(f"{path.name} is not of a supported face format: give {FORMATS}")


def _default_colors(count: int) -> npt.NDArray[np.float32]:
    return np.tile(np.array(DEFAULT_COLOR, np.float32), (count, 1))


def _validate_extras(path: Path, extras: dict[str, Any], num_vertices: int) -> _RigExtras:
    """`extras.rig` of a .glb file (see `gltf_writer`) with the types of a Rig; empty for other files."""
    if not extras:
        return {}
    try:
        parts = {str(name): (int(first), int(last)) for name, (first, last) in extras["parts"].items()}
        landmarks = {
            str(name): np.array(ids, np.int64).reshape(-1) for name, ids in extras["landmarks"].items()
        }
        pivot = np.array(extras["pivot"], np.float32).reshape(3)
        if not all(0 <= first <= last <= num_vertices for first, last in parts.values()):
            raise ValueError("a part lies outside the vertices")
        if not np.isfinite(pivot).all():
            raise ValueError("the pivot is not finite")
    except Exception as error:  # of any JSON type in any place
        reason = " ".join(f"{error}"[:100].split())
        raise TalkerError(f"{path} has damaged extras of a rig ({reason}): export it again") from None
    return {"parts": parts, "landmarks": landmarks, "pivot": pivot}


def _read_obj_folder(path: Path) -> ImportedMesh:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".obj")
    neutral = [file for file in files if "neutral" in file.stem.lower()]
    neutral = neutral or [file for file in files if file.stem.lower() in _NEUTRAL_NAMES]
    if not neutral:
        raise TalkerError(
            f"{path} has no neutral .obj: it needs one file with `neutral` in its name beside the shapes"
        )
    vertices, triangles = read_obj(neutral[0])
    shapes = {file.stem: file for file in files if file != neutral[0]}
    deltas = np.zeros((len(ARKIT_NAMES), len(vertices), 3), np.float32)
    drivers = find_drivers(shapes)
    selected = drivers.select(list(shapes))
    for label, factors in selected.items():
        shape, _ = read_obj(shapes[label], with_triangles=False)
        if shape.shape != vertices.shape:
            raise TalkerError(
                f"{shapes[label].name} has {len(shape)} vertices, {neutral[0].name} has {len(vertices)}: "
                "all shapes of a folder must be the same mesh"
            )
        for name, factor in factors.items():
            deltas[INDEX[name]] += np.float32(factor) * (shape - vertices)
    unused = tuple(label for label in shapes if label not in selected)
    colors = _default_colors(len(vertices))
    return ImportedMesh(vertices, triangles, colors, deltas, tuple(shapes), drivers, unused)
