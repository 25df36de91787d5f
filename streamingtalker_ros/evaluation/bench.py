# SPDX-License-Identifier: Apache-2.0
"""What a frame costs: milliseconds by stage, first frame, late against early, memory, how many voices in real time.

Everything is measured on the running machine, one pass at a time, as a node runs it; nothing is extrapolated. A pass
of the default family makes one frame, one of a published checkpoint `hop` frames.
"""

import os
import platform
import time
from contextlib import contextmanager

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import require

WARM = 20  # passes before anything is measured


def milliseconds(work, count):
    """Run work(n) `count` times: (count,) float array of wall-clock milliseconds."""
    out = np.empty(count)
    for n in range(count):
        start = time.perf_counter()
        work(n)
        out[n] = 1e3 * (time.perf_counter() - start)
    return out


def percentiles(times):
    return {f"p{q}": float(np.percentile(times, q)) for q in (50, 95, 99)}


def resident_megabytes():
    """Resident memory of this process; NaN where /proc does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return float("nan")


def noise(samples, rows=64, voices=1):
    """Speech-like noise, (rows, voices, samples) float32: cost does not depend on what is said."""
    return (np.random.default_rng(0).standard_normal((rows, voices, samples)) * 0.1).astype(np.float32)


class Feed:
    """Gives a model of either family the audio of one pass at a time.

    frames: that a pass makes; samples: of 16 kHz audio that bring one pass on (the average, where frames end between
    samples); lead: passes of audio until the first frame.
    """

    def __init__(self, model) -> None:
        self.model, self.frames = model, model.frames_per_step
        self.samples = round(SAMPLE_RATE * self.frames / float(model.frame_rate))
        self.audio = noise(self.samples)

    def open(self, seed=0):
        """A stream that has just given its first frames, and the milliseconds of the call that gave them."""
        stream = self.model.open_stream(seed=seed)
        while True:
            start = time.perf_counter()
            if stream.accept(self.audio[0, 0]):
                return stream, 1e3 * (time.perf_counter() - start)

    def pass_of(self, *streams):
        """What one pass of these streams together is, as work(n)."""
        return lambda n: self.model.accept(list(streams), [self.audio[n % len(self.audio), 0]] * len(streams))

    @property
    def budget(self):
        """Milliseconds that a pass may take in real time."""
        return 1e3 * self.frames / float(self.model.frame_rate)


@contextmanager
def watched(owner, name, times):
    """While it lasts, every call of owner.name adds its milliseconds to the end of the list `times`."""
    inner, wait = getattr(owner, name), _synchronise()

    def outer(*given, **named):
        start = time.perf_counter()
        result = inner(*given, **named)
        wait()
        times.append(1e3 * (time.perf_counter() - start))
        return result

    own = name in vars(owner)
    object.__setattr__(owner, name, outer)
    try:
        yield
    finally:
        object.__delattr__(owner, name)
        if own:
            object.__setattr__(owner, name, inner)


def _synchronise():
    torch = require("torch", "the benchmark")
    return torch.cuda.synchronize if torch.cuda.is_available() else lambda: None


def stages(model, count=200):
    """Milliseconds per pass and stage of one voice: {stage: percentiles}; what remains is sampling, control, memory."""
    if model.family == "vertex":
        parts = {
            "HuBERT": (model, "encode_windows"),
            "predictor": (model.network.predictor, "step"),
            "decoder": (model.network.codec, "decode"),
        }
    else:
        sampler, fused = model.sampler(model.steps), model.fused
        parts = {
            "encoder": (fused, "encode_hop"),
            "predictor": (fused, "predictor"),
            "head": (sampler, "_sample"),
            "decoder": (fused, "decoder"),
        }
    feed = Feed(model)
    stream, _ = feed.open()
    work, rows = feed.pass_of(stream), []
    milliseconds(work, WARM)
    for n in range(count):
        times = {name: [] for name in parts}
        contexts = [watched(*part, times[name]) for name, part in parts.items()]
        for context in contexts:
            context.__enter__()
        total = milliseconds(lambda _: work(n), 1)[0]
        for context in contexts:
            context.__exit__(None, None, None)
        rows.append([*(sum(part) for part in times.values()), total])
    rows = np.array(rows)  # (count, stages + 1)
    rest = rows[:, -1] - rows[:, :-1].sum(1)
    return {
        **{name: percentiles(column) for name, column in zip(parts, rows.T)},
        "the rest": percentiles(rest),
    }


def one_voice(model, frames=2000):
    """A stream pass by pass over `frames` frames: percentiles per pass, first frame, real-time factor, memory growth.

    cpu: milliseconds of processor time per pass, of all threads: what other programs on the machine change least.
    late_over_early: the old stream against one of 200 frames (at most half as old), in turns, so that the machine's
    moods meet both.
    """
    feed = Feed(model)
    stream, first = feed.open()
    milliseconds(feed.pass_of(stream), WARM)
    before, started = resident_megabytes(), time.process_time()
    times = milliseconds(feed.pass_of(stream), max(frames // feed.frames, 10))
    busy, growth = 1e3 * (time.process_time() - started) / len(times), resident_megabytes() - before
    young, _ = feed.open()
    milliseconds(feed.pass_of(young), min(200 // feed.frames, len(times) // 2))
    late, early = feed.pass_of(stream), feed.pass_of(young)
    turns = np.empty((min(1000, max(len(times) // 4, 5)), 2))  # late, early
    for n in range(len(turns)):
        for which in (0, 1) if n % 2 else (1, 0):
            turns[n, which] = milliseconds((late, early)[which], 1)[0]
    return {
        **percentiles(times),
        "cpu": busy,
        "first_frame": first,
        "frames": frames,
        "frames_per_pass": feed.frames,
        "real_time_factor": float(times.mean() / feed.budget),
        "late_over_early": float(np.median(turns[:, 0]) / np.median(turns[:, 1])),
        "memory_growth_mb": growth,
        "memory_mb": resident_megabytes(),
    }


def at_frames(model, marks=(1, 85, 300), around=15):
    """Milliseconds of the pass that makes frame n: {n: median over `around` passes from there on}, of one stream."""
    feed = Feed(model)
    stream, _ = feed.open()  # which has given frame 0
    times = milliseconds(feed.pass_of(stream), max(marks) // feed.frames + around)
    first = [max(n // feed.frames - 1, 0) for n in marks]
    return {n: float(np.median(times[at : at + around])) for n, at in zip(marks, first)}


def many_voices(model, counts=(1, 2, 4, 8, 16, 32, 64), passes=60):
    """Milliseconds for one pass of N voices stepped together: {N: percentiles}; stops when real time is lost."""
    out, feed = {}, Feed(model)
    for count in counts:
        streams = [feed.open(seed)[0] for seed in range(count)]
        work = feed.pass_of(*streams)
        milliseconds(work, 5)
        out[count] = percentiles(milliseconds(work, passes))
        if out[count]["p95"] > feed.budget:
            break
    return out


def report(model, frames=2000, most=64, passes=60):
    """All figures of a model, as a dict; `cli/bench.py` prints it."""
    counts = [1 << n for n in range(11) if 1 << n <= most]
    feed = Feed(model)
    out = {
        "machine": machine(),
        "model": model.name,
        "device": str(model.device),
        "steps": model.steps,
        "lookahead_ms": 1e3 * model.lookahead,
        "budget_ms": feed.budget,
        "frames_per_pass": feed.frames,
        "stages_ms": stages(model, min(200, passes * 4)),
        "one_voice": one_voice(model, frames),
    }
    voices = many_voices(model, counts, passes)
    out["voices_ms"] = {str(n): cost for n, cost in voices.items()}  # names, as JSON has them
    out["voices_in_real_time"] = max(
        (n for n, cost in voices.items() if cost["p95"] <= feed.budget), default=0
    )
    if model.family == "vertex":
        out["at_frames_ms"] = {str(n): cost for n, cost in at_frames(model).items()}
    return out


def machine():
    """Names the machine that the figures belong to."""
    torch = require("torch", "the benchmark")
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }
