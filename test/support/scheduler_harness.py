# SPDX-License-Identifier: Apache-2.0
"""Runs a real VoiceSession with a real talker under a clock that the test sets."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.conversation.turn_taking import DialogueState
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.protocol import BlendshapeFrame, TalkerProtocol
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.session import TOPIC_POLICY, SessionPolicy, VoiceSession
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.streaming import Talker
from support.backends import Variant, chosen_variant, make_talker

S0 = 1_700_000_000_123_456_789  # ns, the stamp of a test's first sample
MS = 1_000_000  # ns
FRAME = 40 * MS
FORMAT = AudioFormat(SAMPLE_RATE, 1, "s16")
START = 100.0  # s, the session's clock at the beginning
SMALL = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    head_width=32,
    head_blocks=1,
    num_inference_steps=2,
)


def small_network() -> TalkerNetwork:
    """A small network with random weights, the same in every run."""
    torch.manual_seed(0)
    return TalkerNetwork(SMALL)


def small_talker(variant: Variant | None = None) -> Talker:
    """A talker of the small network, on the backend that the environment names if `variant` names none."""
    return make_talker(small_network(), variant or chosen_variant())


def voice(seconds: float, rate: int = SAMPLE_RATE, seed: int = 0) -> npt.NDArray[np.int16]:
    """(n,) int16, noise with the rhythm of syllables."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (6000 * noise * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))).clip(-32768, 32767).astype(np.int16)


def floats(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """int16 samples as float32 in -1..1."""
    return np.asarray(samples.astype(np.float32) / 32768, np.float32)


class BatchTalker:
    """Wraps a talker: `on_accept` is called with the chunks of every batch before the talker."""

    def __init__(self, talker: Any, on_accept: Callable[[Sequence[np.ndarray]], object]) -> None:
        self._talker = talker
        self._on_accept = on_accept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._talker, name)

    def accept(self, streams: Sequence[Any], chunks: Sequence[np.ndarray]) -> Any:
        self._on_accept(chunks)
        return self._talker.accept(streams, chunks)


class SchedulerHarness:
    """Drives a VoiceSession as its worker does, in simulated time.

    `send_realtime` schedules packets as a microphone sends them, `run` lets the time pass.

    Args:
        talker: The model.
        policy: Of the session.
        on_accept: Called with the chunks of every batch before the model; it may raise, or move `now`.
        on_publish: Called with every frame before it is recorded; it may raise.
        parameters: Values of the parameters.

    Attributes:
        now: s, the simulated time; begins at `START`.
        frames: (time of publication, published frame).
        warnings: Messages, without limit.
        dialogue: (stamp, who speaks, whether the partner has interrupted) of each change.
    """

    def __init__(
        self,
        talker: Any,
        policy: SessionPolicy = TOPIC_POLICY,
        on_accept: Callable[[Sequence[np.ndarray]], object] | None = None,
        on_publish: Callable[[Any], object] | None = None,
        **parameters: Any,
    ) -> None:
        self.now = START
        self.frames: list[tuple[float, Any]] = []
        self.warnings: list[str] = []
        self.dialogue: list[tuple[int, DialogueState, bool]] = []
        self.statistics = Statistics()
        self.talker: TalkerProtocol = (
            talker if on_accept is None else cast(TalkerProtocol, BatchTalker(talker, on_accept))
        )
        self._on_publish = on_publish
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.session = VoiceSession(
            self.talker,
            TalkerParameters(**parameters),
            self._publish,
            statistics=self.statistics,
            clock=self.clock,
            warn=lambda kind, message: self.warnings.append(message),
            policy=policy,
            on_dialogue=lambda state, stamp, interrupted: self.dialogue.append((stamp, state, interrupted)),
        )

    def clock(self) -> float:
        """The simulated time."""
        return self.now

    def _publish(self, frame: Any) -> None:
        if self._on_publish is not None:
            self._on_publish(frame)
        self.frames.append((self.now, frame))

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Call `action` at a time."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def stall(self, seconds: float) -> None:
        """Let time pass in which nothing runs."""
        self.now += seconds

    def send(
        self,
        samples: npt.NDArray[np.int16] | None,
        stamp: int | None,
        at: float | None = None,
        format: AudioFormat = FORMAT,
        payload: bytes | None = None,
    ) -> None:
        """Push one packet at a time, by default now; `payload` replaces `samples`."""
        at = self.now if at is None else at
        if payload is None:
            assert samples is not None
            payload = samples.tobytes()
        packet = AudioPacket(payload, format, stamp, at, S0 + round((at - START) * 1e9))
        self.at(at, lambda: self.session.push(packet))

    def send_realtime(
        self,
        samples: npt.NDArray[np.int16],
        stamp: int = S0,
        start: float | None = None,
        rate: int = SAMPLE_RATE,
        packet: float = 0.02,
        stamped: bool = True,
        channels: int = 1,
    ) -> None:
        """Send packets of `packet` seconds, each when its last sample has been recorded, from `start` on."""
        start, size = self.now if start is None else start, round(packet * rate)
        for first in range(0, len(samples), size):
            chunk = samples[first : first + size]
            self.send(
                chunk,
                stamp + round(first * NS_PER_S / rate) if stamped else None,
                start + (first + len(chunk)) / rate,
                AudioFormat(rate, channels, "s16"),
            )

    def run(self, seconds: float) -> None:
        """Let time pass, with a step whenever there is work."""
        end = self.now + seconds
        while True:
            while self._events and self._events[0][0] <= self.now + 1e-9:
                heapq.heappop(self._events)[2]()
            has_stepped = run_batch(self.talker, [self.session], self.clock).hops > 0
            if has_stepped and self.now < end:
                continue
            deadline = self.session.next_deadline()
            times = [end] + ([deadline] if deadline is not None and not has_stepped else [])
            times += [self._events[0][0]] if self._events else []
            if min(times) >= end and self.now >= end - 1e-9:
                return
            self.now = max(self.now, min(times))

    @property
    def faces(self) -> list[Any]:
        """The published frames."""
        return [frame for _, frame in self.frames]

    @property
    def audio(self) -> list[Any]:
        """The published frames of received audio."""
        return [frame for frame in self.faces if not frame.idle]


def offline(talker: Talker, pcm: npt.NDArray[np.float32], seed: int = 0) -> Sequence[BlendshapeFrame]:
    """Frames of the complete clip in one call, the reference."""
    stream = talker.open_stream(seed=seed)
    return stream.accept(pcm) + stream.finish()


def weights(frames: Sequence[Any]) -> npt.NDArray[np.float32]:
    """(T, 52) weights of frames."""
    return np.stack([frame.weights for frame in frames])
