# SPDX-License-Identifier: Apache-2.0
"""Video writer: images and audio in sync, through PyAV, which ships its own FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import atomic_output

_AUDIO_SAMPLE_RATE = 48_000  # Hz, which every player supports
_AUDIO_BLOCK_SAMPLES = 4096


class VideoFormat(NamedTuple):
    """Codecs of a container.

    Attributes:
        video: Name of the encoder of images.
        options: Its options.
        pixels: Format of opaque pixels.
        pixels_with_alpha: Format of pixels with alpha; None if the container has none.
        audio: Name of the encoder of audio.
        sample_format: What that encoder takes.
        even_sizes: Whether width and height have to be even.
    """

    video: str
    options: dict[str, str]
    pixels: str
    pixels_with_alpha: str | None
    audio: str
    sample_format: str
    even_sizes: bool


VIDEO_FORMATS: Final = {
    ".mp4": VideoFormat(
        "libx264", {"crf": "20", "preset": "veryfast"}, "yuv420p", None, "aac", "fltp", even_sizes=True
    ),
    ".webm": VideoFormat(
        "libvpx-vp9",
        {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"},
        "yuv420p",
        "yuva420p",
        "libopus",
        "flt",
        even_sizes=True,
    ),
    ".mov": VideoFormat(
        "prores_ks", {"profile": "4"}, "yuv444p10le", "yuva444p10le", "pcm_s16le", "s16", even_sizes=False
    ),
}
"""Containers by ending: H.264 with AAC, VP9 with Opus, ProRes 4444 with PCM."""

TRANSPARENT_VIDEOS: Final = tuple(name for name, form in VIDEO_FORMATS.items() if form.pixels_with_alpha)
"""Endings of those that have alpha."""


def write_video(
    path: str | os.PathLike[str],
    images: Iterable[npt.NDArray[np.uint8]],
    frame_rate: float,
    audio: npt.ArrayLike | Iterator[npt.NDArray[np.float32]] | None = None,
    audio_rate: int = 16000,
) -> None:
    """Write a video. Image n is shown from n / frame_rate on; the audio starts at 0.

    Args:
        path: File to write, whose ending is one of `VIDEO_FORMATS`.
        images: (H, W, 3) RGB or (H, W, 4) RGBA each, of one size; H and W even but for .mov.
        frame_rate: Images per second.
        audio: (n,) mono, -1..1, or an iterator of its blocks, (n,) float32; None for a silent video.
        audio_rate: Sample rate of the audio in Hz.

    Raises:
        TalkerError: If PyAV is not installed, there are no images, the format lacks odd sizes or alpha, or
            the file cannot be written.
    """
    av = require("av", "writing a video")
    ending = Path(path).suffix.lower()
    form = VIDEO_FORMATS[ending]
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise TalkerError("a video needs at least one picture: give audio that is longer than one frame")
    height, width, channels = first.shape
    if form.even_sizes and (height % 2 or width % 2):
        raise TalkerError(f"a picture of {width} × {height} does not fit {ending}: make both sizes even")
    source, pixels = ("rgba", form.pixels_with_alpha) if channels == 4 else ("rgb24", form.pixels)
    if pixels is None:
        raise TalkerError(f"{ending} holds no transparency: choose {' or '.join(TRANSPARENT_VIDEOS)}")
    rate = Fraction(frame_rate).limit_denominator(1001)
    with (
        atomic_output(path) as partial,
        av.open(str(partial), "w", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream(form.video, rate=rate, options=form.options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = 1 / rate
        track = None
        if audio is not None:
            blocks = audio if isinstance(audio, Iterator) else iter([np.asarray(audio, np.float32)])
            track = _AudioTrack(av, container, form, blocks, audio_rate)
        index, image = 0, first
        while image is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=source)
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
    """The audio of a container, encoded block by block."""

    def __init__(
        self,
        av: ModuleType,
        container: Any,
        form: VideoFormat,
        blocks: Iterator[npt.NDArray[np.float32]],
        rate: int,
    ) -> None:
        self._av, self._container, self._blocks, self._rate = av, container, blocks, int(rate)
        self._pcm = np.zeros(0, np.float32)  # samples that were read and not written
        self._stream = container.add_stream(form.audio, rate=_AUDIO_SAMPLE_RATE, layout="mono")
        self._resampler = av.AudioResampler(format=form.sample_format, layout="mono", rate=_AUDIO_SAMPLE_RATE)
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
