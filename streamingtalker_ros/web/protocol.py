# SPDX-License-Identifier: Apache-2.0
"""The words of the WebSocket: JSON texts for what happens seldom, bytes for audio and frames.

To the server. Texts, each with "type":
    start      epoch, rate [, seed]  audio of a new voice follows: mono s16 at `rate` Hz
    rest       epoch                 the audio has ended: idle frames follow, their times from 0
    interrupt  epoch                 drop what is queued, close the mouth, then as `rest`
    watch      epoch                 the topics of a running talker instead of an own voice
    pause                            nothing more, until start, rest or watch
    set        any of CONTROLS       change the voice's controls
    seen       count                 frames that have arrived since the connection began
Bytes: 1, epoch, 0, 0, then s16 little-endian samples.

From the server. Texts: hello, state, error, refused, bye. Bytes: `HEADER`, then the body of its kind: a face's 52
weights and head (xyzw) as float32; vertices as a float32 scale and s16 x, y, z; audio as s16.
An epoch (0..255) is the page's number of a timeline: what comes late from an older one is left out.
"""

import json
import struct
from typing import NoReturn

import numpy as np

from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError

PCM = 1  # kind of the bytes that a page sends
FACE, VERTICES, AUDIO = 1, 2, 3  # kinds of those that it gets
SPEAKING, IDLE = 1, 2  # flags
# kind, epoch, flags, 0, index, time in s, model ms, ms that the audio waited, frames left out so far, 0
HEADER = struct.Struct("<BBBxIdffI4x")
KINDS = ("start", "rest", "interrupt", "watch", "pause", "set", "seen")
_EPOCH = ("start", "rest", "interrupt", "watch")


def read_text(text):
    """A JSON text -> dict with a known "type" and checked numbers. Raises TalkerError for anything else."""
    try:
        message = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise TalkerError("a text is not JSON: send objects as docs/web.md describes them") from None
    if not isinstance(message, dict) or message.get("type") not in KINDS:
        raise TalkerError(f"a text has no known type: send one of {', '.join(KINDS)}")
    kind = message["type"]
    if kind in _EPOCH:
        whole(message, "epoch", 0, 255)
    if kind == "start":
        whole(message, "rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
        if message.get("seed") is not None:
            whole(message, "seed", 0, 2**31 - 1)
    if kind == "seen":
        whole(message, "count", 0, 2**53)
    return message


def _no_constant(name) -> NoReturn:
    raise ValueError(name)


def shown(value):
    """A value that a page sent, for a sentence: short, and without a look into lists and objects of any depth."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of over 38 digits"
    return repr(str(value)[:40])


def whole(message, name, low, high):
    """message[name], which must be a whole number of low..high. Raises TalkerError."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TalkerError(f"{name} is {shown(value)}: send a whole number of {low} to {high}")
    return value


def number(message, name, low, high):
    """message[name], which must be a number of low..high. Raises TalkerError."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        # compared before it is converted: a whole number may be too large for a float
        raise TalkerError(f"{name} is {shown(value)}: send a number of {low} to {high}")
    return float(value)


def read_pcm(data):
    """A page's bytes -> (epoch, (n,) int16). Raises TalkerError for what is no audio."""
    if len(data) < 4 or data[0] != PCM or len(data) % 2:
        raise TalkerError(f"{len(data)} bytes are no audio: send 1, epoch, 0, 0 and whole 16-bit samples")
    return data[1], np.frombuffer(data, "<i2", offset=4)


def face(epoch, index, time, weights, head, speaking, idle=False, model_ms=0.0, wait_ms=0.0, dropped=0):
    """One frame of a blendshape face as bytes."""
    flags = SPEAKING * bool(speaking) + IDLE * bool(idle)
    return (
        HEADER.pack(FACE, epoch, flags, index, time, model_ms, wait_ms, dropped)
        + np.asarray(weights, "<f4").tobytes()
        + np.asarray(head, "<f4").tobytes()
    )


def vertices(epoch, index, time, offsets, idle=False, model_ms=0.0, wait_ms=0.0, dropped=0):
    """One frame of a vertex model as bytes. offsets: (V, 3) metres from the template, sent in steps of 1/32767 of
    the largest."""
    scale = max(float(np.abs(offsets).max(initial=0.0)), 1e-9) / 32767
    return (
        HEADER.pack(VERTICES, epoch, IDLE * bool(idle), index, time, model_ms, wait_ms, dropped)
        + struct.pack("<f", scale)
        + np.round(offsets / scale).astype("<i2").tobytes()
    )


def audio(epoch, time, samples):
    """Sound of a watched talker as bytes: (n,) int16 at 16 kHz, the first at `time` seconds."""
    return HEADER.pack(AUDIO, epoch, 0, 0, time, 0.0, 0.0, 0) + np.asarray(samples, "<i2").tobytes()
