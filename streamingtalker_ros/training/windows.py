"""Clips cut into random training windows: sound, motion, phones and voice labels of B pieces of speech at once.

A window begins anywhere in its clip, mid-speech included, and carries `lead` frames of real sound and motion before
the frames that are learned, so that training sees the history that streaming has. Windows at a clip's start have
none, as a stream has none.
"""
from dataclasses import dataclass

import numpy as np
import torch

from ..face.arkit import MIRROR
from ..model.features import QUIET
from . import augment
from .hearing import HOP, hear, hear_all
from .mixing import MixConfig, absolute, mix
from .phones import VISEMES, merge

PAUSE = 0.2  # seconds; a shorter pause between phones counts as voice
SILENT_PHONES = ("pau", "sil", "h#", "")
PHONES = tuple(sorted({name.split(":")[0] for name in VISEMES}))
NOISES = (augment.white, augment.white, augment.pink, augment.pink, augment.brown, augment.engine, augment.hum)
NOISE_SECONDS, NOISE_COPIES, TILT = 8, 3, 1.5  # TILT: nepers of power by which a noise's spectrum may lean, at its ends
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
    clean: tuple = None  # mels and loudness of the same windows as they were recorded, before anything was added

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
    edges = np.arange(frames + 1) * (HOP / 16000)
    covered = np.zeros(frames)
    for start, end in merged:
        covered += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0.0, None)
    return (covered > 0.3 * HOP / 16000).astype(np.float32)


def phone_labels(phones, frames):
    """The phone in the middle of each frame: (frames,) int64 rows of PHONES, pauses where nothing is said, UNKNOWN
    where something is said that has no name."""
    labels = np.full(frames, PHONES.index("pau"))
    middles = (np.arange(frames) + 0.5) * (HOP / 16000)
    for phone in merge(phones):
        row = PHONES.index(phone.name) if phone.name in PHONES else UNKNOWN
        labels[(middles >= phone.start) & (middles < phone.end)] = row
    return labels


def mirror(motion):
    """Swap left and right of (…, 55): partners change places, the head's rotation is reflected at the mid-plane."""
    swapped = np.concatenate((motion[..., MIRROR], motion[..., 52:] * np.array([-1, 1, -1], np.float32)), -1)
    return swapped


def fill(rows, count):
    """rows (n, …) made at least `count` long by repeating the last."""
    return rows if len(rows) >= count else np.concatenate((rows, np.repeat(rows[-1:], count - len(rows), 0)))


class Windows:
    """Draws batches from clips.

    log_mel: the encoder's features, None where only motion is wanted. chances: (clips,) how often each is drawn, by
    length when left out. styles: names of the style embedding's rows. versions: sounds per clip, the first clean
    (`hear_all`). lives: motions per clip; beyond the first its lips stay and the life above them is another
    (`Clip.relive`), since one sound allows many. captured_life: keep the lids, brows and head that a camera saw; left
    out, since clips of a few seconds, read in a booth, blink 46 times a minute. noisy: chance of what `mix` makes of a
    window, with sounds of the clips in which nobody speaks, or, in the share `hiss` of them, steady noises made here;
    mixing: fields of its MixConfig. jobs: processes that listen beforehand.
    """

    def __init__(self, clips, frames, lead, lookahead, log_mel=None, chances=None, styles=("neutral",), versions=1,
                 clean=0.25, at_start=0.15, mirrored=0.5, lives=1, captured_life=False, noisy=0.0, hiss=0.5, mixing=None,
                 seed=0, progress=False, jobs=1):
        self.frames, self.lead, self.lookahead, self.noisy = frames, lead, lookahead, noisy
        self.at_start, self.mirrored, self.clean = at_start, mirrored, clean
        self.mixing = MixConfig(**(mixing or {}))
        total = lead + frames
        self.motion = []
        for clip in clips:
            seen = getattr(clip, "lip_opening", None) is not None and not captured_life
            first = np.concatenate(clip.relive(0), 1, dtype=np.float32) if seen else motion_of(clip)
            others = (np.concatenate(clip.relive(life), 1, dtype=np.float32) for life in range(1, lives))
            self.motion.append([fill(motion, total) for motion in (first, *others)])
        counts = [len(motions[0]) + lookahead for motions in self.motion]
        self.voice = [voice_labels(clip.phones, count) for clip, count in zip(clips, counts)]
        self.phones = [phone_labels(clip.phones, count) for clip, count in zip(clips, counts)]
        known = {name: row for row, name in enumerate(styles)}
        self.style = [known.get(getattr(clip, "style", "neutral"), 0) for clip in clips]
        self.heard = hear_all(log_mel, clips, counts, versions, seed, progress, jobs) if log_mel is not None else None
        self.hiss, self.noises = hiss, _noises(log_mel, seed) if log_mel is not None and noisy else []
        self.quiet = [row for row, voice in enumerate(self.voice) if not voice.any()]
        chances = np.array([len(clip.weights) for clip in clips] if chances is None else chances, np.float64)
        self.chances = chances / chances.sum()

    def draw(self, batch, rng, with_clean=False):
        """A random Batch; rng: numpy Generator, the only source of chance; with_clean: fill `clean`, too."""
        rows = [self._window(index, rng) for index in rng.choice(len(self.motion), batch, p=self.chances)]
        heard, motion, voice, phones, style, first = zip(*rows)
        learned = np.ones((batch, self.lead + self.frames), np.float32)
        learned[np.array(first) > 0, : self.lead] = 0.0
        clean = self._clean(heard) if with_clean else None
        heard = self._recordings(heard, rng) if self.heard else (None, None)
        return Batch(*heard, *(torch.from_numpy(np.stack(part)) for part in (motion, voice, phones)),
                     torch.tensor(style), torch.tensor(first), torch.from_numpy(learned), clean)

    def _window(self, index, rng):
        motion = self.motion[index][rng.integers(len(self.motion[index]))]
        total = self.lead + self.frames
        first = 0 if rng.random() < self.at_start else int(rng.integers(0, len(motion) - total + 1))
        rows, sound = slice(first, first + total), slice(first, first + total + self.lookahead)
        window = motion[rows]
        if rng.random() < self.mirrored:
            window = mirror(window)
        heard = None
        if self.heard:
            versions = self.heard[index]
            pick = 0 if rng.random() < self.clean or len(versions) == 1 else int(rng.integers(1, len(versions)))
            heard = versions[pick], sound, versions[0]
        return heard, window, self.voice[index][sound], self.phones[index][rows], self.style[index], first

    def _clean(self, heard):
        """(Heard, rows, clean Heard) of each window -> mels and loudness of the clean batch."""
        return tuple(torch.stack([getattr(clean, part)[rows] for _, rows, clean in heard]).float()
                     for part in ("mels", "loudness"))

    def _recordings(self, heard, rng):
        """(Heard, rows, …) of each window -> mels and loudness of the batch, a share of it mixed with other sounds."""
        mels, loudness, level = (torch.stack([getattr(one, part)[rows] for one, rows, _ in heard]).float()
                                 for part in ("mels", "loudness", "level"))
        if not self.noisy:
            return mels, loudness
        start = torch.stack([one.level[rows.start - 1] if rows.start else torch.tensor(QUIET) for one, rows, _ in heard])
        count = mels.shape[1]
        sounds = []
        for _ in heard:
            if self.quiet and rng.random() >= self.hiss:
                sound, lean = self.heard[rng.choice(self.quiet)][0], 0.0
            else:
                sound, lean = self.noises[rng.integers(len(self.noises))], rng.uniform(-TILT, TILT)
            rows = (int(rng.integers(len(sound.level))) + np.arange(count)) % len(sound.level)
            tilt = lean * torch.linspace(-1.0, 1.0, mels.shape[-1])
            sounds.append(absolute(sound.mels[None, rows].float(), sound.level[None, rows]) + tilt)
        mixed = mix(absolute(mels, level), start, torch.cat(sounds), self.mixing)
        chosen = torch.from_numpy(rng.random(len(heard)) < self.noisy)
        return torch.where(chosen[:, None, None, None], mixed[0], mels), torch.where(chosen[:, None], mixed[1], loudness)


def _noises(log_mel, seed):
    """The steady noises of a room, Heard: hiss, rumble, hum and engines, some of each."""
    rng, frames = np.random.default_rng([seed, 1]), NOISE_SECONDS * 16000 // HOP
    return [hear(log_mel, augment.at_rms(make(NOISE_SECONDS * 16000, rng), -30.0), frames)
            for make in NOISES for _ in range(NOISE_COPIES)]
