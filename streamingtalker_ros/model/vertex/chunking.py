# SPDX-License-Identifier: Apache-2.0
"""When a pass happens and what it hears: the arithmetic of bounded streaming, free of networks and state.

A pass k computes the frames k·hop … (k + 1)·hop − 1 at once, from at most `window` seconds of audio that end
`context` seconds after the last of them. All positions are counted from the stream's first sample, so that
how the audio was cut into chunks can have no influence.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError


@dataclass(frozen=True)
class Grid:
    """frame_rate: frames/s; audio_fps: features/s; stride, reach: samples of a feature (hubert.geometry);
    hop: frames per pass; window: seconds of audio a pass hears; context: of these, after its last frame."""

    frame_rate: Fraction
    audio_fps: Fraction
    stride: int
    reach: int
    hop: int
    window: float
    context: float

    @classmethod
    def fitted(cls, frame_rate, audio_fps, stride, reach, hop, window, context):
        """The grid, if every pass hears what its frames need. Raises TalkerError naming the cure."""
        if hop != int(hop) or hop < 1:
            raise TalkerError(f"a hop of {hop} frames cannot be had: give a whole number, 1 or more")
        grid = cls(
            Fraction(frame_rate).limit_denominator(1000),
            Fraction(audio_fps).limit_denominator(1000),
            stride,
            reach,
            int(hop),
            float(window),
            float(context),
        )
        if not context >= grid.least_context:
            raise TalkerError(
                f"a context of {context:g} s is too short for this model: "
                f"give {grid.least_context:.3f} s or more"
            )
        least = float(hop / grid.frame_rate) + context + (2 * stride + 1) / SAMPLE_RATE
        if not window >= least:
            raise TalkerError(
                f"a window of {window:g} s is too short for a hop of {hop} frames: "
                f"give {least:.2f} s or more, or a smaller hop"
            )
        return grid

    @property
    def least_context(self):
        """Seconds: the feature after a frame's place begins within a stride and hears `reach` samples."""
        need = (1 + max(self.offset, 0)) * self.stride + self.reach
        return max(0.0, float(need / SAMPLE_RATE - 1 / self.frame_rate))

    @property
    def lookahead(self):
        """Seconds after its own audio that the first frame of a pass waits for, and no frame longer."""
        # frames that end between samples wait for the next
        ragged = (SAMPLE_RATE / self.frame_rate).denominator > 1
        return float((self.hop - 1) / self.frame_rate) + self.context + ragged / SAMPLE_RATE

    @property
    def features(self):
        """Features of a full window; all passes but the first few have this many, so that shapes stay."""
        return (round(self.window * SAMPLE_RATE) - self.reach) // self.stride + 1

    @property
    def window_samples(self):
        """Samples that those features hear."""
        return (self.features - 1) * self.stride + self.reach

    def end(self, k):
        """Samples that have to arrive before pass k."""
        covered = math.ceil((k + 1) * self.hop * SAMPLE_RATE / self.frame_rate)
        return covered + round(self.context * SAMPLE_RATE)

    def span(self, k):
        """(start, stop): the samples that pass k hears, whole features on their own grid, stop ≤ end(k)."""
        last = (self.end(k) - self.reach) // self.stride
        return max(0, last - self.features + 1) * self.stride, last * self.stride + self.reach

    @property
    def offset(self):
        """Features by which a frame's place lies after n·audio_fps/frame_rate.

        The published interpolation aligns first and last rows, which stretches places by 0 at the beginning
        up to audio_fps/frame_rate − 1 at the end. Aligning the centres of frames and features instead needs
        no end, and is the middle of that: (n + ½)·audio_fps/frame_rate − ½.
        """
        return (self.audio_fps / self.frame_rate - 1) / 2

    def positions(self, k):
        """Where each of the pass's frames lies among the features of its window: hop floats."""
        first = self.span(k)[0] // self.stride
        return [
            float(max(n * self.audio_fps / self.frame_rate + self.offset, 0) - first)
            for n in range(k * self.hop, (k + 1) * self.hop)
        ]

    def frames(self, samples):
        """Frames that so many samples of audio are owed: ceil(samples · frame_rate / 16000)."""
        return math.ceil(samples * self.frame_rate / SAMPLE_RATE)
