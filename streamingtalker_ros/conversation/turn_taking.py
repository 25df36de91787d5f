# SPDX-License-Identifier: Apache-2.0
"""Who speaks: the face, its partner, both or nobody; and when a partner interrupts.

Silences below 200 ms belong to a turn, as is customary: closures of stops are shorter (Heldner and Edlund
2010, "Pauses, gaps and overlaps in conversations").
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

PAUSE_S: Final = 0.2
"""s of silence that belong to the face's turn; those of the partner's belong to its voice already."""

INTERRUPTION_S: Final = 0.2
"""s of the partner's voice, while the face speaks, that interrupt it."""

PARTNER_PAUSE_S: Final = 1.0
"""s of the partner's silence that end its turn; shorter ones lie within it (Heldner and Edlund 2010)."""


class DialogueState(IntEnum):
    """Who speaks; the numbers are those of the message DialogueState."""

    IDLE = 0
    LISTENING = 1
    SPEAKING = 2
    OVERLAP = 3


class TurnTaking:
    """State of the dialogue, advanced once a frame.

    Attributes:
        state: Who speaks.
        is_interrupted: Whether the partner has spoken into the face's turn for `INTERRUPTION_S`.
        is_yielding: Whether the face has been interrupted by the present turn of the partner.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Return to the state in which nobody speaks."""
        self.state = DialogueState.IDLE
        self.is_interrupted = self.is_yielding = False
        self._own_silence_s = PAUSE_S
        self._partner_silence_s = 0.0

    def yield_turn(self) -> None:
        """End the face's turn at once, without waiting for a pause: the partner has interrupted it."""
        self._own_silence_s = PAUSE_S
        self.is_interrupted, self.is_yielding = False, True

    def step(self, own_voice: bool, partner_voice_s: float, seconds: float) -> DialogueState:
        """Advance by one frame.

        Args:
            own_voice: Whether the face speaks in the frame.
            partner_voice_s: s since the partner's present voice began; 0 without one.
            seconds: Duration of the frame.

        Returns:
            The new state.
        """
        self._own_silence_s = 0.0 if own_voice else self._own_silence_s + seconds
        speaks, listens = self._own_silence_s < PAUSE_S, partner_voice_s > 0.0
        self._partner_silence_s = 0.0 if listens else self._partner_silence_s + seconds
        self.is_yielding &= self._partner_silence_s < PARTNER_PAUSE_S
        self.state = DialogueState(DialogueState.SPEAKING * speaks + DialogueState.LISTENING * listens)
        self.is_interrupted = self.state is DialogueState.OVERLAP and partner_voice_s >= INTERRUPTION_S
        return self.state
