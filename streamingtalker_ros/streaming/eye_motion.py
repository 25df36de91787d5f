# SPDX-License-Identifier: Apache-2.0
"""Rule-based blink and gaze controller that bounds blink rate and fixation length.

The network has learned blinks and saccades; most of the time the controller leaves every bit as it is. It
adds a blink where none occurred for 2.8 to 5.2 s, or at the end of a phrase where the last is more than 2 s
ago; it suppresses blinks beyond 24 a minute; it shifts the gaze where it stood still for 3 to 5 s. Its random
numbers are functions of (seed, frame) alone, so that chunked and offline results are equal, and it needs no
future frame.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.eye_look import EYE_LOOK_INDICES
from streamingtalker_ros.model.ddim import counter_generator

EYELIDS = INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]
BLINK_ONSET, BLINK_END = 0.5, 0.25  # a blink begins above the one weight and has ended below the other
# seconds: eyelids that stay shut for longer count as a new blink, and are suppressed as such
MAX_BLINK_S = 0.6
BLINK_RATE, MAX_BURST = 24.0 / 60.0, 8.0  # blinks per second in the long run, blinks at once
MAX_BLINK_INTERVAL_S = (2.8, 5.2)  # seconds without a blink until one is added, uniformly drawn
MAX_FIXATION_S = (3.0, 5.0)  # seconds without a saccade until one is added
# a blink at the end of a phrase: seconds since the last blink, probability, seconds that it is delayed at
# most
PHRASE_BLINK_INTERVAL_S, PHRASE_BLINK_PROBABILITY, MAX_PHRASE_BLINK_DELAY_S = 2.0, 0.6, 0.25
CLOSING_S, CLOSED_S, OPENING_S = 0.12, 0.045, 0.20  # phases of an added blink
MIN_SACCADE = 0.03  # of the gaze, in weights: a saccade, or a drift that amounts to one
GAZE_STD = (0.10, 0.06)  # standard deviation of the added gaze, sideways and up, in weights


@dataclass
class EyeMotionState:
    """State of the controller of one stream; times in frames.

    Attributes:
        was_speaking: Voice activity of the frame before.
        in_blink: The eyelids are in a blink.
        suppressed_frames: For how long the network's blink has been suppressed; 0: it is not.
        frames_since_blink: Since the last blink began.
        max_blink_interval: `frames_since_blink` at which a blink is added; 0: to be drawn.
        blink_frame: Frames of the blink that is being added; below 0: none.
        phrase_blink_delay: Frames until a blink at a phrase's end; below 0: none.
        blink_tokens: Blinks that may occur now (token bucket).
        fixation_frames: Since the gaze last moved.
        max_fixation: `fixation_frames` at which a saccade is added; 0: to be drawn.
        gaze: Of the network when it last moved: to the person's left, up.
        gaze_offset: Added to the gaze.
    """

    was_speaking: bool = False
    in_blink: bool = False
    suppressed_frames: int = 0
    frames_since_blink: int = 0
    max_blink_interval: float = 0.0
    blink_frame: int = -1
    phrase_blink_delay: int = -1
    blink_tokens: float = MAX_BURST
    fixation_frames: int = 0
    max_fixation: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    gaze_offset: tuple[float, float] = (0.0, 0.0)

    def reset(self) -> None:
        """Return to the start of a stream, in place."""
        for field in fields(self):
            setattr(self, field.name, field.default)


def draw_uniform(seed: int, n: int, count: int) -> npt.NDArray[np.float64]:
    """Return `count` uniform numbers of frame n, independent of that frame's noise (`ddim.frame_noise`).

    Args:
        seed: Any integer, taken modulo 2^64.
        n: Frame index, 0 or more.
        count: How many numbers; a larger count only appends to those of a smaller one.

    Returns:
        (count,) float64 in [0, 1).
    """
    return counter_generator(seed, n, 1).random(count)


def eyelid_curve(seconds: float) -> float:
    """Return how far an eyelid is shut, 0..1, `seconds` after a blink began: raised cosines down and up."""
    if seconds < CLOSING_S:
        return 0.5 - 0.5 * float(np.cos(np.pi * seconds / CLOSING_S))
    opening = seconds - CLOSING_S - CLOSED_S
    return 1.0 if opening < 0.0 else 0.5 + 0.5 * float(np.cos(np.pi * min(opening / OPENING_S, 1.0)))


def apply_eye_motion(
    state: EyeMotionState,
    weights: npt.NDArray[np.float32],
    speaking: bool,
    seed: int,
    n: int,
    frame_rate: float,
) -> None:
    """Apply the rules to frame n.

    Args:
        state: Updated in place.
        weights: (52,), changed in place.
        speaking: Voice activity of the frame.
        seed: Of the random numbers.
        n: Frame index.
        frame_rate: Frames per second.
    """
    update_blink(state, weights, state.was_speaking and not speaking, seed, n, frame_rate)
    update_gaze(state, weights, seed, n, frame_rate)
    state.was_speaking = speaking


def request_blink(state: EyeMotionState) -> None:
    """Let a blink begin with the next frame, unless there is one already or blinks are too frequent.

    Args:
        state: Updated in place.
    """
    state.phrase_blink_delay = 0


def update_blink(
    state: EyeMotionState,
    weights: npt.NDArray[np.float32],
    phrase_ends: bool,
    seed: int,
    n: int,
    frame_rate: float,
) -> None:
    """Bound the blink rate.

    Args:
        state: Updated in place.
        weights: (52,), changed in place.
        phrase_ends: Whether the voice has just ended.
        seed: Of the random numbers.
        n: Frame index.
        frame_rate: Frames per second.
    """
    closure = 0.5 * sum(float(weights[i]) for i in EYELIDS)
    state.frames_since_blink += 1
    state.blink_tokens = min(state.blink_tokens + BLINK_RATE / frame_rate, MAX_BURST)
    if state.max_blink_interval == 0.0:
        low, high = MAX_BLINK_INTERVAL_S
        state.max_blink_interval = frame_rate * (low + (high - low) * draw_uniform(seed, n, 1)[0])
    if phrase_ends and state.frames_since_blink > PHRASE_BLINK_INTERVAL_S * frame_rate:
        chance, delay = draw_uniform(seed, n, 3)[1:]
        blinks = chance < PHRASE_BLINK_PROBABILITY
        state.phrase_blink_delay = int(delay * MAX_PHRASE_BLINK_DELAY_S * frame_rate) if blinks else -1
    too_long = state.frames_since_blink > MAX_BLINK_S * frame_rate
    if state.in_blink and state.blink_frame < 0 and (closure < BLINK_END or too_long):
        state.in_blink = False
    if state.suppressed_frames:
        state.suppressed_frames += 1
        too_long = state.suppressed_frames > MAX_BLINK_S * frame_rate
        if closure < BLINK_END or (too_long and state.blink_tokens >= 1.0):
            state.suppressed_frames = 0
    elif not state.in_blink and closure > BLINK_END and state.blink_tokens < 1.0:
        state.suppressed_frames = 1
    if not state.in_blink and not state.suppressed_frames and closure > BLINK_ONSET:
        _begin_blink(state)
    due = state.frames_since_blink > state.max_blink_interval or state.phrase_blink_delay == 0
    if not state.in_blink and state.blink_tokens >= 1.0 and due:
        _begin_blink(state)
        state.blink_frame = 0
    state.phrase_blink_delay = max(state.phrase_blink_delay - 1, -1)
    if state.suppressed_frames:
        for i in EYELIDS:
            weights[i] = min(weights[i], BLINK_END)
    if state.blink_frame >= 0:
        state.blink_frame += 1
        seconds = (state.blink_frame - 0.5) / frame_rate  # the middle of the frame: the first already moves
        for i in EYELIDS:
            weights[i] = max(weights[i], eyelid_curve(seconds))
        if seconds > CLOSING_S + CLOSED_S + OPENING_S:
            state.blink_frame = -1


def _begin_blink(state: EyeMotionState) -> None:
    state.in_blink, state.suppressed_frames, state.frames_since_blink = True, 0, 0
    state.max_blink_interval, state.phrase_blink_delay = 0.0, -1
    state.blink_tokens -= 1.0


def update_gaze(
    state: EyeMotionState, weights: npt.NDArray[np.float32], seed: int, n: int, frame_rate: float
) -> None:
    """Bound the fixation length.

    Args:
        state: Updated in place.
        weights: (52,), changed in place.
        seed: Of the random numbers.
        n: Frame index.
        frame_rate: Frames per second.
    """
    left, right, up, down = (float(weights[i]) for i in EYE_LOOK_INDICES[0])
    sideways, upward = left - right, up - down
    state.fixation_frames += 1
    if state.max_fixation == 0.0:
        low, high = MAX_FIXATION_S
        state.max_fixation = frame_rate * (low + (high - low) * draw_uniform(seed, n, 4)[3])
    if max(abs(sideways - state.gaze[0]), abs(upward - state.gaze[1])) > MIN_SACCADE:
        # the network's own saccade hides the return from the offset
        state.gaze, state.gaze_offset = (sideways, upward), (0.0, 0.0)
        state.fixation_frames, state.max_fixation = 0, 0.0
    elif state.fixation_frames > state.max_fixation:
        state.fixation_frames, state.max_fixation = 0, 0.0
        a, b, c, d = draw_uniform(seed, n, 8)[4:]
        # the sum of two uniform numbers has a triangular distribution, of variance 1/6 about its middle
        state.gaze_offset = (6**0.5 * GAZE_STD[0] * (a + b - 1.0), 6**0.5 * GAZE_STD[1] * (c + d - 1.0))
    if state.gaze_offset != (0.0, 0.0):
        for left, right, up, down in EYE_LOOK_INDICES:
            axes = (left, right, state.gaze_offset[0]), (up, down, state.gaze_offset[1])
            for positive, negative, offset in axes:
                value = float(weights[positive]) - float(weights[negative]) + offset
                weights[positive] = min(max(value, 0.0), 1.0)
                weights[negative] = min(max(-value, 0.0), 1.0)
