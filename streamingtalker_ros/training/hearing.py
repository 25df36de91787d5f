"""What the encoder hears of a corpus, computed once: log-mel features of each clip, clean and dirty.

The features of a whole clip are those of a stream (the running level included), which features of a window alone would
not be; and a training step that only gathers rows spends its time on learning.
"""
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from .augment import augment

HOP = 640
SAVED = torch.float16


@dataclass
class Heard:
    """One version of one clip's sound: mels (n, columns, mels) float16, loudness (n,) float32."""

    mels: torch.Tensor
    loudness: torch.Tensor


@torch.no_grad()
def hear(log_mel, pcm, frames):
    """Features of pcm (n,) as a stream has them, for `frames` frames; what the sound lacks is silence. -> Heard."""
    audio = np.zeros(frames * HOP, np.float32)
    audio[: len(pcm)] = pcm[: len(audio)]
    mels, loudness = log_mel(torch.from_numpy(audio)[None])
    return Heard(mels[0].to(SAVED), loudness[0])


def hear_all(log_mel, clips, frames, versions=1, seed=0, progress=False):
    """Features of every clip: a list of `versions` Heard for each, the first of the clean sound, the others of a
    recording that `augment` makes of it.

    frames: list of (how many of each clip). About 0.8 MB a minute and version.
    """
    talk = [clip.pcm for clip in clips[::max(len(clips) // 40, 1)]]  # what babbles in the background
    out = []
    for number, (clip, count) in enumerate(tqdm(list(zip(clips, frames)), desc="listening", disable=not progress)):
        pcm = np.pad(clip.pcm, (0, max(count * HOP - len(clip.pcm), 0)))
        out.append([hear(log_mel, pcm if version == 0 else augment(pcm, [seed, number, version], talk), count)
                    for version in range(versions)])
    return out
