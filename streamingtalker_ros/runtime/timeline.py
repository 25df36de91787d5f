# SPDX-License-Identifier: Apache-2.0
"""Position of one stream: its buffered audio, and the number of samples consumed and skipped.

All positions are samples at 16 kHz from frame 0 of the stream. Under overload whole frames are skipped;
`published_index` maps a frame of the model to its number in the published stream, so that numbers and stamps
skip together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import AudioClock
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE

_RETAINED_SAMPLES = 4 * SAMPLE_RATE  # of consumed audio: the look-ahead and the longest step of a model
_MAX_SKIPS = 8  # skips that the frames still pending because of the look-ahead may refer to


@dataclass
class AudioSegment:
    """Audio on the sample grid of a stream.

    Attributes:
        pcm: (n,) float32 at 16 kHz.
        arrival: s, when its packet was received.
        clock: Gives the stamps of its stream.
        starts_stream: Whether it is the beginning of a new stream.
        is_received: Whether it holds received audio, not generated silence.
        format_changed: Whether its format differs from that of the audio before.
    """

    pcm: npt.NDArray[np.float32]
    arrival: float
    clock: AudioClock
    starts_stream: bool = False
    is_received: bool = True
    format_changed: bool = False


class AudioTimeline:
    """Buffered audio of one stream, with the number of samples consumed and skipped.

    Args:
        hop: Samples that the model takes at a time.
        frame_rate: Frames per second of the model.
        retains_audio: Whether `frame_audio` returns consumed audio.
    """

    def __init__(self, hop: int, frame_rate: float, retains_audio: bool = False) -> None:
        self.hop = hop
        self._retained: deque[tuple[int, npt.NDArray[np.float32]]] | None = (
            deque(maxlen=-(-_RETAINED_SAMPLES // hop)) if retains_audio else None
        )  # hops with their positions
        samples_per_frame = SAMPLE_RATE / Fraction(frame_rate).limit_denominator(1001)
        # the shortest whole number of samples that whole frames last, and those frames
        self._block_samples = samples_per_frame.numerator
        self._block_frames = samples_per_frame.denominator
        self.clock: AudioClock | None = None
        """Clock of the segment appended last."""
        self.clear()

    def clear(self) -> None:
        """Discard the stream: the next segment begins a new one."""
        self.segments: deque[AudioSegment] = deque()
        self.samples_consumed = 0  # by the model
        self.audio_end = 0  # where the received audio ends
        self.silence_start = 0  # where the generated silence begins
        self.closing_end = 0  # where the mouth is closed
        self._hop_buffer = np.zeros(self.hop, np.float32)
        self._skips = [(0, 0)]  # (frame of the model, frames skipped before it)
        self._discard_retained()

    @property
    def has_audio(self) -> bool:
        """Whether segments are buffered."""
        return bool(self.segments)

    @property
    def position(self) -> int:
        """Position of the next sample that the model consumes."""
        return self.samples_consumed + self.frame_position(self._skips[-1][1])

    @property
    def buffered_samples(self) -> int:
        """Samples in the segments."""
        return sum(len(segment.pcm) for segment in tuple(self.segments))

    @property
    def end(self) -> int:
        """Position where the segments end."""
        return self.position + self.buffered_samples

    @property
    def samples_to_next_hop(self) -> int:
        """Samples that complete the next hop, 1 to `hop`."""
        return self.hop - self.samples_consumed % self.hop

    @property
    def is_at_hop(self) -> bool:
        """Whether no hop has been begun."""
        return self.samples_consumed % self.hop == 0

    def append(self, segment: AudioSegment) -> None:
        """Append a segment; received audio moves `audio_end`."""
        self.clock = segment.clock
        if not len(segment.pcm):
            return
        self.segments.append(segment)
        if segment.is_received:
            self.audio_end = self.end

    def append_silence(self, samples: int, arrival: float) -> None:
        """Append generated silence.

        Args:
            samples: Its length.
            arrival: s, the time it counts as received.
        """
        assert self.clock is not None
        silence = np.zeros(samples, np.float32)
        self.segments.append(AudioSegment(silence, arrival, self.clock, is_received=False))

    def consume(self, count: int) -> npt.NDArray[np.float32] | None:
        """Consume `count` samples of the first segment, which holds at least as many.

        Returns:
            (hop,) float32 if they complete a hop, else None.
        """
        return self._fill(self._take(count))

    def consume_silence(self, count: int) -> npt.NDArray[np.float32] | None:
        """Consume `count` samples of silence; returns as `consume`."""
        return self._fill(np.zeros(count, np.float32))

    def peek(self, count: int) -> npt.NDArray[np.float32]:
        """Return the next buffered samples, `count` or as many as there are, without consuming them."""
        pieces = [np.zeros(0, np.float32)]
        for segment in self.segments:
            if count <= 0:
                break
            pieces.append(segment.pcm[:count])
            count -= len(pieces[-1])
        return np.concatenate(pieces)

    def truncate(self, position: int) -> None:
        """Discard the buffered audio behind a position, and move `audio_end` there."""
        excess = self.end - max(position, self.position)
        while excess > 0:
            segment = self.segments[-1]
            retained = max(0, len(segment.pcm) - excess)
            excess -= len(segment.pcm) - retained
            segment.pcm = segment.pcm[:retained]
            if not retained:
                self.segments.pop()
        self.audio_end = max(position, self.position)

    def drop_audio(self) -> None:
        """Discard all buffered audio; the received audio ends at the present position at the latest."""
        self.segments.clear()
        self._discard_retained()
        self.audio_end = min(self.audio_end, self.position)

    def discard_frames(self, frames: int) -> None:
        """Skip whole frames of the buffered audio; the model is between two hops."""
        samples = self.frame_position(frames)
        while samples:
            samples -= len(self._take(min(samples, len(self.segments[0].pcm))))
        self.skip_frames(frames)

    def skip_frames(self, frames: int) -> None:
        """Count frames as skipped before the next one of the model, which is between two hops."""
        next_frame = -(-self.samples_consumed * self._block_frames // self._block_samples)
        self._skips.append((next_frame, self._skips[-1][1] + frames))
        del self._skips[:-_MAX_SKIPS]

    def skippable_frames(self, samples: float) -> int:
        """Frames within a number of samples that can be skipped: they last a whole number of samples."""
        return int(samples) // self._block_samples * self._block_frames

    def published_index(self, frame: int) -> int:
        """Number in the published stream of a frame of the model."""
        return frame + next(skipped for start, skipped in reversed(self._skips) if start <= frame)

    def completed_frame(self, samples: int, lookahead: int) -> int:
        """Last frame of the model that a number of consumed samples completes, -1 if none.

        Args:
            samples: Samples consumed.
            lookahead: Samples after a frame's own that it depends on.
        """
        return (samples - lookahead) * self._block_frames // self._block_samples - 1

    def frame_position(self, frame: int) -> int:
        """Position of the first sample of a published frame, rounded down."""
        return frame * self._block_samples // self._block_frames

    def frame_stamp(self, frame: int) -> int:
        """Stamp in ns of the first sample of a published frame, exact between samples as well."""
        assert self.clock is not None
        return self.clock.stamp_of(frame * self._block_samples, SAMPLE_RATE * self._block_frames)

    def frame_audio(self, frame: int) -> npt.NDArray[np.float32] | None:
        """Return the consumed audio that a published frame covers.

        Args:
            frame: Number of the frame.

        Returns:
            (n,) float32, silence where none was consumed; None if no audio is retained.
        """
        begin, end = self.frame_position(frame), self.frame_position(frame + 1)
        audio: npt.NDArray[np.float32] | None = None
        for position, hop in self._retained or ():
            first, last = max(begin, position), min(end, position + len(hop))
            if first < last:
                if audio is None:
                    audio = np.zeros(end - begin, np.float32)
                audio[first - begin : last - begin] = hop[first - position : last - position]
        return audio

    def first_frame_at(self, position: int) -> int:
        """First published frame at or behind a position."""
        return -(-position * self._block_frames // self._block_samples)

    def end_of_frame_at(self, position: int) -> int:
        """Position where the frame ends that a position lies in, or that it is the end of."""
        return -(-self.first_frame_at(position) * self._block_samples // self._block_frames)

    def stamp_position(self, stamp: int) -> int:
        """Position of a stamp in ns, rounded to the nearest sample."""
        assert self.clock is not None
        return round((stamp - self.clock.stamp_of(0)) * SAMPLE_RATE / NS_PER_S)

    def stamp_offset(self, clock: AudioClock) -> float:
        """Seconds by the stamps from the beginning of this stream to that of another clock's stream."""
        assert self.clock is not None
        return (clock.stamp_of(0) - self.clock.stamp_of(0)) / NS_PER_S

    def _take(self, count: int) -> npt.NDArray[np.float32]:
        segment = self.segments[0]
        samples, segment.pcm = segment.pcm[:count], segment.pcm[count:]
        if not len(segment.pcm):
            self.segments.popleft()
        return samples

    def _fill(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        start = self.samples_consumed % self.hop
        self._hop_buffer[start : start + len(samples)] = samples
        self.samples_consumed += len(samples)
        if self.samples_consumed % self.hop:
            return None
        hop = self._hop_buffer.copy()
        if self._retained is not None:
            self._retained.append((self.position - self.hop, hop))
        return hop

    def _discard_retained(self) -> None:
        if self._retained is not None:
            self._retained.clear()
