# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus espeak --out DIR`: espeak-ng's voices in many languages, with the teacher's motion."""

from pathlib import Path

TEXT = "espeak-ng's voices in many languages with the procedural teacher's motion; resumes where it stopped"


def add_arguments(parser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes of training speech")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.espeak import make_espeak
    from streamingtalker_ros.errors import TalkerError

    if args.minutes <= 0 or args.jobs < 1:
        raise TalkerError("--minutes must be above 0 and --jobs at least 1")
    index = make_espeak(args.out, args.minutes, args.seed, args.jobs)
    minutes = ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())
    print(
        f"{args.out}: {len(index['clips'])} clips, {minutes}, "
        f"{len({clip['language'] for clip in index['clips']})} languages and accents, "
        f"{index['held_out_language']} only in test"
    )
    return 0
