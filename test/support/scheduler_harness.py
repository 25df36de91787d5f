# SPDX-License-Identifier: Apache-2.0
"""A stage for tests of the node's rules: the real talker and the real rules under a clock that the test
turns."""

import heapq
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket  # noqa: E402
from streamingtalker_ros.model.blendshape.config import TalkerConfig  # noqa: E402
from streamingtalker_ros.model.blendshape.network import TalkerNetwork  # noqa: E402
from streamingtalker_ros.runtime.parameters import TalkerParameters  # noqa: E402
from streamingtalker_ros.runtime.scheduler import FrameScheduler  # noqa: E402
from streamingtalker_ros.runtime.statistics import Statistics  # noqa: E402
from streamingtalker_ros.streaming import Talker  # noqa: E402

S0 = 1_700_000_000_123_456_789  # ns, the stamp of a test's first sample
MS = 1_000_000
SMALL = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    head_width=32,
    head_blocks=1,
    steps=2,
)
FRAME = 40 * MS


def small_talker():
    """A small talker with random weights, the same ones in every run: the node's rules do not ask what the
    face says."""
    torch.manual_seed(0)
    return Talker(TalkerNetwork(SMALL), "cpu")


def voice(seconds, rate=16000, seed=0):
    """(n,) int16, noise with the rhythm of syllables."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (6000 * noise * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))).clip(-32768, 32767).astype(np.int16)


def floats(samples):
    return samples.astype(np.float32) / 32768


class SchedulerHarness:
    """Runs a FrameScheduler. `send_realtime` schedules packets as a microphone sends them; `run` lets the time pass.

    `frames` holds (time of publication, FaceFrame); `warnings` the warnings. Time begins at 100 s.
    """

    def __init__(self, talker, **settings) -> None:
        self.now, self.frames, self.warnings = 100.0, [], []
        self.statistics = Statistics()
        self._events, self._order = [], itertools.count()
        self.session = FrameScheduler(
            talker,
            TalkerParameters(**settings),
            self.statistics,
            lambda frame: self.frames.append((self.now, frame)),
            lambda: self.now,
            lambda kind, sentence: self.warnings.append(sentence),
        )

    def at(self, time, action) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def send(self, samples, stamp, at=None, format=AudioFormat(16000, 1, "s16"), payload=None) -> None:
        """One packet, to be pushed at a time (default now)."""
        at = self.now if at is None else at
        payload = samples.tobytes() if payload is None else payload
        packet = AudioPacket(payload, format, stamp, at, S0 + round((at - 100) * 1e9))
        self.at(at, lambda: self.session.push(packet))

    def send_realtime(
        self, samples, stamp=S0, start=None, rate=16000, packet=0.02, stamped=True, channels=1
    ) -> None:
        """Packets of `packet` seconds; each comes when its last sample has been spoken, the first one at
        `start`."""
        start, size = self.now if start is None else start, round(packet * rate)
        for first in range(0, len(samples), size):
            part = samples[first : first + size]
            self.send(
                part,
                stamp + round(first * 1e9 / rate) if stamped else None,
                start + (first + len(part)) / rate,
                AudioFormat(rate, channels, "s16"),
            )

    def run(self, seconds) -> None:
        """Let time pass: steps whenever there is work, as the worker does."""
        end = self.now + seconds
        while True:
            while self._events and self._events[0][0] <= self.now + 1e-9:
                heapq.heappop(self._events)[2]()
            wait = self.session.step()
            if wait == 0 and self.now < end:
                continue
            times = [end] + ([self.now + wait] if wait else [])
            times += [self._events[0][0]] if self._events else []
            if min(times) >= end and self.now >= end - 1e-9:
                return
            self.now = max(self.now, min(times))

    @property
    def faces(self):
        return [frame for _, frame in self.frames]

    @property
    def audio(self):
        return [frame for frame in self.faces if not frame.idle]


def offline(talker, pcm, seed=0):
    """Frames of the whole clip in one call, the reference."""
    stream = talker.open_stream(seed=seed)
    return stream.accept(pcm) + stream.finish()


def weights(frames):
    return np.stack([frame.weights for frame in frames])
