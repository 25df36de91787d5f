# SPDX-License-Identifier: Apache-2.0
"""Entry points of the ROS 2 executables; a missing Python package is reported in one line.

rosdep does not know all of them (soxr, safetensors), so a missing one is common on a new machine.
"""

from __future__ import annotations

import importlib
from typing import Final

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.process import log_to_stderr, print_line

_MODULES: Final = {
    "talker": "talker_node",
    "play": "audio_player",
    "face_markers": "markers_node",
    "head_driver": "head_node",
}
_REQUIRED_PACKAGES: Final = {
    "talker": ("numpy", "yaml", "soxr", "soundfile", "safetensors"),
    "play": ("numpy", "soxr", "soundfile"),
    "face_markers": ("numpy",),
    "head_driver": ("numpy", "yaml"),
}


def run_entry_point(name: str) -> int:
    """Import the module of an executable and run its `main`.

    Args:
        name: Name of the executable: talker, play, face_markers or head_driver.

    Returns:
        The exit code; 2 if a Python package is missing.
    """
    log_to_stderr()
    try:
        for package in _REQUIRED_PACKAGES[name]:
            require(package, name)
        main = importlib.import_module(f"streamingtalker_ros.ros.{_MODULES[name]}").main
    except TalkerError as error:
        print_line(f"{name}: error: {error}", error=True)
        return 2
    return main()
