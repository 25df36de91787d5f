# SPDX-License-Identifier: Apache-2.0
"""Gaze targets of a topic: geometry_msgs/PointStamped messages become stamped `LookAt` commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.conversation.commands import ConversationCommand, LookAt
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.frames import WarningCallback
from streamingtalker_ros.runtime.parameters import TalkerParameters

GAZE_TYPE: Final = "geometry_msgs/msg/PointStamped"
MAX_WARNED_FRAMES: Final = 20  # names of frames that are remembered

Point = tuple[float, float, float]


class CommandSink(Protocol):
    """What receives the commands: a `TalkerWorker` or a `VoiceSession`."""

    @property
    def parameters(self) -> TalkerParameters:
        """Values of the parameters as set last."""
        ...

    def command(self, command: ConversationCommand, stamp: int = 0) -> None:
        """Queue a command with a stamp in ns."""
        ...


class FrameUnknownError(Exception):
    """A point is in a frame of which no transform to the face is known; the text says why."""


class TransformPendingError(FrameUnknownError):
    """Transforms may still arrive: the point is dropped without a message."""


class GazeInput:
    """Receives the messages of the topic `gaze_target`.

    Args:
        sink: Receives the commands, and knows the parameters.
        warn: Receives what is wrong with messages; it limits how often a kind is reported.
        transform: Returns a point of another frame in that of the face, given the point, the frame and the
            stamp in ns, at once; it raises `FrameUnknownError` if it cannot. None: there is no tf, and the
            point is taken as one of the face's frame.
    """

    def __init__(
        self,
        sink: CommandSink,
        warn: WarningCallback,
        transform: Callable[[Point, str, int], Point] | None = None,
    ) -> None:
        self._sink = sink
        self._warn = warn
        self._transform = transform
        self._warned_frames: set[str] = set()

    def on_target(self, message: Any, received: int) -> None:
        """Process a message; it is dropped with one warning if it holds no target.

        Args:
            message: A PointStamped message.
            received: ns, when it was received on the clock of the stamps; it stands in for a stamp that was
                not set.
        """
        parameters = self._sink.parameters
        stamp = stamp_to_ns(message.header.stamp) or received
        point = (float(message.point.x), float(message.point.y), float(message.point.z))
        frame = str(message.header.frame_id)
        try:
            if frame.lstrip("/") not in ("", parameters.frame_id.lstrip("/")):
                point = self._to_face(point, frame, stamp)
            command = LookAt(point, parameters.gaze_timeout, parameters.gaze_aversion)
        except TransformPendingError:
            pass
        except FrameUnknownError as error:
            self._warn_of_frame(
                frame,
                f"a gaze target in the frame {shorten(frame)} is ignored, since it has no transform to "
                f"{parameters.frame_id} ({shorten(str(error))}): publish the transform on /tf",
            )
        except TalkerError as error:
            self._warn("gaze_target", f"a message on {parameters.gaze_topic} is ignored: {error}")
        else:
            self._sink.command(command, stamp)

    def _to_face(self, point: Point, frame: str, stamp: int) -> Point:
        if self._transform is not None:
            return self._transform(point, frame, stamp)
        self._warn_of_frame(
            frame,
            f"gaze targets are in the frame {shorten(frame)} and there is no tf here: they are taken as "
            f"points of the face's frame, {self._sink.parameters.frame_id}",
        )
        return point

    def _warn_of_frame(self, frame: str, text: str) -> None:
        if frame not in self._warned_frames and len(self._warned_frames) < MAX_WARNED_FRAMES:
            self._warned_frames.add(frame)
            self._warn(f"gaze_frame {frame}", text)
