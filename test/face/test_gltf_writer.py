# SPDX-License-Identifier: Apache-2.0
"""A rig that is written as .glb is read back as the same rig, and follows the layout rules of glTF 2.0."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.rig import Rig


def test_a_rig_survives_the_round_trip_through_glb(tmp_path: Path) -> None:
    original = default_rig()
    path = tmp_path / "default.glb"
    path.write_bytes(write_glb(original))
    rig = load_face(path)
    assert rig.name == "default" and rig.shape_names == ARKIT_NAMES
    for field in ("vertices", "triangles", "deltas", "pivot", "follow"):
        np.testing.assert_array_equal(getattr(rig, field), getattr(original, field), err_msg=field)
    np.testing.assert_allclose(rig.colors, original.colors, atol=1e-4)
    assert list(rig.parts.items()) == list(original.parts.items())
    assert rig.landmarks.keys() == original.landmarks.keys()
    for name, ids in original.landmarks.items():
        np.testing.assert_array_equal(rig.landmarks[name], ids, err_msg=name)


def test_a_mesh_without_shapes_is_written_as_well(tmp_path: Path) -> None:
    original = default_rig()
    plain = Rig(
        name="plain",
        vertices=original.vertices,
        triangles=original.triangles,
        shape_names=(),
        deltas=np.zeros((0, len(original.vertices), 3), np.float32),
        parts={"skin": (0, len(original.vertices))},
        landmarks={},
        colors=original.colors,
    )
    document, _ = parse_glb(write_glb(plain))
    primitive = document["meshes"][0]["primitives"][0]
    assert "targets" not in primitive and "targetNames" not in document["meshes"][0]["extras"]
    assert "lipGap" not in document["meshes"][0]["extras"]["rig"]


def test_accessors_stay_within_their_views_and_are_aligned() -> None:
    document, binary = parse_glb(write_glb(default_rig()))
    assert document["buffers"][0]["byteLength"] <= len(binary)
    sizes = {5123: 2, 5125: 4, 5126: 4}
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}

    def check(view_number: int, offset: int, component: int, values: int) -> None:
        view = document["bufferViews"][view_number]
        assert view["byteOffset"] + view["byteLength"] <= len(binary)
        assert (view["byteOffset"] + offset) % sizes[component] == 0
        assert offset + values * sizes[component] <= view["byteLength"]

    for accessor in document["accessors"]:
        width = widths[accessor["type"]]
        if "bufferView" in accessor:
            check(accessor["bufferView"], 0, accessor["componentType"], accessor["count"] * width)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            index, values = sparse["indices"], sparse["values"]
            check(index["bufferView"], index["byteOffset"], index["componentType"], sparse["count"])
            check(
                values["bufferView"], values["byteOffset"], accessor["componentType"], sparse["count"] * width
            )


def parse_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk of a .glb file."""
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and 28 + size + binary_size == len(data)
    return document, data[28 + size :]
