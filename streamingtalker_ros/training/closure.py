"""After stage 2 a small ear for p, b and m is trained on the finished encoder, and its two thresholds are chosen.

A sample of the head closes the lips where it is sure; the ear hears how likely one of the three sounds, for every voice
of the corpora, clean and dirty. Where from a probability on the lips are pressed is a choice between missed and false
closures: the thresholds are those at which, on clips held out of the training, a given share of p, b and m is caught.
"""
import numpy as np
import torch

from .listener import closure_loss, disguise
from .phones import BILABIALS, OPEN_VOWELS

EDGE = 0.02  # seconds by which a phone may miss the middle of its frames


class ClosureStage:
    """The cross-entropy of that ear alone (`listener.closure_loss`) over windows, the encoder frozen."""

    def __init__(self, encoder, lookahead, windows, batch):
        self.encoder, self.lookahead, self.windows, self.batch = encoder, lookahead, windows, batch

    def __call__(self, step, rng):
        window = self.windows.draw(self.batch, rng)
        with torch.no_grad():
            heard = self.encoder.encode(disguise(window.mels), window.loudness)[:, self.lookahead:]
        loss = closure_loss(self.encoder, heard, window)
        return loss, {"closure": loss.item()}


@torch.no_grad()
def probabilities(network, clips):
    """What the ear says of clips: (p (n,), v (m,)), its highest probability in each p, b or m and in the middle half
    of each open vowel."""
    rate, ahead = network.config.frame_rate, network.config.lookahead_frames
    closed, opened = [], []
    for clip in clips:
        count = len(clip.weights)
        pcm = np.zeros((count + ahead) * network.config.hop, np.float32)
        pcm[: len(clip.pcm)] = clip.pcm[: len(pcm)]
        heard = network.encoder(torch.from_numpy(pcm)[None])[:, ahead:]
        likely = network.encoder.closure(heard)[0, :, 0].sigmoid().numpy()
        for phone in clip.phones:
            quarter = 0.25 * (phone.end - phone.start)
            if phone.name in BILABIALS:
                closed.append(_highest(likely, phone.start - EDGE, phone.end + EDGE, rate))
            elif phone.name in OPEN_VOWELS:
                opened.append(_highest(likely, phone.start + quarter, phone.end - quarter, rate))
    return np.array(closed), np.array(opened)


def _highest(likely, start, end, rate):
    """Of the frames whose middle lies in [start, end] seconds, or of the one between them."""
    first, last = int(np.ceil(start * rate - 0.5)), int(np.floor(end * rate - 0.5))
    if last < first:
        first = last = int(0.5 * (start + end) * rate)
    return likely[max(first, 0): last + 1].max(initial=0.0)


def thresholds(closed, opened, recall, false):
    """(low, high): `high` catches the share `recall` of `closed` unless more than `false` of `opened` lie above it."""
    high = max(float(np.quantile(closed, 1.0 - recall)), float(np.quantile(opened, 1.0 - false)))
    return 0.5 * high, high
