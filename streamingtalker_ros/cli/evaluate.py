# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker evaluate`: scores of a checkpoint, or of motion of another system, on clips with sound.

Prints the scores of every corpus and those of the baselines; `--report` draws them, `--json` stores them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from streamingtalker_ros.cli.argument_types import MAX_STEPS, add_backend_options, integer, number
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import check_output_file, check_output_folder, write_text
from streamingtalker_ros.process import print_progress, print_result

if TYPE_CHECKING:
    from streamingtalker_ros.evaluation.results import EvaluationResults
    from streamingtalker_ros.evaluation.test_set import Scores, TestSet
    from streamingtalker_ros.face.rig import Rig
    from streamingtalker_ros.streaming import Talker

HELP = "measure a checkpoint on held-out clips"

MAX_DRIFT_MINUTES = 10_000.0
MAX_DRIFT_VOICES = 256

COLUMNS = (
    ("lip_opening_r_median", "r"),
    ("lip_opening_r_p10", "r p10"),
    ("lip_width_r_median", "width r"),
    ("lag_ms", "lag ms"),
    ("amplitude_ratio", "amplitude"),
    ("closure_recall", "recall"),
    ("false_closures", "false"),
    ("lve_mm2", "LVE mm²"),
    ("fdd_mm2", "FDD mm²"),
    ("mod_mm", "MOD mm"),
    ("jerk_over_amplitude_ratio", "jerk"),
    ("blinks_per_minute", "blinks"),
    ("loudness_r_median", "loud r"),
)
"""Key of a score and title of its column."""

SPEAKER_COLUMNS = (
    ("lip_opening_r", "r"),
    ("lip_width_r", "width r"),
    ("rounding_r", "round r"),
    ("lip_opening_amplitude", "amplitude"),
    ("lip_width_amplitude", "width"),
    ("upper_lip_amplitude", "upper lip"),
    ("chin_amplitude", "chin"),
    ("parted_before_speech", "before"),
    ("parted_after_speech", "after"),
    ("parted_in_pauses", "in pauses"),
    ("false_closures", "false cl."),
    ("lip_opening_fast_power", "> 5 Hz"),
    ("head_range_degrees", "head °"),
    ("brows_std", "brows"),
    ("sync_lag_frames", "sync lag"),
    ("sync_confidence", "sync"),
)
"""The same of the table of speakers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    data = parser.add_argument_group("data and model")
    data.add_argument(
        "--corpus",
        action="append",
        default=None,
        metavar="DIR[:SPLIT]",
        help="folder written by `streamingtalker corpus`; repeatable",
    )
    data.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="of corpora without :SPLIT; no training uses the test split",
    )
    data.add_argument(
        "--model", default=None, metavar="DIR", help="checkpoint folder; the default one when left out"
    )
    data.add_argument(
        "--generated",
        default=None,
        metavar="DIR",
        help="score motion files (NAME.csv or NAME.npz) instead of a model: against the clips of those names "
        "in --corpus, or without one against NAME.wav",
    )
    data.add_argument("--baseline", default=None, metavar="DIR", help="another checkpoint to compare with")
    data.add_argument(
        "--unseen",
        action="store_true",
        help="the model was trained without these corpora, although they have a training split "
        "(leave one corpus out)",
    )
    data.add_argument(
        "--clips",
        type=integer(1),
        default=None,
        metavar="N",
        help="at most N clips of each corpus, evenly spread",
    )
    data.add_argument(
        "--sync",
        default=None,
        metavar="DIR",
        help="corpus of tracked lips of other speakers, from which audio-lip agreement is learned",
    )
    data.add_argument("--style", default=None, help="speaking style; the model's first when left out")
    data.add_argument(
        "--steps",
        type=integer(1, MAX_STEPS),
        default=None,
        help="diffusion steps; the checkpoint's when left out",
    )
    data.add_argument(
        "--bare",
        action="store_true",
        help="motion of the network alone, without the rule-based blinks and gaze",
    )
    add_backend_options(data)
    further = parser.add_argument_group("further measurements")
    further.add_argument("--full", action="store_true", help="all of them except --hour")
    further.add_argument(
        "--rest", action="store_true", help="silence, noise and music; closing after truncated speech"
    )
    further.add_argument("--robustness", action="store_true", help="noise, level, telephone band, room")
    further.add_argument(
        "--sampling",
        action="store_true",
        help="the spread over 32 seeds; the errors of sample, mean and shorter contexts",
    )
    further.add_argument(
        "--facts", action="store_true", help="use of the codebook, cost of a frame, size of the weights"
    )
    further.add_argument(
        "--hour", action="store_true", help="drift over an hour of speech; takes 8 to 20 minutes"
    )
    further.add_argument(
        "--drift-minutes",
        type=number(0.2, MAX_DRIFT_MINUTES),
        default=60.0,
        metavar="M",
        help="duration of the speech of --hour",
    )
    further.add_argument(
        "--drift-voices",
        type=integer(1, MAX_DRIFT_VOICES),
        default=4,
        metavar="N",
        help="seeds that --hour runs at once",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--report", default=None, metavar="FILE.html", help="page of charts and tables")
    output.add_argument(
        "--sheets",
        default=None,
        metavar="DIR",
        help="images of film beside face: best, median, worst clip of each captured corpus; needs --videos",
    )
    output.add_argument(
        "--videos",
        action="append",
        default=None,
        metavar="DIR",
        help="folder, searched with those below it, of the videos that the clips of --corpus were made of; "
        "repeatable",
    )
    output.add_argument("--json", default=None, metavar="FILE", help="all scores")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If an option, a corpus or a checkpoint is invalid, or a package is missing.
    """
    _check(args)
    from streamingtalker_ros.evaluation.sync_score import SyncModel
    from streamingtalker_ros.evaluation.test_set import load_test_set
    from streamingtalker_ros.face.default_head.stored import default_rig

    print_progress("reading the clips")
    rig = default_rig()
    test_sets = [
        load_test_set(rig, folder, args.split, args.clips, args.unseen) for folder in args.corpus or ()
    ]
    videos = _find_videos(args, test_sets)
    sync_model = SyncModel.load(args.sync) if args.sync else None
    results = (_score_motion if args.generated else _evaluate_model)(args, rig, test_sets)
    results.sync_model = sync_model
    for test_set in results.test_sets:
        _print_scores(test_set, results)
    _print_speakers(results)
    _print_criteria(results)
    if args.json:
        write_text(args.json, json.dumps(results.to_json(), indent=1) + "\n")
    if args.report:
        from streamingtalker_ros.evaluation.report.html import write_report

        write_report(results, args.report)
        print_result(f"\nreport: {args.report}, {Path(args.report).stat().st_size / 1e6:.1f} MB")
    if args.sheets:
        from streamingtalker_ros.evaluation.report.film_sheets import write_sheets

        paths = write_sheets(results, args.sheets, videos)
        print_result(f"\nfilm beside face: {', '.join(map(str, paths)) or 'no clip was captured'}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise TalkerError early for errors that would otherwise appear after minutes."""
    if not args.corpus and not args.generated:
        raise TalkerError(
            "nothing to measure on: give --corpus DIR, or --generated DIR with sound beside the motion"
        )
    folders = [
        *(folder.partition(":")[0] for folder in args.corpus or ()),
        args.model,
        args.baseline,
        args.sync,
    ]
    inputs = [
        Path(folder) / name
        for folder in filter(None, folders)
        for name in ("index.json", "config.json", "weights.safetensors")
    ]
    for option in ("report", "json"):
        if getattr(args, option):
            check_output_file(getattr(args, option), option=f"--{option}", inputs=inputs)
    if args.report and args.json and Path(args.report).resolve() == Path(args.json).resolve():
        raise TalkerError("--report and --json name the same file: give two names")
    if bool(args.sheets) != bool(args.videos):
        raise TalkerError("--sheets DIR and --videos DIR belong together: give both or neither")
    if args.sheets:
        check_output_folder(args.sheets, option="--sheets", inputs=[*folders, *args.videos])
        for module in ("matplotlib", "av"):
            require(module, "film beside face")
    if args.report:
        for module in ("matplotlib", "jinja2"):
            require(module, "the report")
    require("soundfile", "reading a corpus")


def _find_videos(args: argparse.Namespace, test_sets: list[TestSet]) -> dict[str, Path]:
    """The video of each clip of --corpus, for --sheets."""
    if not args.sheets:
        return {}
    from streamingtalker_ros.evaluation.report.film_sheets import find_videos

    return find_videos(test_sets, args.videos)


def _load_talker(folder: str | None, args: argparse.Namespace) -> Talker:
    from streamingtalker_ros.streaming.talker import load_talker

    talker = load_talker(folder, args.device, args.backend, args.precision)
    if talker.family == "vertex":
        raise TalkerError(
            f"{folder} is a vertex checkpoint: it moves the vertices of its mesh, for which corpora of "
            "ARKit weights are no reference; `streamingtalker parity` compares it with a recording"
        )
    return cast("Talker", talker)


def _evaluate_model(args: argparse.Namespace, rig: Rig, test_sets: list[TestSet]) -> EvaluationResults:
    from streamingtalker_ros.evaluation import results as evaluation
    from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT

    print_progress("loading the model")
    talker = _load_talker(args.model, args)
    options = {"style": args.style, "steps": args.steps, **({"eye_motion": False} if args.bare else {})}
    results = evaluation.EvaluationResults("model", rig, talker.name, options)
    baseline = _load_talker(args.baseline, args) if args.baseline else None
    evaluation.measure_test_sets(results, talker, test_sets, baseline, progress=True)
    if args.full or args.facts:
        evaluation.measure_model_stats(results, talker, args.model or DEFAULT_CHECKPOINT)
    if args.full or args.rest:
        evaluation.measure_non_speech(results, talker)
    if args.full or args.robustness:
        evaluation.measure_robustness(results, talker, progress=True)
    if args.full or args.sampling:
        evaluation.measure_sampling(results, talker, progress=True)
    if args.hour:
        evaluation.measure_drift(results, talker, args.drift_minutes, args.drift_voices, progress=True)
    return results


def _score_motion(args: argparse.Namespace, rig: Rig, test_sets: list[TestSet]) -> EvaluationResults:
    from streamingtalker_ros.evaluation import external_motion
    from streamingtalker_ros.evaluation import results as evaluation

    results = evaluation.EvaluationResults("external motion", rig, Path(args.generated).resolve().name)
    curves = external_motion.read_motion_folder(rig, args.generated)
    pairs = [external_motion.pair_with_clips(test_set, curves) for test_set in test_sets] or [
        external_motion.folder_to_test_set(args.generated, curves)
    ]
    evaluation.score_external_motion(results, pairs)
    return results


def _print_scores(test_set: TestSet, results: EvaluationResults) -> None:
    voices = len({clip.voice for clip in test_set.clips} - {"", "none"})
    voices_text = f", {voices} voice{'s' * (voices > 1)}" if voices else ""
    if voices and test_set.is_known_voice:
        voices_text += " with other clips in the training set"
    print_result(f"\n{test_set.name}: {len(test_set.clips)} clips, {test_set.seconds:.0f} s{voices_text}")
    _print_table(results.scores[test_set.name], COLUMNS)


def _print_speakers(results: EvaluationResults) -> None:
    from streamingtalker_ros.evaluation.speaker_scores import speaker_rows, still_shapes

    rows = speaker_rows(results)
    if not rows:
        return
    print_result(f"\nspeakers whose motion was captured, {results.system}:")
    _print_table(rows, SPEAKER_COLUMNS)
    still = still_shapes(results.all_curves())
    print_result(f"  shapes that never move: {len(still)} ({', '.join(still) or 'none'})")


def _print_table(rows: Mapping[str, Scores], columns: Sequence[tuple[str, str]]) -> None:
    """Print rows of scores; columns without any value are left out."""
    width = max(map(len, rows))
    used = [
        (key, title)
        for key, title in columns
        if any(scores[key] == scores[key] for scores in rows.values())  # not all NaN
    ]
    print_result(" " * (width + 2) + "".join(f"{title:>10}" for _, title in used))
    for name, scores in rows.items():
        print_result(f"  {name:{width}}" + "".join(f"{_format_score(scores[key]):>10}" for key, _ in used))


def _format_score(value: float) -> str:
    return "-" if value != value else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _print_criteria(results: EvaluationResults) -> None:
    from streamingtalker_ros.evaluation.acceptance import check_criteria

    group = None
    for criterion in check_criteria(results):
        if criterion.group != group:
            print_result(f"{'' if group else chr(10)}{criterion.group}:")
            group = criterion.group
        status = "ok  " if criterion.passed else "FAIL"
        print_result(
            f"  {status}  {criterion.name:46} {criterion.value:>9}  ({criterion.bound})  {criterion.data}"
        )
