# SPDX-License-Identifier: Apache-2.0
"""The streaming API: `Talker` (weights, device) and `Stream` (one voice's state), which gives `Frame`s."""

from streamingtalker_ros.errors import require

require("torch", "the talker")  # absent torch gives one sentence, not a traceback

from streamingtalker_ros.model.protocol import Frame, VertexFrame  # noqa: E402
from streamingtalker_ros.streaming.stream import Stream  # noqa: E402
from streamingtalker_ros.streaming.talker import Talker, load_talker  # noqa: E402

__all__ = ["Frame", "Stream", "Talker", "VertexFrame", "load_talker"]
