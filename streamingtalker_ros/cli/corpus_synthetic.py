# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus synthetic --out DIR`: speech with exact phone times and the teacher's motion."""

from pathlib import Path

TEXT = "synthetic voices (flite, festival) with the procedural teacher's motion; resumes where it stopped"


def add_arguments(parser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write, about 1 MB a minute"
    )
    parser.add_argument("--minutes", type=float, default=120.0, help="minutes of training speech")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.synthetic import make_synthetic
    from streamingtalker_ros.errors import TalkerError

    if args.minutes <= 0 or args.jobs < 1:
        raise TalkerError("--minutes must be above 0 and --jobs at least 1")
    index = make_synthetic(args.out, args.minutes, args.seed, args.jobs)
    speakers = {clip["speaker"] for clip in index["clips"] if clip["split"] == "train"} - {"none"}
    minutes = ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())
    print(
        f"{args.out}: {len(index['clips'])} clips, {minutes}, {len(speakers)} speakers in training, "
        f"the voice {index['held_out_voice']} only in test"
    )
    return 0
