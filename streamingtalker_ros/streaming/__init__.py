# SPDX-License-Identifier: Apache-2.0
"""Streaming API: `Talker` (weights on a device) and `Stream` (state of one voice), which returns `Frame`s."""

from streamingtalker_ros.model.protocol import AnyFrame, Frame, VertexFrame
from streamingtalker_ros.streaming.stream import Stream
from streamingtalker_ros.streaming.talker import AnyTalker, Talker, load_talker

__all__ = ["AnyFrame", "AnyTalker", "Frame", "Stream", "Talker", "VertexFrame", "load_talker"]
