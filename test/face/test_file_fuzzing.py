# SPDX-License-Identifier: Apache-2.0
"""Damaged face, motion and head files: read, or rejected with a TalkerError, in bounded time and memory.

Each format gets inputs for some seconds, from a seed; FUZZ_SECONDS sets how many, for a long run.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv
from streamingtalker_ros.face.formats.obj import read_obj
from streamingtalker_ros.resources import find
from streamingtalker_ros.robot_head import load_head
from support.face_files import write_test_glb

SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))
MAX_INPUT_S = 2.0  # of processor time
MAX_INPUT_BYTES = 300e6
SEED = 20
TOKENS = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"1e999",
    b"-1",
    b"999999999999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'"a"',
    b"\r",
]
TOKENS += [
    b"\n",
    b"\t",
    b"true",
    b"[[[[[[[[",
    b"*a",
    b"&a",
    b"<<: ",
    b"2001-99-99",
    b"0",
    b"\\",
    b",",
    b";",
    b":",
]


def grid() -> tuple[np.ndarray, np.ndarray]:
    vertices = np.array([[x, y, 0.1] for y in (0, 0.1, 0.2) for x in (-0.1, 0, 0.1)], np.float32)
    triangles = np.array(
        [[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [3, 4, 7], [3, 7, 6], [4, 5, 8]], np.int64
    )
    return vertices, triangles


def glb(path: Path) -> bytes:
    vertices, triangles = grid()
    deltas = {"jawOpen": 0.1 * vertices, "A38_Mouth_Smile_Left": 0.2 * vertices, "Wobble": vertices}
    return write_test_glb(path, vertices, triangles, deltas).read_bytes()


def ply(path: Path) -> bytes:
    vertices, triangles = grid()
    header = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nproperty float y\n"
        "property float z\nelement face 7\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.zeros(7, [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    return header.encode() + vertices.tobytes() + faces.tobytes()


def ascii_ply(path: Path) -> bytes:
    vertices, triangles = grid()
    lines = ply(path).decode("latin-1").partition("end_header\n")[0].replace("binary_little_endian", "ascii")
    rows = [" ".join(map(str, row)) for row in vertices] + [f"3 {a} {b} {c}" for a, b, c in triangles]
    return (lines + "end_header\n" + "\n".join(rows) + "\n").encode()


def obj(path: Path) -> bytes:
    vertices, triangles = grid()
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [
        f"f {a + 1} {b + 1} {c + 1}" for a, b, c in triangles
    ]
    return ("\n".join(lines) + "\n").encode()


def livelink(path: Path) -> bytes:
    write_livelink_csv(path, np.full((20, len(ARKIT_NAMES)), 0.25), np.tile([0, 0, 0, 1.0], (20, 1)), 25.0)
    return path.read_bytes()


def head(path: Path) -> bytes:
    return find("config", "heads/jaw.yaml").read_bytes()


FORMATS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path], object]]] = {
    "glb": ("a.glb", glb, load_face),
    "binary ply": ("a.ply", ply, load_face),
    "ascii ply": ("a.ply", ascii_ply, load_face),
    "obj": ("a.obj", obj, read_obj),
    "livelink": ("a.csv", livelink, lambda path: read_livelink_csv(path).at_regular_times()),
    "head": ("a.yaml", head, load_head),
}


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """The data with some bytes changed, removed, repeated or replaced by awkward words."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, size = int(rng.integers(0, len(changed) + 1)), int(rng.integers(1, 24))
        kind = int(rng.integers(0, 5))
        if kind == 0:
            changed[at : at + 1] = rng.integers(0, 256, 1, np.uint8).tobytes()
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = changed[at : at + size] * int(rng.integers(1, 20))
        elif kind == 3:
            changed[at : at + int(rng.integers(0, 6))] = TOKENS[int(rng.integers(0, len(TOKENS)))]
        elif rng.uniform() < 0.3:
            del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_rejected_in_bounded_time_and_memory(name: str, tmp_path: Path) -> None:
    file, make, load = FORMATS[name]
    path = tmp_path / file
    data = make(path)
    rng = np.random.default_rng(SEED)
    logging.disable(logging.WARNING)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end, count, read = time.monotonic() + SECONDS, 0, 0
    try:
        while time.monotonic() < end or count < 50:
            path.write_bytes(damage(data, rng))
            start = time.process_time()
            try:
                load(path)
                read += 1
            except TalkerError as error:
                assert "\n" not in str(error) and len(str(error)) < 1000 + len(str(path))
            assert time.process_time() - start < MAX_INPUT_S, path.read_bytes()[:2000]
            count += 1
    finally:
        logging.disable(logging.NOTSET)
    assert read > 0
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MAX_INPUT_BYTES
