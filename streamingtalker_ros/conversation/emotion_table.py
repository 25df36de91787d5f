# SPDX-License-Identifier: Apache-2.0
"""The named emotions: the face, head and eyes of each, and its place in the circumplex of affect.

One definition for library, nodes, commands and the page. The faces follow the action units (AU) of P. Ekman,
W. Friesen, Unmasking the Face (1975) and EMFACS (1983), translated to ARKit's shapes as in `face.facs`;
`thinking` is no basic emotion: it follows the displays of N. Chovil, Discourse-oriented facial displays in
conversation (1991). Valence and arousal are the means of pleasure and arousal of J. Russell, A. Mehrabian,
Evidence for a three-factor theory of emotions (1977), in the plane of Russell, A circumplex model of affect
(1980). The left half of a face is the more expressive one (H. Sackeim et al. 1978).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import describe, shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.expression import check_float

NEUTRAL: Final = "neutral"
ASYMMETRY: Final = 0.07
"""Fraction by which a left shape is stronger, and a right one weaker, than stated."""


@dataclass(frozen=True)
class Emotion:
    """What an emotion at full strength adds to a face.

    Attributes:
        shapes: Weights of ARKit shapes; a name without its side sets both.
        valence: Pleasure, -1 to 1.
        arousal: -1 to 1.
        pitch_deg: Of the head; above 0 it looks down.
        yaw_deg: Of the head; above 0 it turns to the person's left.
        roll_deg: Of the head; above 0 it tilts to the person's right shoulder.
        gaze_up_deg: Direction of the eyes, relative to somebody in front.
        mouth_opening: Factor minus 1 on the opening of lips that are apart.
        expressiveness: Factor minus 1 on the brows' and the head's motion, and on head gestures.
        head_tempo: Factor minus 1 on the fast part of the head's motion.
        blink_rate: Factor minus 1 on the rate of blinks.
        gaze_aversion: 1 for an emotion in which people look away from a partner.
    """

    shapes: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    valence: float = 0.0
    arousal: float = 0.0
    pitch_deg: float = 0.0
    yaw_deg: float = 0.0
    roll_deg: float = 0.0
    gaze_up_deg: float = 0.0

    mouth_opening: float = 0.0
    expressiveness: float = 0.0
    head_tempo: float = 0.0
    blink_rate: float = 0.0
    gaze_aversion: float = 0.0


EMOTIONS: Final[Mapping[str, Emotion]] = MappingProxyType(
    {
        NEUTRAL: Emotion(),
        "happy": Emotion(  # AU 6 + 12
            {
                "mouthSmile": 0.65,
                "cheekSquint": 0.7,
                "eyeSquint": 0.3,
                "mouthDimple": 0.15,
                "browOuterUp": 0.12,
                "browInnerUp": 0.08,
            },
            valence=0.81,
            arousal=0.51,
            pitch_deg=-2.0,
            roll_deg=2.0,
            mouth_opening=0.1,
            expressiveness=0.25,
            head_tempo=0.2,
            blink_rate=0.1,
        ),
        "sad": Emotion(  # AU 1 + 4 + 15 + 17, lids and gaze lowered
            {
                "browInnerUp": 0.95,
                "browDown": 0.25,
                "mouthFrown": 0.8,
                "mouthShrugLower": 0.3,
                "mouthPress": 0.1,
                "eyeBlink": 0.05,
                "eyeSquint": 0.1,
            },
            valence=-0.63,
            arousal=-0.27,
            pitch_deg=7.0,
            roll_deg=3.0,
            gaze_up_deg=-8.0,
            mouth_opening=-0.12,
            expressiveness=-0.4,
            head_tempo=-0.6,
            blink_rate=-0.2,
        ),
        "angry": Emotion(  # AU 4 + 5 + 7 + 23/24, chin lowered: the glare from below
            {
                "browDown": 1.0,
                "eyeSquint": 0.35,
                "eyeWide": 0.3,
                "noseSneer": 0.35,
                "mouthPress": 0.55,
                "mouthRollUpper": 0.3,
                "mouthRollLower": 0.25,
                "mouthFrown": 0.35,
                "jawForward": 0.25,
            },
            valence=-0.51,
            arousal=0.59,
            pitch_deg=5.0,
            mouth_opening=0.08,
            expressiveness=0.2,
            head_tempo=0.35,
            blink_rate=-0.4,
        ),
        "afraid": Emotion(  # AU 1 + 2 + 4 + 5 + 20 + 25, head drawn back
            {
                "browInnerUp": 1.0,
                "browOuterUp": 0.2,
                "browDown": 0.35,
                "eyeWide": 1.0,
                "mouthStretch": 0.9,
                "mouthFrown": 0.15,
                "mouthLowerDown": 0.35,
                "mouthUpperUp": 0.15,
                "jawOpen": 0.1,
            },
            valence=-0.64,
            arousal=0.60,
            pitch_deg=-3.0,
            yaw_deg=-4.0,
            mouth_opening=0.05,
            expressiveness=-0.1,
            head_tempo=0.4,
            blink_rate=0.5,
        ),
        "surprised": Emotion(  # AU 1 + 2 + 5 + 26
            {
                "browInnerUp": 1.0,
                "browOuterUp": 1.0,
                "eyeWide": 1.0,
                "jawOpen": 0.5,
                "mouthFunnel": 0.1,
            },
            valence=0.40,
            arousal=0.67,
            pitch_deg=-4.0,
            mouth_opening=0.25,
            expressiveness=0.25,
            head_tempo=0.1,
            blink_rate=-0.5,
        ),
        "disgusted": Emotion(  # AU 9 + 10 + 15 + 17 + 25, head drawn back and turned away
            {
                "noseSneer": 1.0,
                "mouthUpperUp": 1.0,
                "browDown": 0.4,
                "cheekSquint": 0.9,
                "eyeSquint": 0.9,
                "mouthFrown": 0.6,
                "mouthShrugLower": 0.5,
            },
            valence=-0.60,
            arousal=0.35,
            pitch_deg=-5.0,
            yaw_deg=7.0,
            roll_deg=-4.0,
            mouth_opening=-0.05,
            expressiveness=-0.1,
            head_tempo=-0.1,
            blink_rate=0.1,
        ),
        "thinking": Emotion(  # one brow up, lips pressed to a side; the gaze is averted (`gaze`)
            {
                "browDownLeft": 0.7,
                "browOuterUpRight": 1.0,
                "browInnerUp": 0.1,
                "eyeSquint": 0.2,
                "mouthLeft": 0.6,
                "mouthPress": 0.3,
                "mouthPucker": 0.4,
                "mouthShrugLower": 0.3,
            },
            valence=0.0,
            arousal=-0.1,
            pitch_deg=-3.0,
            yaw_deg=-6.0,
            roll_deg=4.0,
            mouth_opening=-0.1,
            expressiveness=-0.2,
            head_tempo=-0.4,
            blink_rate=0.2,
            gaze_aversion=1.0,
        ),
    }
)
"""Emotions by name."""

SYNONYMS: Final[Mapping[str, tuple[str, float]]] = MappingProxyType(
    {
        "scared": ("afraid", 1.0),
        "horrified": ("afraid", 1.0),
        "vulnerable": ("afraid", 0.4),
        "furious": ("angry", 1.0),
        "annoyed": ("angry", 0.5),
        "suspicious": ("angry", 0.3),
        "despaired": ("sad", 1.0),
        "rejected": ("sad", 0.8),
        "guilty": ("sad", 0.6),
        "disappointed": ("sad", 0.6),
        "pleading": ("sad", 0.6),
        "embarrassed": ("sad", 0.3),
        "bored": ("sad", 0.2),
        "tired": ("sad", 0.3),
        "amazed": ("surprised", 0.9),
        "excited": ("happy", 1.0),
        "skeptical": ("thinking", 0.7),
        "confused": ("thinking", 0.8),
    }
)
"""Further names of hri_msgs/Expression (ROS4HRI), as emotion and strength; `asleep` is not among them."""

# What a valence or an arousal that differs from the named emotion's adds, per unit of difference.
_VALENCE_AXES: Final = (
    Emotion({"mouthSmile": 0.6, "cheekSquint": 0.35}, expressiveness=0.1),
    Emotion({"mouthFrown": 0.5, "browInnerUp": 0.25, "browDown": 0.25}, expressiveness=-0.1),
)
_AROUSAL_AXES: Final = (
    Emotion(
        {"eyeWide": 0.4, "browOuterUp": 0.25, "browInnerUp": 0.15},
        mouth_opening=0.15,
        expressiveness=0.3,
        head_tempo=0.3,
    ),
    Emotion({"eyeBlink": 0.3}, pitch_deg=3.0, mouth_opening=-0.15, expressiveness=-0.4, head_tempo=-0.5),
)
_CIRCUMPLEX_WIDTH: Final = (
    0.35  # standard deviation of the kernel by which a point mixes the emotions around it
)

SCALARS: Final = tuple(
    entry.name for entry in dataclasses.fields(Emotion) if entry.name not in ("shapes", "valence", "arousal")
)
"""Names of the numbers that follow the weights in a row."""

ROW_LENGTH: Final = len(ARKIT_NAMES) + len(SCALARS)


def _to_row(emotion: Emotion) -> npt.NDArray[np.float32]:
    row = np.zeros(ROW_LENGTH, np.float32)
    for name, weight in emotion.shapes.items():
        if name in INDEX:
            row[INDEX[name]] += weight
        else:
            row[INDEX[name + "Left"]] += weight * (1.0 + ASYMMETRY)
            row[INDEX[name + "Right"]] += weight * (1.0 - ASYMMETRY)
    row[len(ARKIT_NAMES) :] = [getattr(emotion, name) for name in SCALARS]
    row.flags.writeable = False
    return row


EMOTION_ROWS: Final[Mapping[str, npt.NDArray[np.float32]]] = MappingProxyType(
    {name: _to_row(emotion) for name, emotion in EMOTIONS.items()}
)
"""(ROW_LENGTH,) float32 of each emotion at full strength: 52 weights, then `SCALARS`."""

_AXIS_ROWS: Final = tuple(tuple(_to_row(axis) for axis in pair) for pair in (_VALENCE_AXES, _AROUSAL_AXES))


def emotion_name(name: object) -> tuple[str, float]:
    """Find an emotion by its name or a synonym.

    Args:
        name: Of `EMOTIONS` or `SYNONYMS`, in any case.

    Returns:
        Its name in `EMOTIONS`, and the strength that the synonym stands for.

    Raises:
        TalkerError: If the name is unknown.
    """
    key = name.strip().lower() if isinstance(name, str) else ""
    if key in EMOTIONS:
        return key, 1.0
    if key in SYNONYMS:
        return SYNONYMS[key]
    close = difflib.get_close_matches(shorten(key), (*EMOTIONS, *SYNONYMS), 1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(EMOTIONS)}"
    raise TalkerError(f"unknown emotion {describe(name)}: {hint}")


def parse_emotion(text: object) -> tuple[str, float]:
    """Parse an emotion with its strength, such as "happy" or "happy:0.8".

    Args:
        text: Name, colon, strength 0..1; without a strength 1; "" is neutral.

    Returns:
        Name of the emotion and strength.

    Raises:
        TalkerError: If the name is unknown or the strength is not a number from 0 to 1.
    """
    if not isinstance(text, str):
        raise TalkerError(f"the emotion is {describe(text)}: give a name, such as happy or happy:0.8")
    name, colon, strength = text.partition(":")
    emotion, factor = emotion_name(name) if name.strip() else (NEUTRAL, 1.0)
    return emotion, factor * (
        check_float("the strength of the emotion", strength, 0.0, 1.0) if colon else 1.0
    )


def emotion_row(
    name: str | None, strength: float = 1.0, valence: float | None = None, arousal: float | None = None
) -> npt.NDArray[np.float32]:
    """Return what an emotion adds to a face.

    With a name, valence and arousal shift the face of that emotion by their differences from its own. Without
    one they alone decide: the emotions around their point of the circumplex are mixed.

    Args:
        name: Of the emotion or a synonym; None or "" for valence and arousal alone.
        strength: 0..1.
        valence: -1..1; None for the emotion's own.
        arousal: -1..1; None for the emotion's own.

    Returns:
        (ROW_LENGTH,) float32: 52 weights, of which some may exceed 1, then `SCALARS`.

    Raises:
        TalkerError: If the name is unknown.
    """
    if name:
        emotion, factor = emotion_name(name)
        row = EMOTION_ROWS[emotion].copy()
        own = EMOTIONS[emotion]
        for value, of_emotion, axes in (
            (valence, own.valence, _AXIS_ROWS[0]),
            (arousal, own.arousal, _AXIS_ROWS[1]),
        ):
            if value is not None:
                difference = value - of_emotion
                row += np.float32(abs(difference)) * axes[0 if difference >= 0.0 else 1]
        return row * np.float32(strength * factor)
    points = {key: (entry.valence, entry.arousal) for key, entry in EMOTIONS.items() if key != "thinking"}
    offsets = np.array(list(points.values())) - (valence or 0.0, arousal or 0.0)
    kernel = np.exp(-np.square(offsets).sum(axis=1) / (2.0 * _CIRCUMPLEX_WIDTH**2))
    rows = np.stack([EMOTION_ROWS[key] for key in points])
    return (np.float32(strength) * (kernel / kernel.sum()) @ rows).astype(np.float32)
