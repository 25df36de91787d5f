# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus resize DIR --out DIR`: the speakers of a corpus, smaller and larger."""

from pathlib import Path

TEXT = "a corpus of rule-made motion, its speakers once smaller and once larger, moved anew"


def add_arguments(parser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="corpus whose training clips are resized")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other sizes")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.speaker_scaling import resize_corpus
    from streamingtalker_ros.errors import TalkerError

    if args.jobs < 1:
        raise TalkerError("--jobs must be at least 1")
    index = resize_corpus(args.folder, args.out, args.seed, args.jobs)
    print(
        f"{args.out}: {len(index['clips'])} clips, {index['minutes_by_split']['train']:.1f} min train, "
        f"{len({clip['speaker'] for clip in index['clips']})} speakers"
    )
    return 0
