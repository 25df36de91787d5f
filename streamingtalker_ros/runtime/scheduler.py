# SPDX-License-Identifier: Apache-2.0
"""The rules of the talker node: queued audio packets in, face frames out at the right moment; without
threads.

`push` queues a packet, `step` does at most one frame's work and says how long nothing is to be done. Every
rule of docs/node.md (pacing, idle, overload, interruption, new streams) stands here; the clock is handed in,
so that tests tell the time. Positions are samples at 16 kHz from frame 0 of the current stream.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.audio_queue import BoundedAudioQueue
from streamingtalker_ros.runtime.packet_aligner import PacketAligner, Piece
from streamingtalker_ros.runtime.timeline import AudioTimeline
from streamingtalker_ros.runtime.transition import INTERRUPT, OPEN, REST, MotionTransition

# silence that brings out the four frames that close the mouth, with their look-ahead
CLOSING = int(0.28 * SAMPLE_RATE)
SLEW = 0.002  # share of real time by which the pace follows a sender whose clock runs off
BEHIND = 0.25  # s by which a voice that begins while another is heard may wait for it and catch up,
CATCH_UP = 0.1  # by this share of real time
TOLD_LATE = 2 * SAMPLE_RATE  # samples of a wrong format that may be taken back
HELD_BACK = 2.0  # s that the network may hold audio back and still be caught up with
_ORDER = 500_000_000  # ns; stamps may go back by more than this only


@dataclass(frozen=True)
class FaceFrame:
    """One frame to publish. index: in its stream; stamp: ns, time of its first audio sample; weights: (52,)
    float32; head: (4,) float32 xyzw; speaking: bool; idle: its time holds no received audio; arrival: seconds
    of time.monotonic() when it could be made at the earliest, None where our own silence completed it."""

    index: int
    stamp: int
    weights: np.ndarray
    head: np.ndarray
    speaking: bool
    idle: bool
    arrival: float


class FrameScheduler:
    """talker: streaming.Talker; settings: TalkerParameters; publish: called with each FaceFrame; clock: seconds,
    monotonic; complain: called with (kind, sentence) for what is wrong with a packet."""

    def __init__(self, talker, settings, statistics, publish, clock, complain) -> None:
        self.talker, self.statistics = talker, statistics
        self._publish, self._clock, self._complain = publish, clock, complain
        self._inbox = BoundedAudioQueue(settings.queue_seconds, statistics, complain)
        self._intake = PacketAligner(settings.audio_format, statistics)
        self._seam = MotionTransition()
        self._tape = AudioTimeline(talker.hop)
        self._ahead = round(talker.lookahead * SAMPLE_RATE)
        self._stream = talker.open_stream(
            settings.seed, settings.style or None, settings.steps or None, **settings.controls
        )
        self._last_stamp = None
        self.settings = settings
        self._clear()

    # -- from any thread --

    def push(self, packet):
        """Queue an AudioPacket. Returns False when it is refused: empty, too long, or the queue is full."""
        return self._inbox.push(packet, packet.format or self.settings.audio_format)

    def reject(self, kind, sentence) -> None:
        """Count and report a message that could not become an AudioPacket."""
        self._inbox.reject(kind, sentence)

    def interrupt(self) -> None:
        """Drop the queued audio; the next steps close the mouth, the next audio begins a new stream."""
        self._inbox.request(self._interrupt, drop=True)

    def reset(self) -> None:
        """Forget everything; nothing is published until audio comes again."""
        self._inbox.request(self._restart, drop=True)

    def apply(self, settings) -> None:
        """Take new values of the live parameters, without a gap in the motion."""
        self._inbox.request(lambda: self._apply(settings))

    @property
    def queued(self):
        """Seconds of audio that wait."""
        return self._inbox.seconds + self._tape.waiting / SAMPLE_RATE

    @property
    def state(self) -> str:
        """ "waiting" (nothing was published since the start or the last reset), "speaking" or "idle"."""
        if self._frames is None:
            return "waiting"
        return "speaking" if self._rest is None else "idle"

    @property
    def at_rest(self):
        """Whether the mouth is closed because the audio has ended, or there is no face yet."""
        return not self._inbox.asked and (self._frames is None or self._seam.closed)

    # -- the worker's --

    def step(self):
        """Do the next piece of work. Returns the seconds in which there is nothing to do unless a packet or a
        request comes: 0 for "call again", None for "until something comes"."""
        for action in self._inbox.requests():
            action()
        if not self._tape and not self._pull():
            return self._rest_step()
        self._catch_up()
        return self._feed(self._tape.pieces[0])

    def _apply(self, settings) -> None:
        old, self.settings = self.settings, settings
        if settings.style != old.style:
            self._stream.style = settings.style or None
        if settings.steps != old.steps:
            self._stream.steps = settings.steps or None
        self._stream.seed = settings.seed
        self._stream.set(**settings.controls)

    def _clear(self) -> None:
        """No stream: the next audio begins one."""
        self._intake.reset()
        self._tape.clear()
        self._next = deque()  # pieces of the stream after this one
        self._end = 0  # position where the received audio ends
        self._rest = None  # (position, time) from which our own silence runs with the clock
        self._closed = 0  # position up to which it need not wait for the clock
        self._interrupted = False  # the stream was interrupted, and ends so
        self._frames = None  # published in this stream; None before the first
        self._anchor = 0.0  # time of position 0
        self._behind = 0.0  # s of that in which this voice waits for the end of the one before
        self._came = 0.0  # time when the last audio came
        self._touched = 0.0  # time when a packet last came, audible or not
        self._packet_seconds = 0.0  # length of the last packet

    def _restart(self) -> None:
        self._clear()
        self._seam, self._last_stamp = MotionTransition(), None
        self._stream.reset(self.settings.seed)

    def _interrupt(self) -> None:
        self.statistics.interrupts += 1
        self._tape.pieces.clear()
        self._next.clear()
        if self._frames is None:
            self._clear()
            return
        self._interrupted = True
        self._end = min(self._end, self._tape.position)
        self._intake.reset()
        self._rest_from(self._tape.position, self._clock())

    def _rest_from(self, position, time) -> None:
        self._rest, self._closed = (position, time), position + CLOSING

    def _pull(self):
        """Take the next packet out of the queue. Returns whether there is audio to feed now."""
        packet, seconds = self._inbox.pop()
        if packet is None and self._next:
            self._open(self._next.popleft())
            return bool(self._tape)
        if packet is None:
            return False
        self._touched, self._packet_seconds = max(self._touched, packet.arrival), seconds
        try:
            pieces = self._intake.take(packet)
        except TalkerError as error:
            self._inbox.reject("format", str(error), counted=True)
            return False
        if not pieces and self._rest is not None:
            # audio is here again, though too late to be heard: our silence waits for it to catch up
            self._rest = (self._tape.position, self._clock())
        return self._sort(pieces)

    def _sort(self, pieces):
        """Append pieces to the current stream, or, after a new stream's first piece, to the next one."""
        for piece in pieces:
            if piece.first:
                if piece.retold and self._frames is not None and not self._next:
                    self._cut(piece.clock)
                self._owe(piece.arrival)
                self._next.append(piece)
            elif self._next:
                self._next.append(piece)
            else:
                self._append(piece)
        if not self._tape and self._next:
            self._open(self._next.popleft())
        return bool(self._tape)

    def _append(self, piece) -> None:
        self._clock_of_stream = piece.clock
        if not len(piece.pcm):
            return
        self._rest = None
        self._tape.pieces.append(piece)
        end = self._tape.end
        if piece.heard:
            self._end = end
            self._follow(piece, end - len(piece.pcm))

    def _cut(self, clock) -> None:
        """The format changes, and was told late: packets that were read in the old one seem longer than they are.
        The stream ends where the stamps say that the next one begins, if that is not much earlier."""
        old = self._clock_of_stream
        if old.arrival or clock.arrival:
            return
        begins = round((clock.stamp_of(0) - old.stamp_of(0)) * SAMPLE_RATE / 1e9)
        if self._end - TOLD_LATE < begins < self._end:
            self._tape.cut(begins)
            self._end = max(begins, self._tape.position)

    def _owe(self, arrival) -> None:
        """The stream ends in the midst of audio: queue the silence that brings out its last frames."""
        if self._frames is None or self._next:
            return
        hop = self.talker.hop
        owed = math.ceil(self._end / hop) * hop + self._ahead - self._tape.end
        if owed > 0:
            silence = np.zeros(owed, np.float32)
            self._tape.pieces.append(Piece(silence, arrival, self._clock_of_stream, heard=False))

    def _open(self, piece) -> None:
        """Begin a new stream with its first piece."""
        audible = (
            self._anchor + self._end / SAMPLE_RATE if self._frames is not None and self._rest is None else 0.0
        )
        held = self._held_back(piece)
        pieces, self._next = self._next, deque()
        self._tape.clear()
        self._end = 0
        self._rest, self._frames, self._interrupted = None, 0, False
        # not before the voice that is still heard has ended
        self._anchor = max(piece.arrival - held, audible)
        self._behind = self._anchor - (piece.arrival - held)
        self._stream.reset(self.settings.seed)
        self._seam.cut()
        self.statistics.streams += 1
        self._append(piece)
        self._sort(pieces)

    def _held_back(self, piece):
        """Seconds that a new stream's first audio was under way for longer than the audio before, by the stamps: the
        network held it back, and what follows comes early. 0 where it does not seem so."""
        if (
            self._frames is None
            or piece.clock.arrival
            or self._clock_of_stream.arrival
            or piece.arrival - self._came > HELD_BACK
        ):
            return 0.0
        apart = (piece.clock.stamp_of(0) - self._clock_of_stream.stamp_of(0)) / 1e9
        late = piece.arrival - (self._anchor + apart)
        return late if 0.0 < late < HELD_BACK else 0.0

    def _follow(self, piece, position) -> None:
        """Live senders' clocks run off by some ppm, and one live voice after another waits a little longer when
        packets come unevenly: let the pace follow them, never a burst of early audio."""
        early, seconds = self._anchor + position / SAMPLE_RATE - piece.arrival, len(piece.pcm) / SAMPLE_RATE
        if abs(early) < BEHIND and piece.arrival - self._came > seconds / 2:
            most = SLEW * seconds if self._behind <= 0.0 else min(self._behind, CATCH_UP * seconds)
            step = min(max(early, -SLEW * seconds), most)
            self._anchor, self._behind = self._anchor - step, self._behind - max(step, 0.0)
        self._came = piece.arrival

    def _due(self, frame):
        """Time at which a frame of the current stream may leave at the earliest."""
        return (
            self._anchor + frame * self.talker.hop / SAMPLE_RATE if self.settings.pacing == "audio" else 0.0
        )

    def _feed(self, piece):
        """Feed one piece up to the next whole hop, if its frame may leave now. Returns the wait."""
        now = self._clock()
        count = min(self._tape.to_hop, len(piece.pcm))
        wait = self._wait(count, now)
        if wait > 0:
            return wait
        self._hear(self._tape.take(count), piece.arrival if piece.heard else None)
        return 0

    def _wait(self, count, now):
        """Seconds until `count` more samples may be heard."""
        hop = self.talker.hop
        if count < self._tape.to_hop:
            return 0.0
        frame = (self._tape.fed + count - self._ahead) // hop - 1
        return self._due(self._tape.index(frame)) - now if frame >= 0 else 0.0

    def _hear(self, chunk, arrival) -> None:
        self._tape.fed += len(chunk)
        before = self._clock()
        try:
            frames = self._stream.accept(chunk)
        except Exception as error:  # the node lives on; what the model knew of this voice is in doubt
            self.statistics.errors += 1
            self.statistics.dropped += 1
            self._complain(
                "model",
                f"the model failed on a frame ({type(error).__name__}: {error}): "
                "the next audio begins anew, restart the node if this goes on",
            )
            self._clear()
            return
        self.statistics.model_seconds += self._clock() - before
        for frame in frames:
            self._emit(frame, arrival)

    def _emit(self, frame, arrival) -> None:
        index = self._tape.index(frame.index)
        position = index * self.talker.hop
        idle = position >= self._end
        stamp = self._clock_of_stream.stamp_of(position, SAMPLE_RATE)
        if self._last_stamp is not None and 0 <= self._last_stamp - stamp < _ORDER:
            self.statistics.suppressed += 1  # this time has been published by the stream before
            return
        fall = INTERRUPT if self._interrupted else REST if idle else OPEN
        weights, head = self._seam.frame(frame.weights, frame.head, fall, self._stream.mouth_at_rest)
        speaking = bool(frame.speaking) and fall == OPEN
        ready = None if arrival is None else max(arrival, self._due(index))
        try:
            self._publish(FaceFrame(index, stamp, weights, head, speaking, idle, ready))
        except Exception as error:
            self.statistics.errors += 1
            self._complain(
                "publish",
                f"a frame could not be published ({type(error).__name__}: {error}): the node goes on",
            )
            return
        self._last_stamp = stamp
        self._frames += 1
        if idle:
            self.statistics.idle_frames += 1
        else:
            self.statistics.frames += 1
            if ready is not None:
                self.statistics.latency.add(self._clock() - ready)

    # -- silence of our own --

    def _rest_step(self):
        """No audio is there: after `idle_after` bring the mouth to rest, then keep the face alive at the
        frame rate."""
        if self._frames is None:
            return None
        now, hop = self._clock(), self.talker.hop
        if self._rest is None:
            # a sender of long packets is silent for as long without having stopped
            wait = self._touched + max(self.settings.idle_after, 1.5 * self._packet_seconds) - now
            if wait > 0:
                return wait
            tail = self._intake.rest()
            if len(tail):
                self._append(Piece(tail, now, self._clock_of_stream))
            end = self._tape.position + len(tail)
            self._rest_from(end, max(self._touched, self._audible(end)))
            if len(tail):
                return 0
        start, since = self._rest
        count = self._tape.to_hop
        target = self._tape.position + count
        waits = target > self._closed  # the silence that closes the mouth need not wait for the clock
        if waits and not self.settings.idle:
            return None
        wait = since + (target - start) / SAMPLE_RATE - now if waits else 0.0
        if -wait > self.settings.overload_after:
            skip = int(-wait * SAMPLE_RATE) // hop
            self._intake.fill(skip * hop)
            self._tape.skip(skip)
        wait = max(wait, self._wait(count, now))
        if wait > 0:
            return wait
        self._intake.fill(count)
        self._hear(np.zeros(count, np.float32), None)
        return 0

    # -- overload --

    def _catch_up(self) -> None:
        """When the audio at hand is older than `overload_after`, skip whole frames up to the newest audio."""
        now, piece = self._clock(), self._tape.pieces[0]
        hop = self.talker.hop
        lag = now - max(piece.arrival, self._audible(self._tape.position))
        if not piece.heard or lag < self.settings.overload_after or self._tape.to_hop < hop:
            return
        while not self._next and self._inbox and self._tape.end < self._heard_by(now):
            self._pull()
        newest = min(self._tape.end, self._heard_by(now))
        skip = int(newest - self._tape.position - self._ahead - hop) // hop
        if skip <= 0:
            return
        self._tape.drop(skip)
        self.statistics.overloads += 1
        self.statistics.dropped += skip
        self._complain(
            "overload",
            f"the model is too slow for this machine: {skip} frames of old audio were "
            "skipped to catch up; set fewer steps or another device",
        )

    def _audible(self, position):
        """Time at which the audio of a position is due to be fed, so that the frame before it leaves in
        time."""
        return self._anchor + (position - self._ahead - self.talker.hop) / SAMPLE_RATE

    def _heard_by(self, now):
        """The position whose audio is due now."""
        return (now - self._anchor) * SAMPLE_RATE + self._ahead + self.talker.hop
