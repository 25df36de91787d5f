# SPDX-License-Identifier: Apache-2.0
"""Chunk schedule of bounded streaming: which audio each chunk of frames is computed from.

Chunk k holds the frames k·C … (k + 1)·C − 1 (C: `chunk_frames`). They are computed at once, from at most
`window` seconds of audio that end `context` seconds after the last of them. All positions count from the
stream's first sample, so that the way in which the audio arrives in pieces has no influence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError


@dataclass(frozen=True)
class ChunkSchedule:
    """Arithmetic of chunks, windows and feature positions.

    Attributes:
        frame_rate: Motion frames per second.
        feature_rate: Audio features per second.
        feature_stride: Samples between the beginnings of two features (`hubert.geometry`).
        receptive_field: Samples that one feature depends on.
        chunk_frames: Frames computed at once.
        window: Seconds of audio that a chunk is computed from.
        context: Seconds of that audio that lie after the chunk's last frame.
    """

    frame_rate: Fraction
    feature_rate: Fraction
    feature_stride: int
    receptive_field: int
    chunk_frames: int
    window: float
    context: float

    @classmethod
    def create(
        cls,
        frame_rate: float,
        feature_rate: float,
        feature_stride: int,
        receptive_field: int,
        chunk_frames: int,
        window: float,
        context: float,
    ) -> ChunkSchedule:
        """Build a schedule and check that every window holds the features of its frames.

        Args:
            frame_rate: Motion frames per second; rounded to a fraction with a denominator of at most 1000.
            feature_rate: Audio features per second; rounded likewise.
            feature_stride: Samples, see the class.
            receptive_field: Samples, see the class.
            chunk_frames: 1 or more.
            window: Seconds.
            context: Seconds.

        Raises:
            TalkerError: If a value is too small; the message names the smallest that works.
        """
        if chunk_frames != int(chunk_frames) or chunk_frames < 1:
            raise TalkerError(
                f"a chunk of {chunk_frames} frames is not possible: give a whole number, 1 or more"
            )
        schedule = cls(
            Fraction(frame_rate).limit_denominator(1000),
            Fraction(feature_rate).limit_denominator(1000),
            feature_stride,
            receptive_field,
            int(chunk_frames),
            float(window),
            float(context),
        )
        if not context >= schedule.min_context:
            raise TalkerError(
                f"a context of {context:g} s is too short for this model: "
                f"give {schedule.min_context:.3f} s or more"
            )
        min_window = (
            float(chunk_frames / schedule.frame_rate) + context + (2 * feature_stride + 1) / SAMPLE_RATE
        )
        if not window >= min_window:
            raise TalkerError(
                f"a window of {window:g} s is too short for a chunk of {chunk_frames} frames: "
                f"give {min_window:.2f} s or more, or a smaller chunk"
            )
        return schedule

    @property
    def min_context(self) -> float:
        """Smallest context in seconds.

        The feature after a frame's position begins within one stride of it and spans the receptive field.
        """
        needed = (1 + max(self.feature_offset, 0)) * self.feature_stride + self.receptive_field
        return max(0.0, float(needed / SAMPLE_RATE - 1 / self.frame_rate))

    @property
    def lookahead(self) -> float:
        """Seconds that the first frame of a chunk waits after its own audio; no frame waits longer."""
        # frames that end between samples wait for the next sample
        partial_sample = (SAMPLE_RATE / self.frame_rate).denominator > 1
        return float((self.chunk_frames - 1) / self.frame_rate) + self.context + partial_sample / SAMPLE_RATE

    @property
    def window_features(self) -> int:
        """Features of a full window, which all chunks but the first few have, so that shapes stay."""
        return (round(self.window * SAMPLE_RATE) - self.receptive_field) // self.feature_stride + 1

    @property
    def window_samples(self) -> int:
        """Samples that the features of a full window span."""
        return (self.window_features - 1) * self.feature_stride + self.receptive_field

    def samples_needed(self, chunk: int) -> int:
        """Return how many samples must have arrived before chunk number `chunk` is computed."""
        covered = math.ceil((chunk + 1) * self.chunk_frames * SAMPLE_RATE / self.frame_rate)
        return covered + round(self.context * SAMPLE_RATE)

    def window_span(self, chunk: int) -> tuple[int, int]:
        """Return (start, stop) of a chunk's window: samples of whole features, ≤ samples_needed(chunk)."""
        last = (self.samples_needed(chunk) - self.receptive_field) // self.feature_stride
        start = max(0, last - self.window_features + 1) * self.feature_stride
        return start, last * self.feature_stride + self.receptive_field

    @property
    def feature_offset(self) -> Fraction:
        """Features by which a frame's position lies after n·feature_rate/frame_rate.

        The published interpolation aligns first and last rows, which shifts positions by 0 at the beginning
        and up to feature_rate/frame_rate − 1 at the end. Aligning the centres of frames and features needs no
        end, and lies in the middle of that: (n + ½)·feature_rate/frame_rate − ½.
        """
        return (self.feature_rate / self.frame_rate - 1) / 2

    def feature_positions(self, chunk: int) -> list[float]:
        """Return the position of each of the chunk's frames among the features of its window."""
        first = self.window_span(chunk)[0] // self.feature_stride
        return [
            float(max(n * self.feature_rate / self.frame_rate + self.feature_offset, 0) - first)
            for n in range(chunk * self.chunk_frames, (chunk + 1) * self.chunk_frames)
        ]

    def frame_count(self, samples: int) -> int:
        """Return the number of frames that so many samples give: ceil(samples · frame_rate / 16000)."""
        return math.ceil(samples * self.frame_rate / SAMPLE_RATE)
