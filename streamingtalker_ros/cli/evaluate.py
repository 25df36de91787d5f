# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker evaluate`: how a model, or motion that is already made, does on clips with sound.

Prints the figures of every corpus beside those of the baselines; --report draws them, --json keeps them.
"""

import json
from pathlib import Path

from streamingtalker_ros.errors import TalkerError, require

HELP = "measure a checkpoint on held-out clips"

SHOWN = (
    ("lip_opening_r_median", "r"),
    ("lip_opening_r_p10", "r p10"),
    ("lip_width_r_median", "width r"),
    ("lag_ms", "lag ms"),
    ("amplitude_ratio", "amplitude"),
    ("closure_recall", "closed"),
    ("false_closures", "false"),
    ("lve_mm2", "LVE mm²"),
    ("fdd_mm2", "FDD mm²"),
    ("mod_mm", "MOD mm"),
    ("jerk_over_amplitude_ratio", "jerk"),
    ("blinks_per_minute", "blinks"),
    ("loudness_r_median", "loud r"),
)


def add_arguments(parser) -> None:
    what = parser.add_argument_group("what is measured, and on what")
    what.add_argument(
        "--corpus",
        action="append",
        default=None,
        metavar="DIR[:SPLIT]",
        help="folder made by `streamingtalker corpus`; may be given again",
    )
    what.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="of corpora that name none themselves; test is what no training heard",
    )
    what.add_argument(
        "--model", default=None, metavar="DIR", help="checkpoint folder; the default one when left out"
    )
    what.add_argument(
        "--generated",
        default=None,
        metavar="DIR",
        help="judge motion that is already made (NAME.csv or NAME.npz) in place of a model: against the "
        "clips of those names in --corpus, or without one beside NAME.wav",
    )
    what.add_argument("--baseline", default=None, metavar="DIR", help="another checkpoint to compare with")
    what.add_argument(
        "--unseen",
        action="store_true",
        help="the model was trained without these corpora, although "
        "they have a training split (leave one corpus out)",
    )
    what.add_argument(
        "--clips", type=int, default=None, metavar="N", help="only N clips of each corpus, evenly spread"
    )
    what.add_argument("--style", default=None, help="speaking style; the model's first when left out")
    what.add_argument(
        "--steps", type=int, default=None, help="diffusion steps; the checkpoint's when left out"
    )
    what.add_argument(
        "--bare",
        action="store_true",
        help="what the network learned alone, without the blinks and glances that rules add",
    )
    what.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    more = parser.add_argument_group("further measurements")
    more.add_argument("--full", action="store_true", help="all of them but the hour")
    more.add_argument(
        "--rest", action="store_true", help="silence, noise and music alone; closing after the last sound"
    )
    more.add_argument("--robustness", action="store_true", help="noise, level, telephone band, room")
    more.add_argument(
        "--sampling",
        action="store_true",
        help="the spread over 32 seeds; the errors of sample, mean and shorter histories",
    )
    more.add_argument(
        "--facts", action="store_true", help="use of the codebook, cost of a frame, size of the weights"
    )
    more.add_argument(
        "--hour", action="store_true", help="drift over an hour of speech, 8 to 20 minutes of work"
    )
    more.add_argument("--drift-minutes", type=float, default=60.0, metavar="M", help="make that hour shorter")
    more.add_argument(
        "--drift-voices", type=int, default=4, metavar="N", help="seeds that speak that hour at once"
    )
    out = parser.add_argument_group("what is left")
    out.add_argument("--report", default=None, metavar="FILE.html", help="one page of pictures and tables")
    out.add_argument("--json", default=None, metavar="FILE", help="every figure")


def run(args) -> int:
    _check(args)
    from streamingtalker_ros.evaluation import results as studies
    from streamingtalker_ros.evaluation.test_set import load_section
    from streamingtalker_ros.face.default_head.assemble import default_rig

    rig = default_rig()
    sections = [
        load_section(rig, folder, args.split, args.clips, args.unseen) for folder in args.corpus or ()
    ]
    study = _generated(args, rig, sections) if args.generated else _spoken(args, rig, sections, studies)
    for section in study.sections:
        _show(section, study)
    _show_targets(study)
    if args.json:
        Path(args.json).write_text(json.dumps(study.json(), indent=1) + "\n")
    if args.report:
        from streamingtalker_ros.evaluation.report.html import write_page

        write_page(study, args.report)
        print(f"\n{args.report}: the report, {Path(args.report).stat().st_size / 1e6:.1f} MB")
    return 0


def _check(args) -> None:
    """Refuse at once what would only fail after minutes."""
    if not args.corpus and not args.generated:
        raise TalkerError(
            "nothing to measure on: give --corpus DIR, or --generated DIR with sound beside the motion"
        )
    for path in filter(None, (args.report, args.json)):
        if not Path(path).absolute().parent.is_dir():
            raise TalkerError(f"there is no folder {Path(path).absolute().parent}: make it first")
    if args.drift_minutes < 0.2 or args.drift_voices < 1:
        raise TalkerError("--drift-minutes must be at least 0.2 and --drift-voices at least 1")
    if args.clips is not None and args.clips < 1:
        raise TalkerError("--clips must be at least 1")
    if args.report:
        require("matplotlib", "the report")
    require("soundfile", "reading a corpus")


def _spoken(args, rig, sections, studies):
    from streamingtalker_ros.streaming import Talker

    talker = Talker.load(args.model, args.device)
    _refuse_vertices(talker, args.model)
    study = studies.Study("the model", rig)
    study.name = talker.name
    study.options = {"style": args.style, "steps": args.steps, **({"eye_motion": False} if args.bare else {})}
    baseline = None
    if args.baseline:
        baseline = "the baseline checkpoint", Talker.load(args.baseline, args.device)
        _refuse_vertices(baseline[1], args.baseline)
    studies.measure_sections(study, talker, sections, baseline, True)
    if args.full or args.facts:
        from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT

        studies.measure_facts(study, talker, args.model or DEFAULT_CHECKPOINT)
    if args.full or args.rest:
        studies.measure_quiet(study, talker)
    if args.full or args.robustness:
        studies.measure_robustness(study, talker, True)
    if args.full or args.sampling:
        studies.measure_seeds(study, talker, progress=True)
    if args.hour:
        studies.measure_hour(study, talker, args.drift_minutes, args.drift_voices, True)
    return study


def _refuse_vertices(talker, folder) -> None:
    if talker.family == "vertex":
        raise TalkerError(
            f"{folder} is a published checkpoint: it speaks in vertices of a mesh of its own, whose lips no "
            "corpus of ARKit weights can judge; `streamingtalker parity` compares it with a recording"
        )


def _generated(args, rig, sections):
    from streamingtalker_ros.evaluation import external_motion
    from streamingtalker_ros.evaluation import results as studies

    study = studies.Study("the given motion", rig)
    study.name = Path(args.generated).resolve().name
    takes = external_motion.read_folder(rig, args.generated)
    parts = [external_motion.against(section, takes) for section in sections] or [
        external_motion.as_section(args.generated, takes)
    ]
    studies.judge_takes(study, parts)
    return study


def _show(section, study) -> None:
    voices = sorted({clip.voice for clip in section.clips} - {"", "none"})
    heard = (
        ""
        if not voices
        else f", {len(voices)} voice{'s' * (len(voices) > 1)}"
        + (" heard in training" if section.known else "")
    )
    print(f"\n{section.name}: {len(section.clips)} clips, {section.seconds:.0f} s{heard}")
    systems = study.figures[section.name]
    width = max(map(len, systems))
    columns = [
        (key, name)
        for key, name in SHOWN
        if any(figures[key] == figures[key] for figures in systems.values())
    ]
    print(" " * (width + 2) + "".join(f"{name:>10}" for _, name in columns))
    for system, figures in systems.items():
        print(f"  {system:{width}}" + "".join(f"{_short(figures[key]):>10}" for key, _ in columns))


def _short(value) -> str:
    return "-" if value != value else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _show_targets(study) -> None:
    from streamingtalker_ros.evaluation.acceptance import judge

    rows = judge(study)
    if rows:
        print()
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            print(f"{group}:")
        print(
            f"  {'ok  ' if row.passed else 'FAIL'}  {row.what:46} {row.value:>9}  ({row.bound})  {row.where}"
        )
