# SPDX-License-Identifier: Apache-2.0
"""Faces that users own, as a Rig: glTF/GLB with ARKit morph
targets, a folder of OBJ shapes, a PLY template.

`load_face(path)` chooses by what the path is. Files have y up, z out of the face, x to the person's left
(glTF, ICT-FaceKit and VOCASET agree); the Rig has x out of the face, y to the left, z up, in metres. Names
are matched without regard to case, with Left/Right, L/R or _L/_R; shapes that a face lacks stay zero.
"""

import re
from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.gltf import read_gltf
from streamingtalker_ros.face.geometry.lip_landmarks import find_lips
from streamingtalker_ros.face.rig import Rig

SKIN = (0.85, 0.68, 0.58)
_KEYS = {name.lower(): name for name in ARKIT_NAMES}
_PLY = dict(  # the format's names of types, old and new, and numpy's
    zip(
        [
            "char",
            "uchar",
            "short",
            "ushort",
            "int",
            "uint",
            "float",
            "double",
            "int8",
            "uint8",
            "int16",
            "uint16",
            "int32",
            "uint32",
            "float32",
            "float64",
        ],
        2 * ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"],
    )
)


def load_face(path, unit=None, landmarks=None):
    """Read a face. path: .glb, .gltf, .ply, or a folder of .obj files with a neutral one among them.

    unit: metres per unit of the file; by default 1 for glTF and PLY, 0.01 for OBJ folders
    (ICT-FaceKit: centimetres). landmarks: name -> vertex numbers (inner_lip_upper,
    inner_lip_lower paired; mouth_corners: left, right); where they are not given the lips
    are looked for in the motion of jawOpen, and left out when they cannot be told. Returns a
    Rig (a PLY's has no shapes). Raises TalkerError with one sentence.
    """
    path = Path(path)
    if not path.exists():
        raise TalkerError(f"no face at {path}: give a .glb, .gltf or .ply file or a folder of .obj shapes")
    parts, extras, follow = None, {}, None
    if path.is_dir():
        vertices, triangles, colors, targets = _read_obj_folder(path)
        unit = 0.01 if unit is None else unit
    elif path.suffix.lower() in (".glb", ".gltf"):
        vertices, triangles, colors, targets, parts, extras, follow = read_gltf(path)
    elif path.suffix.lower() == ".ply":
        vertices, triangles = read_ply(path)
        colors, targets = None, None
    else:
        raise TalkerError(
            f"{path.name} is no face format known here: give .glb, .gltf, .ply or a folder of .obj shapes"
        )
    unit = 1.0 if unit is None else float(unit)
    names, deltas = (), np.zeros((0, len(vertices), 3), np.float32)
    if targets is not None:
        names, deltas = ARKIT_NAMES, _arkit_deltas(path, targets, len(vertices))
    points = to_our_axes(np.asarray(vertices, np.float32)) * np.float32(unit)
    deltas = to_our_axes(deltas) * np.float32(unit)
    extras = _checked_extras(path, extras, len(points))
    parts = extras.get("parts") or parts
    landmarks = extras.get("landmarks") if landmarks is None else landmarks
    if landmarks is None:
        landmarks = find_lips(points, triangles, deltas[INDEX["jawOpen"]]) if names else {}
    landmarks = {key: np.asarray(value, np.int64) for key, value in landmarks.items()}
    if any(len(value) and not 0 <= value.min() <= value.max() < len(points) for value in landmarks.values()):
        raise TalkerError(
            f"a landmark lies outside the {len(points)} vertices of {path.name}: count them from 0"
        )
    if colors is None:
        colors = np.tile(SKIN, (len(points), 1))
    low, high = points.min(axis=0), points.max(axis=0)
    pivot = np.float32(
        [low[0] + 0.4 * (high[0] - low[0]), (low[1] + high[1]) / 2, low[2] + 0.2 * (high[2] - low[2])]
    )
    if "pivot" in extras:
        pivot = to_our_axes(extras["pivot"]) * np.float32(unit)
    return Rig(
        name=path.stem,
        vertices=points,
        triangles=np.asarray(triangles, np.uint32),
        shape_names=names,
        deltas=deltas,
        parts=parts or {"skin": (0, len(points))},
        landmarks=landmarks,
        colors=np.asarray(colors, np.float32),
        pivot=pivot,
        follow=follow,
    )


def _checked_extras(path, extras, count):
    """`extras.rig` of a .glb file (see `gltf_writer`) as a Rig takes it; empty for files of others."""
    if not extras:
        return {}
    try:
        parts = {str(name): (int(first), int(last)) for name, (first, last) in extras["parts"].items()}
        landmarks = {str(name): np.asarray(ids, np.int64) for name, ids in extras["landmarks"].items()}
        pivot = np.array(extras["pivot"], np.float32).reshape(3)
        if not all(0 <= first <= last <= count for first, last in parts.values()):
            raise ValueError("a part lies outside the vertices")
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise TalkerError(f"{path} has damaged extras of a rig ({broken}): export it again") from None
    return {"parts": parts, "landmarks": landmarks, "pivot": pivot}


def to_our_axes(points):
    """(…, 3) y up, z out of the face, x to the left -> x out of the face, y to the left, z up."""
    return np.ascontiguousarray(np.asarray(points)[..., [2, 0, 1]])


def arkit_name(label):
    """The ARKit name that a file's label means, or None:
    mouthSmile_L, mouth_smile_left, Face.M_MouthSmileLeft, …

    Halves of a shape that ARKit keeps whole (ICT-FaceKit's
    browInnerUp_L and _R, cheekPuff_L and _R) give the whole.
    """
    tail = re.split(r"[.:|/]", label)[-1]
    for text in (tail, label):
        side = re.search(r"[_\-. ]([lr])$", text, re.IGNORECASE)
        stem = (
            text
            if side is None
            else text[: side.start()] + ("left" if side.group(1).lower() == "l" else "right")
        )
        key = re.sub(r"[^a-z0-9]", "", stem.lower())
        for candidate in (
            key,
            re.sub(r"^(blendshapes?\d*|face|bs|m|key)", "", key),
            re.sub(r"(left|right)$", "", key),
        ):
            if candidate in _KEYS:
                return _KEYS[candidate]
    return None


def _arkit_deltas(path, targets, count):
    out = np.zeros((len(ARKIT_NAMES), count, 3), np.float32)
    known = 0
    for label, delta in targets.items():
        name = arkit_name(label)
        if name is not None:
            out[INDEX[name]] += delta
            known += 1
    if not known:
        some = ", ".join(list(targets)[:3]) or "none"
        raise TalkerError(
            f"{path} has no shape with an ARKit name (it has: {some}): "
            "name the shapes jawOpen, mouthSmileLeft, …"
        )
    return out


def _read_obj_folder(path):
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".obj")
    neutral = [f for f in files if "neutral" in f.stem.lower()] or [
        f for f in files if f.stem.lower() in ("basis", "base", "rest")
    ]
    if not neutral:
        raise TalkerError(
            f"{path} has no neutral .obj: it needs one file with `neutral` in its name beside the shapes"
        )
    vertices, triangles = read_obj(neutral[0])
    targets = {}
    for file in files:
        if file != neutral[0] and arkit_name(file.stem):
            shape, _ = read_obj(file, faces=False)
            if shape.shape != vertices.shape:
                raise TalkerError(
                    f"{file.name} has {len(shape)} vertices, {neutral[0].name} has {len(vertices)}: "
                    "all shapes of a folder must be the same mesh"
                )
            targets[file.stem] = shape - vertices
    return vertices, triangles, None, targets


def read_obj(path, faces=True):
    """A Wavefront OBJ's (V, 3) float32 vertices and (T, 3) int64
    triangles (polygons fanned); faces False: no triangles."""
    points, triangles = [], []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("v "):
                    points.append(line.split()[1:4])
                elif faces and line.startswith("f "):
                    corner = [int(word.partition("/")[0]) for word in line.split()[1:]]
                    corner = [c - 1 if c > 0 else len(points) + c for c in corner]
                    triangles += [(corner[0], b, c) for b, c in zip(corner[1:], corner[2:])]
        vertices = np.array(points, np.float32).reshape(-1, 3)
    except ValueError as broken:
        raise TalkerError(f"{path} is not a readable OBJ file ({broken}): export it again") from None
    triangles = np.array(triangles, np.int64).reshape(-1, 3)
    if len(vertices) == 0 or (
        faces and (len(triangles) == 0 or triangles.max() >= len(vertices) or triangles.min() < 0)
    ):
        raise TalkerError(f"{path} holds no mesh, or its faces name vertices that it lacks: export it again")
    return vertices, triangles


def read_ply(path):
    """A PLY mesh, ascii or binary: (V, 3) float32 vertices and (T, 3) int64 triangles (polygons fanned)."""
    data = Path(path).read_bytes()
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise TalkerError(f"{path} is not a PLY file: its first line must be `ply`")
    header = data[:end].decode("ascii", "replace").split("\n")
    body = data[data.index(b"\n", end) + 1 :]
    elements, layout = [], "ascii"
    try:
        for line in header:
            word = line.split()
            if word[:1] == ["format"]:
                layout = word[1]
            elif word[:1] == ["element"]:
                elements.append((word[1], int(word[2]), []))
            elif word[:1] == ["property"]:
                elements[-1][2].append((word[-1], [_PLY[w] for w in word[1:-1] if w != "list"]))
        rows = (
            _ply_ascii(body, elements)
            if layout == "ascii"
            else _ply_binary(body, elements, "<" if "little" in layout else ">")
        )
        vertices, polygons = rows["vertex"], rows.get("face", [])
        triangles = [(p[0], b, c) for p in polygons for b, c in zip(p[1:], p[2:])]
    except (KeyError, IndexError, ValueError, StopIteration) as broken:
        raise TalkerError(
            f"{path} is a damaged PLY file ({type(broken).__name__}): export it again"
        ) from None
    triangles = np.array(triangles, np.int64).reshape(-1, 3)
    if len(vertices) == 0 or (len(triangles) and triangles.max() >= len(vertices)):
        raise TalkerError(f"{path} holds no mesh, or its faces name vertices that it lacks: export it again")
    return vertices, triangles


def _ply_ascii(body, elements):
    words = iter(body.split())
    out = {}
    for name, count, properties in elements:
        rows = []
        for _ in range(count):
            row = {}
            for label, kinds in properties:
                row[label] = (
                    [int(next(words)) for _ in range(int(next(words)))]
                    if len(kinds) == 2
                    else float(next(words))
                )
            rows.append(row)
        out[name] = _ply_rows(name, rows)
    return out


def _ply_binary(body, elements, order):
    at, out = 0, {}
    for name, count, properties in elements:
        if all(len(kinds) == 1 for _, kinds in properties):
            kind = np.dtype([(label, order + kinds[0]) for label, kinds in properties])
            table = np.frombuffer(body, kind, count, at)
            at += kind.itemsize * count
            out[name] = (
                np.column_stack([table[c] for c in "xyz"]).astype(np.float32) if name == "vertex" else None
            )
            continue
        rows = []
        for _ in range(count):
            row = {}
            for label, kinds in properties:
                first = np.dtype(order + kinds[0])
                value = np.frombuffer(body, first, 1, at)[0]
                at += first.itemsize
                if len(kinds) == 2:
                    item = np.dtype(order + kinds[1])
                    row[label] = np.frombuffer(body, item, int(value), at).tolist()
                    at += item.itemsize * int(value)
            rows.append(row)
        out[name] = _ply_rows(name, rows)
    return out


def _ply_rows(name, rows):
    if name == "vertex":
        return np.array([[row[c] for c in "xyz"] for row in rows], np.float32).reshape(-1, 3)
    if name == "face":
        return [next(value for value in row.values() if isinstance(value, list)) for row in rows]
    return None
