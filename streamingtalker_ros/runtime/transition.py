# SPDX-License-Identifier: Apache-2.0
"""Keeps the face from jumping or hanging open where its motion is cut: at a new stream, and where the audio
ends.

Takes a frame's weights (52,) and head (4,) and gives them changed for a few frames. A new stream begins with
what was left of the old face (the difference of the two, which fades over `CROSSFADE_FRAMES` frames). Where the audio has
ended the mouth closes over a few frames whatever the model makes of the sudden silence.
"""

import numpy as np

from streamingtalker_ros.face.rotation import nlerp_from_identity, quaternion_multiply
from streamingtalker_ros.streaming.voice_gate import MOUTH

CROSSFADE_FRAMES = 5
# what the gate of the mouth loses per frame: after the audio's end, after an interruption, while audio is
# there
REST, INTERRUPT, OPEN = 0.25, 0.4, -0.5


class MotionTransition:
    """One face's seam; `frame` is called for every published frame."""

    def __init__(self) -> None:
        self._last = None  # weights and head as published
        self._left = 0  # frames that the fade still lasts
        self._gate = 1.0  # of the mouth: 0 shut … 1 as the model has it

    def cut(self) -> None:
        """The next frame begins a new stream."""
        self._gate = 1.0
        self._left = CROSSFADE_FRAMES if self._last is not None else 0
        self._before = self._last

    @property
    def closed(self):
        """Whether the mouth has been closed."""
        return self._gate == 0.0

    def frame(self, weights, head, fall=OPEN, rest=None):
        """weights (52,), head (4,) -> both as to be published, float32. fall: REST, INTERRUPT or OPEN; rest: (52,)
        whose mouth is the one to close to, default no shape at all."""
        if self._left:
            if self._left == CROSSFADE_FRAMES:
                self._weights = self._before[0] - weights
                self._head = quaternion_multiply(self._before[1], head * [-1, -1, -1, 1])
            share = self._left / (CROSSFADE_FRAMES + 1)
            weights = np.clip(weights + share * self._weights, 0.0, 1.0).astype(np.float32)
            head = quaternion_multiply(nlerp_from_identity(self._head, share), head).astype(np.float32)
            self._left -= 1
        self._gate = min(max(self._gate - fall, 0.0), 1.0)
        if self._gate < 1.0:
            weights = weights.copy()
            weights[MOUTH] *= self._gate
            if rest is not None:
                weights[MOUTH] += np.float32(1.0 - self._gate) * rest[MOUTH]
        self._last = (weights, head)
        return weights, head
