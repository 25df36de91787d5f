# SPDX-License-Identifier: Apache-2.0
"""One visitor's voice: what the browser sends in, hops of 16 kHz for the batch out, frames as bytes back.

`ask` may be called from any thread and only queues. Everything else is the stepper's: `settle` does what was asked,
`take` gives the next hop that is due, `dress` turns the frames that it brought into the bytes of the WebSocket.
Without audio a voice rests: silence of its own, in real time, so that the face lives on.
"""

import time
from collections import deque

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.importers import to_our_axes
from streamingtalker_ros.runtime.transition import INTERRUPT, OPEN, REST, Seam
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.controls import Controls

_STEP = 640  # samples that a vertex model hears at a time; a blendshape model hears its hop


class Voice:
    """talker: a Talker or a PublishedModel; deliver: called with (list of frames as bytes) in the stepper's thread;
    complain: called with a sentence there; wake: called after every `ask`; limits: Limits."""

    def __init__(self, talker, deliver, complain, wake, limits, clock=time.monotonic) -> None:
        self.talker, self.deliver, self.complain, self._wake = talker, deliver, complain, wake
        self._clock, self._limit = clock, limits.backlog_seconds
        self.stream = talker.open_stream()
        self.vertices = not hasattr(talker, "styles")
        self.controls = Controls(talker, self.stream)
        self._hop = _STEP if self.vertices else talker.hop
        self._template = to_our_axes(talker.template) if self.vertices else None
        self._seam = Seam()
        self._inbox = deque()
        self.epoch, self.dropped = 0, 0
        self._stop()

    # -- from any thread --

    def ask(self, action, *values) -> None:
        """Queue `start(epoch, rate, seed)`, `hear(epoch, samples)`, `rest(epoch)`, `interrupt(epoch)`, `pause()` or
        `set(changes)`; samples: (n,) int16."""
        self._inbox.append((action, values, self._clock()))
        self._wake()

    # -- the stepper's --

    def settle(self) -> None:
        """Do what was asked, in order; what cannot be done is told in a sentence."""
        while self._inbox:
            action, values, came = self._inbox.popleft()
            try:
                getattr(self, f"_{action}")(came, *values)
            except TalkerError as error:
                self.complain(str(error))

    def due(self):
        """Time of the next hop of our own silence; None when only audio can bring one."""
        return self._next_rest

    def take(self, now):
        """The next hop (n,) float32 to be heard, or None. Skips audio that has grown too old."""
        if self._next_rest is not None and now >= self._next_rest:
            self._next_rest = max(
                self._next_rest + self._hop / SAMPLE_RATE, now - 0.2
            )  # after a pause of the machine
            self._add(np.zeros(self._hop, np.float32), now)
        if self._waiting < self._hop:
            return None
        if now - self._pcm[0][1] > self._limit and self._waiting >= 2 * self._hop:
            late = (self._waiting // self._hop - 1) * self._hop
            self._cut(late)
            self._shift += late
            self.dropped += round(late / SAMPLE_RATE * self.talker.frame_rate)
        self._given += self._hop
        return self._cut(self._hop)

    def dress(self, frames, model_ms, now):
        """Frames of the talker -> list of bytes. model_ms: what the batch's step took."""
        wait_ms, packed = 1000 * max(0.0, now - self._came) - model_ms, []
        for frame in frames:
            time = frame.time + self._shift / SAMPLE_RATE
            at = (self.epoch, max(0, round(time * self.talker.frame_rate)), time)
            numbers = dict(
                idle=self._next_rest is not None,
                model_ms=model_ms,
                wait_ms=max(0.0, wait_ms),
                dropped=self.dropped,
            )
            if self.vertices:
                packed.append(protocol.vertices(*at, to_our_axes(frame.vertices) - self._template, **numbers))
            else:
                weights, head = self._seam.frame(
                    frame.weights, frame.head, self._fall, self.stream.mouth_at_rest
                )
                packed.append(
                    protocol.face(*at, weights, head, frame.speaking and self._fall == OPEN, **numbers)
                )
        return packed

    def fail(self) -> None:
        """The model raised: a fresh stream at the next start; the face rests."""
        self.stream.reset()
        self._stop()

    def _start(self, came, epoch, rate, seed) -> None:
        resampler = Resampler(rate, SAMPLE_RATE)
        self._stop()
        self.epoch, self._resampler, self._fall = epoch, resampler, OPEN
        self.stream.reset(self.controls.seed if seed is None else seed)
        self._seam.cut()

    def _hear(self, came, epoch, samples) -> None:
        if self._resampler is None or epoch != self.epoch:
            return
        self._add(self._resampler.accept(samples.astype(np.float32) / 32768), came)

    def _rest(self, came, epoch, fall=REST) -> None:
        tail = self._resampler.finish() if self._resampler is not None and fall == REST else None
        if fall != REST:
            self._cut(self._waiting)
        if tail is not None:
            self._add(tail, came)
        self._add(np.zeros(-self._waiting % self._hop, np.float32), came)
        self._resampler, self.epoch, self._fall = None, epoch, fall
        self._shift = -(self._given + self._waiting)
        self._next_rest = came

    def _interrupt(self, came, epoch) -> None:
        self._rest(came, epoch, INTERRUPT)

    def _pause(self, came) -> None:
        self._stop()

    def _set(self, came, changes) -> None:
        self.controls.change(changes)

    def _stop(self) -> None:
        self._pcm, self._waiting = deque(), 0  # (float32 at 16 kHz that waits for its turn, when it came)
        self._given = self._shift = 0  # samples that the stream has heard; samples to add to its time
        self._resampler, self._next_rest, self._fall = None, None, REST
        self._came = self._clock()

    def _add(self, pcm, came) -> None:
        if len(pcm):
            self._pcm.append((pcm, came))
            self._waiting += len(pcm)

    def _cut(self, count):
        """The first `count` samples that wait, (count,) float32."""
        out, filled = np.empty(count, np.float32), 0
        while filled < count:
            piece, self._came = self._pcm.popleft()
            part = min(len(piece), count - filled)
            out[filled : filled + part] = piece[:part]
            filled += part
            if part < len(piece):
                self._pcm.appendleft((piece[part:], self._came))
        self._waiting -= count
        return out
