# SPDX-License-Identifier: Apache-2.0
"""States of a real-time session, the events that change them, and the one transition table.

`VoiceSession` looks up every event in `TRANSITIONS` and runs the action that it finds there. docs/node.md
holds the same table, rendered by `transition_table`; a test keeps the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class StreamState(Enum):
    """State of a session's stream; the value describes it in docs/node.md."""

    WAITING = "no stream: nothing is published"
    SPEAKING = "audio of the stream is queued or expected"
    CLOSING = "the audio has ended: silence flushes the look-ahead and closes the mouth"
    INTERRUPTED = "barge-in: the queued audio was dropped and the mouth closes faster"
    IDLE = "the mouth is closed: idle frames follow in real time, or nothing if `idle` is false"

    @property
    def activity(self) -> str:
        """The state as `/diagnostics` reports it: "waiting", "speaking" or "idle"."""
        if self in (StreamState.WAITING, StreamState.SPEAKING):
            return self.name.lower()
        return "idle"


class SessionEvent(Enum):
    """Event that may change the state; the value describes it in docs/node.md."""

    STREAM_START = "the first audio of a new stream, after the previous stream was flushed"
    AUDIO = "more audio of the current stream"
    LATE_AUDIO = "a packet without any usable sample: late or duplicated"
    AUDIO_TIMEOUT = "no packet for `idle_after`"
    END_OF_AUDIO = "the sender ends its audio explicitly (web)"
    MOUTH_CLOSED = "the silence that closes the mouth has been consumed"
    INTERRUPT = "`~/interrupt`"
    SUSPEND = "the sender pauses or announces a new stream (web)"
    RESET = "`~/reset`"
    PARTNER_AUDIO = "the first audio of the partner, while `idle` is true"
    MODEL_ERROR = "the model raised an exception"


class SessionAction(Enum):
    """What the session does on an event; the value describes it in docs/node.md."""

    IGNORE = "–"
    START_STREAM = "start at frame 0, cross-fade from the last pose"
    CONTINUE_STREAM = "queue the audio"
    RESYNC_SILENCE = "restart the clock of the silence at the present position"
    CLOSE_MOUTH = "close the mouth over four frames"
    START_IDLE = "start a stream of idle frames, cross-fade from the last pose"
    START_LISTENING = "start a stream of idle frames at the stamp of the partner's audio, cross-fade"
    MARK_END = "count time from here"
    RUN_IDLE = "pace idle frames by the clock"
    BARGE_IN = "drop the queued audio, close the mouth over three frames"
    DISCARD_STREAM = "drop the stream and its audio, keep the last pose"
    RESET = "drop the stream, its audio and the last pose"


@dataclass(frozen=True)
class Transition:
    """Result of an event.

    Attributes:
        state: The next state.
        action: What the session does.
    """

    state: StreamState
    action: SessionAction


_S, _E, _A = StreamState, SessionEvent, SessionAction

# the same in every state
_COMMON: Final = {
    _E.SUSPEND: Transition(_S.WAITING, _A.DISCARD_STREAM),
    _E.RESET: Transition(_S.WAITING, _A.RESET),
    _E.MODEL_ERROR: Transition(_S.WAITING, _A.DISCARD_STREAM),
    _E.STREAM_START: Transition(_S.SPEAKING, _A.START_STREAM),
}
# the same in every state that has a stream
_STREAM: Final = {
    **_COMMON,
    _E.AUDIO: Transition(_S.SPEAKING, _A.CONTINUE_STREAM),
    _E.INTERRUPT: Transition(_S.INTERRUPTED, _A.BARGE_IN),
}

_BY_STATE: Final[dict[StreamState, dict[SessionEvent, Transition]]] = {
    _S.WAITING: {
        **_COMMON,
        _E.END_OF_AUDIO: Transition(_S.IDLE, _A.START_IDLE),
        _E.PARTNER_AUDIO: Transition(_S.IDLE, _A.START_LISTENING),
        _E.INTERRUPT: Transition(_S.WAITING, _A.DISCARD_STREAM),
    },
    _S.SPEAKING: {
        **_STREAM,
        _E.AUDIO_TIMEOUT: Transition(_S.CLOSING, _A.CLOSE_MOUTH),
        _E.END_OF_AUDIO: Transition(_S.CLOSING, _A.CLOSE_MOUTH),
    },
    _S.CLOSING: {
        **_STREAM,
        _E.LATE_AUDIO: Transition(_S.CLOSING, _A.RESYNC_SILENCE),
        _E.END_OF_AUDIO: Transition(_S.CLOSING, _A.MARK_END),
        _E.MOUTH_CLOSED: Transition(_S.IDLE, _A.RUN_IDLE),
    },
    _S.INTERRUPTED: {
        **_STREAM,
        _E.LATE_AUDIO: Transition(_S.INTERRUPTED, _A.RESYNC_SILENCE),
        _E.END_OF_AUDIO: Transition(_S.INTERRUPTED, _A.MARK_END),
        _E.MOUTH_CLOSED: Transition(_S.IDLE, _A.RUN_IDLE),
    },
    _S.IDLE: {
        **_STREAM,
        _E.LATE_AUDIO: Transition(_S.IDLE, _A.RESYNC_SILENCE),
        _E.END_OF_AUDIO: Transition(_S.IDLE, _A.MARK_END),
    },
}

TRANSITIONS: Final[dict[tuple[StreamState, SessionEvent], Transition]] = {
    (state, event): _BY_STATE[state].get(event, Transition(state, _A.IGNORE))
    for state in StreamState
    for event in SessionEvent
}
"""Next state and action for every state and event."""


def transition_table() -> str:
    """Render states, events and `TRANSITIONS` as the Markdown of docs/node.md, without a final newline."""
    lines = ["| state | meaning |", "|---|---|"]
    lines += [f"| {state.name} | {state.value} |" for state in StreamState]
    lines += ["", "| event | " + " | ".join(state.name for state in StreamState) + " |"]
    lines += ["|---" * (len(StreamState) + 1) + "|"]
    for event in SessionEvent:
        cells = [_cell(state, TRANSITIONS[state, event]) for state in StreamState]
        lines.append(f"| {event.name}: {event.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(state: StreamState, transition: Transition) -> str:
    if transition.action is SessionAction.IGNORE:
        return transition.action.value
    if transition.state is state:
        return transition.action.value
    return f"**{transition.state.name}**: {transition.action.value}"
