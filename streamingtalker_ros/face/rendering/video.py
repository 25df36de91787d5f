# SPDX-License-Identifier: Apache-2.0
"""Pictures and a voice to an MP4 that plays anywhere: H.264 (yuv420p) and AAC, in step.

Takes an iterator of (H, W, 3) uint8 RGB images and (n,) float32 mono audio. Image n is shown at n /
frame_rate, the audio starts at 0. Through PyAV, which brings its own FFmpeg.
"""

from fractions import Fraction

import numpy as np

from streamingtalker_ros.errors import TalkerError, require

_SOUND_RATE = 48000  # what every player's AAC decoder takes
_BLOCK = 4096


def write_mp4(path, images, frame_rate, audio=None, audio_rate=16000) -> None:
    """path: file to write; images: iterable of (H, W, 3) uint8, H and W even; frame_rate: frames/s.

    audio: (n,) float32 mono in -1..1 or None; audio_rate: Hz. Raises TalkerError where PyAV is not installed,
    when there are no images, or a size is odd.
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
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        pictures = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        pictures.codec_context.time_base = 1 / rate
        sound = None if audio is None else _Sound(av, container, np.asarray(audio, np.float32), audio_rate)
        index, image = 0, first
        while image is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(pictures.encode(frame))
            index += 1
            if sound:
                sound.write_until(index / frame_rate)  # side by side, so that a player need not seek
            image = next(images, None)
        container.mux(pictures.encode(None))
        if sound:
            sound.finish()


class _Sound:
    """The audio track, written piece by piece."""

    def __init__(self, av, container, pcm, rate) -> None:
        self._av, self._container, self._pcm, self._rate = av, container, pcm, int(rate)
        self._stream = container.add_stream("aac", rate=_SOUND_RATE, layout="mono")
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=_SOUND_RATE)
        self._done = 0

    def write_until(self, seconds) -> None:
        while self._done < len(self._pcm) and self._done < seconds * self._rate:
            block = self._pcm[self._done : self._done + _BLOCK]
            frame = self._av.AudioFrame.from_ndarray(block[None].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._done += len(block)
            self._mux(self._resampler.resample(frame))

    def finish(self) -> None:
        self.write_until(float("inf"))
        self._mux(self._resampler.resample(None))
        self._container.mux(self._stream.encode(None))

    def _mux(self, frames) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))
