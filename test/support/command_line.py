# SPDX-License-Identifier: Apache-2.0
"""Runs `streamingtalker` commands in the process of the test."""

from __future__ import annotations

from streamingtalker_ros.cli.main import main


def run_command(*arguments: object) -> int:
    """Run a command.

    Args:
        *arguments: words of the command line; anything that is not a string is converted.

    Returns:
        The exit code.
    """
    return main([str(argument) for argument in arguments])
