# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets of DDS messages: random and damaged CDR of each subscribed type, handled as by the nodes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.head_node import JOINT_STATE_TYPE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging import audio_common, face_messages
from streamingtalker_ros.messaging.audio_common import INFO_TYPE, PORTAUDIO_CODE, Variant
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.header import set_header
from streamingtalker_ros.robot_head import HeadController, load_head
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.rviz.markers import FaceMarkers
from support.face_motion import face_motion, shape_weights
from support.fuzz_audio import PCM, seeds
from support.fuzzing import Consume, FuzzTarget, mutate_bytes

TRIGGER: Final = "std_srvs/srv/Trigger_Request"
_STAMP: Final = 1_700_000_000_123_456_789
_FLOATS: Final = (0.0, 1.0, -1.0, 0.5, 1e-40, 3e38, -3e38, float("nan"), float("inf"), float("-inf"))
_STRINGS: Final = (
    "",
    "jawOpen",
    "head",
    "jaw",
    "wave",
    "S16LE",
    "mp3",
    "x" * 2000,
    "ü\u2028",
    "a\x07b",
    "\x1b[2J",
)


def message_class(type_name: str) -> Any:
    """Return the class of a message or of a half of a service, of its own variant of audio_common_msgs."""
    if type_name.endswith("_Request"):
        return message_types.service_class(type_name)
    return message_types.message_class(type_name, variant_of(type_name))


def variant_of(type_name: str) -> Variant:
    """Return the variant of audio_common_msgs that has a type."""
    return audio_common.AUDIO_TYPES.get(type_name, "ros-drivers")


def random_message(message_type: Any, random: np.random.Generator, depth: int = 0) -> Any:
    """Return a message with random fields: of any magnitude, and sequences of any length."""
    values = {}
    for item in dataclasses.fields(message_type):
        annotation = message_type.__annotations__[item.name]
        values[item.name] = _random_value(annotation, random, depth)
    return message_type(**values)


def _random_value(annotation: Any, random: np.random.Generator, depth: int) -> Any:
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return random_message(annotation, random, depth + 1)
    if annotation is str:
        return _STRINGS[int(random.integers(len(_STRINGS)))]
    if annotation is bool:
        return bool(random.integers(2))
    kind = typing.get_args(annotation)[1]
    if hasattr(kind, "subtype"):
        count = int(random.integers(0, (4, 60, 300)[int(random.integers(3))])) if depth < 3 else 1
        if hasattr(kind, "length") and kind.length:
            count = kind.length
        return [_random_value(kind.subtype, random, depth + 1) for _ in range(count)]
    name = str(kind)
    if "float" in name:
        return _FLOATS[int(random.integers(len(_FLOATS)))] if random.random() < 0.3 else random.uniform(-1, 1)
    bits = int("".join(character for character in name if character.isdigit()) or 8)
    low, high = (0, 2**bits - 1) if "uint" in name else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    choice = random.random()
    if choice < 0.3:
        return (low, high, 0, 1, min(16000, high))[int(random.integers(5))]
    return (
        int(random.integers(max(low, -(2**62)), min(high, 2**62)))
        if choice < 0.5
        else int(random.integers(100))
    )


def cdr_seeds(type_name: str) -> list[bytes]:
    """Return serialized messages of a type: a usual one, and random ones."""
    random = np.random.default_rng(7)
    messages = [random_message(message_class(type_name), random) for _ in range(12)]
    return [_usual(type_name).serialize(), *(message.serialize() for message in messages)]


def _usual(type_name: str) -> Any:
    message = message_class(type_name)()
    if type_name == face_messages.MOTION_TYPE:
        return face_motion(shape_weights(jawOpen=0.5), _STAMP)
    if type_name == face_messages.MODEL_TYPE:
        message.vertices, message.triangles = [0.1 * index for index in range(12)], [0, 1, 2, 1, 2, 3]
    elif type_name == face_messages.VERTICES_TYPE:
        message.offsets = [0.0] * 12
    elif type_name == JOINT_STATE_TYPE:
        message.name, message.position = ["jaw"], [0.1]
    elif type_name == INFO_TYPE:
        audio_common.to_audio_info(message, AudioFormat(16000, 1, "s16"))
    elif type_name.endswith("/AudioData"):
        message.data = list(PCM)
    elif type_name.endswith("/AudioDataStamped"):
        set_header(message.header, _STAMP, "microphone")
        message.audio.data = list(seeds("WAV")[0])
    elif type_name.endswith("/AudioStamped"):
        set_header(message.header, _STAMP, "microphone")
        message.audio.audio_data.int16_data = np.frombuffer(PCM, np.int16).tolist()
        info = message.audio.info
        info.format, info.channels, info.rate, info.chunk = PORTAUDIO_CODE["s16"], 1, 16000, 3200
    return message


def _handle_audio(type_name: str) -> Callable[[Any], None]:
    rejected: list[str] = []
    decoder = AudioMessageDecoder(lambda kind, reason: rejected.append(reason))
    aligner = PacketAligner(AudioFormat(), Statistics())

    def handle(message: Any) -> None:
        rejected.clear()
        for packet in decoder.decode(message, type_name):
            if packet.payload:
                for segment in aligner.align(packet):
                    assert np.isfinite(segment.pcm).all()
        for reason in rejected:
            assert len(reason.splitlines()) == 1 and len(reason) < 700

    return handle


def _handle_info() -> Callable[[Any], None]:
    rejected: list[str] = []
    decoder = AudioMessageDecoder(lambda kind, reason: rejected.append(reason))

    def handle(message: Any) -> None:
        rejected.clear()
        decoder.on_audio_info(message)
        for reason in rejected:
            assert len(reason.splitlines()) == 1 and len(reason) < 700, reason[:1000]

    return handle


def _handle_motion() -> Callable[[Any], None]:
    head = load_head("animatronic")
    warnings: list[str] = []
    controller, now = HeadController(head, warnings.append), _STAMP
    low, high = head.column("min"), head.column("max")
    markers = FaceMarkers(default_rig(), message_types.message_class, lambda message: message.serialize())

    def handle(message: Any) -> None:
        nonlocal now
        now += round(1e9 / head.rate)
        controller.update(message, now)
        command = controller.step(now)
        if command is not None:
            assert np.isfinite(command.positions).all() and np.isfinite(command.velocities).all()
            assert (command.positions >= low).all() and (command.positions <= high).all()
        transform = markers.on_motion(message)
        rotation = transform.transforms[0].transform.rotation
        assert np.isfinite([rotation.x, rotation.y, rotation.z, rotation.w]).all()
        for text in warnings:
            assert len(text.splitlines()) == 1 and len(text) < 700, text[:1000]
        warnings.clear()

    return handle


def _handle_joint_state() -> Callable[[Any], None]:
    head = load_head("animatronic")

    def handle(message: Any) -> None:
        controller = HeadController(head, lambda text: None)
        controller.set_joint_state(message.name, message.position)
        command = controller.step(_STAMP)
        if command is not None:
            assert np.isfinite(command.positions).all()

    return handle


def _handle_model() -> Callable[[Any], None]:
    markers = FaceMarkers(default_rig(), message_types.message_class, lambda message: message.serialize())
    vertices = _usual(face_messages.VERTICES_TYPE)

    def handle(message: Any) -> None:
        markers.on_model(message)
        markers.on_vertices(vertices)
        markers.markers(0.0, _STAMP, 1)

    return handle


def _handle_vertices() -> Callable[[Any], None]:
    markers = FaceMarkers(default_rig(), message_types.message_class, lambda message: message.serialize())
    markers.on_model(_usual(face_messages.MODEL_TYPE))

    def handle(message: Any) -> None:
        markers.on_vertices(message)
        markers.markers(0.0, _STAMP, 1)

    return handle


_HANDLERS: Final[dict[str, Callable[[], Callable[[Any], None]]]] = {
    **{name: partial(_handle_audio, name) for name in audio_common.AUDIO_TYPES},
    INFO_TYPE: _handle_info,
    face_messages.MOTION_TYPE: _handle_motion,
    face_messages.MODEL_TYPE: _handle_model,
    face_messages.VERTICES_TYPE: _handle_vertices,
    JOINT_STATE_TYPE: _handle_joint_state,
    TRIGGER: lambda: lambda message: None,
}
"""Type of each topic and service that a node receives, and what a node does with its messages."""


def _open(type_name: str, folder: Path) -> Consume:
    handle, kind = _HANDLERS[type_name](), message_class(type_name)

    def consume(data: bytes, random: np.random.Generator) -> None:
        try:
            message = kind.deserialize(data)
        except Exception as error:  # as DdsNode: the sample is dropped
            raise TalkerError(f"a sample is dropped ({type(error).__name__})") from None
        handle(message)

    return consume


def mutate_cdr(data: bytes, all_seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage CDR, behind its encapsulation header in most cases."""
    if random.random() < 0.15:
        return data
    if random.random() < 0.9:
        return data[:4] + mutate_bytes(data[4:], [seed[4:] for seed in all_seeds], random)
    return mutate_bytes(data, all_seeds, random)


TARGETS: Final = tuple(
    FuzzTarget(
        f"CDR of {name.rpartition('/')[2]}", partial(cdr_seeds, name), partial(_open, name), mutate_cdr
    )
    for name in _HANDLERS
)
SUBSCRIBED_TYPES: Final = tuple(_HANDLERS)
