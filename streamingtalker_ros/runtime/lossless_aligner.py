# SPDX-License-Identifier: Apache-2.0
"""Aligns the packets of a connection that neither loses nor reorders audio to the 16 kHz sample grid.

Each packet continues where the one before ended, so that nothing of `packet_aligner` has to be decided or
repaired. Independent of models and of the wall clock.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import AudioClock
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.pcm_decoder import bytes_to_float32
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.runtime.timeline import AudioSegment


class LosslessAligner:
    """Turns packets into `AudioSegment`s, without a gap between them.

    The stamp of the first packet of a stream counts; the stamps of the others follow from the number of
    samples.

    Args:
        default_format: Layout of the packets that do not describe theirs.
        statistics: Counts samples that are not finite.
    """

    def __init__(self, default_format: AudioFormat, statistics: Statistics) -> None:
        self.default_format = default_format
        self._statistics = statistics
        self.reset()

    def reset(self) -> None:
        """Discard the stream: the next packet begins a new one."""
        self._format: AudioFormat | None = None  # of the stream
        self._is_flushed = False

    @property
    def surplus(self) -> float:
        """Samples at 16 kHz by which the next output may exceed the next packet."""
        return 0.0 if self._format is None or self._is_flushed else self._resampler.surplus

    def duration(self, packet: AudioPacket) -> float:
        """Return the duration of a packet in s."""
        audio_format = packet.format or self.default_format
        return len(packet.payload) / (audio_format.frame_bytes * audio_format.sample_rate)

    def align(self, packet: AudioPacket) -> list[AudioSegment]:
        """Align one packet.

        Args:
            packet: Mono audio of whole samples, in the format of its stream.

        Returns:
            Its segment.

        Raises:
            TalkerError: If the packet has another layout; `reset` comes before a new format.
        """
        audio_format = packet.format or self.default_format
        if audio_format.channels != 1 or len(packet.payload) % audio_format.bytes_per_sample:
            raise TalkerError("audio of this connection is mono and has whole samples")
        samples = bytes_to_float32(packet.payload, audio_format.encoding)
        starts_stream = self._format is None or self._is_flushed
        if starts_stream:
            self._begin(audio_format, packet.stamp or 0, len(samples))
        elif audio_format != self._format:
            raise TalkerError("the format of the audio changed within a stream: start a new one")
        if audio_format.encoding == "f32":
            samples = self._clean(samples)
        pcm = self._resampler.accept(samples)
        return [AudioSegment(pcm, packet.arrival, self._clock, starts_stream)]

    def flush(self) -> npt.NDArray[np.float32]:
        """Return the audio that the resampler holds, (n,) at 16 kHz: the audio has ended.

        A second call returns nothing.
        """
        if self._format is None or self._is_flushed:
            return np.zeros(0, np.float32)
        self._is_flushed = True
        return self._resampler.finish()

    def insert_silence(self, samples: int) -> None:
        """Ignored: audio behind generated silence begins a new stream.

        Args:
            samples: Length of the silence at 16 kHz.
        """

    def _begin(self, audio_format: AudioFormat, stamp: int, samples: int) -> None:
        self._format = audio_format
        self._is_flushed = False
        self._resampler = Resampler(audio_format.sample_rate, SAMPLE_RATE)
        self._clock = AudioClock(audio_format.sample_rate)
        self._clock.assign(stamp, samples)

    def _clean(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        nonfinite = ~np.isfinite(samples)
        self._statistics.nonfinite += int(nonfinite.sum())
        samples[nonfinite] = 0
        return np.clip(samples, -1, 1)
