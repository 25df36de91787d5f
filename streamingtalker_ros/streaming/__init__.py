"""The streaming API: `Talker` (weights, device) and `Stream` (one voice's state), which gives `Frame`s."""
from .stream import Frame, Stream
from .talker import Talker

__all__ = ["Frame", "Stream", "Talker"]
