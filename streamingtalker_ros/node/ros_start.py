"""Starts an executable of the ROS 2 package, or says in one sentence which Python package it lacks.

rosdep does not know all of them (soxr, safetensors), so that one missing is the usual case on a new machine.
"""
import importlib
import sys

from ..errors import TalkerError, require

_HOMES = {"talker": ".ros", "play": ".ros_play"}
_NEEDED = ("numpy", "yaml", "soxr", "soundfile", "safetensors")


def start(name):
    """name: "talker" or "play". Returns the exit code, 2 when something is missing."""
    try:
        for module in _NEEDED:
            require(module, name)
        main = importlib.import_module(_HOMES[name], __package__).main
    except TalkerError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    return main()
