# SPDX-License-Identifier: Apache-2.0
"""What a user may change of a voice while it runs: gains of mouth and face, an expression, guidance.

`Controls` holds the values; `Shaping` is one voice's state of them and shapes its frames: (52,) weights and a (3,)
rotation in, both changed. A change glides in over `GLIDE` frames, so that the face does not jump. Lips that touch
stay in touch: whatever gains and expression ask for, the inner-lip gap of the default face is brought back to what
the speech had. Values that change nothing leave every bit as it is.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.expression import check_float, parse_expression
from streamingtalker_ros.streaming.voice_gate import MOUTH

GLIDE = 8  # frames that a change of gains or expression takes
TOUCH = 0.0003  # metres of inner-lip gap, above rest, up to which lips count as touching
OPEN = 0.002  # metres beyond that from which on an expression may open speaking lips as it likes
HIGHEST_GAIN, HIGHEST_GUIDANCE = 2.0, 4.0
# what moves with expressiveness above the mouth; blinks and gaze are life, not expression, and keep their size
FACE = np.array(
    [name.startswith(("brow", "eyeSquint", "eyeWide", "cheekSquint", "noseSneer")) for name in ARKIT_NAMES]
)  # (52,)

NEUTRAL = np.array([1.0, 1.0] + 52 * [0.0], np.float32)  # gains of mouth and face, expression


@dataclass(frozen=True, eq=False)
class Controls:
    """Values of one voice; construction raises TalkerError for one that cannot be had.

    mouth_expressiveness, face_expressiveness: gains 0…2 on the shapes of mouth and jaw, and on brows, squint, cheeks,
    nose and the head's rotation; 1 as learned. expression: as `parse_expression` takes it, added under the speech.
    guidance: classifier-free guidance on the audio, 0…4; 1 is off.
    """

    mouth_expressiveness: float = 1.0
    face_expressiveness: float = 1.0
    expression: np.ndarray = None  # (52,) float32 once constructed
    guidance: float = 1.0

    def __post_init__(self):
        def put(name, value) -> None:
            object.__setattr__(self, name, value)

        for name in ("mouth_expressiveness", "face_expressiveness"):
            put(name, check_float(name, getattr(self, name), 0.0, HIGHEST_GAIN))
        put("guidance", check_float("guidance", self.guidance, 0.0, HIGHEST_GUIDANCE))
        if not isinstance(self.expression, np.ndarray):
            put("expression", parse_expression(self.expression))
        if not np.array_equal(self.target, NEUTRAL):
            default_rig()  # whose lips are asked for every frame: built by the caller, not between two frames

    def changed(self, **values):
        """A copy with other values."""
        return replace(self, **values)

    @property
    def target(self):
        """(2 + 52,) float32: what glides."""
        return np.concatenate(
            ([self.mouth_expressiveness, self.face_expressiveness], self.expression), dtype=np.float32
        )


CONTROLS = tuple(field.name for field in fields(Controls))


class Shaping:
    """One voice's gains and expression as they are now, on their way to its controls."""

    def __init__(self, controls) -> None:
        self._target = controls.target
        self.reset()

    def reset(self) -> None:
        """Be where the controls are, at once: a stream begins so."""
        self._now, self._left = self._target.copy(), 0
        self._settle()

    def aim(self, controls) -> None:
        """Glide to other controls, from the next frame on."""
        if not np.array_equal(controls.target, self._target):
            self._target, self._left = controls.target, GLIDE

    def _settle(self) -> None:
        self.neutral = np.array_equal(self._now, NEUTRAL)  # then nothing is done to a frame
        self.mouth_at_rest = np.zeros(len(ARKIT_NAMES), np.float32)  # (52,): the mouth where nobody speaks
        if not self.neutral:
            self.mouth_at_rest[MOUTH] = self._shaped(self.mouth_at_rest)[MOUTH]

    def frame(self, weights, rotation):
        """The next frame: weights (52,) in 0..1, rotation (3,) rad -> both as the controls want them, new arrays."""
        if self._left:
            self._now = (
                self._now + (self._target - self._now) / self._left if self._left > 1 else self._target.copy()
            )
            self._left -= 1
            self._settle()
        if self.neutral:
            return weights, rotation
        return self._shaped(weights), rotation * self._now[1]

    def _shaped(self, weights):
        mouth, face, expression = self._now[0], self._now[1], self._now[2:]
        gain = np.where(MOUTH, mouth, np.where(FACE, face, np.float32(1.0)))
        wanted = np.clip(gain * weights + expression, 0.0, 1.0)
        row = default_rig().lip_gap_map()[1]
        limit = self._limit(float(weights @ row), float(expression @ row))
        return keep_closed(wanted, row, limit) if float(wanted @ row) > limit else wanted

    def _limit(self, speech, expression):
        """The widest inner-lip gap allowed, metres above rest, where the speech has the gap `speech` and the
        expression would add `expression`: touching lips keep their gap, others may open by gain and expression."""
        if speech <= TOUCH:
            return max(speech, 0.0)
        beyond = speech - TOUCH  # from here on the limit leaves the touch steeply, but without a jump
        gained = min(max(float(self._now[0]), 1.0) * speech, TOUCH + 4.0 * beyond)
        return gained + min(beyond / OPEN, 1.0) * max(expression, 0.0)


def keep_closed(weights, row, limit):
    """The nearest weights in 0..1 with weights @ row = limit, for weights (52,) whose lips are wider apart.

    weights - x·row clipped to 0..1 is that projection. Its gap falls with x in straight pieces that grow flatter, so
    Newton's steps from x = 0 meet the limit from above, at most one step for each shape that reaches 0 or 1.
    """
    moved, amount = weights, 0.0
    for _ in range(len(weights)):
        excess = float(moved @ row) - limit
        free = ((moved > 0.0) | (row < 0.0)) & ((moved < 1.0) | (row > 0.0))
        slope = float(np.square(row[free]).sum())
        if excess <= 1e-7 or slope == 0.0:
            break
        amount += excess / slope
        moved = np.clip(weights - np.float32(amount) * row, 0.0, 1.0)
    return moved
