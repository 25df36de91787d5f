# SPDX-License-Identifier: Apache-2.0
"""Live speech in, a talking 3D face out: `Talker.load().open_stream().accept(pcm)` gives frames."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as typing has it, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
_HOME = {
    "Talker": "streaming",
    "Stream": "streaming",
    "Frame": "streaming",
    "ARKIT_NAMES": "face.arkit",
    "TalkerError": "errors",
}


def __getattr__(name: str) -> Any:  # late, so that importing the package never imports torch
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
