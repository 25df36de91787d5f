"""The streaming API: `Talker` (weights, device) and `Stream` (one voice's state), which gives `Frame`s."""
from ..errors import require

require("torch", "the talker")  # absent torch gives one sentence, not a traceback

from .stream import Frame, Stream  # noqa: E402
from .talker import Talker  # noqa: E402

__all__ = ["Frame", "Stream", "Talker"]
