# SPDX-License-Identifier: Apache-2.0
"""Conversation layer of one stream: emotion, head gestures, listening and gaze, in this order, once a frame.

The first three change the motion before the controls scale it, the gaze comes last: it has to know where the
head points. While nobody uses a part, it costs nothing and no bit of a frame changes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.commands import (
    ConversationCommand,
    Express,
    Gesture,
    LookAt,
    PartnerAudio,
)
from streamingtalker_ros.conversation.emotion import EmotionController
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, LayerPart
from streamingtalker_ros.conversation.gaze import GazeController
from streamingtalker_ros.conversation.gestures import GestureController
from streamingtalker_ros.conversation.listening import ATTENTION_S, PartnerListener
from streamingtalker_ros.conversation.neck import NeckLimits

PARTNER_POINT_M: Final = (1.5, 0.0, 0.0)
"""Metres in the axes of the face: where a partner stands that the gaze has no target for."""

_PARTNER: Final = LookAt(PARTNER_POINT_M, timeout_s=ATTENTION_S, aversion=True)


class ConversationLayer:
    """State of the conversation layer of one stream.

    Attributes:
        emotion: Emotion.
        gestures: Head gestures.
        listening: Reactions to the partner's voice.
        gaze: Gaze.
    """

    def __init__(self) -> None:
        self.emotion = EmotionController()
        self.gestures = GestureController()
        self.listening = PartnerListener()
        self.gaze = GazeController()

    @property
    def _motion_parts(self) -> tuple[LayerPart, ...]:
        return self.emotion, self.gestures, self.listening

    @property
    def is_active(self) -> bool:
        """Whether a part may change the next frame. If not, none of its bits changes."""
        return self.gaze.is_active or any(part.is_active for part in self._motion_parts)

    def apply(self, command: ConversationCommand) -> None:
        """Apply a command from the next frame on.

        Args:
            command: Any command of `conversation.commands`.

        Raises:
            TalkerError: If it cannot be carried out; nothing is changed then.
        """
        match command:
            case LookAt():
                self.gaze.look_at(command)
            case NeckLimits():
                self.gaze.limits = command
            case PartnerAudio():
                self.listening.hear(command.pcm)
            case Express():
                self.emotion.express(command)
            case Gesture():
                self.gestures.start(command)

    def reset(self) -> None:
        """Return to the initial state: no target, no emotion, no gesture, no partner; `NeckLimits` stay."""
        for part in (*self._motion_parts, self.gaze):
            part.reset()

    def shape_motion(
        self,
        weights: npt.NDArray[np.float32],
        rotation: npt.NDArray[np.float32],
        context: FrameContext,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Apply emotion, gestures and listening to a frame.

        Args:
            weights: (52,) in 0..1.
            rotation: (3,) rotation vector of the head in rad.
            context: Of the frame.

        Returns:
            Both, changed; the same arrays if no part is active.
        """
        context.modulation.is_gaze_directed = self.gaze.is_active
        active = [part for part in self._motion_parts if part.is_active]
        return _step(active, weights, rotation, context) if active else (weights, rotation)

    def direct_gaze(
        self,
        weights: npt.NDArray[np.float32],
        rotation: npt.NDArray[np.float32],
        context: FrameContext,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Apply the gaze to a frame after the controls; arguments and result as those of `shape_motion`.

        Args:
            weights: (52,) in 0..1.
            rotation: (3,) rotation vector of the head in rad.
            context: Of the frame.
        """
        if self.listening.is_attending and not self.gaze.has_target:
            self.gaze.look_at(_PARTNER)
        if self.gaze.is_active or context.modulation.is_thinking:
            return _step([self.gaze], weights, rotation, context)
        return weights, rotation


def _step(
    parts: list[LayerPart],
    weights: npt.NDArray[np.float32],
    rotation: npt.NDArray[np.float32],
    context: FrameContext,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    pose = FramePose(weights.copy(), rotation.astype(np.float32))
    for part in parts:
        part.step(context, pose)
    return pose.weights, pose.rotation
