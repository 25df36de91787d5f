# SPDX-License-Identifier: Apache-2.0
"""Commands of the conversation that wait for the frame of their stamp.

A command takes effect at the first frame whose stamp is not earlier than its own, or at the next frame if
that one has been generated. Frames are generated at least the look-ahead after their audio, so that an input
stamped with its own time is in time, and a replayed recording gives the frames of the live run.
"""

from __future__ import annotations

import bisect
import threading
from dataclasses import replace
from typing import Final

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.conversation.commands import ConversationCommand, LookAt
from streamingtalker_ros.runtime.frames import WarningCallback

MAX_COMMANDS: Final = 1000
"""Commands of each kind that wait; further ones are dropped, of the gaze the oldest."""
MAX_AHEAD_S: Final = 120.0
"""By which a stamp may lie ahead of the frames; one further ahead is of another clock."""


class ConversationInputs:
    """Bounded queue of stamped commands. Every method may be called from any thread.

    Args:
        warn: Receives what is wrong with commands.
        frame_delay_s: From the stamp of a frame until it is shown, by which moving targets are predicted.
    """

    def __init__(self, warn: WarningCallback, frame_delay_s: float = 0.0) -> None:
        self._warn = warn
        self._frame_delay_s = frame_delay_s
        self._lock = threading.Lock()
        self._waiting: dict[type, list[tuple[int, int, ConversationCommand]]] = {}  # by stamp, by arrival
        self._count = 0

    def push(self, command: ConversationCommand, stamp: int = 0) -> None:
        """Queue a command; returns at once.

        Args:
            command: The command.
            stamp: ns, on the clock of the audio's stamps; 0 for the next frame.
        """
        with self._lock:
            waiting = self._waiting.setdefault(type(command), [])
            if len(waiting) >= MAX_COMMANDS:
                if not isinstance(command, LookAt):
                    self._warn("commands", f"{MAX_COMMANDS} commands wait: further ones are dropped")
                    return
                del waiting[0]  # another target follows it
            self._count += 1
            bisect.insort(waiting, (stamp, self._count, command))

    def take_due(self, frame_stamp: int) -> list[ConversationCommand]:
        """Remove and return the commands that take effect at a frame, by stamp and arrival.

        Args:
            frame_stamp: ns, stamp of the frame.
        """
        if not self._waiting:
            return []
        due: list[tuple[int, int, ConversationCommand]] = []
        limit = frame_stamp + round(MAX_AHEAD_S * NS_PER_S)
        is_ahead = False
        with self._lock:
            for kind, waiting in list(self._waiting.items()):
                count = bisect.bisect_right(waiting, frame_stamp, key=lambda item: item[0])
                first_ahead = bisect.bisect_right(waiting, limit, key=lambda item: item[0])
                due += waiting[:count] + waiting[first_ahead:]
                is_ahead |= first_ahead < len(waiting)
                waiting[:] = waiting[count:first_ahead]
                if not waiting:
                    del self._waiting[kind]
        if is_ahead:
            self._warn(
                "command_stamps",
                f"a command is stamped more than {MAX_AHEAD_S:g} s ahead of the audio: it takes effect at "
                "once; let both senders use the same clock",
            )
        return [
            self._with_age(command, frame_stamp - stamp) if stamp else command
            for stamp, _, command in sorted(due, key=lambda item: item[:2])
        ]

    def _with_age(self, command: ConversationCommand, age_ns: int) -> ConversationCommand:
        """Add to a gaze target how old it is when the frame is shown."""
        if not isinstance(command, LookAt) or age_ns < 0:
            return command
        return replace(command, age_s=age_ns / NS_PER_S + self._frame_delay_s)

    def clear(self) -> None:
        """Discard all commands."""
        with self._lock:
            self._waiting.clear()
