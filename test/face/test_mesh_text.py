# SPDX-License-Identifier: Apache-2.0
"""OBJ and PLY files in the form of many tools: white space, line ends, comments, further properties."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.obj import read_obj
from streamingtalker_ros.face.formats.ply import read_ply

SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
FAN = [[0, 1, 2], [0, 2, 3]]
PLAIN = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.replace(" ", "\t").encode(),
        PLAIN.replace(" ", " \t ").replace("\nv", "\n  v").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("v 1 1 0", "v 1 \\\n1 0").replace("f 1 2", "f 1 \\\r\n 2").encode(),
        PLAIN.replace("v 1 1 0", "v 1 1 0 # the third").replace("f", "# v 7 7 7\nf").encode(),
        PLAIN.replace("v 1 1 0", "v 1 1 0 0.5 0.5 0.5").encode(),
        PLAIN.replace("f 1 2 3 4", "vt 0 0\nvn 0 0 1\nf 1/1/1 2//1 3/1 -1").encode(),
        PLAIN.rstrip().encode() + b" # \xff\xe9",
    ],
)
def test_an_obj_is_read_whatever_parts_its_words_and_lines(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.obj").write_bytes(data)
    vertices, triangles = read_obj(tmp_path / "a.obj")
    assert vertices.tolist() == SQUARE and triangles.tolist() == FAN


@pytest.mark.parametrize(
    "change",
    [
        ("v 1 1 0", "v 1 1"),
        ("v 1 1 0", "v 1 nan 0"),
        ("v 1 1 0", "v 1,0 1,0 0,0"),
        ("f 1 2 3 4", "f 0 1 2"),
        ("f 1 2 3 4", "f 1 2 9"),
        ("f 1 2 3 4", "f 1 2 99999999999999999999"),
        ("f 1 2 3 4", "f 1 2"),
        ("v", "V"),
    ],
)
def test_an_obj_with_a_damaged_line_is_rejected(tmp_path: Path, change: tuple[str, str]) -> None:
    (tmp_path / "a.obj").write_text(PLAIN.replace(*change))
    with pytest.raises(TalkerError, match=r"a\.obj") as error:
        read_obj(tmp_path / "a.obj")
    assert "\n" not in str(error.value)


def ply(face: str, rows: str, layout: str = "ascii", vertex: str = "") -> str:
    return (
        f"ply\nformat {layout} 1.0\ncomment end_header is below\nelement vertex 4\n{vertex}property float x\n"
        f"property double y\nproperty float z\nelement face 1\n{face}end_header\n{rows}"
    )


CORNERS = "\n".join(" ".join(map(str, point)) for point in SQUARE) + "\n"
INDICES = "property list uchar int vertex_indices\n"


@pytest.mark.parametrize(
    "text",
    [
        ply(INDICES, CORNERS + "4 0 1 2 3\n"),
        ply(
            "property uchar flags\n" + INDICES + "property list uchar float texcoord\n",
            CORNERS + "7 4 0 1 2 3 2 0 1\n",
        ),
        ply(
            "property list uchar float uv\nproperty list uchar uint corners\n", CORNERS + "1 0.5 4 0 1 2 3\n"
        ),
        ply("property list uchar int material\n" + INDICES, CORNERS + "1 9 4 0 1 2 3\n"),
        ply(
            INDICES,
            "".join(f"5 {row}\n" for row in CORNERS.splitlines()) + "4 0 1 2 3\n",
            vertex="property int id\n",
        ),
        ply("property list int float vertex_index\n", CORNERS + "4 0.0 1.0 2.0 3.0\n"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_ply_is_read_by_the_names_and_types_of_its_properties(tmp_path: Path, text: str, end: str) -> None:
    (tmp_path / "a.ply").write_bytes(text.replace("\n", end).encode())
    vertices, triangles = read_ply(tmp_path / "a.ply")
    assert vertices.tolist() == SQUARE and triangles.tolist() == FAN


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_binary_body_may_begin_with_the_byte_of_a_line_feed(tmp_path: Path, end: str) -> None:
    header = ply(INDICES, "", "binary_little_endian", "property uchar ten\n").replace("\n", end).encode()
    rows = b"".join(struct.pack("<Bfdf", 10, *point) for point in SQUARE)
    (tmp_path / "a.ply").write_bytes(header + rows + struct.pack("<B4i", 4, 0, 1, 2, 3))
    vertices, triangles = read_ply(tmp_path / "a.ply")
    assert vertices.tolist() == SQUARE and triangles.tolist() == FAN


@pytest.mark.parametrize(
    "change",
    [
        ("element face 1", "element face 1000000000000"),
        ("element face 1", "element face -1"),
        ("element face 1", "element nothing 1000000000\nelement face 1"),
        ("4 0 1 2 3", "1000000000 0 1"),
        ("4 0 1 2 3", "-1 0 1"),
        ("4 0 1 2 3", "3 0 1 1.5"),
        ("property float x", "property float16 x"),
        ("0 0 0", "nan 0 0"),
        ("property float z\n", ""),
    ],
)
def test_a_ply_that_states_what_it_lacks_is_rejected(tmp_path: Path, change: tuple[str, str]) -> None:
    (tmp_path / "a.ply").write_text(ply(INDICES, CORNERS + "4 0 1 2 3\n").replace(*change))
    with pytest.raises(TalkerError, match=r"a\.ply") as error:
        read_ply(tmp_path / "a.ply")
    assert "\n" not in str(error.value) and np.isfinite(len(str(error.value)))
