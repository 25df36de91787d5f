# SPDX-License-Identifier: Apache-2.0
"""WebSocket protocol: JSON text messages for control, binary messages for audio and frames.

docs/websocket.md describes every message; frontend/src/protocol.js is the browser's side. A test compares all
three by the tables below.

An epoch (0..255) is the client's number of a timeline: the client discards messages of an older one.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from streamingtalker_ros.conversation.commands import (
    MAX_DECAY_S,
    MAX_GESTURE_AMPLITUDE_DEG,
    MAX_GESTURE_COUNT,
    MAX_TARGET_DISTANCE_M,
    MIN_DECAY_S,
    ConversationCommand,
    Express,
    Gesture,
    LookAt,
)
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.model.control_ranges import SEED_RANGE
from streamingtalker_ros.web.message_fields import (
    Field,
    NumberField,
    PointField,
    SessionField,
    TextField,
    describe_value,
)

PROTOCOL_VERSION: Final = 1
"""Version of the messages; a client that names another one is refused."""

FRAME_FORMATS: Final = ("binary", "json")
"""Formats in which a client may ask for frames; the first is the default."""

PCM, PARTNER = 1, 2  # kinds of a client's binary messages: the face's voice, and its partner's
FACE, VERTICES, AUDIO = 1, 2, 3  # kinds of the server's binary messages
SPEAKING, IDLE = 1, 2  # flags of a frame
# kind, epoch, flags, 0, index, time in s, model time in ms, queueing time of the audio in ms, frames skipped
# so far, 0
HEADER = struct.Struct("<BBBxIdffI4x")
_SCALE = struct.Struct("<f")
MAX_EPOCH = 255
MAX_SAY_CHARS: Final = 2000  # some minutes of speech
_MAX_COUNT = 2**53  # the largest integer that JavaScript represents exactly
_EPOCH: Final = NumberField(high=MAX_EPOCH, kind=int)
_SESSION: Final = SessionField(required=False)
_AFFECT: Final = NumberField(required=False, low=-1.0, high=1.0)
CLIENT_MESSAGES: Final[Mapping[str, Mapping[str, Field]]] = {
    "start": {
        "epoch": _EPOCH,
        "rate": NumberField(low=MIN_SAMPLE_RATE, high=MAX_SAMPLE_RATE, kind=int),
        "seed": NumberField(required=False, low=SEED_RANGE[0], high=SEED_RANGE[1], kind=int),
    },
    "rest": {"epoch": _EPOCH},
    "interrupt": {"epoch": _EPOCH},
    "watch": {"epoch": _EPOCH, "session": _SESSION},
    "pause": {},
    "set": {},  # of any control
    "look_at": {"point": PointField(limit=MAX_TARGET_DISTANCE_M)},
    "express": {
        "name": TextField(required=False),
        "strength": NumberField(required=False),
        "valence": _AFFECT,
        "arousal": _AFFECT,
        "decay": NumberField(required=False, low=MIN_DECAY_S, high=MAX_DECAY_S),
    },
    "gesture": {
        "name": TextField(),
        "amplitude": NumberField(
            required=False, low=-MAX_GESTURE_AMPLITUDE_DEG, high=MAX_GESTURE_AMPLITUDE_DEG
        ),
        "count": NumberField(required=False, low=1, high=MAX_GESTURE_COUNT, kind=int),
    },
    "say": {"epoch": _EPOCH, "text": TextField(max_chars=MAX_SAY_CHARS)},
    "share": {"session": _SESSION},
    "seen": {"count": NumberField(high=_MAX_COUNT, kind=int)},
}
"""Fields of each JSON message of a client, besides "type"."""

MESSAGE_TYPES: Final = tuple(CLIENT_MESSAGES)

_FRAME_FIELDS: Final = ("epoch", "index", "time", "speaking", "idle", "model_ms", "wait_ms", "dropped")
SERVER_MESSAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "hello": (
        *(
            "protocol",
            "version",
            "model",
            "device",
            "vertices",
            "frame_rate",
            "lookahead",
            "names",
            "controls",
            "gestures",
            "say",
        ),
        *("limit", "session_seconds", "watch", "face"),
    ),
    "state": ("visitors", "left_out"),
    "watching": ("topic", "domain", "session"),
    "speech": ("epoch", "state"),
    "dialogue_state": ("state",),
    "error": ("text",),
    "refused": ("text",),
    "bye": ("text",),
    "frame": (*_FRAME_FIELDS, "weights", "head"),
    "vertices": (*_FRAME_FIELDS, "scale", "offsets"),
    "audio": ("epoch", "time", "rate", "samples"),
}
"""Fields of each JSON message of the server, besides "type"; the last three are of the format json only."""

CLOSE_CODES: Final[Mapping[int, str]] = {
    1002: "protocol version or format of frames that the server does not speak",
    1007: "a text is not UTF-8",
    1008: "the client broke a limit, sent nothing for long, or may not connect",
    1009: "a message is too long",
    1011: "an internal error of the server",
    1012: "the server ends",
    1013: "no session is free, the session has lasted its time, or frames are taken too slowly",
}
"""Close codes of RFC 6455 that the server sends."""

WS_PROTOCOL_ERROR: Final = 1002


def parse_query(query: Mapping[str, str]) -> str:
    """Parse the query of a WebSocket's address: `version` and `frames`, each of which may be left out.

    Args:
        query: Parameters of the query; others are ignored.

    Returns:
        The format of the frames, one of `FRAME_FORMATS`.

    Raises:
        TalkerError: If the version or the format is not spoken here.
    """
    version = query.get("version", str(PROTOCOL_VERSION))
    if version != str(PROTOCOL_VERSION):
        raise TalkerError(
            f"this server speaks version {PROTOCOL_VERSION} of the protocol, not {describe_value(version)}: "
            f"connect with ?version={PROTOCOL_VERSION}, or use a client of the server's release"
        )
    frames = query.get("frames", FRAME_FORMATS[0])
    if frames not in FRAME_FORMATS:
        raise TalkerError(
            f"frames={describe_value(frames)} is no format of frames: ask for {' or '.join(FRAME_FORMATS)}"
        )
    return frames


def parse_text(text: str) -> dict[str, Any]:
    """Parse a client's text message.

    Returns:
        The message, its "type" one of MESSAGE_TYPES and its fields as CLIENT_MESSAGES has them.

    Raises:
        TalkerError: if the text is not such a message.
    """
    try:
        message = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise TalkerError("a text is not JSON: send objects as docs/websocket.md describes them") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if not isinstance(kind, str) or kind not in CLIENT_MESSAGES:
        raise TalkerError(f"a text message has an unknown type: send one of {', '.join(MESSAGE_TYPES)}")
    for name, field in CLIENT_MESSAGES[kind].items():
        field.check(message, name)
    return message


def parse_command(kind: str, message: dict[str, Any]) -> ConversationCommand:
    """Return the command of a message `look_at`, `express` or `gesture`.

    Args:
        kind: Type of the message.
        message: Its fields, as `parse_text` returns them.

    Raises:
        TalkerError: If the point has no direction, or no emotion or gesture has this name.
    """
    if kind == "look_at":
        return LookAt(message["point"])
    if kind == "gesture":
        return Gesture(message["name"], message.get("amplitude"), message.get("count"))
    strength, valence, arousal, decay = (
        message.get(name) for name in ("strength", "valence", "arousal", "decay")
    )
    return Express(message.get("name") or "", 1.0 if strength is None else strength, valence, arousal, decay)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)


def parse_audio(data: bytes) -> tuple[int, int, npt.NDArray[np.int16]]:
    """Parse a client's binary message.

    Args:
        data: Four bytes of header (kind, epoch 0..255, 0, 0), then mono 16-bit little-endian samples.

    Returns:
        The kind, `PCM` or `PARTNER`; the epoch; and samples of shape (n,).

    Raises:
        TalkerError: if the bytes are not an audio message.
    """
    if len(data) < 4 or data[0] not in (PCM, PARTNER) or len(data) % 2:
        raise TalkerError(
            f"{len(data)} bytes are not audio: send {PCM} or {PARTNER}, epoch, 0, 0 and whole 16-bit samples"
        )
    return data[0], data[1], np.frombuffer(data, "<i2", offset=4)


def encode_blendshapes(
    epoch: int,
    index: int,
    time: float,
    weights: npt.ArrayLike,
    head: npt.ArrayLike,
    speaking: bool,
    idle: bool = False,
    model_ms: float = 0.0,
    wait_ms: float = 0.0,
    dropped: int = 0,
) -> bytes:
    """Encode one frame of a blendshape model.

    Args:
        epoch: number of the client's timeline, 0..255.
        index: frame number.
        time: seconds from the start of the stream to the start of the frame.
        weights: (52,), 0..1, in the order of ARKIT_NAMES.
        head: (4,), head rotation as a quaternion xyzw.
        speaking: whether speech is detected in the frame's audio.
        idle: whether the frame belongs to the silence without a source.
        model_ms: duration of the batched model step, ms.
        wait_ms: time that the frame's last audio was queued before the step, ms.
        dropped: frames of this session skipped so far because the audio was too old.
    """
    flags = (SPEAKING if speaking else 0) | (IDLE if idle else 0)
    return (
        HEADER.pack(FACE, epoch, flags, index, time, model_ms, wait_ms, dropped)
        + np.asarray(weights, "<f4").tobytes()
        + np.asarray(head, "<f4").tobytes()
    )


def encode_vertices(
    epoch: int,
    index: int,
    time: float,
    offsets: npt.NDArray[np.floating[Any]],
    idle: bool = False,
    model_ms: float = 0.0,
    wait_ms: float = 0.0,
    dropped: int = 0,
) -> bytes:
    """Encode one frame of a vertex model.

    Args:
        epoch: as of `encode_blendshapes`, like all parameters that are not described here.
        index: frame number.
        time: seconds from the start of the stream to the start of the frame.
        offsets: (V, 3), metres from the template, quantised to 1/32767 of the largest magnitude.
        idle: whether the frame belongs to the silence without a source.
        model_ms: duration of the batched model step, ms.
        wait_ms: time that the frame's last audio was queued before the step, ms.
        dropped: frames of this session skipped so far because the audio was too old.
    """
    scale = max(float(np.abs(offsets).max(initial=0.0)), 1e-9) / 32767
    return (
        HEADER.pack(VERTICES, epoch, IDLE if idle else 0, index, time, model_ms, wait_ms, dropped)
        + _SCALE.pack(scale)
        + np.round(offsets / scale).astype("<i2").tobytes()
    )


def encode_audio(epoch: int, time: float, samples: npt.NDArray[np.int16]) -> bytes:
    """Encode audio of a watched talker.

    Args:
        epoch: number of the client's timeline, 0..255.
        time: of the first sample, seconds on the timeline of the frames.
        samples: (n,), mono, at SAMPLE_RATE.
    """
    return HEADER.pack(AUDIO, epoch, 0, 0, time, 0.0, 0.0, 0) + np.asarray(samples, "<i2").tobytes()


def move_to_timeline(message: bytes, epoch: int, time: float) -> bytes:
    """Return a binary message of the server with another epoch and time.

    Args:
        message: Of any kind.
        epoch: Number of the client's timeline, 0..255.
        time: Seconds on it.
    """
    kind, _, flags, index, _, model_ms, wait_ms, dropped = HEADER.unpack_from(message)
    return HEADER.pack(kind, epoch, flags, index, time, model_ms, wait_ms, dropped) + message[HEADER.size :]


def message_time(message: bytes) -> tuple[int, float]:
    """Return epoch and time of a binary message of the server.

    Args:
        message: Of any kind.
    """
    header = HEADER.unpack_from(message)
    return header[1], header[4]


def fade_to_rest(message: bytes, fraction: float) -> bytes:
    """Return an idle frame nearer to the rest pose.

    Args:
        message: A frame; audio is not one.
        fraction: Of its pose that is left, 0..1.
    """
    kind, epoch, _, index, time, *numbers = HEADER.unpack_from(message)
    header = HEADER.pack(kind, epoch, IDLE, index, time, *numbers)
    if kind == VERTICES:
        (scale,) = _SCALE.unpack_from(message, HEADER.size)
        return header + _SCALE.pack(fraction * scale) + message[HEADER.size + _SCALE.size :]
    values = np.frombuffer(message, "<f4", offset=HEADER.size)
    weights = np.float32(fraction) * values[: len(ARKIT_NAMES)]
    return header + weights.astype("<f4").tobytes() + values[len(ARKIT_NAMES) :].tobytes()


def to_json(message: bytes) -> str:
    """Return a binary message of the server as JSON, for clients that ask for that.

    Numbers have six decimals; where there are many, they are the base64 of little-endian int16.

    Args:
        message: Of any kind.
    """
    kind, epoch, flags, index, time, model_ms, wait_ms, dropped = HEADER.unpack_from(message)
    if kind == AUDIO:
        samples = base64.b64encode(message[HEADER.size :]).decode()
        fields = {"epoch": epoch, "time": round(time, 6), "rate": SAMPLE_RATE, "samples": samples}
        return json.dumps({"type": "audio", **fields})
    fields = {
        "epoch": epoch,
        "index": index,
        "time": round(time, 6),
        "speaking": bool(flags & SPEAKING),
        "idle": bool(flags & IDLE),
        "model_ms": round(model_ms, 3),
        "wait_ms": round(wait_ms, 3),
        "dropped": dropped,
    }
    if kind == VERTICES:
        (fields["scale"],) = _SCALE.unpack_from(message, HEADER.size)
        fields["offsets"] = base64.b64encode(message[HEADER.size + _SCALE.size :]).decode()
        return json.dumps({"type": "vertices", **fields})
    values = [round(value, 6) for value in np.frombuffer(message, "<f4", offset=HEADER.size).tolist()]
    fields |= {"weights": values[: len(ARKIT_NAMES)], "head": values[len(ARKIT_NAMES) :]}
    return json.dumps({"type": "frame", **fields})
