# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker bench`: time of a frame on this machine, by stage, stream length and number of voices."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streamingtalker_ros.cli.argument_types import MAX_PROCESSES, add_backend_options, integer, number
from streamingtalker_ros.process import print_result

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol

HELP = "measure what a frame costs on this machine"

MAX_VOICES = 65_536
MAX_PASS_FRAMES = 100_000
MAX_AUDIO_S = 3600.0

VERTEX_LIMITS = {"hop": "chunk_frames", "window": "window", "context": "context", "decode": "decode_frames"}
"""Option -> argument of `VertexTalker`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    parser.add_argument(
        "--model", metavar="DIR", help="checkpoint folder of either family; the default one when left out"
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="the paper's VOCASET network with random weights instead (240 M parameters; needs transformers)",
    )
    add_backend_options(parser)
    parser.add_argument("--threads", type=integer(1, MAX_PROCESSES), default=1, help="CPU threads")
    parser.add_argument("--frames", type=integer(1), default=2000, help="frames of the long stream")
    parser.add_argument(
        "--streams",
        type=integer(1, MAX_VOICES),
        default=64,
        metavar="N",
        help="maximum number of concurrent voices",
    )
    parser.add_argument(
        "--hop", type=integer(1, MAX_PASS_FRAMES), help="of a vertex checkpoint: frames per pass"
    )
    parser.add_argument(
        "--window", type=number(0, MAX_AUDIO_S), help="of a vertex checkpoint: seconds of audio before a pass"
    )
    parser.add_argument(
        "--context",
        type=number(0, MAX_AUDIO_S),
        help="of a vertex checkpoint: seconds of audio that it waits for after a pass",
    )
    parser.add_argument(
        "--decode",
        type=integer(1, MAX_PASS_FRAMES),
        help="of a vertex checkpoint: latents that are decoded together",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If an option or the checkpoint is invalid, or a package is missing.
    """
    from streamingtalker_ros.evaluation import bench

    talker = load_talker(args)
    torch = sys.modules.get("torch")  # loaded by the talker, where it runs on it
    if torch is not None:
        torch.set_num_threads(args.threads)
    passes = 20 if talker.family == "vertex" else 60
    results = bench.run_benchmark(talker, args.frames, args.streams, passes)
    print_result(json.dumps(results, indent=2) if args.json else "\n".join(format_results(results)))
    return 0


def load_talker(args: argparse.Namespace) -> TalkerProtocol:
    """Load the talker that the options name.

    Args:
        args: Parsed command line. `paper` selects the paper's network with random weights instead of `model`;
            `device` applies to both. `hop`, `window`, `context` and `decode` are limits of a vertex talker;
            None keeps the default.

    Returns:
        The talker, on the chosen device.
    """
    from streamingtalker_ros.streaming import talker

    limits = {
        keyword: getattr(args, option)
        for option, keyword in VERTEX_LIMITS.items()
        if getattr(args, option) is not None
    }
    if not args.paper:
        return talker.load_talker(args.model, args.device, args.backend, args.precision, **limits)
    from streamingtalker_ros.evaluation.random_vertex_network import random_network
    from streamingtalker_ros.model.devices import choose_device
    from streamingtalker_ros.model.vertex.streaming import VertexTalker

    return VertexTalker(random_network(), choose_device(args.device), **limits)


def format_results(results: Mapping[str, Any]) -> Iterator[str]:
    """Format the results of `bench.run_benchmark` as lines of text."""
    stream, budget, machine = results["one_voice"], results["budget_ms"], results["machine"]
    unit = "pass" if results["frames_per_pass"] > 1 else "frame"
    processor = machine["cuda"] if results["device"].startswith("cuda") else machine["cpu"]
    yield (
        f"{processor}; {results['backend']}; load {machine['load']:.1f}; model {results['model']}, "
        f"{results['steps']} diffusion steps, look-ahead {results['lookahead_ms']:.0f} ms"
        + (f", {results['frames_per_pass']} frames per pass" if unit == "pass" else "")
    )
    yield f"{f'ms per {unit}':>24} {'p50':>8} {'p95':>8} {'p99':>8}"
    rows = {
        **results["stages_ms"],
        "one voice, total": stream,
        **{f"{n} voices, total": times for n, times in results["voices_ms"].items() if n != "1"},
    }
    for name, row in rows.items():
        yield f"{name:>24} {row['p50']:8.2f} {row['p95']:8.2f} {row['p99']:8.2f}"
    yield (
        f"first frame {stream['first_frame']:.1f} ms, real-time factor {stream['real_time_factor']:.3f}, "
        f"frame {stream['frames']} costs {stream['late_over_early']:.3f} of frame 200, "
        f"memory {stream['memory_mb']:.0f} MB, growth {stream['memory_growth_mb']:.1f} MB, "
        f"{results['voices_in_real_time']} voices in real time (a {unit} lasts {budget:.0f} ms)"
    )
    yield (
        f"this machine: {stream['p50']:.2f} ms (p50) and {stream['p99']:.2f} ms (p99) per {unit} of "
        f"{budget:.0f} ms, real-time factor {stream['real_time_factor']:.3f}, {results['backend']}"
    )
    if "at_frames_ms" in results:
        yield "ms of the pass at frame " + ", ".join(
            f"{n}: {ms:.1f}" for n, ms in results["at_frames_ms"].items()
        )
