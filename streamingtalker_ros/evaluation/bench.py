"""What a frame costs: milliseconds by stage, first frame, early against late, memory, how many voices in real time.

Everything is measured on the running machine, one hop at a time, as a node runs it; nothing is extrapolated.
"""
import os
import platform
import time

import numpy as np

from ..errors import require


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


def noise_hops(hop, count, voices=1):
    """Speech-like noise, (count, voices, hop) float32: cost does not depend on what is said."""
    return (np.random.default_rng(0).standard_normal((count, voices, hop)) * 0.1).astype(np.float32)


def stages(talker, frames=300):
    """Milliseconds per frame and stage of the default family, one voice: {stage: percentiles}."""
    torch = require("torch", "the benchmark")
    network, sampler = talker.network, talker.sampler(talker.steps)
    state = network.state(1)
    style = torch.zeros(1, dtype=torch.int64, device=talker.device)
    hops = torch.from_numpy(noise_hops(talker.hop, frames)).to(talker.device)
    noise = torch.randn(frames, 1, network.config.latent_dim, device=talker.device)
    wait = torch.cuda.synchronize if talker.device.startswith("cuda") else lambda: None
    made = {}

    def stage(name, work):
        def timed(n):
            made[name] = work(n)
            wait()
        return timed

    parts = {
        "encoder": stage("feature", lambda n: network.listen(hops[n], state)[0]),
        "predictor": stage("condition", lambda n: network.predictor.step(state.latent, made["feature"], style,
                                                                         state.predictor)),
        "head": stage("latent", lambda n: sampler(made["condition"], noise[n])),
        "decoder": stage("motion", lambda n: network.codec.decode(made["latent"][:, None], state.codec)),
    }
    times = {name: np.empty(frames) for name in parts}
    with torch.inference_mode():
        for n in range(frames):
            for name, part in parts.items():
                times[name][n] = milliseconds(lambda _: part(n), 1)[0]
    return {name: percentiles(part[20:]) for name, part in times.items()}


def one_voice(talker, frames=2000):
    """A stream hop by hop: percentiles, first frame, real-time factor, late against early, memory growth."""
    stream = talker.open_stream()
    hops = noise_hops(talker.hop, 256)[:, 0]
    first = 0.0
    while True:  # the first frame needs its look-ahead too
        start = time.perf_counter()
        got = stream.accept(hops[0])
        first = 1e3 * (time.perf_counter() - start)
        if got:
            break
    milliseconds(lambda n: stream.accept(hops[n % 256]), 200)
    before = resident_megabytes()
    times = milliseconds(lambda n: stream.accept(hops[n % 256]), frames)
    part = min(1000, frames // 3)
    return {**percentiles(times), "first_frame": first, "frames": frames,
            "real_time_factor": float(times.mean() * 1e-3 * talker.frame_rate),
            "late_over_early": float(np.median(times[-part:]) / np.median(times[:part])),
            "memory_growth_mb": resident_megabytes() - before, "memory_mb": resident_megabytes()}


def many_voices(talker, counts=(1, 2, 4, 8, 16, 32, 64), frames=60):
    """Milliseconds for one frame of N voices stepped together: {N: percentiles}; stops when real time is lost."""
    out = {}
    for count in counts:
        streams = [talker.open_stream(seed=seed) for seed in range(count)]
        hops = noise_hops(talker.hop, 8, count)
        milliseconds(lambda n: talker.accept(streams, list(hops[n % 8])), 10)
        out[count] = percentiles(milliseconds(lambda n: talker.accept(streams, list(hops[n % 8])), frames))
        if out[count]["p95"] > 1e3 / talker.frame_rate:
            break
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
    return {"cpu": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
            "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None}
