# SPDX-License-Identifier: Apache-2.0
"""WebSocket protocol: JSON text messages for control, binary messages for audio and frames.

Client to server, texts, each an object with "type":
    start      epoch, rate [, seed]  audio of a new stream follows: mono s16 at `rate` Hz
    rest       epoch                 the audio has ended: idle frames follow, their times start at 0
    interrupt  epoch                 barge-in: discard queued audio, close the mouth, then as `rest`
    watch      epoch                 show the topics of a running talker instead of a stream of this session
    pause                            send no frames until start, rest or watch
    set        any of `controls`     change controls of the stream
    seen       count                 acknowledgement: frames received since the connection was opened
Client to server, binary: bytes 1, epoch, 0, 0, then s16 little-endian samples.

Server to client, texts: hello, state, watching, error, refused, bye. Binary: `HEADER`, then the body of the
frame's kind: 52 blendshape weights and the head rotation (xyzw) as float32; or vertex offsets, a float32
scale and s16 x, y, z; or s16 audio samples.

An epoch (0..255) is the client's number of a timeline: the client discards messages of an older one.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.control_ranges import SEED_RANGE

PCM = 1  # kind of a client's binary message
FACE, VERTICES, AUDIO = 1, 2, 3  # kinds of the server's binary messages
SPEAKING, IDLE = 1, 2  # flags of a frame
# kind, epoch, flags, 0, index, time in s, model time in ms, queueing time of the audio in ms, frames skipped
# so far, 0
HEADER = struct.Struct("<BBBxIdffI4x")
MESSAGE_TYPES = ("start", "rest", "interrupt", "watch", "pause", "set", "seen")
MAX_EPOCH = 255
_TYPES_WITH_EPOCH = ("start", "rest", "interrupt", "watch")
_MAX_COUNT = 2**53  # the largest integer that JavaScript represents exactly


def parse_text(text: str) -> dict[str, Any]:
    """Parse a client's text message.

    Returns:
        The message, its "type" one of MESSAGE_TYPES and its epoch, rate, seed and count within their ranges.

    Raises:
        TalkerError: if the text is not such a message.
    """
    try:
        message = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise TalkerError("a text is not JSON: send objects as docs/web.md describes them") from None
    if not isinstance(message, dict) or message.get("type") not in MESSAGE_TYPES:
        raise TalkerError(f"a text message has an unknown type: send one of {', '.join(MESSAGE_TYPES)}")
    kind = message["type"]
    if kind in _TYPES_WITH_EPOCH:
        check_int(message, "epoch", 0, MAX_EPOCH)
    if kind == "start":
        check_int(message, "rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
        if message.get("seed") is not None:
            check_int(message, "seed", *SEED_RANGE)
    if kind == "seen":
        check_int(message, "count", 0, _MAX_COUNT)
    return message


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)


def describe_value(value: object) -> str:
    """Describe a client's value for an error message, briefly and without recursing into nested values."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of over 38 digits"
    return repr(str(value)[:40])


def check_int(message: dict[str, Any], name: str, low: int, high: int) -> int:
    """Return an integer field of a message.

    Args:
        message: the fields of the message.
        name: name of the field.
        low: least value allowed.
        high: greatest value allowed.

    Raises:
        TalkerError: if the field is missing, is not an integer or is out of range.
    """
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TalkerError(f"{name} is {describe_value(value)}: send a whole number of {low} to {high}")
    return value


def check_float(message: dict[str, Any], name: str, low: float, high: float) -> float:
    """Return a number field of a message.

    Args:
        message: the fields of the message.
        name: name of the field.
        low: least value allowed.
        high: greatest value allowed.

    Raises:
        TalkerError: if the field is missing, is not a finite number or is out of range.
    """
    value = message.get(name)
    # the range is checked before the conversion: an integer may be too large for a float
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise TalkerError(f"{name} is {describe_value(value)}: send a number of {low} to {high}")
    return float(value)


def parse_pcm(data: bytes) -> tuple[int, npt.NDArray[np.int16]]:
    """Parse a client's binary message.

    Args:
        data: Four bytes of header (1, epoch 0..255, 0, 0), then mono 16-bit little-endian samples.

    Returns:
        The epoch, and samples of shape (n,).

    Raises:
        TalkerError: if the bytes are not an audio message.
    """
    if len(data) < 4 or data[0] != PCM or len(data) % 2:
        raise TalkerError(f"{len(data)} bytes are not audio: send 1, epoch, 0, 0 and whole 16-bit samples")
    return data[1], np.frombuffer(data, "<i2", offset=4)


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
        + struct.pack("<f", scale)
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
