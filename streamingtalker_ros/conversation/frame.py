# SPDX-License-Identifier: Apache-2.0
"""What the parts of the conversation layer see of a frame, and what they change in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.ddim import counter_generator


class Purpose(IntEnum):
    """Purposes of random numbers; numbers of different purposes are independent (`ddim.counter_generator`).

    0 is the noise of the sampler, 1 the eye motion.
    """

    GAZE = 2
    EMOTION = 3
    GESTURES = 4
    LISTENING = 5
    GAZE_BLINK = 6
    MOUTH_ASYMMETRY = 7


@dataclass
class Modulation:
    """How one part of the layer, the emotion above all, changes the behaviour of those after it.

    Attributes:
        blink_rate: Factor on the blink rate.
        head_tempo: Factor on the tempo of the head's motion.
        expressiveness: Factor on the amplitude of gestures.
        is_thinking: Whether the gaze is averted as in thought.
        blink_requested: Whether a blink begins with the next frame, if the rate of blinks allows one.
        is_gaze_directed: Whether the gaze has a target: then it turns the eyes, whatever the head does.
    """

    blink_rate: float = 1.0
    head_tempo: float = 1.0
    expressiveness: float = 1.0
    is_thinking: bool = False
    blink_requested: bool = False
    is_gaze_directed: bool = False


@dataclass(frozen=True)
class FrameContext:
    """Inputs of one frame.

    Attributes:
        index: Number of the frame in its stream.
        frame_rate: Frames per second.
        seed: Of the stream's random numbers.
        speaking: Voice activity of the frame.
        hop: (hop,) float32 samples at 16 kHz of the stream's own voice: the newest, which lie the look-ahead
            (80 ms) after those of the frame. Valid during the step only: the array is reused.
        modulation: Set by one part for those after it; fresh in each frame.
    """

    index: int
    frame_rate: float
    seed: int
    speaking: bool
    hop: npt.NDArray[np.float32]
    modulation: Modulation

    def draw_uniform(self, purpose: Purpose, count: int) -> npt.NDArray[np.float64]:
        """Return (count,) uniform numbers in [0, 1), a function of seed, frame and purpose alone.

        Args:
            purpose: Of the numbers.
            count: How many; a larger count only appends to those of a smaller one.
        """
        return counter_generator(self.seed, self.index, purpose).random(count)


@dataclass
class FramePose:
    """Pose of one frame, which each part of the layer changes in turn.

    Attributes:
        weights: (52,) float32 in 0..1; changed in place.
        rotation: (3,) float32 rotation vector of the head in rad; changed in place.
    """

    weights: npt.NDArray[np.float32]
    rotation: npt.NDArray[np.float32]


class LayerPart(Protocol):
    """One part of the conversation layer, with a state of fixed size and a step of fixed cost."""

    @property
    def is_active(self) -> bool:
        """Whether the next step may change the pose. If not, no step is made and every bit stays."""
        ...

    def step(self, context: FrameContext, pose: FramePose) -> None:
        """Advance by one frame and change its pose.

        Args:
            context: What is known of the frame.
            pose: Its pose, changed in place.
        """
        ...

    def reset(self) -> None:
        """Return to the initial state, in place."""
        ...
