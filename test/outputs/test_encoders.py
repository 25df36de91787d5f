# SPDX-License-Identifier: Apache-2.0
"""Independent decoders read every value of an output's datagrams under its name."""

from __future__ import annotations

import importlib.util
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.livelink import ANGLES, eye_angles
from streamingtalker_ros.face.rotation import euler_to_quaternion, quaternion_to_euler
from streamingtalker_ros.outputs.address import parse_address
from streamingtalker_ros.outputs.live_output import ENCODERS
from streamingtalker_ros.outputs.livelink import LiveLinkEncoder
from streamingtalker_ros.outputs.osc import FACECAP_NAMES, VRCHAT_SHAPES, OscEncoder
from streamingtalker_ros.outputs.timeline import Pose
from streamingtalker_ros.outputs.vmc import PERFECT_SYNC_NAMES, VmcEncoder
from support.face_shapes import shape_weights
from support.udp_receiver import random_motion

# What the app sends at 11:01:01 and 7 sixtieths, all values 0 but JawOpen 0.5, JawLeft 0.25, HeadYaw 0.125.
RECORDED = (
    bytes.fromhex("06")
    + bytes.fromhex("00000024")
    + b"0BD4D1B4-6E6F-5A4C-B1B2-4A3C1D5E7F90"
    + bytes.fromhex("00000006")
    + b"iPhone"
    + bytes.fromhex("00244f93 00000000 0000003c 00000001 3d")
    + bytes(4 * 15)
    + bytes.fromhex("3e800000 00000000 3f000000")
    + bytes(4 * 34)
    + bytes.fromhex("3e000000")
    + bytes(4 * 8)
)


def random_pose(seed: int = 0) -> Pose:
    weights, head = random_motion(1, seed)
    return Pose(2_592_123, weights[0].astype(np.float64), head[0].astype(np.float64))


def decode_osc(datagram: bytes) -> list[tuple[str, list[Any]]]:
    """Address and arguments of each message of a bundle."""
    osc_bundle = pytest.importorskip("pythonosc.osc_bundle")
    bundle = osc_bundle.OscBundle(datagram)
    return [(message.address, message.params) for message in bundle]


def test_a_live_link_datagram_has_the_bytes_of_the_app() -> None:
    address = parse_address(
        "livelink://host?subject=iPhone&device=0BD4D1B4-6E6F-5A4C-B1B2-4A3C1D5E7F90&rate=60"
    )
    weights = shape_weights(jawOpen=0.5, jawLeft=0.25).astype(np.float64)
    head = euler_to_quaternion([0.125, 0.0, 0.0])
    number = (11 * 3600 + 61) * 60 + 7
    assert struct.pack("!i", number) == RECORDED[51:55]
    sent = LiveLinkEncoder(address).encode(Pose(number, weights, head))
    assert len(sent) == len(RECORDED) == 312
    assert sent == RECORDED


@pytest.mark.skipif(importlib.util.find_spec("pylivelinkface") is None, reason="the decoder is not installed")
@pytest.mark.parametrize("rate", [60, 120])
def test_an_independent_decoder_finds_all_61_values_under_their_names(rate: int) -> None:
    decoder = pytest.importorskip("pylivelinkface")
    pose = random_pose()
    encoder = LiveLinkEncoder(parse_address(f"livelink://host?subject=Anna&rate={rate}"))
    is_face, face = decoder.PyLiveLinkFace.decode(encoder.encode(pose))
    assert is_face and face.name == "Anna" and face.fps == rate and face._frames == pose.number

    def value(name: str) -> float:
        return face.get_blendshape(decoder.FaceBlendShape[name[0].upper() + name[1:]])

    for name in ARKIT_NAMES:
        assert value(name) == pytest.approx(pose.weights[INDEX[name]], abs=1e-6)
    angles = np.concatenate([quaternion_to_euler(pose.head), eye_angles(pose.weights[None])[0]])
    for name, angle in zip(ANGLES, angles, strict=True):
        assert value(name) == pytest.approx(angle, abs=1e-6)
    assert len(decoder.FaceBlendShape) == 61


def test_the_device_of_a_subject_stays_the_same_and_differs_between_subjects() -> None:
    def device(url: str) -> bytes:
        return LiveLinkEncoder(parse_address(url)).encode(random_pose())[5:41]

    assert device("livelink://a?subject=Anna") == device("livelink://b?subject=Anna")
    assert device("livelink://a?subject=Anna") != device("livelink://a?subject=Ben")


def test_a_vmc_bundle_has_perfect_sync_and_vrm_clips_the_head_and_the_time() -> None:
    pose = random_pose()
    messages = decode_osc(VmcEncoder(parse_address("vmc://host")).encode(pose))
    assert messages[0] == ("/VMC/Ext/OK", [1])
    assert messages[1] == ("/VMC/Ext/T", [0.0])
    assert messages[2][0] == "/VMC/Ext/Bone/Pos" and messages[2][1][0] == "Head"
    assert messages[-1] == ("/VMC/Ext/Blend/Apply", [])
    clips = dict(arguments for address, arguments in messages if address == "/VMC/Ext/Blend/Val")
    assert len(clips) == 52 + 8
    for name, clip in zip(ARKIT_NAMES, PERFECT_SYNC_NAMES, strict=True):
        assert clips[clip] == pytest.approx(pose.weights[INDEX[name]], abs=1e-6)
    assert {"A", "I", "U", "E", "O", "Blink", "Blink_L", "Blink_R"} <= set(clips)
    for side in ("Left", "Right"):  # the receiver adds both clips up
        closed = clips["Blink"] + clips[f"Blink_{side[0]}"]
        assert closed == pytest.approx(pose.weights[INDEX[f"eyeBlink{side}"]], abs=1e-6)


def test_the_time_of_a_vmc_output_counts_its_seconds_to_the_millisecond_at_any_hour_and_over_midnight() -> (
    None
):
    encoder = VmcEncoder(parse_address("vmc://host"))
    day = 86_400 * 60
    pose = random_pose()

    def seconds(number: int) -> float:
        return dict(decode_osc(encoder.encode(Pose(number % day, pose.weights, pose.head))))["/VMC/Ext/T"][0]

    first = day - 30  # half a second before midnight, where float32 counts in steps of 8 ms
    for count in range(120):
        assert seconds(first + count) == pytest.approx(count / 60, abs=1e-3)


@pytest.mark.parametrize(
    "url",
    [
        "vmc://h",
        "vmc://h?clips=vrm",
        *(f"osc://h?preset={preset}" for preset in ("arkit", "facecap", "vrchat")),
    ],
)
def test_a_bundle_has_the_bytes_that_python_osc_writes(url: str) -> None:
    builders = pytest.importorskip("pythonosc.osc_message_builder")
    bundles = pytest.importorskip("pythonosc.osc_bundle_builder")
    address = parse_address(url)
    datagram = ENCODERS[address.scheme](address).encode(random_pose(3))
    bundle = bundles.OscBundleBuilder(bundles.IMMEDIATELY)
    for name, arguments in decode_osc(datagram):
        message = builders.OscMessageBuilder(name)
        for argument in arguments:
            message.add_arg(argument)
        bundle.add_content(message.build())
    assert bundle.build().dgram == datagram


@pytest.mark.parametrize("clips, count", [("perfect-sync", 52), ("vrm", 8), ("both", 60)])
def test_a_vmc_output_sends_the_clips_that_its_address_names(clips: str, count: int) -> None:
    messages = decode_osc(VmcEncoder(parse_address(f"vmc://host?clips={clips}")).encode(random_pose()))
    assert sum(address == "/VMC/Ext/Blend/Val" for address, _ in messages) == count


@pytest.mark.parametrize(
    "euler, unity",
    [
        ([0.4, 0.0, 0.0], [0.0, -0.4, 0.0]),  # to the person's left: against the clock, seen from above
        ([0.0, 0.4, 0.0], [0.4, 0.0, 0.0]),  # down
        ([0.0, 0.0, 0.4], [0.0, 0.0, -0.4]),  # to the person's right shoulder
    ],
)
def test_the_head_turns_in_unitys_axes_as_it_does_in_ours(euler: list[float], unity: list[float]) -> None:
    pose = Pose(0, np.zeros(52), euler_to_quaternion(euler))
    messages = dict(decode_osc(VmcEncoder(parse_address("vmc://host")).encode(pose))[2:3])
    quaternion = messages["/VMC/Ext/Bone/Pos"][4:]
    angle = np.linalg.norm(unity)
    expected = [*(np.array(unity) / angle * np.sin(angle / 2)), np.cos(angle / 2)]
    np.testing.assert_allclose(quaternion, expected, atol=1e-6)


@pytest.mark.parametrize(
    "shapes, vowel",
    [
        ({"jawOpen": 0.5, "mouthLowerDownLeft": 0.2, "mouthLowerDownRight": 0.2}, "A"),
        ({"mouthPucker": 0.4, "jawOpen": 0.05}, "U"),
    ],
)
def test_a_vrm_character_opens_its_mouth_to_the_vowel(shapes: dict[str, float], vowel: str) -> None:
    weights = shape_weights(**shapes).astype(np.float64)
    encoder = VmcEncoder(parse_address("vmc://host?clips=vrm"))
    messages = decode_osc(encoder.encode(Pose(0, weights, np.array([0, 0, 0, 1.0]))))
    clips: dict[Any, Any] = dict(
        arguments for address, arguments in messages if address == "/VMC/Ext/Blend/Val"
    )
    assert max(("A", "I", "U", "E", "O"), key=lambda name: clips[name]) == vowel and clips[vowel] > 0.5


@pytest.mark.parametrize("prefix", ["", "/face", "/a/b"])
def test_plain_osc_has_one_address_for_each_shape(prefix: str) -> None:
    pose = random_pose()
    url = f"osc://host?prefix={prefix}" if prefix else "osc://host"
    messages = dict(decode_osc(OscEncoder(parse_address(url)).encode(pose)))
    assert set(messages) == {f"{prefix}/{name}" for name in (*ARKIT_NAMES, "head")}
    for name in ARKIT_NAMES:
        assert messages[f"{prefix}/{name}"] == [pytest.approx(pose.weights[INDEX[name]], abs=1e-6)]
    np.testing.assert_allclose(messages[f"{prefix}/head"], pose.head, atol=1e-6)


def test_face_cap_messages_have_its_indices_and_degrees() -> None:
    pose = random_pose()
    messages = decode_osc(OscEncoder(parse_address("osc://host?preset=facecap")).encode(pose))
    weights: dict[Any, Any] = dict(arguments for address, arguments in messages if address == "/W")
    assert sorted(weights) == list(range(52)) and sorted(FACECAP_NAMES) == sorted(ARKIT_NAMES)
    known = {0: "browInnerUp", 1: "browDownLeft", 13: "eyeBlinkLeft", 24: "jawOpen", 26: "jawLeft"}
    known |= {
        30: "mouthLeft",
        36: "mouthClose",
        37: "mouthSmileLeft",
        50: "mouthStretchRight",
        51: "tongueOut",
    }
    for index, name in known.items():
        assert weights[index] == pytest.approx(pose.weights[INDEX[name]], abs=1e-6)
    yaw, pitch, roll = np.degrees(quaternion_to_euler(pose.head))
    np.testing.assert_allclose(dict(messages[:1])["/HR"], [pitch, yaw, roll], atol=1e-4)


def vrchat(**shapes: float) -> dict[str, float]:
    pose = Pose(0, shape_weights(**shapes).astype(np.float64), np.array([0, 0, 0, 1.0]))
    messages = decode_osc(OscEncoder(parse_address("osc://host?preset=vrchat")).encode(pose))
    return {address.removeprefix("/avatar/parameters/v2/"): value for address, (value,) in messages}


def test_vrchat_gets_unified_expressions_lids_and_gaze() -> None:
    rest = vrchat()
    assert len(rest) == len(VRCHAT_SHAPES) + 6 and not any("/" in name for name in rest)
    assert rest["EyeLidLeft"] == rest["EyeLidRight"] == 0.75
    assert not any(value for name, value in rest.items() if not name.startswith("EyeLid"))
    face = vrchat(jawOpen=0.5, mouthClose=0.25, mouthFrownLeft=0.125, eyeBlinkLeft=1.0, eyeWideRight=1.0)
    assert (face["JawOpen"], face["MouthClosed"], face["MouthSadLeft"]) == (0.5, 0.25, 0.125)
    assert (face["EyeLidLeft"], face["EyeLidRight"]) == (0.0, 1.0)
    left = vrchat(eyeLookOutLeft=0.5, eyeLookInRight=0.5, eyeLookUpLeft=0.25, eyeLookUpRight=0.25)
    assert (left["EyeLeftX"], left["EyeRightX"], left["EyeLeftY"], left["EyeRightY"]) == (
        -0.5,
        -0.5,
        0.25,
        0.25,
    )


@pytest.mark.parametrize("name", ARKIT_NAMES)
def test_every_shape_reaches_vrchat(name: str) -> None:
    shown: npt.NDArray[np.float64] = np.array(list(vrchat(**{name: 0.5}).values()))
    assert not np.allclose(shown, list(vrchat().values()))
