# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker face`: export a face with its ARKit shapes as .glb, or check what a face can show."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.output_files import check_output_file, is_standard_output, is_stream, write_bytes
from streamingtalker_ros.process import print_result

HELP = "check what a face can show, or export it with its ARKit shapes as .glb"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command and their options.

    Args:
        parser: Parser of the command; the actions are added to it as subcommands.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "write a face as .glb, with its ARKit shapes as named morph targets"
    export = actions.add_parser(
        "export", help=text, description=f"{text.capitalize()}.", formatter_class=parser.formatter_class
    )
    export.add_argument("--out", required=True, metavar="FILE", help="file to write, .glb")
    export.add_argument(
        "--face",
        metavar="PATH",
        help="custom face: .glb, .gltf, .vrm or a folder of .obj shapes (default: the built-in face)",
    )
    text = "say what moves in a face, and by name what does not"
    check = actions.add_parser(
        "check", help=text, description=f"{text.capitalize()}.", formatter_class=parser.formatter_class
    )
    check.add_argument("face", metavar="PATH", help="face: .glb, .gltf, .vrm or a folder of .obj shapes")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If the face is unusable or the file cannot be written.
    """
    if args.action == "check":
        return _check(args.face)
    from streamingtalker_ros.face.default_head.stored import default_rig
    from streamingtalker_ros.face.formats.gltf_writer import write_glb
    from streamingtalker_ros.face.formats.importers import load_face

    out = Path(args.out)
    if out.suffix.lower() != ".glb" and not is_stream(out):
        raise TalkerError(f"--out {out} does not end in .glb: faces are exported as binary glTF")
    check_output_file(out, inputs=[args.face])
    rig = default_rig() if args.face is None else load_face(args.face)
    content = write_glb(rig)
    write_bytes(out, content)
    if not is_standard_output(out):  # it holds the face alone
        print_result(
            f"{out}: {len(rig.vertices)} vertices, {len(rig.triangles)} triangles, "
            f"{len(rig.shape_names)} shapes, {len(content) // 1024} kB"
        )
    return 0


def _check(path: str) -> int:
    from streamingtalker_ros.face.formats.face_report import inspect_face

    logging.getLogger("streamingtalker_ros.face").setLevel(logging.ERROR)  # the report says it
    for line in inspect_face(path).lines():
        print_result(line)
    return 0
