# SPDX-License-Identifier: Apache-2.0
"""Controls of a running stream: gains of mouth and face, an expression, guidance.

`Controls` holds the values; `ControlSmoother` is one stream's state of them and applies them to its frames:
weights (52,) and rotation (3,) in, both changed. A change ramps in over `RAMP_FRAMES`, so that the face does
not jump. Lips that touch stay in contact: whatever gains and expression add, the inner-lip gap of the default
face is limited to that of the speech. Values that change nothing leave every bit as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.conversation.emotion_table import parse_emotion
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, MOUTH_MASK, UPPER_FACE_MASK
from streamingtalker_ros.face.expression import check_float, parse_expression
from streamingtalker_ros.face.lip_measure import CONTACT_GAP_M, lip_gap_measure
from streamingtalker_ros.model.control_ranges import (
    DEFAULT_ASYMMETRY,
    NEUTRAL_GAIN,
    NEUTRAL_GUIDANCE,
    NEUTRAL_LIVELINESS,
    NUMBER_CONTROLS,
)

RAMP_FRAMES = 8  # frames that a change of gains or expression takes
FREE_GAP_M = 0.002  # metres beyond contact from which on an expression may open speaking lips without limit

# gains of mouth and face, expression
NEUTRAL = np.array([1.0, 1.0] + 52 * [0.0], np.float32)


@dataclass(frozen=True, eq=False)
class Controls:
    """Values of one stream.

    Attributes:
        mouth_expressiveness: Gain 0…2 on the shapes of mouth and jaw; 1 as learned.
        face_expressiveness: Gain 0…2 on brows, squint, cheeks and nose, and on the head's rotation; 1 as
            learned.
        liveliness: 0…1: how much head and brows beat time with the voice; 0 as learned.
        asymmetry: 0…1: how much one corner of the mouth moves further than the other; 1 as people's, 0 as
            learned (`streaming.mouth_asymmetry`).
        parted_rest: Whether lips rest slightly apart in the pauses of a turn, and part before an announced
            voice (`streaming.parted_rest`).
        emotion: Name, or name and strength such as "happy:0.8", of the emotion that the face shows where
            `Stream.express` does not say otherwise; "" or None is neutral.
        expression: Added to the speech: a name, names with weights, or a mapping, as `parse_expression` takes
            them; (52,) float32 once constructed.
        guidance: Scale 0…4 of classifier-free guidance on the audio; 1 is off.

    Raises:
        TalkerError: If a value is out of range.
    """

    mouth_expressiveness: float = NEUTRAL_GAIN
    face_expressiveness: float = NEUTRAL_GAIN
    expression: Any = None
    guidance: float = NEUTRAL_GUIDANCE
    liveliness: float = NEUTRAL_LIVELINESS
    emotion: str | None = ""
    asymmetry: float = DEFAULT_ASYMMETRY
    parted_rest: bool = True

    def __post_init__(self) -> None:
        def assign(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, ((low, high), _) in NUMBER_CONTROLS.items():
            assign(name, check_float(name, getattr(self, name), low, high))
        assign("expression", _check_expression(self.expression))
        assign("emotion", self.emotion or "")
        parse_emotion(self.emotion)
        assign("parted_rest", _check_bool("parted_rest", self.parted_rest))
        if not np.array_equal(self.ramped_values, NEUTRAL):
            lip_gap_measure()  # used in every frame: built here by the caller, not between two frames

    def replace(self, **values: Any) -> Controls:
        """Return a copy with other values."""
        return replace(self, **values)

    @property
    def ramped_values(self) -> npt.NDArray[np.float32]:
        """(2 + 52,) float32: gains and expression, which ramp in."""
        gains = [self.mouth_expressiveness, self.face_expressiveness]
        return np.concatenate((gains, self.expression), dtype=np.float32)


def _check_bool(name: str, value: object) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TalkerError(f"{name} is {describe(value)}: give True or False")


def _check_expression(expression: Any) -> npt.NDArray[np.float32]:
    """Return the (52,) weights of an expression in any of its forms, or of an array of weights."""
    if not isinstance(expression, np.ndarray):
        try:
            return parse_expression(expression)
        except TalkerError:
            raise
        except Exception:  # no mapping and no texts
            raise TalkerError(
                f"expression is {describe(expression)}: give texts such as mouthSmileLeft:0.4, or a mapping"
            ) from None
    is_floats = expression.shape == (len(ARKIT_NAMES),) and np.issubdtype(expression.dtype, np.floating)
    if is_floats and bool((np.abs(expression) <= 1.0).all()):  # False for NaN
        return expression.astype(np.float32, copy=False)
    raise TalkerError(
        f"expression is an array of shape {expression.shape}: give {len(ARKIT_NAMES)} floats from -1 to 1"
    )


CONTROL_NAMES = tuple(field.name for field in fields(Controls))


class ControlSmoother:
    """Smoothed gains and expression of one stream, which ramp to its controls.

    Args:
        controls: Initial values.

    Attributes:
        is_neutral: Frames are passed on unchanged.
        mouth_at_rest: (52,) float32, rest pose of the mouth: its shapes without voice activity.
    """

    def __init__(self, controls: Controls) -> None:
        self._target = controls.ramped_values
        self.reset()

    def reset(self) -> None:
        """Take the target values at once, as a stream begins."""
        self._current, self._remaining = self._target.copy(), 0
        self._update()

    def set_target(self, controls: Controls) -> None:
        """Ramp to other controls, from the next frame on."""
        if not np.array_equal(controls.ramped_values, self._target):
            self._target, self._remaining = controls.ramped_values, RAMP_FRAMES

    def _update(self) -> None:
        self.is_neutral = np.array_equal(self._current, NEUTRAL)
        self.mouth_at_rest: npt.NDArray[np.float32] = np.zeros(len(ARKIT_NAMES), np.float32)
        if not self.is_neutral:
            self.mouth_at_rest = self.apply_to_mouth(self.mouth_at_rest)

    def apply_to_mouth(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the mouth (52,) of a pose under the present controls; all other shapes are 0.

        Args:
            weights: (52,) in 0..1, of which only the mouth's shapes may differ from 0.
        """
        return weights if self.is_neutral else np.where(MOUTH_MASK, self._apply(weights), np.float32(0.0))

    def frame(
        self, weights: npt.NDArray[np.float32], rotation: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Apply the controls to the next frame.

        Args:
            weights: (52,) in 0..1.
            rotation: (3,) rotation vector in rad.

        Returns:
            Both, changed; new arrays, or the same where the controls are neutral.
        """
        if self._remaining:
            if self._remaining > 1:
                self._current = self._current + (self._target - self._current) / self._remaining
            else:
                self._current = self._target.copy()
            self._remaining -= 1
            self._update()
        if self.is_neutral:
            return weights, rotation
        return self._apply(weights), rotation * self._current[1]

    def _apply(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        mouth_gain, face_gain, expression = self._current[0], self._current[1], self._current[2:]
        gain = np.where(MOUTH_MASK, mouth_gain, np.where(UPPER_FACE_MASK, face_gain, np.float32(1.0)))
        result = np.clip(gain * weights + expression, 0.0, 1.0)
        lip_gap = lip_gap_measure()
        max_gap = self._max_gap(lip_gap(weights), lip_gap(expression))
        gap = lip_gap(result)
        return lip_gap.limit(result, max_gap, gap) if gap > max_gap else result

    def _max_gap(self, speech: float, expression: float) -> float:
        """Return the widest inner-lip gap allowed, metres above rest.

        Touching lips keep their gap, others may open by gain and expression.

        Args:
            speech: Gap of the speech.
            expression: Gap that the expression would add.
        """
        if speech <= CONTACT_GAP_M:
            return max(speech, 0.0)
        beyond = speech - CONTACT_GAP_M  # from here the limit rises steeply, but without a jump
        scaled = min(max(float(self._current[0]), 1.0) * speech, CONTACT_GAP_M + 4.0 * beyond)
        return scaled + min(beyond / FREE_GAP_M, 1.0) * max(expression, 0.0)
