# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus from-video VIDEO… --out DIR`: a speaker's face, tracked and solved, as a corpus."""

from pathlib import Path

TEXT = (
    "videos of one speaker: face tracked, solved onto the 52 shapes, cut into clips; resumes where it stopped"
)
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v")


def add_arguments(parser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        type=Path,
        metavar="VIDEO",
        help="videos with sound of one speaker, or folders of them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--speaker",
        metavar="NAME",
        help="name of the voice and of its style, that of the output folder when left out",
    )
    parser.add_argument(
        "--align",
        default="none",
        metavar="DIR",
        help="folder of NAME.txt (what is said, English) or NAME.align (GRID's word times), from which "
        "phones are aligned; `none`: only where there is voice",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=20,
        metavar="N",
        help="hold out every Nth video, in the order of names, for test; 0: none, 1: all",
    )
    parser.add_argument(
        "--stage",
        choices=("all", "track", "solve"),
        default="all",
        help="track: only write landmarks, which needs mediapipe; solve: only use them, which does not",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="DIR",
        help="folder of tracked landmarks, OUT/landmarks when left out",
    )
    parser.add_argument(
        "--licence", default="", metavar="TEXT", help="licence and attribution, kept in the index"
    )
    parser.add_argument("--no-pictures", action="store_true", help="draw no picture per clip")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")


def run(args) -> int:
    from streamingtalker_ros.corpus.video.corpus import make_from_video
    from streamingtalker_ros.errors import TalkerError

    if args.every < 0 or args.jobs < 1:
        raise TalkerError("--every must be 0 or more and --jobs at least 1")
    align = None if args.align == "none" else Path(args.align)
    if align is not None and not align.is_dir():
        raise TalkerError(f"there is no folder {align}: give the one with NAME.txt or NAME.align, or `none`")
    videos = _found(args.videos)
    index = make_from_video(
        videos,
        args.out,
        args.speaker or args.out.resolve().name,
        args.landmarks,
        args.stage,
        args.every,
        align,
        args.licence,
        args.jobs,
        not args.no_pictures,
    )
    if index is None:
        print(f"{args.landmarks or args.out / 'landmarks'}: landmarks of {len(videos)} videos at most")
        return 0
    minutes = ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())
    source = next(iter(index["sources"].values()))
    look = "" if args.no_pictures else f"; look at {args.out / 'pictures'}"
    print(
        f"{args.out}: {len(index['clips'])} clips of {source['videos']} videos, {minutes}; {source['rejected']} "
        f"rejected; lips follow the loudness by {1000 * index['lag']:+.0f} ms{look}"
    )
    return 0


def _found(paths):
    """Files as they are, folders by the videos in them."""
    from streamingtalker_ros.errors import TalkerError

    videos = []
    for path in paths:
        if path.is_dir():
            videos += sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEOS)
        else:
            videos.append(path)
    if not videos:
        raise TalkerError(f"{paths[0]} holds no video ({', '.join(VIDEOS)})")
    return videos
