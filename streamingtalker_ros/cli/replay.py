# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker replay BAG --out BAG2`: a recorded voice through the talker's rules, into a bag."""

import time
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.runtime import parameters

HELP = "run the audio of a ROS 2 bag through the talker, into a bag with face motion"


def add_arguments(parser) -> None:
    parser.description = (
        "Reads a rosbag2 (sqlite3 or MCAP) with the audio of either audio_common_msgs, without ROS; runs it "
        "through the talker node's rules faster than real time, the same in every run; writes a bag of the "
        "audio and the face_motion that the node would have published. Where the bag holds "
        "face_motion already, the two are compared."
    )
    parser.add_argument("bag", metavar="BAG", help="folder of a rosbag2, or one .db3 or .mcap file")
    parser.add_argument("--out", required=True, metavar="BAG2", help="folder to write, not there yet")
    parser.add_argument("--topic", help="the audio; if left out /audio, or the only topic of an audio type")
    parser.add_argument("--report", metavar="FILE", help="write an HTML page with the figures and curves")
    parser.add_argument("--storage", choices=("sqlite3", "mcap"), help="of BAG2; that of BAG if left out")
    parser.add_argument("--seed", type=int, help="of the noise; the parameter file's if left out")
    parser.add_argument("--model", help="folder of a checkpoint; the parameter file's if left out")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N; the parameter file's if left out")
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


def run(args) -> int:
    settings = _settings(args)
    require("torch", "the talker")
    from tqdm import tqdm

    from streamingtalker_ros.bag import replay, rosbag_io
    from streamingtalker_ros.face.default_head.assemble import default_rig
    from streamingtalker_ros.runtime.worker import load_talker

    report = Path(args.report) if args.report else None
    for path in filter(None, (report, Path(args.out))):
        if not path.absolute().parent.is_dir():
            raise TalkerError(f"there is no folder {path.absolute().parent}: make it first")
    with rosbag_io.BagInput(args.bag) as bag:
        topic, reference = bag.audio_topic(args.topic), bag.motion_topic()
        total = bag.count(*filter(None, (topic, bag.info_topic(topic))))
        output = rosbag_io.BagOutput(args.out, args.storage or bag.storage)
        rig, talker = default_rig(), load_talker(settings)
        began = time.monotonic()
        with (
            output as out,
            tqdm(total=total, desc="replaying", unit="message", leave=False, disable=None) as bar,
        ):
            played = replay.replay(bag, out, topic, talker, settings, rig, _warn, bar.update)
        spent = time.monotonic() - began
        reference_motion, figures = None, {}
        if reference:
            try:
                reference_motion = replay.read_motion(bag, reference)
                figures = replay.compare(played.motion, reference_motion, rig)
            except TalkerError as error:
                _warn(f"{reference} cannot serve as reference: {error}")
                reference_motion = None
    counts = _counts(played.statistics)
    print(
        f"{args.out}: {played.statistics.frames} frames of audio and {played.statistics.idle_frames} idle "
        f"frames from {played.seconds:.2f} s of {topic}, in {spent:.1f} s "
        f"({played.seconds / spent:.1f} times real time)"
    )
    print(", ".join(f"{name} {value}" for name, value in counts.items()))
    if figures:
        print(f"against {reference} of {args.bag}:")
        for name, value in figures.items():
            print(f"  {name:22} {value:.4g}")
    if report:
        run_of = {
            "bag": args.bag,
            "audio": topic,
            "model": talker.name,
            "device": talker.device,
            "seed": settings.seed,
            "style": settings.style or talker.styles[0],
            "steps": settings.steps or talker.steps,
            "seconds_of_audio": round(played.seconds, 2),
        }
        sections = {"Run": run_of, "Counted": counts}
        if figures:
            sections[f"Against {reference}"] = figures
        report.write_text(_page(args.bag, sections, played, reference_motion, rig), encoding="utf-8")
        print(f"wrote {report}")
    return 0


def _settings(args):
    values = parameters.load(args.params)
    values.update(parameters.parse_assignment(text) for text in args.param)
    given = {name: getattr(args, name) for name in ("seed", "model", "device")}
    values.update({name: value for name, value in given.items() if value is not None})
    return parameters.from_values(values)


def _counts(statistics):
    """The counters that tell what happened to the audio: those of a clean run, others unless they are 0."""
    usual = ("packets", "frames", "idle_frames", "streams")
    other = (
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
    return {name: values[name] for name in usual + other if name in usual or values[name]}


def _page(bag, sections, played, reference, rig):
    from streamingtalker_ros.bag import report
    from streamingtalker_ros.evaluation.inference import opening_of

    motion = played.motion
    origin = min([motion.stamps.min(), *(at for at, _, _ in played.outline[:1])])

    def curve(kind, of):
        # a frame stands for the middle of its audio
        seconds = (of.stamps - origin) / NS_PER_S + 0.5 / of.frame_rate
        return report.Curve(kind, seconds, 1e3 * opening_of(rig, of.weights), 1.0 / of.frame_rate)

    curves = [curve("made", motion)] + ([curve("reference", reference)] if reference is not None else [])
    voice = [((at - origin) / NS_PER_S, low, high) for at, low, high in played.outline]
    begins = (motion.stamps[motion.speaking] - origin) / NS_PER_S
    speaking = np.stack([begins, begins + 1.0 / motion.frame_rate], 1)
    return report.page(f"Replay of {Path(bag).name}", sections, curves, voice, speaking)


def _warn(sentence) -> None:
    print(f"streamingtalker: warning: {sentence}", flush=True)
