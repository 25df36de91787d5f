# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus revoice DIR --out DIR`: other voices for a corpus, its motion as it is."""

from pathlib import Path

TEXT = "other voices for the training clips of a corpus, by a vocoder; motion stays; resumes where it stopped"


def add_arguments(parser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder made by `streamingtalker corpus`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--copies", type=int, default=5, metavar="N", help="other voices of each clip")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other voices")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.voice_conversion import revoice_corpus
    from streamingtalker_ros.errors import TalkerError

    if args.jobs < 1:
        raise TalkerError("--jobs must be at least 1")
    index = revoice_corpus(args.folder, args.out, args.copies, args.seed, args.jobs)
    print(
        f"{args.out}: {len(index['clips'])} clips, {index['minutes_by_split']['train']:.1f} min train, "
        f"{len({clip['speaker'] for clip in index['clips']})} other voices"
    )
    return 0
