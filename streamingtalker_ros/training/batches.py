# SPDX-License-Identifier: Apache-2.0
"""Random training windows of clips: audio features, motion, phone and voice labels of B windows at once.

A window begins anywhere in its clip and carries `burn_in` frames of real audio and motion before the frames
that the loss counts, so that training sees the history that streaming has. A window at a clip's start has
none, as a stream has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.face.arkit import MIRROR
from streamingtalker_ros.model.blendshape.feature_constants import MIN_LEVEL
from streamingtalker_ros.model.blendshape.features import LogMel
from streamingtalker_ros.phonetics.phones import (
    VISEME_TARGETS,
    Phone,
    has_unreliable_alignment,
    normalize_phones,
)
from streamingtalker_ros.training.feature_augmentation import (
    FeatureAugmentationConfig,
    mix,
    normalize_level,
    to_absolute,
)
from streamingtalker_ros.training.feature_cache import (
    CachedFeatures,
    extract_corpus_features,
    extract_features,
)

Array = npt.NDArray[np.float32]
Features = tuple[torch.Tensor, torch.Tensor]  # normalised log-mel (B, n, columns, mels), loudness (B, n)

MOTION_DIM = 55  # 52 weights, rotation vector of the head
HOP_S = HOP_LENGTH / SAMPLE_RATE
BRIEF_CLIP_S = 5.0  # short clips of one voice are concatenated: what is still shorter is all of it
MAX_BRIDGED_PAUSE_S = 0.2  # a shorter pause between phones counts as voice
MIN_VOICED_FRACTION = 0.3  # of a frame that counts as voice
SILENT_PHONES = ("pau", "sil", "h#", "")
PHONES = tuple(sorted({name.split(":")[0] for name in VISEME_TARGETS}))
UNRELIABLE_MARGIN_S = 0.07  # around a phone with unreliable alignment, where it may really be
IGNORED_LABEL = -100  # of a frame whose phone is unknown; the default `ignore_index` of torch's cross-entropy

STATIONARY_NOISES: tuple[Callable[..., Any], ...] = (
    augmentation.white_noise,
    augmentation.white_noise,
    augmentation.pink_noise,
    augmentation.pink_noise,
    augmentation.brown_noise,
    augmentation.engine_noise,
    augmentation.mains_hum,
)
NOISE_LENGTH_S, NOISE_COPIES = 8, 3
MAX_SPECTRAL_TILT = 1.5  # nepers of power at the ends of a stationary noise's spectrum
NOISE_ONLY_GAIN = (-6.0, 2.0)  # nepers of power


class TrainingClip(Protocol):
    """A training clip; `style` and `lip_opening` are read where the clip has them."""

    pcm: Array
    weights: Array
    head: Array
    phones: list[Phone]


@dataclass
class Batch:
    """Tensors of B windows of T = burn-in + learned frames.

    Attributes:
        mels: (B, T + look-ahead, columns, mels) float32 normalised log-mel.
        loudness: (B, T + look-ahead) over the running level.
        motion: (B, T, 55): 52 weights, rotation vector of the head.
        voice: (B, T + look-ahead) 0 or 1: voice activity.
        phones: (B, T) int64 indices into `PHONES`, or `IGNORED_LABEL`.
        style: (B,) int64 rows of the style embedding.
        first: (B,) int64 index of row 0 in its clip.
        loss_mask: (B, T) float32, 1 where the loss counts.
        is_brief: (B,) bool: the clip is shorter than `BRIEF_CLIP_S`, and with it all that its voice says.
        snr: (B,) dB of the augmentation, infinite where nothing was added; None without audio.
    """

    mels: torch.Tensor
    loudness: torch.Tensor
    motion: torch.Tensor
    voice: torch.Tensor
    phones: torch.Tensor
    style: torch.Tensor
    first: torch.Tensor
    loss_mask: torch.Tensor
    is_brief: torch.Tensor
    snr: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""

        def to_device(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(to_device, value))
            return None if value is None else value.to(device, non_blocking=True)

        return Batch(**{field.name: to_device(getattr(self, field.name)) for field in fields(self)})


def clip_motion(clip: TrainingClip) -> Array:
    """Weights and head rotation of a clip side by side: (T, 55)."""
    return np.concatenate((clip.weights, clip.head), 1).astype(np.float32)


def voice_labels(phones: Sequence[Phone], num_frames: int) -> Array:
    """Voice activity per frame, (num_frames,): 1 where phones sound or a short pause lies between them."""
    merged: list[list[float]] = []
    for phone in phones:
        if phone.name in SILENT_PHONES:
            continue
        if merged and phone.start - merged[-1][1] < MAX_BRIDGED_PAUSE_S:
            merged[-1][1] = phone.end
        else:
            merged.append([phone.start, phone.end])
    edges = np.arange(num_frames + 1) * HOP_S
    covered = np.zeros(num_frames)
    for start, end in merged:
        covered += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0.0, None)
    return (covered > MIN_VOICED_FRACTION * HOP_LENGTH / SAMPLE_RATE).astype(np.float32)


def phone_labels(phones: Sequence[Phone], num_frames: int) -> npt.NDArray[np.int64]:
    """Index into `PHONES` of the phone at the centre of each frame: (num_frames,).

    Frames without a phone are pauses. `IGNORED_LABEL` stands where the phone has no name, and around a phone
    with unreliable alignment.

    Args:
        phones: Aligned phones of the clip, with start and end in s.
        num_frames: Number of frames, of `HOP_S` seconds each.
    """
    labels = np.full(num_frames, PHONES.index("pau"))
    centers = (np.arange(num_frames) + 0.5) * HOP_S
    phones = normalize_phones(phones)
    for phone in phones:
        row = PHONES.index(phone.name) if phone.name in PHONES else IGNORED_LABEL
        labels[(centers >= phone.start) & (centers < phone.end)] = row
    for phone in phones:
        if has_unreliable_alignment(phone):
            is_near = (centers > phone.start - UNRELIABLE_MARGIN_S) & (
                centers < phone.end + UNRELIABLE_MARGIN_S
            )
            labels[is_near] = IGNORED_LABEL
    return labels


def mirror_motion(motion: torch.Tensor) -> torch.Tensor:
    """Swap left and right of motion (…, 55): paired shapes change places, head rotation is reflected."""
    return torch.cat((motion[..., MIRROR], motion[..., 52:] * motion.new_tensor([-1.0, 1.0, -1.0])), -1)


def pad_rows(rows: Array, min_length: int) -> Array:
    """Rows (n, …) padded to at least `min_length` by repeating the last.

    Args:
        rows: (n, …) with n ≥ 1.
        min_length: Least number of rows of the result.

    Returns:
        (max(n, min_length), …); the same array if it is long enough.
    """
    if len(rows) >= min_length:
        return rows
    return np.concatenate((rows, np.repeat(rows[-1:], min_length - len(rows), 0)))


class WindowSampler:
    """Draws batches of random windows from clips.

    All features and motion lie on `device`: about 46 MB per hour and audio variant, 20 MB per hour and motion
    variant.

    Args:
        clips: the corpus.
        frames: frames per window that the loss counts.
        burn_in: frames of history before them.
        lookahead: frames of audio after the window.
        log_mel: the encoder's feature extractor; None if only motion is needed.
        clip_weights: (clips,) relative frequency of each clip; by length when None.
        styles: names of the style embedding's rows.
        audio_variants: audio variants per clip, the first clean (see `extract_corpus_features`).
        clean_prob: probability that the clean variant is taken.
        start_prob: probability that a window begins where its clip does.
        mirror_prob: probability that the motion is mirrored.
        motion_variants: motions per clip: one audio track allows many, so beyond the first the lips stay and
            the upper face is resampled.
        use_captured_upper_face: keep the lids, brows and head that a camera measured. By default they are
            resampled, because people who read sentences aloud blink far more often than in conversation.
        augmentation_prob: probability that a window goes through `feature_augmentation.mix`, with clips
            without speech as noise.
        stationary_noise_prob: probability that the noise is a synthetic stationary one instead.
        augmentation: fields of `FeatureAugmentationConfig`.
        seed: of augmented variants and stationary noises.
        progress: show a progress bar while features are extracted.
        num_workers: processes that extract features.
        device: where everything lies and batches are made.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        frames: int,
        burn_in: int,
        lookahead: int,
        log_mel: LogMel | None = None,
        clip_weights: Sequence[float] | npt.NDArray[np.float64] | None = None,
        styles: Sequence[str] = ("neutral",),
        audio_variants: int = 1,
        clean_prob: float = 0.25,
        start_prob: float = 0.15,
        mirror_prob: float = 0.5,
        motion_variants: int = 1,
        use_captured_upper_face: bool = False,
        augmentation_prob: float = 0.0,
        stationary_noise_prob: float = 0.5,
        augmentation: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
        num_workers: int = 1,
        device: str | torch.device = "cpu",
    ) -> None:
        self.window_length, self.burn_in, self.lookahead = burn_in + frames, burn_in, lookahead
        self.augmentation_prob, self.stationary_noise_prob = augmentation_prob, stationary_noise_prob
        self.start_prob, self.mirror_prob, self.clean_prob = start_prob, mirror_prob, clean_prob
        self.augmentation = FeatureAugmentationConfig(**(augmentation or {}))
        self.device = torch.device(device)
        variants = [
            _motion_variants(clip, motion_variants, use_captured_upper_face, self.window_length)
            for clip in clips
        ]
        self.clip_lengths = np.array([len(motions[0]) for motions in variants])  # padded to a window
        self._true_lengths = np.array([len(clip.weights) for clip in clips])
        audio_lengths = self.clip_lengths + lookahead
        self._motion, self._motion_starts = self._concatenate(
            [motion for motions in variants for motion in motions], (len(clips), motion_variants)
        )
        voice = [voice_labels(clip.phones, count) for clip, count in zip(clips, audio_lengths, strict=True)]
        self.non_speech_clips = np.flatnonzero([not labels.any() for labels in voice])
        self._voice, self._label_starts = self._concatenate(voice)
        self._phones, _ = self._concatenate(
            [
                phone_labels(clip.phones, count).astype(np.int16)
                for clip, count in zip(clips, audio_lengths, strict=True)
            ]
        )
        style_rows = {name: row for row, name in enumerate(styles)}
        self.style = np.array([style_rows.get(getattr(clip, "style", "neutral"), 0) for clip in clips])
        weights = np.array(self.clip_lengths if clip_weights is None else clip_weights, np.float64)
        self.clip_probs = weights / weights.sum()
        self._has_audio = log_mel is not None
        if log_mel is not None:
            features = [
                variant
                for clip in extract_corpus_features(
                    log_mel, clips, audio_lengths.tolist(), audio_variants, seed, progress, num_workers
                )
                for variant in clip
            ]
            noises = _stationary_noises(log_mel, seed) if augmentation_prob else []
            self._mels, starts = self._concatenate([cached.mels for cached in features + noises])
            self._loudness, _ = self._concatenate([cached.loudness for cached in features + noises])
            self._level, _ = self._concatenate([cached.level for cached in features + noises])
            self._audio_starts = starts[: len(features)].reshape(len(clips), audio_variants)
            self._noise_starts = np.concatenate(
                (self._audio_starts[self.non_speech_clips, 0], starts[len(features) :])
            )
            self._noise_lengths = np.concatenate(
                (audio_lengths[self.non_speech_clips], [len(cached.level) for cached in noises])
            ).astype(int)

    def _concatenate(
        self, arrays: Sequence[Any], shape: tuple[int, ...] = (-1,)
    ) -> tuple[torch.Tensor, npt.NDArray[np.int64]]:
        """Arrays (n_i, …) end to end on the device, and the row where each begins, in `shape`."""
        starts = np.concatenate(([0], np.cumsum([len(array) for array in arrays])[:-1])).astype(np.int64)
        return torch.cat([torch.as_tensor(array) for array in arrays]).to(self.device), starts.reshape(shape)

    def motions(self) -> Iterator[Array]:
        """Every motion variant of every clip: (T, 55) each."""
        for starts, count in zip(self._motion_starts, self.clip_lengths, strict=True):
            yield from (self._motion[start : start + count].cpu().numpy() for start in starts)

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """A random batch.

        Args:
            batch_size: number of windows B.
            rng: with PyTorch's generator, which augmentation uses, the only source of randomness.
        """
        clip = rng.choice(len(self.clip_lengths), batch_size, p=self.clip_probs)
        variant = rng.integers(0, self._motion_starts.shape[1], batch_size)
        last_start = self.clip_lengths[clip] - self.window_length + 1
        first = (rng.random(batch_size) * last_start).astype(np.int64)
        first[rng.random(batch_size) < self.start_prob] = 0
        motion = self._motion[
            self._row_ranges(self._motion_starts[clip, variant] + first, self.window_length)
        ]
        is_mirrored = self._to_device(rng.random(batch_size) < self.mirror_prob)[:, None, None]
        labels = self._row_ranges(self._label_starts[clip] + first, self.window_length + self.lookahead)
        loss_mask = np.ones((batch_size, self.window_length), np.float32)
        loss_mask[first > 0, : self.burn_in] = 0.0
        loss_mask[first[:, None] + np.arange(self.window_length) >= self._true_lengths[clip, None]] = 0.0
        mels, loudness, snr = self._sample_audio(clip, first, rng) if self._has_audio else (None,) * 3
        return Batch(
            mels,  # pyright: ignore[reportArgumentType] # stages that read audio are given a sampler with audio
            loudness,  # pyright: ignore[reportArgumentType]
            torch.where(is_mirrored, mirror_motion(motion), motion),
            self._voice[labels],
            self._phones[labels[:, : self.window_length]].long(),
            self._to_device(self.style[clip]),
            self._to_device(first),
            self._to_device(loss_mask),
            self._to_device(self._true_lengths[clip] < BRIEF_CLIP_S / HOP_S),
            snr,
        )

    def sample_noise_only(self, batch_size: int, rng: np.random.Generator) -> Features:
        """Windows of sounds without speech, with the features of a stream that begins with them.

        Args:
            batch_size: Number of windows B.
            rng: Draws the sounds, where they begin, and their gain.

        Returns:
            Normalised log-mel (B, n, columns, mels) and loudness (B, n), n being the window's frames and its
            lookahead.
        """
        power = self._sample_noise(batch_size, rng)
        gain = rng.uniform(*NOISE_ONLY_GAIN, batch_size).astype(np.float32)
        power = power + self._to_device(gain)[:, None, None, None]
        return normalize_level(power, torch.full((batch_size,), MIN_LEVEL, device=self.device))

    def _to_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _row_ranges(self, start: npt.NDArray[np.int64], count: int) -> torch.Tensor:
        """`count` consecutive rows from each start (B,): (B, count) on the device."""
        return self._to_device(start)[:, None] + torch.arange(count, device=self.device)

    def _sample_audio(
        self,
        clip: npt.NDArray[np.int64],
        first: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-mel, loudness and SNR of the windows that begin at `first` of each clip."""
        batch_size, variants = len(clip), self._audio_starts.shape[1]
        variant = np.where(
            rng.random(batch_size) < self.clean_prob,
            0,
            rng.integers(min(1, variants - 1), variants, batch_size),
        )
        start = self._audio_starts[clip, variant] + first
        rows = self._row_ranges(start, self.window_length + self.lookahead)
        mels, loudness = self._mels[rows].float(), self._loudness[rows]
        if not self.augmentation_prob:
            return mels, loudness, torch.full((batch_size,), np.inf, device=self.device)
        level = self._level[rows]
        level_before = self._level[self._to_device(np.maximum(start - 1, 0))]
        initial_level = torch.where(
            self._to_device(first > 0), level_before, torch.full_like(level_before, MIN_LEVEL)
        )
        noise = self._sample_noise(batch_size, rng)
        mixed_mels, mixed_loudness, snr = mix(
            to_absolute(mels, level), initial_level, noise, self.augmentation
        )
        is_augmented = self._to_device(rng.random(batch_size) < self.augmentation_prob)
        return (
            torch.where(is_augmented[:, None, None, None], mixed_mels, mels),
            torch.where(is_augmented[:, None], mixed_loudness, loudness),
            torch.where(is_augmented, snr, torch.full_like(snr, np.inf)),
        )

    def _sample_noise(self, batch_size: int, rng: np.random.Generator) -> torch.Tensor:
        """Log powers (B, n, columns, mels) of sounds without speech, begun anywhere, repeated cyclically."""
        num_clips = len(self.non_speech_clips)
        num_stationary = len(self._noise_starts) - num_clips
        is_stationary = rng.random(batch_size) < (self.stationary_noise_prob if num_clips else 1.0)
        chosen = np.where(
            is_stationary,
            num_clips + rng.integers(0, num_stationary, batch_size),
            rng.integers(0, max(num_clips, 1), batch_size),
        )
        max_tilt = rng.uniform(-MAX_SPECTRAL_TILT, MAX_SPECTRAL_TILT, batch_size)
        max_tilt = np.where(is_stationary, max_tilt, 0.0).astype(np.float32)
        length = self._to_device(self._noise_lengths[chosen])[:, None]
        offset = self._row_ranges(
            (rng.random(batch_size) * self._noise_lengths[chosen]).astype(np.int64),
            self.window_length + self.lookahead,
        )
        rows = self._to_device(self._noise_starts[chosen])[:, None] + offset % length
        bands = torch.linspace(-1.0, 1.0, self._mels.shape[-1], device=self.device)
        tilt = self._to_device(max_tilt)[:, None] * bands
        return to_absolute(self._mels[rows].float(), self._level[rows]) + tilt[:, None, None]


def _motion_variants(
    clip: TrainingClip, count: int, use_captured_upper_face: bool, min_length: int
) -> list[Array]:
    """The clip's motion and variants with the same lips: `count` arrays (T, 55), T at least `min_length`."""
    resample: Callable[[int], tuple[Array, Array]] | Any = getattr(clip, "resample_upper_face", None)
    is_captured = getattr(clip, "lip_opening", None) is not None and not use_captured_upper_face
    first = np.concatenate(resample(0), 1, dtype=np.float32) if is_captured else clip_motion(clip)
    others = (np.concatenate(resample(seed), 1, dtype=np.float32) for seed in range(1, count))
    return [pad_rows(motion, min_length) for motion in (first, *others)]


def _stationary_noises(log_mel: LogMel, seed: int) -> list[CachedFeatures]:
    """Features of stationary room noises: hiss, rumble, hum and engines, `NOISE_COPIES` of each."""
    rng = np.random.default_rng([seed, 1])
    samples = NOISE_LENGTH_S * SAMPLE_RATE
    return [
        extract_features(
            log_mel, augmentation.set_rms(synthesize(samples, rng), -30.0), samples // HOP_LENGTH
        )
        for synthesize in STATIONARY_NOISES
        for _ in range(NOISE_COPIES)
    ]
