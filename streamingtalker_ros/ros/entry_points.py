# SPDX-License-Identifier: Apache-2.0
"""Entry points of the ROS 2 executables: help, errors in one line, and exit codes.

rosdep does not know all Python packages (soxr, safetensors), so a missing one is common on a new machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from collections.abc import Sequence
from typing import Final, NoReturn

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.process import flush_output, log_to_stderr, print_line
from streamingtalker_ros.ros import arguments
from streamingtalker_ros.supervision import run_and_exit

EXIT_USAGE: Final = 2
"""Exit code for invalid arguments, parameters and set-ups."""

_MODULES: Final = {
    "talker": "talker_node",
    "play": "audio_player",
    "face_markers": "markers_node",
    "head_driver": "head_node",
    "scripted_person": "scripted_person",
}
_REQUIRED_PACKAGES: Final = {
    "talker": ("numpy", "yaml", "soxr", "soundfile", "safetensors"),
    "play": ("numpy", "yaml", "soxr", "soundfile"),
    "face_markers": ("numpy", "yaml"),
    "head_driver": ("numpy", "yaml"),
    "scripted_person": ("numpy", "yaml"),
}
_DESCRIPTIONS: Final = {
    "talker": "Lifecycle node that turns the topic `audio` into `face_motion`, the motion of a face.",
    "face_markers": "Shows `face_motion` in RViz: publishes `face_markers` and the head's rotation on `/tf`.",
    "scripted_person": "Publishes a walking person, emotions and texts for a talker, on a schedule.",
    "head_driver": "Turns `face_motion` into commands for the joints of a robot's head, within their limits.",
}
_EXAMPLES: Final = {
    "talker": "--ros-args -p device:=cpu -r audio:=/mic/audio",
    "face_markers": "--ros-args -p rate:=25.0 -p face:=head.glb",
    "head_driver": "--ros-args -p head:=mine.yaml",
    "scripted_person": "--ros-args -p say_period:=0.0",
}
_WIDTH: Final = 100


def run_program(name: str) -> NoReturn:
    """Run an executable with the process's arguments, and end the process with its exit code.

    Args:
        name: As of `run_entry_point`.
    """
    run_and_exit(lambda: run_entry_point(name))


def run_entry_point(name: str, args: Sequence[str] | None = None) -> int:
    """Check the command line of an executable, import its module and run its `main`.

    Args:
        name: Name of the executable: talker, play, face_markers, head_driver or scripted_person.
        args: Command line with the program's name first; None for that of the process.

    Returns:
        The exit code; 2 if a Python package is missing or the command line is invalid.
    """
    log_to_stderr()
    command_line = list(sys.argv if args is None else args)
    try:
        for package in _REQUIRED_PACKAGES[name]:
            require(package, name)
        own, ros = arguments.split(command_line[1:])
        if name in _DESCRIPTIONS:  # play has options of its own, and reads them itself
            _create_parser(name).parse_args(own)
        arguments.check(ros)
        return importlib.import_module(f"streamingtalker_ros.ros.{_MODULES[name]}").main(command_line)
    except TalkerError as error:
        print_line(f"{name}: error: {error}", error=True)
        return EXIT_USAGE
    finally:
        flush_output()


def _create_parser(name: str) -> argparse.ArgumentParser:
    """Return a parser without options beside --help, which lists the parameters."""
    lines = [f"  ros2 run streamingtalker_ros {name} {_EXAMPLES[name]}", "", "parameters (-p NAME:=VALUE):"]
    for parameter, default, description in _list_parameters(name):
        text = f"{description} Default {default}."
        lines.append(f"  {parameter}")
        lines += textwrap.wrap(text, _WIDTH, initial_indent="      ", subsequent_indent="      ")
    return argparse.ArgumentParser(
        prog=name,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{name} [-h] [--ros-args -p NAME:=VALUE … --params-file FILE -r FROM:=TO --log-level LEVEL]",
        description=_DESCRIPTIONS[name],
        epilog="\n".join(lines),
    )


def _list_parameters(name: str) -> list[tuple[str, str, str]]:
    """Return (name, default, description) of each parameter of an executable."""
    if name == "talker":
        from streamingtalker_ros.runtime.parameters import PARAMETERS

        return [(each.name, repr(each.default), each.metadata["description"]) for each in PARAMETERS.values()]
    module = importlib.import_module(f"streamingtalker_ros.ros.{_MODULES[name]}")
    return [(each.name, repr(each.default), each.description) for each in module.PARAMETERS]
