# SPDX-License-Identifier: Apache-2.0
"""After stage 2 the ears are trained on the finished encoder, and the closure_thresholds of those for p, b, m and open vowels chosen.

A sample of the head closes the lips where it is sure; the ears hear how likely they meet, for every voice of the
corpora, clean and dirty. From which probability on the lips are pressed is a choice between missed and false
closures: the closure_thresholds are those at which, on the held-out clips of every corpus, a given share of p, b and m is caught;
those at which lips are kept apart spare all but a given share of them. The worst corpus counts, so that voices that
anybody understands do not hide what is missed in others.
"""

import numpy as np
import torch
from torch.nn import functional

from streamingtalker_ros.model.blendshape.encoder import closure_logit
from streamingtalker_ros.phonetics.phones import BILABIALS, OPEN_VOWELS, has_unreliable_alignment
from streamingtalker_ros.training.encoder import disguise, ears_loss

EDGE = 0.02  # seconds by which a phone may miss the middle of its frames


class ClosureStage:
    """The losses of the ears alone (`listener.ears_loss`) over windows, the encoder frozen; and of the voice activity, for
    which a third as many windows hold sounds without speech alone, where the windows were made for noise."""

    def __init__(self, encoder, lookahead, windows, lips, batch) -> None:
        self.encoder, self.lookahead, self.windows, self.lips, self.batch = (
            encoder,
            lookahead,
            windows,
            lips,
            batch,
        )
        self.device = encoder.vad_head.weight.device

    def __call__(self, step, rng):
        window = self.windows.draw(self.batch, rng).to(self.device)
        mels, loudness, voice = disguise(window.mels), window.loudness, window.voice
        if self.windows.noisy:
            alone = self.windows.alone(self.batch // 3 + 1, rng)
            mels, loudness = (
                torch.cat((part, other.to(self.device))) for part, other in zip((mels, loudness), alone)
            )
            voice = torch.cat((voice, voice.new_zeros(len(mels) - self.batch, voice.shape[1])))
        with torch.no_grad():
            heard = self.encoder.encode(mels, loudness)
        speech = functional.binary_cross_entropy_with_logits(self.encoder.vad_head(heard)[..., 0].float(), voice)
        ears = ears_loss(self.encoder, heard[: self.batch, self.lookahead :], window, self.lips)
        return ears + speech, {"ears": ears.detach(), "voice": speech.detach()}


@torch.no_grad()
def probabilities(network, clips):
    """What the ears say of clips: (p (n,), v (m,), o (n,)). p, v: the highest probability of a closure (`closure_logit`) in each
    p, b or m that is not squeezed (`phones.has_unreliable_alignment`) and in the middle half of each open vowel; o: the second ear's lowest
    in each such p, b or m."""
    rate, ahead, encoder = network.config.frame_rate, network.config.lookahead_frames, network.encoder
    closed, opened, spared = [], [], []
    for clip in clips:
        count = len(clip.weights)
        pcm = np.zeros((count + ahead) * network.config.hop, np.float32)
        pcm[: len(clip.pcm)] = clip.pcm[: len(pcm)]
        heard = encoder(torch.from_numpy(pcm)[None])[:, ahead:]
        closure, openness = (getattr(encoder, name)(heard)[0, :, 0] for name in ("bilabial_head", "open_vowel_head"))
        opening = encoder.lip_aperture_head(heard)[0, :, 0] if encoder.has_lip_aperture_head else None
        likely, vowel = closure_logit(closure, opening).sigmoid().numpy(), openness.sigmoid().numpy()
        for phone in clip.phones:
            quarter = 0.25 * (phone.end - phone.start)
            if phone.name in BILABIALS and not has_unreliable_alignment(phone):
                frames = _frames(phone.start - EDGE, phone.end + EDGE, rate, count)
                closed.append(likely[frames].max(initial=0.0))
                spared.append(vowel[frames].min(initial=1.0))
            elif phone.name in OPEN_VOWELS:
                frames = _frames(phone.start + quarter, phone.end - quarter, rate, count)
                opened.append(likely[frames].max(initial=0.0))
    return np.array(closed), np.array(opened), np.array(spared)


def _frames(start, end, rate, count):
    """The frames whose middle lies in [start, end] seconds, or the one between them, as a slice."""
    first, last = int(np.ceil(start * rate - 0.5)), int(np.floor(end * rate - 0.5))
    if last < first:
        first = last = int(0.5 * (start + end) * rate)
    return slice(max(first, 0), min(last + 1, count))


def closure_thresholds(closed, opened, recall, false):
    """(low, high): `high` catches the share `recall` of p, b and m in every corpus, unless more than the share `false` of
    open vowels lie above it in one. closed, opened: lists of (n,) probabilities, one for each corpus."""
    high = max(
        min(float(np.quantile(part, 1.0 - recall)) for part in closed),
        max(float(np.quantile(part, 1.0 - false)) for part in opened),
    )
    return 0.5 * high, high


def open_vowel_thresholds(spared, share):
    """(low, high): in no corpus lie more than `share` of the p, b and m, at the frame that sounds least like a vowel,
    above `low`. spared: list of (n,) probabilities, one for each corpus."""
    low = max(float(np.quantile(part, 1.0 - share)) for part in spared)
    return low, 0.5 * (1.0 + low)
