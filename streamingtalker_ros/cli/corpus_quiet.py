# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus quiet FOLDER… --out DIR`: sounds in which nobody speaks, and a mouth at rest."""

from pathlib import Path

TEXT = "recordings in which nobody speaks or sings, such as music and machines, with a mouth at rest"


def add_arguments(parser) -> None:
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="folders of audio files, searched whole"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--minutes", type=float, default=45.0, help="minutes of pieces, evenly from all files"
    )
    parser.add_argument("--licence", default="the recordings' own", metavar="TEXT", help="kept in the index")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other levels")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.non_speech import make_quiet
    from streamingtalker_ros.errors import TalkerError

    if args.minutes <= 0 or args.jobs < 1:
        raise TalkerError("--minutes must be above 0 and --jobs at least 1")
    index = make_quiet(args.folders, args.out, args.minutes, args.licence, args.seed, args.jobs)
    minutes = ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())
    print(
        f"{args.out}: {len(index['clips'])} pieces, {minutes}; {len(index['rejected'])} files rejected"
        + (":" if index["rejected"] else "")
    )
    for row in index["rejected"][:10]:
        print(f"  {row['reason']}")
    return 0
