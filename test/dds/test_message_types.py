# SPDX-License-Identifier: Apache-2.0
"""The derived message classes: their bytes are rosbags' bytes, their names and hashes those of ROS 2."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros import resources
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.dds import message_definitions, message_types
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE, to_face_motion
from streamingtalker_ros.runtime.frames import FaceFrame

PACKAGE_TYPES = [f"streamingtalker_ros/msg/{name}" for name in message_definitions.PACKAGE_MESSAGES]
STANDARD = [
    "std_msgs/msg/Header",
    "geometry_msgs/msg/Quaternion",
    "builtin_interfaces/msg/Time",
    "diagnostic_msgs/msg/DiagnosticArray",
    "rmw_dds_common/msg/ParticipantEntitiesInfo",
]
CASES = [(name, "ros-drivers") for name in PACKAGE_TYPES + STANDARD + list(message_definitions.COMMON)] + [
    (name, variant) for variant, names in message_definitions.VARIANTS.items() for name in names
]


def filled_pair(message_class: Any, store: Any, name: str, random: np.random.Generator) -> Any:
    """Random values into every field of a class and of rosbags' class; returns both messages."""
    actual, reference = {}, {}
    for field, desc in store.fielddefs[name][1]:
        actual[field], reference[field] = value(message_class, store, field, desc, random)
    return message_class(**actual), store.types[name](**reference)


def value(message_class: Any, store: Any, field: str, desc: Any, random: np.random.Generator) -> Any:
    kind, rest = int(desc[0]), desc[1]
    if kind == 2:
        return filled_pair(factory(message_class, field), store, rest, random)
    if kind == 1:
        one = base(rest[0], random)
        return one, one
    (inner, detail), count = rest
    count = count if kind == 3 else int(random.integers(0, 5))
    if inner == 2:
        pairs = [filled_pair(element(message_class, field), store, detail, random) for _ in range(count)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    values = [base(detail[0], random) for _ in range(count)]
    dtype = {"char": np.uint8, "byte": np.uint8}.get(detail[0], detail[0])
    return values, values if detail[0] == "string" else np.array(values, dtype)


def base(kind: Any, random: np.random.Generator) -> Any:
    if kind == "string":
        return "".join(random.choice(list("abcdé_ß"), int(random.integers(0, 9))))
    if kind == "bool":
        return bool(random.integers(2))
    if kind.startswith("float"):
        return float(np.float32(random.standard_normal()))
    if kind == "byte":  # rosbags writes it as a signed one
        return int(random.integers(128))
    info = np.iinfo("uint8" if kind == "char" else kind)
    return int(random.integers(info.min, info.max, endpoint=True, dtype=info.dtype))


def factory(message_class: Any, field: str) -> Any:
    return next(item.default_factory for item in dataclasses.fields(message_class) if item.name == field)


def element(message_class: Any, field: str) -> Any:
    """The class of a sequence's elements, out of the IDL annotation."""
    annotation = message_class.__annotations__[field]
    return annotation.__metadata__[0].subtype


@pytest.mark.parametrize("name, variant", CASES)
def test_bytes_equal_those_of_rosbags(name: str, variant: Any) -> None:
    store, message_class = message_types.typestore(variant), message_types.message_class(name, variant)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    for _ in range(5):
        actual, reference = filled_pair(message_class, store, name, random)
        wire = bytes(store.serialize_cdr(reference, name))
        mine = bytes(actual.serialize())
        assert mine[: len(wire)] == wire and not any(mine[len(wire) :])  # Cyclone pads the end to four bytes
        assert message_class.deserialize(wire) == message_class.deserialize(mine)


@pytest.mark.parametrize("name", message_definitions.NODES)
def test_the_types_of_nodes_are_those_of_the_standard_typestore(name: str) -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    parsed = typesys.get_types_from_msg(message_definitions.NODES[name], name)
    standard = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    char, uint8 = ("('char', 0)", "('uint8', 0)")  # of rmw_dds_common/Gid, which ROS hashes as uint8
    assert str(parsed[name]) == str(standard.fielddefs[name]).replace(char, uint8)
    assert message_types.type_hash(name) == message_types.typestore().hash_rihs01(name)


def test_a_talkers_types_are_created_without_the_standard_typestore() -> None:
    names = [*message_definitions.NODES, *PACKAGE_TYPES, *message_definitions.ROS_DRIVERS]
    code = (
        "import sys\n"
        "from streamingtalker_ros.dds import message_types\n"
        f"for name in {names!r}:\n"
        "    message_types.message_class(name), message_types.type_hash(name)\n"
        "message_types.message_class('audio_common_msgs/msg/AudioStamped', 'mgonzs13')\n"
        "message_types.service_class('std_srvs/srv/Trigger_Request')\n"
        "print(*[name for name in sys.modules if name.startswith('rosbags.typesys.stores.ros')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr


@pytest.mark.parametrize("frame_id", ["", "head", "robot/head", "café", "a_frame"])
def test_bytes_of_a_talkers_motion_equal_those_of_rosbags(frame_id: str) -> None:
    store, message_class = message_types.typestore(), message_types.message_class(MOTION_TYPE)
    random = np.random.default_rng(len(frame_id))
    for index in (0, 7, 2**40):
        head = random.standard_normal(4).astype(np.float32)
        frame = FaceFrame(
            index=index,
            stamp=int(random.integers(2**31)) * NS_PER_S + index % NS_PER_S,
            idle=False,
            speaking=bool(index % 2),
            arrival=None,
            epoch=0,
            epoch_stamp=0,
            model_seconds=0.0,
            weights=random.random(52).astype(np.float32),
            head=(head / np.linalg.norm(head)).astype(np.float32),
        )
        mine = bytes(to_face_motion(message_class(), frame, frame_id).serialize())
        message = to_face_motion(message_class(), frame, frame_id)
        message.names = list(message.names)  # another list, which the generic writer of the binding writes
        assert mine == bytes(message.serialize()).ljust(len(mine), b"\0")
        read = store.deserialize_cdr(mine, MOTION_TYPE)
        assert read.header.frame_id == frame_id and read.frame == index and read.names == list(ARKIT_NAMES)
        assert read.header.stamp.sec * NS_PER_S + read.header.stamp.nanosec == frame.stamp
        np.testing.assert_array_equal(read.weights, frame.weights)
        assert [read.head.x, read.head.y, read.head.z, read.head.w] == frame.head.tolist()
        assert read.speaking == frame.speaking


@pytest.mark.parametrize("name, variant", CASES)
def test_wire_names_are_those_of_rmw(name: str, variant: Any) -> None:
    package, kind, short = name.split("/")
    assert message_types.message_class(name, variant).__idl_typename__ == f"{package}::{kind}::dds_::{short}_"


@pytest.mark.parametrize(
    "name, variant, expected",
    [  # as they stand in a genuine ROS 2 Jazzy
        (
            "std_msgs/msg/Header",
            "ros-drivers",
            "f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01",
        ),
        (
            "diagnostic_msgs/msg/DiagnosticArray",
            "ros-drivers",
            "5a8a36efb05fb25070fa0fb3810290c0e6cd4862b54a8fb975a1ee8dc55a333e",
        ),
        (
            "rmw_dds_common/msg/ParticipantEntitiesInfo",
            "ros-drivers",
            "91a0593bacdcc50ea9bdcf849a938b128412cc1ea821245c663bcd26f83c295e",
        ),
        (
            "std_srvs/srv/Trigger_Request",
            "ros-drivers",
            "d010825374ce8918e72bfd826c82603e60f45419e932ea976f807b74a863a199",
        ),
        (
            "std_srvs/srv/Trigger_Response",
            "ros-drivers",
            "2d946c21e2fc3f1e9ca6986a8191d85fcc70097a8bb7771a053564bc47009cdf",
        ),
        (
            "audio_common_msgs/msg/AudioDataStamped",
            "ros-drivers",
            "6fc679d5a868ed68e4d301f1ef42abecc86140afb57d255656ff2d9e476ea9e3",
        ),
        (
            "audio_common_msgs/msg/AudioInfo",
            "ros-drivers",
            "b3494d204e513d2cceefae1888e5be3da7c8c8ca31eb277f7b5b62f364bcb1fb",
        ),
        (
            "audio_common_msgs/msg/AudioStamped",
            "mgonzs13",
            "f6ad36427cfe3e7132f91509dca5a3be31b9b681f182db6e606e95e781b21611",
        ),
    ],
)
def test_hashes_are_those_of_ros(name: str, variant: Any, expected: Any) -> None:
    assert message_types.type_hash(name, variant) == f"RIHS01_{expected}"


def test_zero_values_are_those_of_ros() -> None:
    motion = message_types.message_class(PACKAGE_TYPES[0])()
    assert (motion.frame, list(motion.weights), motion.speaking, motion.header.stamp.sec) == (0, [], False, 0)
    assert motion.header is not message_types.message_class(PACKAGE_TYPES[0])().header


def test_the_variants_differ_and_do_not_mix() -> None:
    actual, reference = (
        message_types.message_class("audio_common_msgs/msg/AudioInfo", variant)
        for variant in ("ros-drivers", "mgonzs13")
    )
    assert hasattr(actual(), "sample_format") and not hasattr(reference(), "sample_format")
    assert message_types.type_hash(
        "audio_common_msgs/msg/AudioInfo", "ros-drivers"
    ) != message_types.type_hash("audio_common_msgs/msg/AudioInfo", "mgonzs13")


def test_a_service_s_half_carries_the_header_of_rmw_cyclonedds() -> None:
    message_class = message_types.service_class("std_srvs/srv/Trigger_Response")
    data = message_class(guid=0x0102030405060708, seq=-2, success=True, message="ok").serialize()
    assert data[4:12] == bytes([8, 7, 6, 5, 4, 3, 2, 1]) and data[12:20] == b"\xfe" + b"\xff" * 7
    assert data[20] == 1 and data[24:31] == b"\x03\0\0\0ok\0"
    assert message_class.__idl_typename__ == "std_srvs::srv::dds_::Trigger_Response_"


@pytest.mark.parametrize("layout", ["wheel", "source", "colcon"])
def test_definitions_are_found_in_every_install_layout(tmp_path: Path, layout: Any) -> None:
    package = (
        tmp_path
        / {"wheel": "site-packages", "source": "src", "colcon": "install/lib/python3.12/site-packages"}[
            layout
        ]
        / "streamingtalker_ros"
    )
    (package / "msg").mkdir(parents=True)  # a colcon install has generated code there
    home = {
        "wheel": package,
        "source": package.parent,
        "colcon": tmp_path / "install" / "share" / "streamingtalker_ros",
    }[layout]
    (home / "msg").mkdir(parents=True, exist_ok=True)
    (home / "msg" / "FaceMotion.msg").write_text("uint64 frame\n")
    assert resources.find("msg", "FaceMotion.msg", package).parent == home / "msg"
    with pytest.raises(Exception, match=r"msg/Nothing\.msg is missing"):
        resources.find("msg", "Nothing.msg", package)
