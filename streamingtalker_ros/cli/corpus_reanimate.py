# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus reanimate DIR…`: the present teacher's motion for corpora whose motion is rule-made."""

from pathlib import Path

TEXT = "give corpora of rule-made motion the present teacher's; sound and phones stay as they are"


def add_arguments(parser) -> None:
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="corpora: synthetic, speech, espeak"
    )


def run(args) -> int:
    from streamingtalker_ros.corpus.relabel import reanimate

    for folder in args.folders:
        print(f"{folder}: {len(reanimate(folder)['clips'])} clips animated again")
    return 0
