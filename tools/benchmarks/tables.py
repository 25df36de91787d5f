# SPDX-License-Identifier: Apache-2.0
"""Measures every table of tools/benchmarks/README.md on this machine (`make bench`).

    python tools/benchmarks/tables.py [--quick] [--out tools/benchmarks/README.md]

Each case is one `streamingtalker bench --json` in its own process. Keep the machine idle meanwhile: the load
average before the first case is written into the file. --quick runs a tenth of it, as a check.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAPER = ((1, 0.5, 24), (1, 0.5, 60), (12, 1.0, 60), (12, 2.0, 60))  # hop, HuBERT's window in s, rows decoded


def run_bench(*options: str, threads: int = 1) -> dict[str, Any]:
    """Run one case and return its report; its other output goes to the terminal."""
    command = [
        sys.executable,
        "-m",
        "streamingtalker_ros",
        "bench",
        "--json",
        "--threads",
        str(threads),
        *options,
    ]
    print(" ".join(command[2:]), flush=True)
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def markdown_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; floats have two decimals."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(map(str, head)), ["---"] * len(head), *cells])


def percentiles(part: dict[str, float]) -> list[float]:
    """Return the p50, p95 and p99 of a report's entry."""
    return [part["p50"], part["p95"], part["p99"]]


def default_model(
    device: str, frames: int, threads: int, backend: str = "torch", precision: str = "float32"
) -> str:
    """Return the tables of the default model."""
    options = ["--device", device, "--backend", backend, "--precision", precision]
    report = run_bench(*options, "--frames", str(frames), "--streams", "128", threads=threads)
    one, times = report["one_voice"], report["voices_ms"]
    rows = [[name, *percentiles(part)] for name, part in report["stages_ms"].items()]
    rows.append(["one voice, all of it", *percentiles(one)])
    alone = times["1"]["p50"]
    voices = [[n, *percentiles(cost), f"{cost['p50'] / (int(n) * alone):.2f}"] for n, cost in times.items()]
    facts = markdown_table(
        ["figure", ""],
        [
            ["processor time per frame, ms", one["cpu"]],
            ["first frame after the last sample it needs, ms", one["first_frame"]],
            ["look-ahead, ms", f"{report['lookahead_ms']:.0f}"],
            ["real-time factor", f"{one['real_time_factor']:.3f}"],
            [f"cost of frame {frames} over that of frame 200", f"{one['late_over_early']:.3f}"],
            [f"growth of memory over {frames} frames, MB", one["memory_growth_mb"]],
            ["resident memory, MB", f"{one['memory_mb']:.0f}"],
            ["voices in real time", report["voices_in_real_time"]],
        ],
    )
    return "\n\n".join(
        (
            markdown_table(["ms per frame", "p50", "p95", "p99"], rows),
            facts,
            markdown_table(["voices stepped together", "p50", "p95", "p99", "of as many alone"], voices),
        )
    )


def paper_sized(device: str, threads: int, frames: int) -> str:
    """Return the tables of a paper-sized vertex network: cost per pass, and cost over time."""
    rows: list[list[object]] = []
    flat: list[list[object]] = []
    marks: list[str] = []
    for hop, window, decode in PAPER:
        report = run_bench(
            "--paper",
            "--device",
            device,
            "--frames",
            str(frames * hop),
            "--streams",
            "8",
            "--hop",
            str(hop),
            "--window",
            str(window),
            "--decode",
            str(decode),
            threads=threads,
        )
        one, stage = report["one_voice"], report["stages_ms"]
        rows.append(
            [
                hop,
                window,
                decode,
                *(stage[name]["p50"] for name in ("HuBERT", "predictor", "decoder")),
                one["p50"],
                one["p99"],
                one["p50"] / hop,
                one["first_frame"],
                f"{one['real_time_factor']:.2f}",
                report["voices_in_real_time"],
            ]
        )
        marks = list(report["at_frames_ms"])
        flat.append([f"hop {hop}, {window:g} s, {decode} rows", *report["at_frames_ms"].values()])
    return "\n\n".join(
        (
            markdown_table(
                [
                    "hop",
                    "window, s",
                    "rows decoded",
                    "HuBERT",
                    "predictor",
                    "decoder",
                    "pass p50",
                    "pass p99",
                    "per frame",
                    "first frame",
                    "real-time factor",
                    "voices in real time",
                ],
                rows,
            ),
            markdown_table(["ms of the pass at frame", *marks], flat),
        )
    )


def describe_machine() -> tuple[str, bool]:
    """Return a description of the machine and whether it has CUDA."""
    from importlib.metadata import version

    import torch

    name = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores of {name}, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, "
        f"onnxruntime {version('onnxruntime')}, transformers {version('transformers')}, "
        f"{datetime.date.today()}, load average at the start {os.getloadavg()[0]:.2f}"
    ), torch.cuda.is_available()


def main() -> None:
    """Measure all tables and write the file."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--out", type=Path, default=HERE / "README.md")
    args = parser.parse_args()
    sys.path.insert(0, str(HERE.parents[1]))
    frames, passes, started = (600, 6, time.monotonic()) if args.quick else (20000, 60, time.monotonic())
    where, cuda = describe_machine()
    parts = [
        TEXT.format(where=where, frames=frames),
        "## Default model, ONNX Runtime, int8\n\n" + default_model("cpu", frames, 1, "onnx", "int8"),
        "## Default model, ONNX Runtime, float32\n\n" + default_model("cpu", min(frames, 2000), 1, "onnx"),
        "## Default model, torch, one thread\n\n" + default_model("cpu", frames, 1),
        "## Default model, torch, two threads\n\n" + default_model("cpu", min(frames, 2000), 2),
        "## Paper-sized VOCASET network, two threads\n\n"
        + VERTEX_TEXT
        + "\n\n"
        + paper_sized("cpu", 2, passes),
    ]
    if cuda:
        parts += [
            "## Default model, CUDA\n\n" + default_model("cuda", frames, 1),
            "## Paper-sized VOCASET network, CUDA\n\n" + paper_sized("cuda", 1, passes),
        ]
    else:
        parts += ["## CUDA\n\nNot measured: no GPU was available."]
    parts += [f"Measured in {(time.monotonic() - started) / 60:.0f} minutes."]
    args.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"{args.out}: written")


TEXT = """# What a frame costs

Machine: {where}.

`make bench` (or `python tools/benchmarks/tables.py`) measures everything here and writes this file; each
section is one `streamingtalker bench` with the options in `tools/benchmarks/tables.py`. A frame of the
default model lasts 40 ms. The audio is noise: the cost does not depend on it. "Of as many alone" is the time
of N voices stepped together divided by N times that of one. The long stream has {frames} frames; its last
frames are measured in turns with those of a stream that is 200 frames old.

Other tables: the backends in turns, and their quality (`tools/benchmarks/backends.py`, in
[docs/model.md](../../docs/model.md#backends)), the effect of diffusion steps
(`tools/benchmarks/steps.py`), the cost of each part of the conversation layer in
[docs/conversation.md](../../docs/conversation.md#cost) (`tools/benchmarks/conversation_cost.py`), and
what emotions change of speech (`tools/benchmarks/emotions.py`), the accuracy of bounded streaming of a
published checkpoint in [docs/vertex.md](../../docs/vertex.md) (`tools/benchmarks/vertex_windows.py`), the
delay of resampling in [docs/audio.md](../../docs/audio.md)
(`tools/benchmarks/resample_delay.py`)."""

VERTEX_TEXT = """\
240 M parameters with random weights, HuBERT base included, 5,023 vertices, 30 frames/s, 50 DDIM steps
collapsed into one matrix. Milliseconds per pass of `hop` frames; a pass lasts 33 ms at hop 1 and 400 ms at
hop 12. For comparison, the published code on a machine like this one: 111 ms at frame 1, 371 ms at frame
85, 3 ms more with every frame."""


if __name__ == "__main__":
    main()
