# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker bench`: what a frame costs on this machine, by stage, over time and over voices."""

import json

from streamingtalker_ros.errors import TalkerError, require

HELP = "measure what a frame costs on this machine"

LIMITS = {"hop": "chunk_frames", "window": "window", "context": "context", "decode": "decode_frames"}


def add_arguments(parser) -> None:
    parser.add_argument(
        "--model", metavar="DIR", help="checkpoint folder of either family; the default one when left out"
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="instead, the paper-sized VOCASET network with random "
        "weights (240 M parameters; needs transformers)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--frames", type=int, default=2000, help="frames of the long stream")
    parser.add_argument("--streams", type=int, default=64, metavar="N", help="most voices to try at once")
    parser.add_argument("--hop", type=int, help="of a published model: frames per pass")
    parser.add_argument(
        "--window", type=float, help="of a published model: seconds of audio that HuBERT hears"
    )
    parser.add_argument(
        "--context", type=float, help="of a published model: seconds it waits for after a pass"
    )
    parser.add_argument("--decode", type=int, help="of a published model: rows of latents decoded together")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args) -> int:
    torch = require("torch", "the benchmark")
    if args.threads < 1 or args.streams < 1 or args.frames < 1:
        raise TalkerError("--threads, --streams and --frames are counts: give 1 or more")
    torch.set_num_threads(args.threads)
    from streamingtalker_ros.evaluation import bench

    model = load(args)
    published = model.family == "vertex"
    report = bench.report(model, args.frames, args.streams, passes=20 if published else 60)
    print(json.dumps(report, indent=2) if args.json else "\n".join(lines(report)))
    return 0


def load(args):
    """The model that the arguments name."""
    from streamingtalker_ros.streaming.talker import choose_device, load_talker

    limits = {
        keyword: getattr(args, option)
        for option, keyword in LIMITS.items()
        if getattr(args, option) is not None
    }
    if args.paper:
        from streamingtalker_ros.evaluation.random_vertex_network import random_network
        from streamingtalker_ros.model.vertex.streaming import VertexTalker

        return VertexTalker(random_network(), choose_device(args.device), **limits)
    return load_talker(args.model, args.device, **limits)


def lines(report):
    """The report as lines of text."""
    one, budget, machine = report["one_voice"], report["budget_ms"], report["machine"]
    per = "pass" if report["frames_per_pass"] > 1 else "frame"
    where = f"{machine['cpu']}, {machine['threads']} thread(s)"
    where = machine["cuda"] if report["device"].startswith("cuda") else where
    yield (
        f"{where}, torch {machine['torch']}, load {machine['load']:.1f}; model {report['model']}, "
        f"{report['steps']} diffusion steps, look-ahead {report['lookahead_ms']:.0f} ms"
        + (f", {report['frames_per_pass']} frames per pass" if per == "pass" else "")
    )
    yield f"{'ms per ' + per:>24} {'p50':>8} {'p95':>8} {'p99':>8}"
    rows = {
        **report["stages_ms"],
        "one voice, all of it": one,
        **{f"{n} voices together": t for n, t in report["voices_ms"].items() if n != "1"},
    }
    for name, row in rows.items():
        yield f"{name:>24} {row['p50']:8.2f} {row['p95']:8.2f} {row['p99']:8.2f}"
    yield (
        f"first frame {one['first_frame']:.1f} ms, real-time factor {one['real_time_factor']:.3f}, "
        f"frame {one['frames']} costs {one['late_over_early']:.3f} of frame 200, "
        f"memory {one['memory_mb']:.0f} MB, growth {one['memory_growth_mb']:.1f} MB, "
        f"{report['voices_in_real_time']} voices in real time (a {per} lasts {budget:.0f} ms)"
    )
    if "at_frames_ms" in report:
        yield "ms of the pass at frame " + ", ".join(
            f"{n}: {cost:.1f}" for n, cost in report["at_frames_ms"].items()
        )
