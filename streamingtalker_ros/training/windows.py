"""Clips cut into random training windows: audio, motion and voice labels of B pieces of speech at once.

A window begins anywhere in its clip, mid-speech included, and carries `lead` frames of real audio and motion before
the frames that are learned, so that training sees the history that streaming has. Windows at a clip's start have
none, as a stream has none.
"""
from dataclasses import dataclass

import numpy as np
import torch

from ..face.arkit import MIRROR

HOP = 640  # samples per motion frame
PAUSE = 0.2  # seconds; a shorter pause between phones counts as voice
SILENT_PHONES = ("pau", "sil", "h#", "")


@dataclass
class Batch:
    """Tensors of B windows of T = lead + frames rows."""

    audio: torch.Tensor  # (B, (T + lookahead)·HOP) float32
    motion: torch.Tensor  # (B, T, 55): 52 weights, rotation vector of the head
    voice: torch.Tensor  # (B, T + lookahead) 0 or 1
    first: torch.Tensor  # (B,) int64: index of row 0 in its clip
    learned: torch.Tensor  # (B, T) float32: 1 where the loss counts


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


def mirror(motion):
    """Swap left and right of (…, 55): partners change places, the head's rotation is reflected at the mid-plane."""
    swapped = np.concatenate((motion[..., MIRROR], motion[..., 52:] * np.array([-1, 1, -1], np.float32)), -1)
    return swapped


class Windows:
    """Draws batches from clips.

    augment(pcm, rng) -> pcm of the same length dirties the audio. lives: how many motions each clip has; beyond the
    first its lips stay and the life above them is another (`Clip.relive`), since one sound allows many.
    """

    def __init__(self, clips, frames, lead, lookahead, augment=None, at_start=0.15, mirrored=0.5, lives=1):
        self.clips, self.frames, self.lead, self.lookahead = clips, frames, lead, lookahead
        self.augment, self.at_start, self.mirrored = augment, at_start, mirrored
        self.motion = [[motion_of(clip), *(np.concatenate(clip.relive(life), 1, dtype=np.float32)
                                           for life in range(1, lives))] for clip in clips]
        self.voice = [voice_labels(clip.phones, len(clip.weights)) for clip in clips]
        lengths = np.array([len(clip.weights) for clip in clips], np.float64)
        self.chance = lengths / lengths.sum()

    def draw(self, batch, rng):
        """A random Batch; rng: numpy Generator, the only source of chance."""
        rows = [self._window(rng.choice(len(self.clips), p=self.chance), rng) for _ in range(batch)]
        audio, motion, voice, first = zip(*rows)
        total = self.lead + self.frames
        learned = np.ones((batch, total), np.float32)
        learned[np.array(first) > 0, : self.lead] = 0.0
        return Batch(torch.from_numpy(np.stack(audio)), torch.from_numpy(np.stack(motion)),
                     torch.from_numpy(np.stack(voice)), torch.tensor(first), torch.from_numpy(learned))

    def _window(self, index, rng):
        motion = self.motion[index][rng.integers(len(self.motion[index]))]
        total = self.lead + self.frames
        last = max(len(motion) - total, 0)
        first = 0 if rng.random() < self.at_start else int(rng.integers(0, last + 1))
        heard = total + self.lookahead
        audio = np.zeros(heard * HOP, np.float32)
        pcm = self.clips[index].pcm[first * HOP:(first + heard) * HOP]
        audio[: len(pcm)] = pcm
        rows = np.minimum(np.arange(first, first + total), len(motion) - 1)  # past the end the last frame rests on
        window = motion[rows]
        voice = np.zeros(heard, np.float32)
        labels = self.voice[index][first:first + heard]
        voice[: len(labels)] = labels
        if rng.random() < self.mirrored:
            window = mirror(window)
        if self.augment is not None:
            audio = self.augment(audio, rng).astype(np.float32)
        return audio, window, voice, first
