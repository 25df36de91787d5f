# SPDX-License-Identifier: Apache-2.0
"""Live outputs of the web server: one character follows one visitor at a time.

It follows the one who speaks, who is released by leaving, or after `RELEASE_S` of silence by another one who
speaks: of two who speak at once, the first has it. Given the name of a shared session, it follows that only.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final

from streamingtalker_ros.outputs import OutputGroup
from streamingtalker_ros.runtime.frames import FaceFrame, PublishedFrame
from streamingtalker_ros.runtime.transition import MotionTransition

RELEASE_S: Final = 1.0
"""Silence of the visitor who is followed, after which another one takes over by speaking."""


class SpeakerOutput:
    """Sends the frames of one visitor at a time to live outputs.

    Args:
        group: The outputs.
        session_name: Name of the shared session to follow; None for whoever speaks.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        group: OutputGroup,
        session_name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._session_name = session_name
        self._clock = clock
        self._transition = MotionTransition()
        self._lock = threading.Lock()  # guards what follows
        self._followed: Hashable | None = None
        self._last_speech = 0.0  # of the visitor who is followed

    def open(self) -> None:
        """Start the outputs; nothing is sent before the first frame."""
        self._group.open()

    def close(self) -> None:
        """Let the face go to rest and stop the outputs."""
        self._group.close()

    def statistics(self) -> list[dict[str, Any]]:
        """Return the address and the statistics of each output."""
        return self._group.statistics()

    def summary(self) -> list[str]:
        """Return one line for each output."""
        return self._group.summary()

    @property
    def addresses(self) -> list[str]:
        """Address of each output."""
        return [str(output.address) for output in self._group.outputs]

    def send(self, visitor: Hashable, name: str | None, frame: PublishedFrame) -> None:
        """Send a frame, if its visitor is followed. Called in the thread of the model only.

        Args:
            visitor: Whose frame it is.
            name: Under which the visitor's session is shared; None if it is not.
            frame: Of a blendshape model; others are ignored.
        """
        if not isinstance(frame, FaceFrame) or (
            self._session_name is not None and name != self._session_name
        ):
            return
        is_speech = frame.speaking and not frame.idle
        with self._lock:
            now = self._clock()
            if visitor != self._followed:
                is_free = self._followed is None or now - self._last_speech >= RELEASE_S
                if not (is_free and (is_speech or self._followed is None)):
                    return
                self._followed = visitor
                self._last_speech = now if is_speech else now - RELEASE_S
                self._transition.begin_crossfade()
            elif is_speech:
                self._last_speech = now
            weights, head = self._transition.apply(frame.weights, frame.head)
        self._group.send(dataclasses.replace(frame, weights=weights, head=head))

    def release(self, visitor: Hashable) -> None:
        """Follow a visitor no more, who has left.

        Args:
            visitor: Who need not be followed.
        """
        with self._lock:
            if visitor == self._followed:
                self._followed = None
