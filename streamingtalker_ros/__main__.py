# SPDX-License-Identifier: Apache-2.0
"""`python -m streamingtalker_ros COMMAND …`, the same as `streamingtalker COMMAND …`."""

from streamingtalker_ros.cli import run_program

run_program()
