# SPDX-License-Identifier: Apache-2.0
"""Cross-fades motion at stream boundaries and closes the mouth after the audio ends.

A new stream begins with the difference to the pose before it, which fades over `CROSSFADE_FRAMES` frames.
After the end of the audio, or after barge-in, a gate fades the mouth to the rest pose over a few frames,
regardless of what the model generates for the sudden silence.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.face.rotation import nlerp_from_identity, quaternion_multiply

CROSSFADE_FRAMES: Final = 5
_CONJUGATE: Final = np.array([-1, -1, -1, 1])


class GateRate(Enum):
    """Mouth-gate decrement per frame."""

    AUDIO_END = 0.25  # after the audio ended
    BARGE_IN = 0.4  # after an interruption
    OPEN = -0.5  # while audio is active


class _MouthGate:
    """Gate of the mouth: 1 leaves the motion as it is, 0 is the rest pose."""

    def __init__(self) -> None:
        self._gate = 1.0
        self._frames_left = 0  # of the cross-fade

    @property
    def mouth_closed(self) -> bool:
        """Whether the gate has closed the mouth."""
        return self._gate == 0.0

    def _begin(self, crossfade: bool) -> None:
        self._gate = 1.0
        self._frames_left = CROSSFADE_FRAMES if crossfade else 0

    def _fraction_of_previous_pose(self) -> float:
        fraction = self._frames_left / (CROSSFADE_FRAMES + 1)
        self._frames_left -= 1
        return fraction

    def _advance(self, rate: GateRate) -> float:
        self._gate = min(max(self._gate - rate.value, 0.0), 1.0)
        return self._gate


class MotionTransition(_MouthGate):
    """Transitions of blendshape weights and head rotation; `apply` is called for every published frame."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None  # as published

    def begin_crossfade(self) -> None:
        """Start a new stream: the next frames fade from the last pose, if there is one."""
        self._begin(self._last is not None)
        self._previous = self._last

    def apply(
        self,
        weights: npt.NDArray[np.float32],
        head: npt.NDArray[np.float32],
        gate_rate: GateRate = GateRate.OPEN,
        rest_pose: npt.NDArray[np.float32] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Apply the transitions to one frame.

        Args:
            weights: (52,) in 0..1.
            head: (4,) unit quaternion xyzw.
            gate_rate: How the mouth's gate moves.
            rest_pose: (52,) weights whose mouth is the closed one; default all zero.

        Returns:
            The weights and the rotation to publish, float32.
        """
        if self._frames_left:
            assert self._previous is not None
            if self._frames_left == CROSSFADE_FRAMES:
                self._weights_offset = self._previous[0] - weights
                self._head_offset = quaternion_multiply(self._previous[1], head * _CONJUGATE)
            fraction = self._fraction_of_previous_pose()
            weights = np.clip(weights + fraction * self._weights_offset, 0.0, 1.0).astype(np.float32)
            head = quaternion_multiply(nlerp_from_identity(self._head_offset, fraction), head).astype(
                np.float32
            )
        gate = self._advance(gate_rate)
        if gate < 1.0:
            weights = weights.copy()
            weights[MOUTH_MASK] *= gate
            if rest_pose is not None:
                weights[MOUTH_MASK] += np.float32(1.0 - gate) * rest_pose[MOUTH_MASK]
        self._last = (weights, head)
        return weights, head


class VertexTransition(_MouthGate):
    """Transitions of a vertex talker's mesh; `apply` is called for every published frame.

    Args:
        template: (V, 3) float32, the rest pose in metres.
    """

    def __init__(self, template: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self._template = template
        self._last: npt.NDArray[np.float32] | None = None  # offsets as published

    def begin_crossfade(self) -> None:
        """Start a new stream: the next frames fade from the last pose, if there is one."""
        self._begin(self._last is not None)
        self._previous = self._last

    def apply(
        self, vertices: npt.NDArray[np.float32], gate_rate: GateRate = GateRate.OPEN
    ) -> npt.NDArray[np.float32]:
        """Apply the transitions to one frame.

        Args:
            vertices: (V, 3) positions in metres.
            gate_rate: How the gate moves; it fades all offsets, as a mesh has no mask of the mouth.

        Returns:
            (V, 3) float32, the positions to publish.
        """
        offsets = np.asarray(vertices - self._template, np.float32)
        is_crossfading = self._frames_left > 0
        if is_crossfading:
            assert self._previous is not None
            if self._frames_left == CROSSFADE_FRAMES:
                self._offset = self._previous - offsets
            offsets = offsets + np.float32(self._fraction_of_previous_pose()) * self._offset
        gate = self._advance(gate_rate)
        if gate < 1.0:
            offsets = np.float32(gate) * offsets
        self._last = offsets
        if not is_crossfading and gate == 1.0:
            return vertices
        return np.asarray(self._template + offsets, np.float32)
