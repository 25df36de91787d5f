# SPDX-License-Identifier: Apache-2.0
"""Benchmark of a talker: time per stage, first frame, late against early frames, memory, concurrent voices.

Everything is measured on the running machine, one pass at a time, as a node runs it; nothing is extrapolated.
A pass of the blendshape family generates one frame, one of a vertex checkpoint `frames_per_step` frames.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import StreamProtocol, TalkerProtocol

WARM_UP_PASSES: Final = 20
"""Passes before anything is measured."""

_AUDIO_ROWS = 64  # different chunks of audio, used in turn

Work = Callable[[int], object]
"""Runs pass n."""


def time_passes(work: Work, count: int) -> npt.NDArray[np.float64]:
    """Run `work(n)` for n in 0..count - 1.

    Returns:
        (count,) wall-clock milliseconds.
    """
    times = np.empty(count)
    for n in range(count):
        start = time.perf_counter()
        work(n)
        times[n] = 1e3 * (time.perf_counter() - start)
    return times


def percentiles(times: np.ndarray) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile as p50, p95, p99.

    Args:
        times: (N,) durations in any unit, N at least 1.

    Returns:
        Name of the percentile -> value in the unit of `times`.
    """
    return {f"p{q}": float(np.percentile(times, q)) for q in (50, 95, 99)}


def resident_megabytes() -> float:
    """Resident memory of this process; NaN where /proc is missing."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return float("nan")


def noise(samples: int, rows: int = _AUDIO_ROWS, voices: int = 1) -> npt.NDArray[np.float32]:
    """White noise at speech level, (rows, voices, samples); the cost does not depend on the content."""
    return (np.random.default_rng(0).standard_normal((rows, voices, samples)) * 0.1).astype(np.float32)


class PassRunner:
    """Feeds a talker of either family the audio of one pass at a time.

    Attributes:
        talker: the talker.
        frames: frames that one pass generates.
        samples: samples of 16 kHz audio per pass (the average, where frames end between samples).
        audio: (rows, voices, samples) noise.
    """

    def __init__(self, talker: TalkerProtocol) -> None:
        self.talker, self.frames = talker, talker.frames_per_step
        self.samples = round(SAMPLE_RATE * self.frames / float(talker.frame_rate))
        self.audio = noise(self.samples)

    def open_stream(self, seed: int = 0) -> tuple[StreamProtocol, float]:
        """Open a stream and run it up to its first frames.

        Args:
            seed: Seed of the stream's random numbers.

        Returns:
            The stream, and the milliseconds of the call that returned the frames.
        """
        stream = self.talker.open_stream(seed=seed)
        while True:
            start = time.perf_counter()
            if stream.accept(self.audio[0, 0]):
                return stream, 1e3 * (time.perf_counter() - start)

    def step(self, *streams: StreamProtocol) -> Work:
        """Return the function that runs one pass of these streams as a batch."""

        def work(n: int) -> object:
            chunk = self.audio[n % len(self.audio), 0]
            return self.talker.accept(list(streams), [chunk] * len(streams))

        return work

    @property
    def budget_ms(self) -> float:
        """Milliseconds that a pass may take in real time."""
        return 1e3 * self.frames / float(self.talker.frame_rate)


@contextmanager
def timed_calls(owner: object, name: str, times: list[float]) -> Iterator[None]:
    """Within the context, append the milliseconds of every call of `owner.name` to `times`."""
    function, synchronize = getattr(owner, name), _synchronizer()

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        synchronize()
        times.append(1e3 * (time.perf_counter() - start))
        return result

    is_instance_attribute = name in vars(owner)
    object.__setattr__(owner, name, timed)
    try:
        yield
    finally:
        object.__delattr__(owner, name)
        if is_instance_attribute:
            object.__setattr__(owner, name, function)


def _synchronizer() -> Callable[[], None]:
    torch = sys.modules.get("torch")  # loaded by a talker that runs on it
    return torch.cuda.synchronize if torch is not None and torch.cuda.is_available() else lambda: None


def _stage_functions(talker: Any) -> dict[str, tuple[object, str]]:
    """Stage -> the object and the name of the method that runs it."""
    if talker.family == "vertex":
        return {
            "HuBERT": (talker, "encode_windows"),
            "predictor": (talker.network.predictor, "step"),
            "decoder": (talker.network.codec, "decode"),
        }
    return talker.backend.stages(talker.steps)


def measure_stages(talker: TalkerProtocol, count: int = 200) -> dict[str, dict[str, float]]:
    """Measure the time of each stage of a pass, for one voice.

    Args:
        talker: the talker.
        count: passes to measure.

    Returns:
        Stage -> percentiles in milliseconds; "other" is the remainder: resampling, controls, memory.
    """
    functions = _stage_functions(talker)
    runner = PassRunner(talker)
    stream, _ = runner.open_stream()
    work, rows = runner.step(stream), []
    time_passes(work, WARM_UP_PASSES)
    for n in range(count):
        times: dict[str, list[float]] = {name: [] for name in functions}
        with ExitStack() as stack:
            for name, function in functions.items():
                stack.enter_context(timed_calls(*function, times[name]))
            start = time.perf_counter()
            work(n)
            total = 1e3 * (time.perf_counter() - start)
        rows.append([*(sum(calls) for calls in times.values()), total])
    table = np.array(rows)  # (count, stages + 1)
    other = table[:, -1] - table[:, :-1].sum(1)
    return {
        **{name: percentiles(column) for name, column in zip(functions, table.T[:-1], strict=True)},
        "other": percentiles(other),
    }


def measure_stream(talker: TalkerProtocol, frames: int = 2000) -> dict[str, Any]:
    """Measure one long stream pass by pass.

    Args:
        talker: the talker.
        frames: length of the stream.

    Returns:
        Percentiles of a pass (p50, p95, p99, in ms); cpu: milliseconds of processor time per pass over all
        threads, which depends least on other programs; first_frame (ms); real_time_factor; late_over_early:
        median pass of the long stream over that of one of 200 frames (at most half as long), measured in
        turns; memory_growth_mb and memory_mb.
    """
    runner = PassRunner(talker)
    stream, first_frame = runner.open_stream()
    time_passes(runner.step(stream), WARM_UP_PASSES)
    memory, cpu_start = resident_megabytes(), time.process_time()
    times = time_passes(runner.step(stream), max(frames // runner.frames, 10))
    cpu = 1e3 * (time.process_time() - cpu_start) / len(times)
    growth = resident_megabytes() - memory
    young_stream, _ = runner.open_stream()
    time_passes(runner.step(young_stream), min(200 // runner.frames, len(times) // 2))
    late_and_early = runner.step(stream), runner.step(young_stream)
    turns = np.empty((min(1000, max(len(times) // 4, 5)), 2))  # late, early
    for n in range(len(turns)):
        for k in (0, 1) if n % 2 else (1, 0):  # alternate, so that the machine's load affects both alike
            turns[n, k] = time_passes(late_and_early[k], 1)[0]
    return {
        **percentiles(times),
        "cpu": cpu,
        "first_frame": first_frame,
        "frames": frames,
        "frames_per_pass": runner.frames,
        "real_time_factor": float(times.mean() / runner.budget_ms),
        "late_over_early": float(np.median(turns[:, 0]) / np.median(turns[:, 1])),
        "memory_growth_mb": growth,
        "memory_mb": resident_megabytes(),
    }


def measure_frames(
    talker: TalkerProtocol, indices: Sequence[int] = (1, 85, 300), window: int = 15
) -> dict[int, float]:
    """Measure the passes that generate some frames of one stream.

    Args:
        talker: the talker.
        indices: frame numbers.
        window: passes from there on, of which the median is taken.

    Returns:
        Frame number -> milliseconds.
    """
    runner = PassRunner(talker)
    stream, _ = runner.open_stream()  # which has generated frame 0
    times = time_passes(runner.step(stream), max(indices) // runner.frames + window)
    starts = [max(n // runner.frames - 1, 0) for n in indices]
    return {
        n: float(np.median(times[start : start + window])) for n, start in zip(indices, starts, strict=True)
    }


def measure_batches(
    talker: TalkerProtocol, counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64), passes: int = 60
) -> dict[int, dict[str, float]]:
    """Measure a pass of several voices stepped as one batch.

    Args:
        talker: the talker.
        counts: numbers of voices; those after the first that is slower than real time are left out.
        passes: passes to measure.

    Returns:
        Number of voices -> percentiles in milliseconds.
    """
    results: dict[int, dict[str, float]] = {}
    runner = PassRunner(talker)
    for count in counts:
        streams = [runner.open_stream(seed)[0] for seed in range(count)]
        work = runner.step(*streams)
        time_passes(work, 5)
        results[count] = percentiles(time_passes(work, passes))
        if results[count]["p95"] > runner.budget_ms:
            break
    return results


def run_benchmark(
    talker: TalkerProtocol, frames: int = 2000, max_voices: int = 64, passes: int = 60
) -> dict[str, Any]:
    """Run all measurements.

    Args:
        talker: the talker.
        frames: length of the long stream.
        max_voices: largest number of voices to step together.
        passes: passes per number of voices.

    Returns:
        The results as plain types, as `streamingtalker bench --json` prints them.
    """
    counts = [1 << n for n in range(11) if 1 << n <= max_voices]
    runner = PassRunner(talker)
    results: dict[str, Any] = {
        "machine": machine_info(),
        "model": talker.name,
        "device": str(talker.device),
        "backend": describe_backend(talker),
        "steps": talker.steps,
        "lookahead_ms": 1e3 * talker.lookahead,
        "budget_ms": runner.budget_ms,
        "frames_per_pass": runner.frames,
        "stages_ms": measure_stages(talker, min(200, passes * 4)),
        "one_voice": measure_stream(talker, frames),
    }
    batches = measure_batches(talker, counts, passes)
    results["voices_ms"] = {str(n): times for n, times in batches.items()}  # JSON has string keys
    results["voices_in_real_time"] = max(
        (n for n, times in batches.items() if times["p95"] <= runner.budget_ms), default=0
    )
    if talker.family == "vertex":
        results["at_frames_ms"] = {str(n): ms for n, ms in measure_frames(talker).items()}
    return results


def describe_backend(talker: TalkerProtocol) -> str:
    """Describe what computes the frames: library and version, precision, device, threads.

    Args:
        talker: the talker.
    """
    backend = getattr(talker, "backend", None)  # of the blendshape family
    if backend is not None:
        return str(backend.description)
    info = machine_info()
    return f"torch {info['torch']}, float32, {talker.device}, {info['threads']} thread(s)"


def machine_info() -> dict[str, Any]:
    """Describe the machine: cpu, cores, threads, load; torch and cuda, None unless torch is loaded."""
    torch = sys.modules.get("torch")  # loaded by a talker that runs on it
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": 1 if torch is None else torch.get_num_threads(),
        "torch": None if torch is None else torch.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
        "cuda": torch.cuda.get_device_name(0) if torch is not None and torch.cuda.is_available() else None,
    }
