# SPDX-License-Identifier: Apache-2.0
"""The command line: `streamingtalker COMMAND …`; each command is the file of its name in this folder."""

from streamingtalker_ros.cli.main import COMMANDS, main, run_program

__all__ = ["COMMANDS", "main", "run_program"]
