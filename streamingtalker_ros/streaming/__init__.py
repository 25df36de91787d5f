# SPDX-License-Identifier: Apache-2.0
"""Streaming API: `Talker` (weights on a device) and `Stream` (state of one voice), which returns `Frame`s."""

from streamingtalker_ros.errors import require

require("torch", "the talker")  # without torch this raises one sentence instead of a traceback

from streamingtalker_ros.model.protocol import AnyFrame, Frame, VertexFrame  # noqa: E402
from streamingtalker_ros.streaming.stream import Stream  # noqa: E402
from streamingtalker_ros.streaming.talker import AnyTalker, Talker, load_talker  # noqa: E402

__all__ = ["AnyFrame", "AnyTalker", "Frame", "Stream", "Talker", "VertexFrame", "load_talker"]
