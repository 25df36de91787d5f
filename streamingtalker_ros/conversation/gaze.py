# SPDX-License-Identifier: Apache-2.0
"""Gaze of one stream: eyes and head turn to a target."""

from __future__ import annotations

from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.conversation.frame import FrameContext, FramePose


class GazeController:
    """State of the gaze of one stream."""

    def __init__(self) -> None:
        self.reset()

    @property
    def is_active(self) -> bool:
        """Whether there is a target, or the gaze has not returned yet."""
        return self._command is not None

    def reset(self) -> None:
        """Release the gaze at once."""
        self._command: LookAt | None = None
        self._age_frames = 0

    def look_at(self, command: LookAt) -> None:
        """Set or release the target from the next frame on."""
        self._command = command if command.point is not None else None
        self._age_frames = 0

    def step(self, context: FrameContext, pose: FramePose) -> None:
        """Turn eyes and head of one frame."""
        if self._command is None:
            return
        timeout_s = self._command.timeout_s
        self._age_frames += 1
        if timeout_s is not None and self._age_frames > timeout_s * context.frame_rate:
            self._command = None
