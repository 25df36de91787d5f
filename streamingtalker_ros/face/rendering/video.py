# SPDX-License-Identifier: Apache-2.0
"""MP4 writer: H.264 (yuv420p) images and AAC audio in sync, through PyAV, which ships its own FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import atomic_output

_AAC_SAMPLE_RATE = 48_000  # Hz, which every player's AAC decoder supports
_AUDIO_BLOCK_SAMPLES = 4096


def write_mp4(
    path: str | os.PathLike[str],
    images: Iterable[npt.NDArray[np.uint8]],
    frame_rate: float,
    audio: npt.ArrayLike | Iterator[npt.NDArray[np.float32]] | None = None,
    audio_rate: int = 16000,
) -> None:
    """Write a video. Image n is shown from n / frame_rate on; the audio starts at 0.

    Args:
        path: File to write.
        images: (H, W, 3) RGB each, of one size, H and W even.
        frame_rate: Images per second.
        audio: (n,) mono, -1..1, or an iterator of its blocks, (n,) float32; None for a silent video.
        audio_rate: Sample rate of the audio in Hz.

    Raises:
        TalkerError: If PyAV is not installed, there are no images, a size is odd, or the file cannot be
            written.
    """
    av = require("av", "writing a video")
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise TalkerError("a video needs at least one picture: give audio that is longer than one frame")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise TalkerError(f"a picture of {width} × {height} does not fit H.264: make both sizes even")
    rate = Fraction(frame_rate).limit_denominator(1001)
    with (
        atomic_output(path) as partial,
        av.open(str(partial), "w", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = 1 / rate
        track = None
        if audio is not None:
            blocks = audio if isinstance(audio, Iterator) else iter([np.asarray(audio, np.float32)])
            track = _AudioTrack(av, container, blocks, audio_rate)
        index, image = 0, first
        while image is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
            index += 1
            if track:
                track.write_until(index / frame_rate)  # interleaved, so that a player need not seek
            image = next(images, None)
        container.mux(stream.encode(None))
        if track:
            track.finish()


class _AudioTrack:
    """The AAC track of a container, encoded block by block."""

    def __init__(
        self, av: ModuleType, container: Any, blocks: Iterator[npt.NDArray[np.float32]], rate: int
    ) -> None:
        self._av, self._container, self._blocks, self._rate = av, container, blocks, int(rate)
        self._pcm = np.zeros(0, np.float32)  # samples that were read and not written
        self._stream = container.add_stream("aac", rate=_AAC_SAMPLE_RATE, layout="mono")
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=_AAC_SAMPLE_RATE)
        self._position = 0  # samples written

    def write_until(self, seconds: float) -> None:
        """Encode the audio before a time."""
        while self._position < seconds * self._rate and len(block := self._read_block()):
            frame = self._av.AudioFrame.from_ndarray(block[None].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = self._rate, self._position
            frame.time_base = Fraction(1, self._rate)
            self._position += len(block)
            self._mux(self._resampler.resample(frame))

    def _read_block(self) -> npt.NDArray[np.float32]:
        """Return the next `_AUDIO_BLOCK_SAMPLES`; fewer at the end, then none."""
        while len(self._pcm) < _AUDIO_BLOCK_SAMPLES and (block := next(self._blocks, None)) is not None:
            self._pcm = np.concatenate([self._pcm, block]) if len(self._pcm) else block
        block, self._pcm = self._pcm[:_AUDIO_BLOCK_SAMPLES], self._pcm[_AUDIO_BLOCK_SAMPLES:]
        return block

    def finish(self) -> None:
        """Encode the remaining audio and flush the encoder."""
        self.write_until(float("inf"))
        self._mux(self._resampler.resample(None))
        self._container.mux(self._stream.encode(None))

    def _mux(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))
