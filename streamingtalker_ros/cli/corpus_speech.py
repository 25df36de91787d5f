# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus speech FOLDER… --out DIR`: recorded speech with text, aligned, with the teacher's motion."""

from pathlib import Path

TEXT = (
    "recorded speech with its text: phones aligned by pocketsphinx, the procedural teacher's motion; resumes "
    "where it stopped"
)


def add_arguments(parser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="speechocean762, LJSpeech, LibriSpeech, Common Voice, or any folder of NAME.wav beside "
        "NAME.txt, a folder a speaker",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="stop after about so many, all when left out"
    )
    parser.add_argument(
        "--ages",
        default="18-",
        metavar="FIRST-LAST",
        help="years of the speakers, where the source tells their age; children are %(metavar)s = 0-17",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed joins the recordings otherwise")
    parser.add_argument("--jobs", type=int, default=1, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.speech import make_speech
    from streamingtalker_ros.errors import TalkerError

    if (args.minutes is not None and args.minutes <= 0) or args.jobs < 1:
        raise TalkerError("--minutes must be above 0 and --jobs at least 1")
    index = make_speech(args.folders, args.out, args.jobs, args.minutes, args.seed, _ages(args.ages))
    minutes = ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())
    speakers = {clip["speaker"] for clip in index["clips"]}
    print(
        f"{args.out}: {len(index['clips'])} clips, {minutes}, {len(speakers)} speakers; "
        f"{len(index['rejected'])} recordings rejected" + (":" if index["rejected"] else "")
    )
    for row in index["rejected"][:10]:
        print(f"  {row['name']}: {row['reason']}")
    if len(index["rejected"]) > 10:
        print(f"  and {len(index['rejected']) - 10} more, in {args.out / 'index.json'}")
    return 0


def _ages(text):
    """ "0-17" -> (0, 17), "18-" -> (18, 200). Raises TalkerError for anything else."""
    from streamingtalker_ros.errors import TalkerError

    first, dash, last = text.partition("-")
    if not (dash and first.isdigit() and (last or "200").isdigit() and int(first) <= int(last or 200)):
        raise TalkerError(f"--ages {text} is no range of years: give 18- for adults, 0-17 for children")
    return int(first), int(last or 200)
