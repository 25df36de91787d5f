# SPDX-License-Identifier: Apache-2.0
"""`python -m streamingtalker_ros COMMAND …`, the same as `streamingtalker COMMAND …`."""

from streamingtalker_ros.interruption import end_quietly_on_interrupt


def run_program() -> None:
    """Run the command of the process's arguments, and end the process with its exit code."""
    end_quietly_on_interrupt()
    from streamingtalker_ros import cli

    cli.run_program()


if __name__ == "__main__":
    run_program()
