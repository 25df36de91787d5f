# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker replay BAG --out BAG2`: the audio of a bag through the talker, into a new bag."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.cli.argument_types import add_backend_options, integer
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.control_ranges import SEED_RANGE
from streamingtalker_ros.output_files import check_output_file, check_output_folder, write_text
from streamingtalker_ros.process import QuietStream, print_result, print_warning
from streamingtalker_ros.runtime import parameters

if TYPE_CHECKING:
    from streamingtalker_ros.bag.motion import MotionRecording
    from streamingtalker_ros.bag.replay import ReplayResult
    from streamingtalker_ros.face.rig import Rig
    from streamingtalker_ros.runtime.statistics import Statistics

HELP = "run the audio of a ROS 2 bag through the talker, into a bag with face motion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Reads a rosbag2 (sqlite3 or MCAP) with the audio of either audio_common_msgs, without ROS; runs it "
        "through the talker node's session faster than real time, the same in every run; writes a bag of the "
        "audio and the face_motion (of a vertex checkpoint: face_vertices) that the node would have "
        "published. If the bag holds face_motion, the two are compared."
    )
    parser.add_argument("bag", metavar="BAG", help="folder of a rosbag2, or one .db3 or .mcap file")
    parser.add_argument("--out", required=True, metavar="BAG2", help="folder to write, not there yet")
    parser.add_argument("--topic", help="the audio; if left out /audio, or the only topic of an audio type")
    parser.add_argument("--report", metavar="FILE", help="write an HTML page with the figures and curves")
    parser.add_argument("--storage", choices=("sqlite3", "mcap"), help="of BAG2; that of BAG if left out")
    parser.add_argument(
        "--seed", type=integer(*SEED_RANGE), help="of the noise; the parameter file's if left out"
    )
    parser.add_argument("--model", help="folder of a checkpoint; the parameter file's if left out")
    add_backend_options(parser, default=None)
    parser.add_argument(
        "--params", metavar="FILE", help="ROS 2 parameter file; else the package's config/talker.yaml"
    )
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set one parameter of the node, such as steps=8; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.
    """
    values = _parameters(args)
    from tqdm import tqdm

    from streamingtalker_ros.bag import motion, offline_talker, replay, rosbag_io
    from streamingtalker_ros.face.default_head.stored import default_rig
    from streamingtalker_ros.runtime.worker import load_talker

    report_path = Path(args.report) if args.report else None
    check_output_folder(args.out, must_be_new=True)
    if not Path(args.out).absolute().parent.is_dir():
        raise TalkerError(f"there is no folder {Path(args.out).absolute().parent}: create it first")
    if report_path:
        bag_path = Path(args.bag)
        inputs = sorted(bag_path.iterdir()) if bag_path.is_dir() else [bag_path]
        check_output_file(report_path, option="--report", inputs=inputs)
    with rosbag_io.BagInput(args.bag) as bag:
        topic, reference_topic = bag.audio_topic(args.topic), bag.motion_topic()
        total = bag.count(*offline_talker.InputTopics.find(bag, topic, values).names)
        output = rosbag_io.BagOutput(args.out, args.storage or bag.storage)
        rig, talker = default_rig(), load_talker(values)
        start = time.monotonic()
        with (
            output as out,
            tqdm(
                file=QuietStream(),
                total=total,
                desc="replaying",
                unit="message",
                leave=False,
                disable=None,
            ) as bar,
        ):
            result = replay.replay(bag, out, topic, talker, values, rig, _warn, bar.update)
        duration = time.monotonic() - start
        reference: MotionRecording | None = None
        figures: dict[str, float] = {}
        if reference_topic and result.motion is not None:
            try:
                reference = motion.read_motion(bag, reference_topic)
                figures = motion.compare(result.motion, reference, rig)
            except TalkerError as error:
                _warn(f"{reference_topic} cannot serve as reference: {error}")
                reference = None
    counts = _counts(result.statistics)
    print_result(
        f"{args.out}: {result.statistics.frames} frames of audio and {result.statistics.idle_frames} idle "
        f"frames from {result.seconds:.2f} s of {topic}, in {duration:.1f} s "
        f"({result.seconds / duration:.1f} times real time)"
    )
    print_result(", ".join(f"{name} {value}" for name, value in counts.items()))
    if figures:
        print_result(f"against {reference_topic} of {args.bag}:")
        for name, value in figures.items():
            print_result(f"  {name:22} {value:.4g}")
    if report_path:
        conditions = {
            "bag": args.bag,
            "audio": topic,
            "model": talker.name,
            "family": talker.family,
            "device": talker.device,
            "seed": values.seed,
            "style": values.style or talker.styles[0],
            "steps": values.steps or talker.steps,
            "seconds_of_audio": round(result.seconds, 2),
        }
        sections: dict[str, Mapping[str, Any]] = {"Conditions": conditions, "Counters": counts}
        if figures:
            sections[f"Against {reference_topic}"] = figures
        page = _render_page(args.bag, sections, result, reference, rig, talker.frame_rate)
        write_text(report_path, page)
        print_result(f"wrote {report_path}")
    return 0


def _parameters(args: argparse.Namespace) -> parameters.TalkerParameters:
    values = parameters.load(args.params, warn=print_warning)
    values.update(parameters.parse_assignment(text) for text in args.param)
    options = {name: getattr(args, name) for name in ("seed", "model", "device", "backend", "precision")}
    values.update({name: value for name, value in options.items() if value is not None})
    return parameters.from_values(values)


def _counts(statistics: Statistics) -> dict[str, float]:
    """Return the counters of a run without problems, and the others that are not 0."""
    usual = ("packets", "frames", "idle_frames", "streams")
    problems = (
        "rejected",
        "gaps",
        "overlaps",
        "late",
        "duplicates",
        "discontinuities",
        "format_changes",
        "nonfinite",
        "suppressed",
        "dropped",
        "errors",
    )
    values = statistics.as_dict()
    return {name: values[name] for name in usual + problems if name in usual or values[name]}


def _render_page(
    bag: str,
    sections: Mapping[str, Mapping[str, Any]],
    result: ReplayResult,
    reference: MotionRecording | None,
    rig: Rig,
    frame_rate: float,
) -> str:
    from streamingtalker_ros.bag import report
    from streamingtalker_ros.evaluation.inference import lip_aperture

    origin = min([*(frame.stamp for frame in result.frames), *(time for time, _, _ in result.envelope[:1])])

    def to_curve(kind: str, motion: MotionRecording) -> report.Curve:
        # a frame represents the middle of its audio
        seconds = (motion.stamps - origin) / NS_PER_S + 0.5 / motion.frame_rate
        return report.Curve(kind, seconds, 1e3 * lip_aperture(rig, motion.weights), 1.0 / motion.frame_rate)

    curves = [
        to_curve(kind, motion)
        for kind, motion in (("generated", result.motion), ("reference", reference))
        if motion is not None
    ]
    envelope = [((time - origin) / NS_PER_S, low, high) for time, low, high in result.envelope]
    starts = np.array([frame.stamp - origin for frame in result.frames if frame.speaking]) / NS_PER_S
    speaking = np.stack([starts, starts + 1.0 / frame_rate], 1)
    return report.render_page(f"Replay of {Path(bag).name}", sections, curves, envelope, speaking)


def _warn(message: str) -> None:
    print_result(f"streamingtalker: warning: {message}")
