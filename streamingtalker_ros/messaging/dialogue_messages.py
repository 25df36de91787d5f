# SPDX-License-Identifier: Apache-2.0
"""Message of who speaks in a conversation."""

from __future__ import annotations

from typing import Any, Final

from streamingtalker_ros.messaging.header import MessageClassLookup, set_header

DIALOGUE_TOPIC: Final = "dialogue_state"
DIALOGUE_TYPE: Final = "streamingtalker_ros/msg/DialogueState"


def build_dialogue_state(
    message_class: MessageClassLookup, state: int, stamp: int, frame_id: str, interrupted: bool = False
) -> Any:
    """Return a DialogueState message.

    Args:
        message_class: Returns the class of a message type.
        state: Number of `conversation.turn_taking.DialogueState`.
        stamp: ns, of the frame from which on it holds.
        frame_id: tf frame of the head.
        interrupted: Whether the partner has interrupted the face.
    """
    message = message_class(DIALOGUE_TYPE)()
    set_header(message.header, stamp, frame_id)
    message.state, message.interrupted = int(state), bool(interrupted)
    return message
