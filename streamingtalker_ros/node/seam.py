"""Keeps the face from jumping where its motion is cut: at the beginning of a new stream, and after an
interruption.

Takes a frame's weights (52,) and head (4,) and gives them changed for a few frames. A new stream begins with
what was left of the old face (the difference of the two, which fades over `FADE` frames); an interruption
closes the mouth over `CLOSE` frames.
"""
import numpy as np

from ..streaming.rest import MOUTH

FADE = 5
CLOSE = (0.5, 0.2, 0.0)   # what is left of the mouth's shapes in the frames after an interruption


def multiply(a, b):
    """Quaternion product of xyzw (4,) and (4,): the rotation b, then a."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array([aw * bx + ax * bw + ay * bz - az * by,
                     aw * by - ax * bz + ay * bw + az * bx,
                     aw * bz + ax * by - ay * bx + az * bw,
                     aw * bw - ax * bx - ay * by - az * bz])


def part(rotation, share):
    """`share` (0..1) of a rotation, quaternion xyzw (4,) -> (4,), along the straight line between it and
    none."""
    rotation = rotation if rotation[3] >= 0 else -rotation
    mixed = share * rotation + (1 - share) * np.array([0.0, 0.0, 0.0, 1.0])
    return mixed / np.linalg.norm(mixed)


class Seam:
    """One face's seam; `frame` is called for every published frame."""

    def __init__(self):
        self._last = None       # weights and head as published
        self._left = 0          # frames that the fade still lasts
        self._closing = None    # frames since the interruption

    def cut(self):
        """The next frame begins a new stream."""
        self._closing = None
        self._left = FADE if self._last is not None else 0
        self._before = self._last

    def close(self):
        """The next frames close the mouth, until `cut`."""
        self._closing = 0

    @property
    def closed(self):
        """Whether `close` has run its course."""
        return self._closing is not None and self._closing >= len(CLOSE)

    def frame(self, weights, head):
        """weights (52,), head (4,) -> both as to be published, float32."""
        if self._left:
            if self._left == FADE:
                self._weights = self._before[0] - weights
                self._head = multiply(self._before[1], head * [-1, -1, -1, 1])
            share = self._left / (FADE + 1)
            weights = np.clip(weights + share * self._weights, 0.0, 1.0).astype(np.float32)
            head = multiply(part(self._head, share), head).astype(np.float32)
            self._left -= 1
        if self._closing is not None:
            weights = weights.copy()
            weights[MOUTH] *= CLOSE[min(self._closing, len(CLOSE) - 1)]
            self._closing += 1
        self._last = (weights, head)
        return weights, head
