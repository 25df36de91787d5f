# SPDX-License-Identifier: Apache-2.0
"""Frames that a session publishes, and the interfaces of its clock and its publisher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class _StampedFrame:
    index: int
    stamp: int
    idle: bool
    speaking: bool
    arrival: float | None
    epoch: int
    epoch_stamp: int
    model_seconds: float


@dataclass(frozen=True)
class FaceFrame(_StampedFrame):
    """One frame of a blendshape talker, ready to be published.

    Attributes:
        index: Number of the frame in its stream; frames skipped under overload are counted.
        stamp: ns, time of the first sample of its audio.
        idle: Whether its time holds no received audio.
        speaking: Voice activity.
        arrival: s on the session's clock: when the frame could have been generated at the earliest; None if
            it was completed by generated silence.
        epoch: Number that the sender gave to the timeline of the frame (web); 0 otherwise.
        epoch_stamp: ns, the stamp at which that timeline began.
        model_seconds: Duration of the model step that generated the frame.
        weights: (52,) float32 in 0..1, in the order of `ARKIT_NAMES`.
        head: (4,) float32 unit quaternion xyzw, rotation from the neutral pose.
        audio: (n,) float32, the audio that the frame covers, at 16 kHz; None if the session does not retain
            it, or the frame covers none.
    """

    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    audio: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class VertexFaceFrame(_StampedFrame):
    """One frame of a vertex talker, ready to be published.

    Attributes:
        vertices: (V, 3) float32 positions in metres, in the checkpoint's own axes. All others: see
            `FaceFrame`.
    """

    vertices: npt.NDArray[np.float32]
    audio: npt.NDArray[np.float32] | None = None


PublishedFrame: TypeAlias = FaceFrame | VertexFaceFrame


class FramePublisher(Protocol):
    """Publishes one frame; called in the thread that drives the session."""

    def __call__(self, frame: PublishedFrame, /) -> object:
        """Publish a frame; an exception is counted and reported."""
        ...


class Clock(Protocol):
    """Monotonic time in seconds, that of the packets' `arrival`: `time.monotonic` or a simulated clock."""

    def __call__(self) -> float:
        """The present time."""
        ...


class WarningCallback(Protocol):
    """Called with the kind of a problem and a message; the receiver limits how often a kind is reported."""

    def __call__(self, kind: str, message: str, /) -> object:
        """Report a message for the user."""
        ...
