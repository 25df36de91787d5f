# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker COMMAND …`: finds the command's file, parses its arguments, prints errors as one sentence.

A command NAME lives in `cli/NAME.py` (dashes become underscores) and has `add_arguments(parser)` and
`run(args) -> int`. Only the chosen command is imported, so that `--help` is instant and torch stays out of
it.
"""

import argparse
import importlib
import os
import sys

from streamingtalker_ros import __version__
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import flush_output, log_to_stderr, print_line

COMMANDS = {
    "talk": "the talker node without ROS: hear an audio topic, publish face motion",
    "play": "publish an audio file or the microphone as a ROS 2 audio topic",
    "animate": "turn an audio file into face motion: CSV, NPZ, MP4 or PNG",
    "face": "export a face with its ARKit shapes as .glb",
    "pictures": "render the default face: expressions, visemes, profiles",
    "web": "serve a page: speak into the microphone and see the face speak",
    "demo": "talker and audio source over DDS, recorded into a video with sound",
    "markers": "show the face in RViz: face motion in, markers and the head's transform out",
    "head": "drive a robot's head: face motion in, limited joint commands out",
    "replay": "run the audio of a ROS 2 bag through the talker, into a bag with face motion",
    "corpus": "make a training corpus of speech with exact phone times and teacher motion",
    "train": "train a talker: stage by stage, or corpora, stages and checkpoint by one command",
    "evaluate": "measure a checkpoint on held-out clips",
    "convert": "convert a published checkpoint into safetensors and JSON",
    "parity": "compare with a recording of the published code",
    "bench": "measure what a frame costs on this machine",
}


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def _parser(name):
    parser = argparse.ArgumentParser(prog="streamingtalker", description="Live speech to a talking 3D face.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, text in COMMANDS.items():
        sub = commands.add_parser(
            command, help=text, description=text[0].upper() + text[1:] + ".", formatter_class=Help
        )
        if command == name:
            module = importlib.import_module(f".{command.replace('-', '_')}", __package__)
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def main(argv=None):
    """Run one command. argv: list of strings, default sys.argv[1:]. Returns the exit code: 0, or 2 on bad input."""
    # one frame is too little work to share: on a busy machine a second thread costs ten times what it gives
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    argv = sys.argv[1:] if argv is None else argv
    name = next((word for word in argv if word in COMMANDS), None)
    args = _parser(name).parse_args(argv)
    log_to_stderr()
    try:
        return args.run(args) or 0
    except TalkerError as error:
        print_line(f"streamingtalker: error: {error}", error=True)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        flush_output()


if __name__ == "__main__":
    sys.exit(main())
