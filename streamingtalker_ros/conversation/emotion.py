# SPDX-License-Identifier: Apache-2.0
"""Emotion of one stream: blends the faces of `emotion_table` into the motion of its frames.

Brows, lids and cheeks are added to those of the network. The mouth takes the emotion's shapes, too, but the
inner-lip gap of the default face is that of the speech, scaled where the lips are apart: lips that touch stay
in touch, also at rest, and nothing closes a vowel. Rounded lips (o, u, w) take less of a smile.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.commands import Express
from streamingtalker_ros.conversation.courses import smooth_step
from streamingtalker_ros.conversation.emotion_table import ROW_LENGTH, SCALARS, emotion_row
from streamingtalker_ros.conversation.eye_shift import shift_gaze
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Purpose
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX, MOUTH_MASK, UPPER_FACE_MASK
from streamingtalker_ros.face.lip_measure import CONTACT_GAP_M, lip_gap_measure

BLEND_S: Final = 0.5
"""Seconds of an emotion's onset: posed expressions take 0.5 to 0.8 s (U. Hess, R. Kleck 1990)."""

BLINKS_PER_S: Final = 26.0 / 60.0
"""Rate of blinks in conversation (A. Bentivoglio et al. 1997), to which the emotions' factors apply."""

_EYELIDS: Final = INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]
_OPEN_LIDS: Final = [  # by side: shapes that a blink covers
    [INDEX[f"eyeWide{side}"], INDEX[f"eyeSquint{side}"]] for side in ("Left", "Right")
]
_ROUNDING: Final = [INDEX["mouthPucker"], INDEX["mouthFunnel"]]
# shapes that pull the corners, which rounded lips do not follow
_CORNER_MASK: Final = np.array(
    [name.startswith(("mouthSmile", "mouthFrown", "mouthStretch", "mouthDimple")) for name in ARKIT_NAMES]
)
_FULL_ROUNDING: Final = 0.6  # sum of pucker and funnel from which on `_CORNER_LOSS` applies
_CORNER_LOSS: Final = 0.6
_FAST_TIME_S: Final = 0.35  # time constant that parts the head's fast motion (beats) from its slow (posture)
_MIN_LID: Final = 0.12  # weight of a lid from which on a blink begins
_BLINK_SHAPE: Final = (0.45, 1.0, 1.0, 0.75, 0.4, 0.12)  # of an added blink, at 25 frames per second
_BLINK_FRAME_RATE: Final = 25.0
_MIN_BLINK_INTERVAL_S: Final = 0.8


class EmotionController:
    """State of the emotion of one stream; a `LayerPart`.

    Attributes:
        mouth_at_rest: (52,) float32, mouth of the emotion that is shown, without speech; 0 besides the mouth.
    """

    def __init__(self) -> None:
        self._base = np.zeros(ROW_LENGTH, np.float32)
        self.reset()

    @property
    def is_active(self) -> bool:
        """Whether an emotion is shown or begins with the next frame."""
        return self._is_active

    def reset(self) -> None:
        """Return to the lasting emotion, at once."""
        self._show(self._base.copy())
        self._start, self._target = self._row, self._base
        self._frames = self._blend_frames = 0  # since the command; of its onset
        self._decay_s: float | None = None
        self._is_active = bool(self._base.any())
        self._slow_rotation: list[float] | None = None
        self._blink_frame = -1  # of an added blink; below 0: none
        self._frames_since_blink = 0
        self._was_shut = self._is_blink_suppressed = False

    def set_lasting(self, name: str, strength: float = 1.0) -> None:
        """Set the emotion that is shown where no command says otherwise, from the next frame on.

        Args:
            name: Of the emotion.
            strength: 0..1.

        Raises:
            TalkerError: If the name is unknown.
        """
        base = emotion_row(name, strength)
        if np.array_equal(base, self._base):
            return
        is_shown = self._target is self._base
        self._base = base
        if is_shown:
            self._begin(base, None)

    def express(self, command: Express) -> None:
        """Show an emotion from the next frame on.

        Args:
            command: The emotion; an empty name without valence and arousal returns to the lasting emotion.
        """
        if command.is_release:
            self._begin(self._base, None)
        else:
            row = emotion_row(command.name, command.strength, command.valence, command.arousal)
            self._begin(row, command.decay_s)

    def _begin(self, target: npt.NDArray[np.float32], decay_s: float | None) -> None:
        self._start, self._target, self._decay_s = self._row, target, decay_s
        self._frames, self._is_active = 0, True

    def step(self, context: FrameContext, pose: FramePose) -> None:
        """Apply the emotion to one frame.

        Args:
            context: Of the frame; its modulation is set.
            pose: Changed in place.
        """
        self._advance(context.frame_rate)
        if not self._is_active:
            return
        look, modulation = self._look, context.modulation
        modulation.expressiveness *= 1.0 + look["expressiveness"]
        modulation.head_tempo *= 1.0 + look["head_tempo"]
        modulation.is_thinking = modulation.is_thinking or look["gaze_aversion"] > 0.5
        self._apply_upper_face(pose.weights, context)
        pose.weights[:] = self._apply_mouth(pose.weights)
        self._apply_head(pose.rotation, context.frame_rate)
        if not modulation.is_gaze_directed:
            # the eyes stay on whom the neutral face looks at, but for the emotion's own direction
            shift_gaze(pose.weights, -look["yaw_deg"], look["gaze_up_deg"] + look["pitch_deg"])

    def _advance(self, frame_rate: float) -> None:
        """Blend towards the target, and the target towards the lasting emotion where it decays."""
        self._frames += 1
        seconds = self._frames / frame_rate
        target = self._target
        if self._decay_s is not None:
            fraction = smooth_step(seconds / self._decay_s)
            target = target + np.float32(fraction) * (self._base - target)
            if seconds >= max(self._decay_s, BLEND_S):
                self._target, self._decay_s = self._base, None
        blend = smooth_step(seconds / BLEND_S)
        if blend < 1.0:
            self._show(self._start + np.float32(blend) * (target - self._start))
        elif self._row is not target:
            self._show(target)
        else:
            return
        self._is_active = self._target is not self._base or blend < 1.0 or bool(self._base.any())
        if not self._is_active:
            self.reset()

    def _show(self, row: npt.NDArray[np.float32]) -> None:
        """Show a row of `emotion_table` from now on; what a frame needs of it is computed here."""
        self._row = row
        shapes = row[: len(ARKIT_NAMES)]
        self._look = dict(zip(SCALARS, row[len(ARKIT_NAMES) :].tolist(), strict=True))
        gain = np.float32(1.0 + self._look["expressiveness"])
        self._upper_gain = np.where(UPPER_FACE_MASK, gain, np.float32(1.0))
        self._upper_shapes = np.where(UPPER_FACE_MASK, shapes, np.float32(0.0))
        self._lids: list[float] = [float(shapes[lid]) for lid in _EYELIDS]
        self._mouth_shapes = np.where(MOUTH_MASK, shapes, np.float32(0.0))
        self._corners = np.where(_CORNER_MASK, shapes, np.float32(0.0))
        self.mouth_at_rest: npt.NDArray[np.float32] = np.zeros(len(ARKIT_NAMES), np.float32)
        if row.any():
            self.mouth_at_rest = self._apply_mouth(self.mouth_at_rest)

    def _apply_upper_face(self, weights: npt.NDArray[np.float32], context: FrameContext) -> None:
        self._update_blink(weights, 1.0 + self._look["blink_rate"], context)
        weights *= self._upper_gain
        weights += self._upper_shapes
        for lid, lowered, covered in zip(_EYELIDS, self._lids, _OPEN_LIDS, strict=True):
            shut = float(weights[lid])
            for shape in covered:
                weights[shape] *= 1.0 - shut
            weights[lid] = shut + lowered * (1.0 - shut)
        _clip(weights)

    def _update_blink(self, weights: npt.NDArray[np.float32], rate: float, context: FrameContext) -> None:
        """Add blinks to those of the frame, or leave out some of them, so that their rate is scaled.

        Args:
            weights: (52,), changed in place.
            rate: Factor on the rate of blinks.
            context: Of the frame.
        """
        self._frames_since_blink += 1
        is_shut = max(weights[_EYELIDS[0]], weights[_EYELIDS[1]]) > _MIN_LID
        if is_shut and not self._was_shut:
            chance = float(context.draw_uniform(Purpose.EMOTION, 1)[0])
            self._is_blink_suppressed = chance > rate
            if not self._is_blink_suppressed:
                self._frames_since_blink = 0
        self._was_shut = is_shut
        if is_shut and self._is_blink_suppressed:
            for lid in _EYELIDS:
                weights[lid] = min(weights[lid], np.float32(_MIN_LID))
        added_per_frame = (rate - 1.0) * BLINKS_PER_S / context.frame_rate
        if (
            self._blink_frame < 0
            and not is_shut
            and self._frames_since_blink > _MIN_BLINK_INTERVAL_S * context.frame_rate
            and added_per_frame > 0.0
            and context.draw_uniform(Purpose.EMOTION, 2)[1] < added_per_frame
        ):
            self._blink_frame = self._frames_since_blink = 0
        if self._blink_frame >= 0:
            position = int(self._blink_frame * _BLINK_FRAME_RATE / context.frame_rate)
            self._blink_frame += 1
            if position >= len(_BLINK_SHAPE):
                self._blink_frame = -1
                return
            for lid in _EYELIDS:
                weights[lid] = max(weights[lid], np.float32(_BLINK_SHAPE[position]))

    def _apply_head(self, rotation: npt.NDArray[np.float32], frame_rate: float) -> None:
        """Scale the head's motion, its fast part by the tempo, and add the emotion's pose."""
        now: list[float] = rotation.tolist()
        before = now if self._slow_rotation is None else self._slow_rotation
        rate = 1.0 - math.exp(-1.0 / (_FAST_TIME_S * frame_rate))
        slow = [old + rate * (new - old) for old, new in zip(before, now, strict=True)]
        self._slow_rotation = slow
        look = self._look
        tempo, gain = 1.0 + look["head_tempo"], 1.0 + look["expressiveness"]
        for axis, name in enumerate(("roll_deg", "pitch_deg", "yaw_deg")):
            turn = gain * (slow[axis] + tempo * (now[axis] - slow[axis]))
            rotation[axis] = turn + math.radians(look[name])

    def _apply_mouth(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return weights (52,) with the emotion's mouth; its inner-lip gap is that of the speech, scaled."""
        lip_gap = lip_gap_measure()
        speech = lip_gap(weights)
        rounding = min(sum(float(weights[shape]) for shape in _ROUNDING) / _FULL_ROUNDING, 1.0)
        result = weights + self._mouth_shapes
        result -= np.float32(_CORNER_LOSS * rounding) * self._corners
        _clip(result)
        beyond = max(speech - CONTACT_GAP_M, 0.0)  # touching lips are not scaled, no jump beyond
        target = speech + self._look["mouth_opening"] * beyond
        gap = lip_gap(result)
        if gap > target:
            return lip_gap.limit(result, target, gap)
        return lip_gap.negative.limit(result, -target, -gap)


def _clip(weights: npt.NDArray[np.float32]) -> None:
    """Limit weights to 0..1, in place; as np.clip, at a third of its cost."""
    np.maximum(weights, 0.0, out=weights)
    np.minimum(weights, 1.0, out=weights)
