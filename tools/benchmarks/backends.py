# SPDX-License-Identifier: Apache-2.0
"""Cost and quality of torch and ONNX Runtime (float32, int8) on the default model, as Markdown tables.

    python tools/benchmarks/backends.py [--corpus DIR[:SPLIT] …] [--model DIR] [--rounds 40]

The backends are timed in turns, one thread each, so that a busy machine disturbs them alike; a difference of
quality is one of the same clips, seeds and measures. The checkpoint needs its graphs:
`streamingtalker convert --onnx`.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np

BACKENDS: Final = (("torch", "float32"), ("onnx", "float32"), ("onnx", "int8"))
PASSES: Final = 50
"""Frames of a backend before it is the next one's turn."""
VOICES: Final = (1, 2, 4, 8, 16, 32)


def measure_in_turns(
    work: Mapping[str, Callable[[int], object]], rounds: int, passes: int = PASSES
) -> dict[str, float]:
    """Measure the processor time of functions in turns; a busy machine counts less than in elapsed time.

    Args:
        work: Functions of the number of their call.
        rounds: Turns of each.
        passes: Calls in a turn.

    Returns:
        The median processor time of each function's calls, milliseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    order = list(work)
    for turn in range(rounds + 1):
        for name in order if turn % 2 else order[::-1]:
            for n in range(passes):
                start = time.thread_time()
                work[name](n)
                if turn:  # the first turn warms up
                    times[name].append(time.thread_time() - start)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def print_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; floats have three decimals."""
    for row in (head, ["---"] * len(head), *rows):
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |", flush=True)
    print(flush=True)


def measure_cost(talkers: Mapping[str, Any], rounds: int) -> None:
    """Print the cost of a frame: of the network, of `accept`, and of several voices stepped together."""
    from streamingtalker_ros.evaluation import bench

    hops = bench.noise(next(iter(talkers.values())).hop)[:, 0]
    network: dict[str, Callable[[int], object]] = {}
    accept: dict[str, Callable[[int], object]] = {}
    for name, talker in talkers.items():
        backend, steps = talker.backend, talker.steps
        row, noise = backend.open_row(), np.zeros((1, talker.config.latent_dim), np.float32)

        def step(
            n: int, backend: Any = backend, row: int = row, noise: Any = noise, steps: int = steps
        ) -> object:
            features, _ = backend.encode_hops([row], hops[n % len(hops)][None])
            return backend.generate([row], features, noise, [0], steps)

        network[name] = step
        stream = talker.open_stream()
        accept[name] = lambda n, stream=stream: stream.accept(hops[n % len(hops)])
    costs = {
        "network": measure_in_turns(network, rounds),
        "all of `accept`": measure_in_turns(accept, rounds),
    }
    first = next(iter(talkers))
    print_table(
        [
            "processor time of a frame, ms, p50",
            *talkers,
            *(f"{name} / {first}" for name in list(talkers)[1:]),
        ],
        [
            [part, *times.values(), *(time / times[first] for time in list(times.values())[1:])]
            for part, times in costs.items()
        ],
    )
    rows: list[list[object]] = []
    for count in VOICES:
        work: dict[str, Callable[[int], object]] = {}
        for name, talker in talkers.items():
            streams = [talker.open_stream(seed=seed) for seed in range(count)]

            def together(n: int, talker: Any = talker, streams: Any = streams) -> object:
                return talker.accept(streams, [hops[n % len(hops)]] * len(streams))

            work[name] = together
        rows.append([count, *measure_in_turns(work, max(rounds // 8, 2), 20).values()])
    print_table(["voices stepped together, ms", *talkers], rows)


def measure_quality(talkers: Mapping[str, Any], corpora: Sequence[str]) -> None:
    """Print the scores of each backend on corpora, and the speed of the lips without speech."""
    from streamingtalker_ros.evaluation import non_speech
    from streamingtalker_ros.evaluation.inference import synthesize_batch
    from streamingtalker_ros.evaluation.motion_curves import MotionCurves
    from streamingtalker_ros.evaluation.test_set import load_test_set, score
    from streamingtalker_ros.face.default_head.stored import default_rig

    rig = default_rig()
    rows: list[list[object]] = []
    for folder in corpora:
        test_set = load_test_set(rig, folder, "test")
        reference: list[Any] = []
        for name, talker in talkers.items():
            motion = synthesize_batch(talker, [clip.pcm for clip in test_set.clips])
            weights = [clip_weights for clip_weights, _, _ in motion]
            scores, _ = score(rig, test_set, [MotionCurves.from_weights(rig, each) for each in weights])
            reference = reference or weights
            difference = np.concatenate(
                [np.abs(a - b).ravel() for a, b in zip(weights, reference, strict=True)]
            )
            rows.append(
                [
                    f"{test_set.name} ({len(test_set.clips)} clips)",
                    name,
                    scores["lip_opening_r_median"],
                    scores["lip_width_r_median"],
                    100.0 * scores["closure_recall"],
                    100.0 * scores["false_closures"],
                    scores["lip_opening_error_mm"],
                    float(difference.mean()),
                    float(difference.max()),
                ]
            )
    print_table(
        [
            "corpus",
            "backend",
            "r of lip opening",
            "r of lip width",
            "closure recall, %",
            "false closures, %",
            "lip-opening error, mm",
            "weights: mean difference",
            "maximum",
        ],
        rows,
    )
    speeds = [non_speech.lip_speed_without_speech(talker, rig, 1e-3, 10.0) for talker in talkers.values()]
    print_table(
        ["lip speed without speech, p95, mm/s", *talkers],
        [[sound, *(each[sound] for each in speeds)] for sound in speeds[0]],
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=None, help="checkpoint folder; the default one when left out")
    parser.add_argument(
        "--corpus", action="append", default=[], help="folder made by `streamingtalker corpus`"
    )
    parser.add_argument("--rounds", type=int, default=40, help="turns of each backend; 0: no cost")
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    from streamingtalker_ros.streaming import Talker

    talkers = {
        f"{backend} {precision}": cast(Talker, Talker.load(args.model, "cpu", backend, precision))
        for backend, precision in BACKENDS
    }
    for name, talker in talkers.items():
        print(f"{name}: {talker.backend.description}")
    print()
    if args.rounds:
        measure_cost(talkers, args.rounds)
    if args.corpus:
        measure_quality(talkers, args.corpus)


if __name__ == "__main__":
    main()
