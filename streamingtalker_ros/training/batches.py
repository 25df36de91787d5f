# SPDX-License-Identifier: Apache-2.0
"""Clips cut into random training windows: sound, motion, phones and voice labels of B pieces of speech at once.

A window begins anywhere in its clip, mid-speech included, and carries `lead` frames of real sound and motion before
the frames that are learned, so that training sees the history that streaming has. WindowSampler at a clip's start have
none, as a stream has none.
"""

from dataclasses import dataclass

import numpy as np
import torch

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.face.arkit import MIRROR
from streamingtalker_ros.model.blendshape.features import MIN_LEVEL
from streamingtalker_ros.phonetics.phones import VISEME_TARGETS, has_unreliable_alignment, normalize_phones
from streamingtalker_ros.training.feature_augmentation import (
    FeatureAugmentationConfig,
    absolute,
    leveled,
    mix,
)
from streamingtalker_ros.training.feature_cache import hear, hear_all

PAUSE = 0.2  # seconds; a shorter pause between phones counts as voice
SILENT_PHONES = ("pau", "sil", "h#", "")
PHONES = tuple(sorted({name.split(":")[0] for name in VISEME_TARGETS}))
NOISES = (
    augmentation.white_noise,
    augmentation.white_noise,
    augmentation.pink_noise,
    augmentation.pink_noise,
    augmentation.brown_noise,
    augmentation.engine_noise,
    augmentation.mains_hum,
)
NOISE_SECONDS, NOISE_COPIES, TILT = (
    8,
    3,
    1.5,
)  # TILT: nepers of power by which a noise's spectrum may lean, at its ends
ALONE = (-6.0, 2.0)  # nepers of power by which sounds without speech are changed where they sound alone
BESIDE = 0.07  # seconds from a squeezed p, b or m in which it may be
UNKNOWN = -100  # label of a frame whose phone nobody knows, as torch's cross-entropy skips it


@dataclass
class Batch:
    """Tensors of B windows of T = lead + frames rows."""

    mels: torch.Tensor  # (B, T + lookahead, columns, mels) float32
    loudness: torch.Tensor  # (B, T + lookahead)
    motion: torch.Tensor  # (B, T, 55): 52 weights, rotation vector of the head
    voice: torch.Tensor  # (B, T + lookahead) 0 or 1
    phones: torch.Tensor  # (B, T) int64 rows of PHONES, UNKNOWN where nobody knows
    style: torch.Tensor  # (B,) int64 rows of the style embedding
    first: torch.Tensor  # (B,) int64: index of row 0 in its clip
    learned: torch.Tensor  # (B, T) float32: 1 where the loss counts
    snr: torch.Tensor = (
        None  # (B,) dB by which the voice stands above what `mix` added, infinite where it added nothing
    )
    clean: tuple = (
        None  # mels and loudness of the same windows as they were recorded, before anything was added
    )

    def to(self, device):
        """The same Batch on a device."""

        def moved(part):
            return tuple(map(moved, part)) if isinstance(part, tuple) else part.to(device, non_blocking=True)

        return Batch(*(None if part is None else moved(part) for part in vars(self).values()))


def motion_of(clip):
    """(T, 55) float32 of a Clip: weights and head side by side."""
    return np.concatenate((clip.weights, clip.head), 1).astype(np.float32)


def voice_labels(phones, frames):
    """1 where a frame holds speech: phones other than pauses, short pauses bridged. -> (frames,) float32."""
    spans = [(p.start, p.end) for p in phones if p.name not in SILENT_PHONES]
    merged = []
    for start, end in spans:
        if merged and start - merged[-1][1] < PAUSE:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    edges = np.arange(frames + 1) * (HOP_LENGTH / SAMPLE_RATE)
    covered = np.zeros(frames)
    for start, end in merged:
        covered += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0.0, None)
    return (covered > 0.3 * HOP_LENGTH / SAMPLE_RATE).astype(np.float32)


def phone_labels(phones, frames):
    """The phone in the middle of each frame: (frames,) int64 rows of PHONES, pauses where nothing is said, UNKNOWN
    where something is said that has no name, and around a squeezed p, b or m (`phones.has_unreliable_alignment`)."""
    labels = np.full(frames, PHONES.index("pau"))
    middles = (np.arange(frames) + 0.5) * (HOP_LENGTH / SAMPLE_RATE)
    phones = normalize_phones(phones)
    for phone in phones:
        row = PHONES.index(phone.name) if phone.name in PHONES else UNKNOWN
        labels[(middles >= phone.start) & (middles < phone.end)] = row
    for phone in phones:
        if has_unreliable_alignment(phone):
            labels[(middles > phone.start - BESIDE) & (middles < phone.end + BESIDE)] = UNKNOWN
    return labels


def mirror(motion):
    """Swap left and right of (…, 55): partners change places, the head's rotation is reflected at the mid-plane."""
    return torch.cat((motion[..., MIRROR], motion[..., 52:] * motion.new_tensor([-1.0, 1.0, -1.0])), -1)


def fill(rows, count):
    """rows (n, …) made at least `count` long by repeating the last."""
    return rows if len(rows) >= count else np.concatenate((rows, np.repeat(rows[-1:], count - len(rows), 0)))


class WindowSampler:
    """Draws batches from clips.

    log_mel: the encoder's features, None where only motion is wanted. chances: (clips,) how often each is drawn, by
    length when left out. styles: names of the style embedding's rows. versions: sounds per clip, the first clean
    (`hear_all`). lives: motions per clip; beyond the first its lips stay and the life above them is another
    (`Clip.resample_upper_face`), since one sound allows many. captured_life: keep the lids, brows and head that a camera saw; left
    out, since clips of a few seconds, read in a booth, blink 46 times a minute. noisy: chance of what `mix` makes of a
    window, with sounds of the clips in which nobody speaks, or, in the share `hiss` of them, steady noises made here;
    mixing: fields of its FeatureAugmentationConfig. jobs: processes that listen beforehand. device: where everything lies and batches are
    made, 46 MB an hour and version of the sounds, 20 MB an hour and life of the motion.
    """

    def __init__(
        self,
        clips,
        frames,
        lead,
        lookahead,
        log_mel=None,
        chances=None,
        styles=("neutral",),
        versions=1,
        clean=0.25,
        at_start=0.15,
        mirrored=0.5,
        lives=1,
        captured_life=False,
        noisy=0.0,
        hiss=0.5,
        mixing=None,
        seed=0,
        progress=False,
        jobs=1,
        device="cpu",
    ) -> None:
        self.total, self.lead, self.lookahead, self.noisy, self.hiss = (
            lead + frames,
            lead,
            lookahead,
            noisy,
            hiss,
        )
        self.at_start, self.mirrored, self.clean = at_start, mirrored, clean
        self.mixing, self.device = FeatureAugmentationConfig(**(mixing or {})), torch.device(device)
        motions = [_motions(clip, lives, captured_life, self.total) for clip in clips]
        self.frames = np.array([len(lived[0]) for lived in motions])  # of each clip
        sounds = self.frames + lookahead
        self._motion, self._lived = self._laid(
            [motion for lived in motions for motion in lived], (len(clips), lives)
        )
        voices = [voice_labels(clip.phones, count) for clip, count in zip(clips, sounds)]
        self.quiet = np.flatnonzero([not voice.any() for voice in voices])
        self._voice, self._labelled = self._laid(voices)
        self._phones, _ = self._laid(
            [phone_labels(clip.phones, count).astype(np.int16) for clip, count in zip(clips, sounds)]
        )
        known = {name: row for row, name in enumerate(styles)}
        self.style = np.array([known.get(getattr(clip, "style", "neutral"), 0) for clip in clips])
        chances = np.array(self.frames if chances is None else chances, np.float64)
        self.chances = chances / chances.sum()
        self._mels = None
        if log_mel is not None:
            heard = [
                one
                for clip in hear_all(log_mel, clips, sounds, versions, seed, progress, jobs)
                for one in clip
            ]
            noises = _noises(log_mel, seed) if noisy else []
            self._mels, places = self._laid([one.mels for one in heard + noises])
            self._loudness, _ = self._laid([one.loudness for one in heard + noises])
            self._level, _ = self._laid([one.level for one in heard + noises])
            self._heard = places[: len(heard)].reshape(len(clips), versions)
            self._under = np.concatenate(
                (self._heard[self.quiet, 0], places[len(heard) :])
            )  # what lies under voices
            self._under_frames = np.concatenate(
                (sounds[self.quiet], [len(one.level) for one in noises])
            ).astype(int)

    def _laid(self, parts, shape=(-1,)):
        """Parts (n_i, …) one after the other on the device, and the row where each begins, in `shape`."""
        first = np.concatenate(([0], np.cumsum([len(part) for part in parts])[:-1])).astype(np.int64)
        return torch.cat([torch.as_tensor(part) for part in parts]).to(self.device), first.reshape(shape)

    def motions(self):
        """Every motion that is learned from: (T, 55) float32, one after the other."""
        for lived, count in zip(self._lived, self.frames):
            yield from (self._motion[first : first + count].cpu().numpy() for first in lived)

    def draw(self, batch, rng, with_clean=False):
        """A random Batch; rng: numpy Generator, with torch's the only source of chance; with_clean: fill `clean`, too."""
        clip = rng.choice(len(self.frames), batch, p=self.chances)
        life = rng.integers(0, self._lived.shape[1], batch)
        first = (rng.random(batch) * (self.frames[clip] - self.total + 1)).astype(np.int64)
        first[rng.random(batch) < self.at_start] = 0
        motion = self._motion[self._rows(self._lived[clip, life] + first, self.total)]
        swapped = self._here(rng.random(batch) < self.mirrored)[:, None, None]
        labels = self._rows(self._labelled[clip] + first, self.total + self.lookahead)
        learned = np.ones((batch, self.total), np.float32)
        learned[first > 0, : self.lead] = 0.0
        mels, loudness, snr, clean = (
            self._sounds(clip, first, rng, with_clean) if self._mels is not None else (None,) * 4
        )
        return Batch(
            mels,
            loudness,
            torch.where(swapped, mirror(motion), motion),
            self._voice[labels],
            self._phones[labels[:, : self.total]].long(),
            self._here(self.style[clip]),
            self._here(first),
            self._here(learned),
            snr,
            clean,
        )

    def alone(self, batch, rng):
        """As many sounds without speech: (mels, loudness) of windows, as a stream hears them that begins with them."""
        power = (
            self._sounds_under(batch, rng)
            + self._here(rng.uniform(*ALONE, batch).astype(np.float32))[:, None, None, None]
        )
        return leveled(power, torch.full((batch,), MIN_LEVEL, device=self.device))

    def _here(self, array):
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _rows(self, first, count):
        """(B,) -> (B, count) rows from each on, a tensor on the device."""
        return self._here(first)[:, None] + torch.arange(count, device=self.device)

    def _sounds(self, clip, first, rng, with_clean):
        """(mels, loudness, snr, clean) of the windows that begin at `first` of each clip, a share mixed with other sounds."""
        batch, versions = len(clip), self._heard.shape[1]
        version = np.where(
            rng.random(batch) < self.clean, 0, rng.integers(min(1, versions - 1), versions, batch)
        )
        begin = self._heard[clip, version] + first
        rows = self._rows(begin, self.total + self.lookahead)
        mels, loudness = self._mels[rows].float(), self._loudness[rows]
        clean = None
        if with_clean:
            recorded = self._rows(self._heard[clip, 0] + first, self.total + self.lookahead)
            clean = self._mels[recorded].float(), self._loudness[recorded]
        if not self.noisy:
            return mels, loudness, torch.full((batch,), np.inf, device=self.device), clean
        level = self._level[rows]
        before = self._level[self._here(np.maximum(begin - 1, 0))]
        start = torch.where(self._here(first > 0), before, torch.full_like(before, MIN_LEVEL))
        mixed = mix(absolute(mels, level), start, self._sounds_under(batch, rng), self.mixing)
        chosen = self._here(rng.random(batch) < self.noisy)
        return (
            torch.where(chosen[:, None, None, None], mixed[0], mels),
            torch.where(chosen[:, None], mixed[1], loudness),
            torch.where(chosen, mixed[2], torch.full_like(mixed[2], np.inf)),
            clean,
        )

    def _sounds_under(self, batch, rng):
        """Log powers (B, n, columns, mels) of as many sounds without speech, each begun anywhere and gone round."""
        quiet, noises = len(self.quiet), len(self._under) - len(self.quiet)
        steady = rng.random(batch) < (self.hiss if quiet else 1.0)
        pick = np.where(steady, quiet + rng.integers(0, noises, batch), rng.integers(0, max(quiet, 1), batch))
        lean = np.where(steady, rng.uniform(-TILT, TILT, batch), 0.0).astype(np.float32)
        count = self._here(self._under_frames[pick])[:, None]
        turn = self._rows(
            (rng.random(batch) * self._under_frames[pick]).astype(np.int64), self.total + self.lookahead
        )
        rows = self._here(self._under[pick])[:, None] + turn % count
        tilt = self._here(lean)[:, None] * torch.linspace(-1.0, 1.0, self._mels.shape[-1], device=self.device)
        return absolute(self._mels[rows].float(), self._level[rows]) + tilt[:, None, None]


def _motions(clip, lives, captured_life, least):
    """The clip's motion, and others with the same lips: list of `lives` arrays (T, 55), T at least `least`."""
    seen = getattr(clip, "lip_opening", None) is not None and not captured_life
    first = np.concatenate(clip.resample_upper_face(0), 1, dtype=np.float32) if seen else motion_of(clip)
    others = (np.concatenate(clip.resample_upper_face(life), 1, dtype=np.float32) for life in range(1, lives))
    return [fill(motion, least) for motion in (first, *others)]


def _noises(log_mel, seed):
    """The steady noises of a room, Heard: hiss, rumble, hum and engines, some of each."""
    rng, frames = np.random.default_rng([seed, 1]), NOISE_SECONDS * SAMPLE_RATE // HOP_LENGTH
    return [
        hear(log_mel, augmentation.set_rms(make(NOISE_SECONDS * SAMPLE_RATE, rng), -30.0), frames)
        for make in NOISES
        for _ in range(NOISE_COPIES)
    ]
