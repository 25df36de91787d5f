# SPDX-License-Identifier: Apache-2.0
"""Starts an executable of the ROS 2 package, or says in one sentence which Python package it lacks.

rosdep does not know all of them (soxr, safetensors), so that one missing is the usual case on a new machine.
"""

import importlib

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.process import log_to_stderr, print_line

_HOMES = {"talker": ".ros", "play": ".ros_play", "face_markers": ".ros_markers", "head_driver": ".ros_heads"}
_NEEDED = {
    "talker": ("numpy", "yaml", "soxr", "soundfile", "safetensors"),
    "play": ("numpy", "soxr", "soundfile"),
    "face_markers": ("numpy",),
    "head_driver": ("numpy", "yaml"),
}


def start(name):
    """name: a key of `_HOMES`. Returns the exit code, 2 when something is missing."""
    log_to_stderr()
    try:
        for module in _NEEDED[name]:
            require(module, name)
        main = importlib.import_module(_HOMES[name], __package__).main
    except TalkerError as error:
        print_line(f"{name}: error: {error}", error=True)
        return 2
    return main()
