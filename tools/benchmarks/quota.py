# SPDX-License-Identifier: Apache-2.0
"""Real time on a fraction of one core: the node without ROS hears speech while its processor time is limited.

    python tools/benchmarks/quota.py [--percent 25] [--minutes 5] [--param precision=int8]

A control group with a quota limits the talker (`cpu.max`, or `cpu.cfs_quota_us`), pinned to one core. Where
none can be made, or it has no effect, which is tried first, the talker is stopped and continued by signals:
it runs `percent` of each 100 ms and stands still for the rest, whether it has work or not, which is harder
than a quota. The exit code is 1 if a frame was dropped or is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PERIOD_S = 0.1
"""Period of the quota, that of the kernel's default."""

SAMPLE_RATE, FRAME_RATE = 16_000, 25
TRIAL_S = 1.0
MAX_START_S = 120.0


def busy(seconds: float) -> subprocess.Popen[bytes]:
    """Start a process that needs `seconds` of processor time."""
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    return subprocess.Popen([sys.executable, "-c", code])


class Quota:
    """A control group with a quota of processor time.

    Args:
        percent: Of one core.

    Raises:
        OSError: If none can be made here.
    """

    def __init__(self, percent: float) -> None:
        name, period_us = f"streamingtalker-{os.getpid()}", round(1e6 * PERIOD_S)
        quota_us = round(period_us * percent / 100.0)
        root = Path("/sys/fs/cgroup")
        is_unified = (root / "cgroup.controllers").exists()
        self.folder = root / name if is_unified else root / "cpu" / name
        self.folder.mkdir()
        try:
            if is_unified:
                (self.folder / "cpu.max").write_text(f"{quota_us} {period_us}")
            else:
                (self.folder / "cpu.cfs_period_us").write_text(str(period_us))
                (self.folder / "cpu.cfs_quota_us").write_text(str(quota_us))
        except OSError:
            self.close()
            raise

    def add(self, process: int) -> None:
        """Limit a process and the threads that it starts from now on."""
        (self.folder / "cgroup.procs").write_text(str(process))

    def is_effective(self, percent: float) -> bool:
        """Return whether the quota slows a busy process down."""
        process = busy(TRIAL_S)
        try:
            self.add(process.pid)
            start = time.monotonic()
            process.wait()
            return time.monotonic() - start > 0.7 * TRIAL_S * 100.0 / percent
        except OSError:
            process.kill()
            process.wait()
            return False

    def close(self) -> None:
        """Remove the group."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


@contextlib.contextmanager
def duty_cycle(process: subprocess.Popen[bytes], percent: float) -> Iterator[None]:
    """Let a process run for `percent` of each period only, by SIGSTOP and SIGCONT."""
    ended = threading.Event()

    def switch() -> None:
        next_time = time.monotonic()
        while not ended.is_set() and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            ended.wait(max(0.0, next_time + PERIOD_S * percent / 100.0 - time.monotonic()))
            process.send_signal(signal.SIGSTOP)
            next_time = max(next_time + PERIOD_S, time.monotonic())
            ended.wait(max(0.0, next_time - time.monotonic()))
        process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=switch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, user and system; NaN where /proc is missing."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return float("nan")


def write_speech(path: Path, seconds: float) -> None:
    """Write the demo's voice, repeated, as a WAV file at 16 kHz."""
    import soundfile

    from streamingtalker_ros.audio.files import read_audio
    from streamingtalker_ros.audio.resample import to_16k
    from streamingtalker_ros.resources import DEMO_AUDIO

    voice = np.round(to_16k(*read_audio(DEMO_AUDIO)) * 32767).astype(np.int16)
    soundfile.write(path, np.resize(voice, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)


def main() -> int:
    """Measure and print.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--percent", type=float, default=25.0, help="of one core")
    parser.add_argument("--minutes", type=float, default=5.0, help="of speech")
    parser.add_argument("--param", action="append", default=[], help="parameter of the talker, NAME=VALUE")
    args = parser.parse_args()
    seconds = 60.0 * args.minutes
    os.environ.update({"ROS_LOCALHOST_ONLY": "1", "OMP_NUM_THREADS": "1"})
    domain = str(random.SystemRandom().randint(101, 200))
    quota: Quota | None = None
    try:
        quota = Quota(args.percent)
        if not quota.is_effective(args.percent):
            quota.close()
            quota = None
    except OSError:
        pass
    streamingtalker = [sys.executable, "-m", "streamingtalker_ros"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        wav, stats = Path(folder) / "speech.wav", Path(folder) / "stats.json"
        write_speech(wav, seconds)
        parameters = [word for value in args.param for word in ("--param", value)]
        command = ["talk", "--domain", domain, "--until-idle", "2", "--stats", str(stats), *parameters]
        talk = subprocess.Popen([*streamingtalker, *command], stdout=subprocess.PIPE)
        stack.callback(talk.kill)
        assert talk.stdout is not None
        print(talk.stdout.readline().decode().strip())  # it is ready
        if hasattr(os, "sched_setaffinity"):
            for task in Path(f"/proc/{talk.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {max(os.sched_getaffinity(0))})
        if quota is not None:
            stack.callback(quota.close)
            quota.add(talk.pid)
        else:
            stack.enter_context(duty_cycle(talk, args.percent))
        used = processor_seconds(talk.pid)
        play = subprocess.Popen([*streamingtalker, "play", str(wav), "--domain", domain, "--quiet"])
        stack.callback(play.kill)
        play.wait(seconds + MAX_START_S)
        used = processor_seconds(talk.pid) - used
        talk.communicate(timeout=MAX_START_S)
        figures = json.loads(stats.read_text())
    expected = round(seconds * FRAME_RATE)
    limit = "a control group's quota" if quota is not None else "stopping and continuing it by signals"
    print(
        f"{seconds:g} s of speech on {args.percent:g} % of one core by {limit}: {figures['frames']} of "
        f"{expected} frames, dropped {figures['dropped']}, latency p50 {figures['latency_p50_ms']:.1f} ms, "
        f"p99 {figures['latency_p99_ms']:.1f} ms, processor time {100.0 * used / seconds:.1f} % of one core"
    )
    return 1 if figures["dropped"] or figures["frames"] < expected else 0


if __name__ == "__main__":
    sys.exit(main())
