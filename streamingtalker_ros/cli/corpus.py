# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus KIND …`: build a training corpus. SUBCOMMANDS lists the subcommands.

Nothing but the standard library is imported before a subcommand runs, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from streamingtalker_ros.cli.argument_types import MAX_PROCESSES, integer, number
from streamingtalker_ros.process import print_line, print_result

HELP = "create a training corpus of speech with exact phone times and rule-based motion"

MAX_AGE: Final = 200
"""Last age of an open range, in years."""

MAX_OFFSET_S: Final = 3600.0
"""Greatest shift between motion and sound."""

MAX_COPIES: Final = 1000
"""Greatest number of other voices of a clip."""

SEED_RANGE: Final = (0, 2**63 - 1)
"""Seeds of corpora."""

_minutes = number(0.0, 1e7, above=True)

MAX_LISTED: Final = 10
"""Number of rejected files that are printed."""


class _Kind(NamedTuple):
    """A subcommand: line of help, and functions that add its arguments and run it."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subparser per kind of corpus.

    Args:
        parser: parser of `streamingtalker corpus`.
    """
    subparsers = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, kind in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=kind.help,
            description=kind.help[0].upper() + kind.help[1:] + ".",
            formatter_class=parser.formatter_class,
        )
        kind.add_arguments(subparser)


def run(args: argparse.Namespace) -> int:
    """Build the corpus.

    Args:
        args: parsed arguments.

    Returns:
        Exit code.

    Raises:
        TalkerError: if an argument is out of range, or the corpus cannot be built.
    """
    from streamingtalker_ros.output_files import check_output_folder

    if hasattr(args, "out"):
        check_output_folder(args.out)
    if getattr(args, "scheduler", None) is not None:
        _resolve_paths(args)
    return SUBCOMMANDS[args.kind].run(args)


def _resolve_paths(args: argparse.Namespace) -> None:
    """Make all paths absolute: workers on a cluster have other working folders."""
    if getattr(args, "align", None) not in (None, "none"):
        args.align = Path(args.align)
    for name, value in list(vars(args).items()):
        if isinstance(value, Path):
            setattr(args, name, value.absolute())
        elif isinstance(value, list) and all(isinstance(item, Path) for item in value):
            setattr(args, name, [item.absolute() for item in value])


def _add_out(parser: argparse.ArgumentParser, help_text: str = "folder to write") -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=help_text)


def _add_seed_and_jobs(parser: argparse.ArgumentParser, seed_help: str, jobs: int = 2) -> None:
    parser.add_argument("--seed", type=integer(*SEED_RANGE), default=0, help=seed_help)
    _add_jobs(parser, 0, jobs)


def _add_jobs(parser: argparse.ArgumentParser, low: int = 1, jobs: int = 2) -> None:
    parser.add_argument(
        "--jobs", type=integer(low, MAX_PROCESSES), default=jobs, help="processes to use on this machine"
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler whose workers do the work instead, such as tcp://10.0.0.1:8786; they need this "
        "package and the same folders",
    )


def _add_speaker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speaker",
        metavar="NAME",
        help="name of the voice and of its style, that of the output folder when left out",
    )


def _add_licence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--licence", default="", metavar="TEXT", help="licence and attribution, stored in the index"
    )


def _check(condition: bool, message: str) -> None:
    """Raise TalkerError with a message unless a condition holds."""
    from streamingtalker_ros.errors import TalkerError

    if not condition:
        raise TalkerError(message)


def _check_minutes_and_jobs(args: argparse.Namespace) -> None:
    minutes_valid = args.minutes is None or args.minutes > 0
    _check(minutes_valid and args.jobs >= 1, "--minutes must be above 0 and --jobs at least 1")


def _format_minutes(index: Mapping[str, Any]) -> str:
    """Minutes per split, for example "10.0 min train, 0.8 min validation"."""
    return ", ".join(f"{value:.1f} min {split}" for split, value in index["minutes_by_split"].items())


def _report_failures(index: Mapping[str, Any]) -> int:
    """Print what could not be made, if anything, and return the exit code."""
    from streamingtalker_ros.task_cluster import EXIT_ITEMS_FAILED

    failed = index.get("failed", ())
    if not failed:
        return 0
    lines = [f"streamingtalker: error: {len(failed)} failed; run the command again to try them again:"]
    lines += [f"  {row['name']}: {row['reason']}" for row in failed[:MAX_LISTED]]
    if len(failed) > MAX_LISTED:
        lines.append(f"  and {len(failed) - MAX_LISTED} more, in index.json")
    for line in lines:
        print_line(line, error=True)
    return EXIT_ITEMS_FAILED


def _count_speakers(index: Mapping[str, Any]) -> int:
    return len({clip["speaker"] for clip in index["clips"]})


def _add_synthetic_arguments(parser: argparse.ArgumentParser) -> None:
    _add_out(parser, "folder to write, about 1 MB a minute")
    parser.add_argument("--minutes", type=_minutes, default=120.0, help="minutes of training speech")
    _add_seed_and_jobs(parser, "another seed, another corpus")


def _run_synthetic(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.synthetic import build_synthetic_corpus

    _check_minutes_and_jobs(args)
    index = build_synthetic_corpus(args.out, args.minutes, args.seed, args.jobs, scheduler=args.scheduler)
    speakers = {clip["speaker"] for clip in index["clips"] if clip["split"] == "train"} - {"none"}
    print_result(
        f"{args.out}: {len(index['clips'])} clips, {_format_minutes(index)}, {len(speakers)} speakers in "
        f"training, the voice {index['held_out_voice']} only in test"
    )
    return _report_failures(index)


def _add_speech_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="speechocean762, LJSpeech, LibriSpeech, Common Voice, or any folder of NAME.wav beside "
        "NAME.txt, a folder a speaker",
    )
    _add_out(parser)
    parser.add_argument(
        "--minutes", type=_minutes, metavar="M", help="stop after about so many, all when left out"
    )
    parser.add_argument(
        "--ages",
        default="18-",
        metavar="FIRST-LAST",
        help="years of the speakers, where the source states their age; children are %(metavar)s = 0-17",
    )
    parser.add_argument(
        "--language",
        default="en",
        metavar="CODE",
        help="of the recordings, as espeak-ng names it: de, es, it, tr, ... (default: en)",
    )
    _add_seed_and_jobs(parser, "another seed joins the recordings otherwise", jobs=1)


def _run_speech(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.speech import build_speech_corpus

    _check_minutes_and_jobs(args)
    index = build_speech_corpus(
        args.folders,
        args.out,
        args.jobs,
        args.minutes,
        args.seed,
        _parse_ages(args.ages),
        args.scheduler,
        args.language,
    )
    rejected = index["rejected"]
    print_result(
        f"{args.out}: {len(index['clips'])} clips, {_format_minutes(index)}, {_count_speakers(index)} "
        f"speakers; {len(rejected)} recordings rejected" + (":" if rejected else "")
    )
    for row in rejected[:MAX_LISTED]:
        print_result(f"  {row['name']}: {row['reason']}")
    if len(rejected) > MAX_LISTED:
        print_result(f"  and {len(rejected) - MAX_LISTED} more, in {args.out / 'index.json'}")
    return _report_failures(index)


def _parse_ages(text: str) -> tuple[int, int]:
    """Parse a range of years: "0-17" gives (0, 17), "18-" gives (18, MAX_AGE)."""
    first, dash, last = text.partition("-")
    last = last or str(MAX_AGE)
    _check(
        bool(dash) and first.isdigit() and last.isdigit() and int(first) <= int(last),
        f"--ages {text} is no range of years: give 18- for adults, 0-17 for children",
    )
    return int(first), int(last)


def _add_espeak_arguments(parser: argparse.ArgumentParser) -> None:
    _add_out(parser)
    parser.add_argument("--minutes", type=_minutes, default=30.0, help="minutes of training speech")
    _add_seed_and_jobs(parser, "another seed, another corpus")


def _run_espeak(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.espeak import build_espeak_corpus

    _check_minutes_and_jobs(args)
    index = build_espeak_corpus(args.out, args.minutes, args.seed, args.jobs, args.scheduler)
    print_result(
        f"{args.out}: {len(index['clips'])} clips, {_format_minutes(index)}, "
        f"{len({clip['language'] for clip in index['clips']})} languages and accents, "
        f"{index['held_out_language']} only in test"
    )
    return _report_failures(index)


def _add_quiet_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="folders of audio files, searched recursively"
    )
    _add_out(parser)
    parser.add_argument(
        "--minutes", type=_minutes, default=45.0, help="minutes of excerpts, evenly from all files"
    )
    parser.add_argument(
        "--licence", default="the recordings' own", metavar="TEXT", help="stored in the index"
    )
    _add_seed_and_jobs(parser, "another seed, other levels")


def _run_quiet(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.non_speech import build_non_speech_corpus

    _check_minutes_and_jobs(args)
    index = build_non_speech_corpus(
        args.folders, args.out, args.minutes, args.licence, args.seed, args.jobs, args.scheduler
    )
    rejected = index["rejected"]
    print_result(
        f"{args.out}: {len(index['clips'])} pieces, {_format_minutes(index)}; {len(rejected)} files rejected"
        + (":" if rejected else "")
    )
    for row in rejected[:MAX_LISTED]:
        print_result(f"  {row['reason']}")
    return _report_failures(index)


def _add_reanimate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="corpora: synthetic, speech, espeak"
    )


def _run_reanimate(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.relabel import relabel_corpus

    for folder in args.folders:
        print_result(f"{folder}: {len(relabel_corpus(folder)['clips'])} clips animated again")
    return 0


def _add_from_video_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        type=Path,
        metavar="VIDEO",
        help="videos with sound of one speaker, or with --people of one each, or folders of them",
    )
    _add_out(parser)
    _add_speaker(parser)
    parser.add_argument(
        "--people", action="store_true", help="every video shows another speaker, whose voice bears its name"
    )
    parser.add_argument(
        "--align",
        default="none",
        metavar="DIR",
        help="folder of NAME.txt (transcript, English) or NAME.align (GRID's word times), from which "
        "phones are aligned; `none`: only where there is voice",
    )
    parser.add_argument(
        "--every",
        type=integer(0),
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
    _add_licence(parser)
    parser.add_argument("--no-pictures", action="store_true", help="draw no picture per clip")
    _add_jobs(parser)


def _run_from_video(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.video.builder import build_video_corpus

    _check(args.every >= 0 and args.jobs >= 1, "--every must be 0 or more and --jobs at least 1")
    transcripts = None if args.align == "none" else Path(args.align)
    _check(
        transcripts is None or transcripts.is_dir(),
        f"there is no folder {transcripts}: give the one with NAME.txt or NAME.align, or `none`",
    )
    videos = _find_videos(args.videos)
    index = build_video_corpus(
        videos,
        args.out,
        args.speaker or args.out.resolve().name,
        args.landmarks,
        args.stage,
        args.every,
        transcripts,
        args.licence,
        args.jobs,
        not args.no_pictures,
        report=print_result,
        scheduler=args.scheduler,
        speaker_per_video=args.people,
    )
    if index is None:
        print_result(f"{args.landmarks or args.out / 'landmarks'}: landmarks of {len(videos)} videos at most")
        return 0
    source = next(iter(index["sources"].values()))
    pictures = "" if args.no_pictures else f"; look at {args.out / 'pictures'}"
    print_result(
        f"{args.out}: {len(index['clips'])} clips of {source['videos']} videos, {_format_minutes(index)}; "
        f"{source['rejected']} rejected; lips follow the loudness by {1000 * index['av_lag_s']:+.0f} "
        f"ms{pictures}"
    )
    return _report_failures(index)


def _find_videos(paths: Iterable[Path]) -> list[Path]:
    """The files, and the videos of the folders."""
    from streamingtalker_ros.corpus.video.tracking import VIDEO_SUFFIXES

    paths = list(paths)
    videos: list[Path] = []
    for path in paths:
        if path.is_dir():
            videos += sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
        else:
            videos.append(path)
    _check(bool(videos), f"{paths[0]} holds no video ({', '.join(VIDEO_SUFFIXES)})")
    return videos


def _add_from_animation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sounds",
        nargs="+",
        type=Path,
        metavar="WAV",
        help="sounds beside NAME.csv or NAME.npz, folders of them, or FACEGOOD's code/train",
    )
    _add_out(parser)
    parser.add_argument("--motion", type=Path, metavar="DIR", help="folder of the motion files, if another")
    _add_speaker(parser)
    parser.add_argument(
        "--hold-out",
        choices=("last", "none", "all"),
        default="last",
        help="pairs held out for test: `all` creates a corpus for evaluation only",
    )
    parser.add_argument(
        "--offset",
        type=number(-MAX_OFFSET_S, MAX_OFFSET_S),
        default=0.0,
        metavar="S",
        help="seconds to add to the motion's times, where it is ahead of the sound",
    )
    parser.add_argument(
        "--align",
        type=Path,
        metavar="DIR",
        help="folder of NAME.txt (transcript, English), from which phones are aligned",
    )
    _add_licence(parser)
    _add_jobs(parser, jobs=1)


def _run_from_animation(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.animation import build_animation_corpus, find_pairs

    index = build_animation_corpus(
        find_pairs(args.sounds, args.motion),
        args.out,
        args.speaker or args.out.resolve().name,
        args.hold_out,
        args.offset,
        args.align,
        args.licence,
        report=print_result,
        num_workers=args.jobs,
        scheduler=args.scheduler,
    )
    source = next(iter(index["sources"].values()))
    print_result(
        f"{args.out}: {len(index['clips'])} clips of {source['pairs']} pairs, {_format_minutes(index)}; "
        f"{source['rejected']} rejected; moves {', '.join(index['captured_parts'])}; lips follow "
        f"the loudness by {1000 * index['av_lag_s']:+.0f} ms (r {index['av_lag_correlation']:.2f})"
    )
    return _report_failures(index)


def _add_revoice_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder written by `streamingtalker corpus`")
    _add_out(parser)
    parser.add_argument(
        "--copies", type=integer(1, MAX_COPIES), default=5, metavar="N", help="other voices of each clip"
    )
    _add_seed_and_jobs(parser, "another seed, other voices")


def _run_revoice(args: argparse.Namespace) -> int:
    from streamingtalker_ros.corpus.voice_conversion import convert_voices

    _check(args.jobs >= 1, "--jobs must be at least 1")
    index = convert_voices(args.folder, args.out, args.copies, args.seed, args.jobs, args.scheduler)
    print_result(
        f"{args.out}: {len(index['clips'])} clips, {index['minutes_by_split']['train']:.1f} min train, "
        f"{_count_speakers(index)} other voices"
    )
    return _report_failures(index)


SUBCOMMANDS: Final = {
    "synthetic": _Kind(
        "synthetic voices (flite, festival) with rule-based motion; resumes where it stopped",
        _add_synthetic_arguments,
        _run_synthetic,
    ),
    "speech": _Kind(
        "recorded speech with its text: phones aligned by pocketsphinx, rule-based motion; resumes where it "
        "stopped",
        _add_speech_arguments,
        _run_speech,
    ),
    "espeak": _Kind(
        "espeak-ng voices in many languages with rule-based motion; resumes where it stopped",
        _add_espeak_arguments,
        _run_espeak,
    ),
    "quiet": _Kind(
        "recordings without speech or singing, such as music and machines, with the mouth at rest",
        _add_quiet_arguments,
        _run_quiet,
    ),
    "reanimate": _Kind(
        "regenerate the motion of rule-based corpora with the current coarticulation model; audio and phones "
        "are unchanged",
        _add_reanimate_arguments,
        _run_reanimate,
    ),
    "from-video": _Kind(
        "videos of speakers: face tracked, solved for the 52 shapes, cut into clips; resumes where it "
        "stopped",
        _add_from_video_arguments,
        _run_from_video,
    ),
    "from-animation": _Kind(
        "blendshape animation with its sound: Live Link Face CSV, NPZ, or FACEGOOD's pairs",
        _add_from_animation_arguments,
        _run_from_animation,
    ),
    "revoice": _Kind(
        "other voices for the training clips of a corpus, by a vocoder; motion is unchanged; resumes where "
        "it stopped",
        _add_revoice_arguments,
        _run_revoice,
    ),
}
"""Subcommand per name."""
