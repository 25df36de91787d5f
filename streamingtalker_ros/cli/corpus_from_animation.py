# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus from-animation WAV… --out DIR`: animated or captured face motion as a corpus."""

from pathlib import Path

TEXT = "blendshape animation with its sound: Live Link Face CSV, NPZ, or FACEGOOD's pairs"


def add_arguments(parser) -> None:
    parser.add_argument(
        "sounds",
        nargs="+",
        type=Path,
        metavar="WAV",
        help="sounds beside NAME.csv or NAME.npz, folders of them, or FACEGOOD's code/train",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--motion", type=Path, metavar="DIR", help="folder of the motion files, if another")
    parser.add_argument(
        "--speaker",
        metavar="NAME",
        help="name of the voice and of its style, that of the output folder when left out",
    )
    parser.add_argument(
        "--hold-out",
        choices=("last", "none", "all"),
        default="last",
        help="pairs kept for test: `all` makes a corpus for judging alone",
    )
    parser.add_argument(
        "--offset",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds to add to the motion's times, where it is ahead of the sound",
    )
    parser.add_argument(
        "--align",
        type=Path,
        metavar="DIR",
        help="folder of NAME.txt (what is said, English), from which phones are aligned",
    )
    parser.add_argument(
        "--licence", default="", metavar="TEXT", help="licence and attribution, kept in the index"
    )


def run(args) -> int:
    from streamingtalker_ros.corpus.animation import find_pairs, make_from_animation

    index = make_from_animation(
        find_pairs(args.sounds, args.motion),
        args.out,
        args.speaker or args.out.resolve().name,
        args.hold_out,
        args.offset,
        args.align,
        args.licence,
    )
    minutes = ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())
    source = next(iter(index["sources"].values()))
    print(
        f"{args.out}: {len(index['clips'])} clips of {source['pairs']} pairs, {minutes}; {source['rejected']} "
        f"rejected; moves {', '.join(index['captured'])}; lips follow the loudness by {1000 * index['lag']:+.0f} ms "
        f"(r {index['lag_correlation']:.2f})"
    )
    return 0
