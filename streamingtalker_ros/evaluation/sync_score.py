# SPDX-License-Identifier: Apache-2.0
"""Agreement of audio and lips at lags, by canonical correlations (Hotelling, 1936) of captured clips.

As SyncNet (Chung and Zisserman, 2016) does with a network on images, `SyncModel` maps windows of audio and of
lip curves to a common space and compares them there at every lag. Motion needs no reference to be scored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.corpus.storage import load_corpus
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.metrics import cross_correlation
from streamingtalker_ros.model.blendshape.feature_constants import FFT_SIZE
from streamingtalker_ros.model.blendshape.numpy_features import mel_filters

MAX_SYNC_LAG_FRAMES: Final = 10
"""Frames of shift, either way, over which audio and lips are compared."""

NUM_COMPONENTS: Final = 6
NUM_MELS: Final = 24
AUDIO_CONTEXT_FRAMES: Final = 3
"""Frames of audio before and after a frame that describe it."""

LIP_CONTEXT_FRAMES: Final = 2
SPECTRA_PER_FRAME: Final = 4
MIN_POWER: Final = 1e-6
REGULARIZATION: Final = 0.1
"""Ridge of the covariances, relative to their mean eigenvalue."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SyncModel:
    """Linear maps of audio and lips to components that correlate.

    Attributes:
        audio_map: (audio features, C).
        lip_map: (lip features, C).
        correlations: (C,) canonical correlations in training, by which components are weighted.
    """

    audio_map: Array
    lip_map: Array
    correlations: Array

    @classmethod
    def fit(
        cls, audio: Sequence[npt.ArrayLike], openings: Sequence[np.ndarray], widths: Sequence[np.ndarray]
    ) -> SyncModel:
        """Learn the maps.

        Args:
            audio: for each clip (n,) audio at 16 kHz.
            openings: for each clip (T,) lip opening.
            widths: for each clip (T,) lip width.

        Returns:
            The model.
        """
        features = [_paired_features(*clip) for clip in zip(audio, openings, widths, strict=True)]
        a, v = (np.concatenate(rows) for rows in zip(*features, strict=True))
        whiten_audio, whiten_lips = _whitening(a), _whitening(v)
        covariance = (a - a.mean(0)).T @ (v - v.mean(0)) / len(a)
        left, correlations, right = np.linalg.svd(whiten_audio @ covariance @ whiten_lips)
        return cls(
            whiten_audio @ left[:, :NUM_COMPONENTS],
            whiten_lips @ right[:NUM_COMPONENTS].T,
            correlations[:NUM_COMPONENTS],
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SyncModel:
        """Learn the maps from the training clips of a corpus.

        Args:
            folder: a corpus of tracked lips.

        Returns:
            The model.

        Raises:
            TalkerError: If the folder holds no corpus, or no training clip with tracked lips.
        """
        clips = [
            (clip.pcm, np.maximum(clip.lip_opening, 0.0), clip.lip_width)
            for clip in load_corpus(folder, "train")
            if clip.lip_opening is not None and clip.lip_width is not None
        ]
        if not clips:
            raise TalkerError(
                f"the corpus {folder} has no training clip with tracked lips, from which --sync learns: name "
                "one that `streamingtalker corpus from-video` made"
            )
        return cls.fit(*zip(*clips, strict=True))

    def agreement(self, pcm: npt.ArrayLike, opening: np.ndarray, width: np.ndarray) -> Array:
        """Compare audio and lips at every lag.

        Args:
            pcm: (n,) audio at 16 kHz.
            opening: (T,) lip opening.
            width: (T,) lip width.

        Returns:
            (2 MAX_SYNC_LAG_FRAMES + 1,) mean correlation of the components; positive lags: the lips are late.
        """
        a, v = _paired_features(pcm, opening, width)
        rows = [
            cross_correlation(lips, audio, MAX_SYNC_LAG_FRAMES)
            for lips, audio in zip((v @ self.lip_map).T, (a @ self.audio_map).T, strict=True)
        ]
        return np.average(rows, axis=0, weights=self.correlations)


def sync_lag_and_confidence(agreement: Array) -> tuple[int, float]:
    """The lag of best agreement, and how far it stands out.

    Args:
        agreement: result of `SyncModel.agreement`.

    Returns:
        Frames by which the lips are late, and the best agreement minus the median one (SyncNet's confidence).
    """
    best = int(agreement.argmax())
    return best - MAX_SYNC_LAG_FRAMES, float(agreement[best] - np.median(agreement))


def _paired_features(pcm: npt.ArrayLike, opening: np.ndarray, width: np.ndarray) -> tuple[Array, Array]:
    """Features of audio and lips of the same frames."""
    lips = np.stack([opening, width], axis=1).astype(np.float64)
    lips = (lips - lips.mean(0)) / np.maximum(lips.std(0), 1e-6)
    audio = _log_mel(np.asarray(pcm, np.float64))
    frames = min(len(audio), len(lips))
    return _add_context(audio[:frames], AUDIO_CONTEXT_FRAMES), _add_context(lips[:frames], LIP_CONTEXT_FRAMES)


def _log_mel(pcm: Array) -> Array:
    """Log mel power of each frame above its mean over the clip, (T, NUM_MELS)."""
    frames, step = len(pcm) // HOP_LENGTH, HOP_LENGTH // SPECTRA_PER_FRAME
    padded = np.pad(pcm[: frames * HOP_LENGTH], (FFT_SIZE // 2, FFT_SIZE))
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[step // 2 :: step]
    power = np.abs(np.fft.rfft(windows[: frames * SPECTRA_PER_FRAME] * np.hanning(FFT_SIZE))) ** 2
    mel = power.reshape(frames, SPECTRA_PER_FRAME, -1).mean(1) @ mel_filters(NUM_MELS, SAMPLE_RATE)
    log_mel = np.log(mel + MIN_POWER)
    return log_mel - log_mel.mean(0)


def _add_context(rows: Array, context: int) -> Array:
    """Put the rows of the neighbouring frames beside each row; the ends are held."""
    padded = np.pad(rows, ((context, context), (0, 0)), mode="edge")
    return np.concatenate([padded[k : k + len(rows)] for k in range(2 * context + 1)], axis=1)


def _whitening(rows: Array) -> Array:
    """Matrix that makes the covariance of rows the identity, but for the ridge."""
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    return (vectors / np.sqrt(values + REGULARIZATION * values.mean())) @ vectors.T
