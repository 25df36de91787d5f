# SPDX-License-Identifier: Apache-2.0
"""Training of the articulation heads on the finished encoder, and the choice of their thresholds.

The heads predict from audio how likely the lips meet (p, b, m) or stay apart (open vowels). The probability
from which the lips are pressed trades missed against false closures. Thresholds are chosen on the held-out
clips of every corpus, and the worst corpus counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.face.lip_shape import APERTURE, LipShape
from streamingtalker_ros.model.blendshape.closure import closure_logit
from streamingtalker_ros.model.blendshape.encoder import AudioEncoder
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.phonetics.phones import BILABIALS, OPEN_VOWELS, has_unreliable_alignment
from streamingtalker_ros.training.batches import WindowSampler
from streamingtalker_ros.training.encoder import articulation_loss, augment_features

ALIGNMENT_MARGIN_S = 0.02  # a phone's true time may lie this far outside its label

FEATURE_DROPOUT = 0.5
"""Fraction of the features that is dropped; the heads, which few people teach, then follow others better."""

Array = npt.NDArray[np.floating]


class ArticulationHeadStage:
    """Loss of the articulation heads and of voice activity over random windows; the encoder is frozen.

    Where the sampler augments, a third as many windows of sounds without speech are added for voice activity.

    Args:
        encoder: the finished audio encoder.
        lookahead: frames of audio after a window.
        sampler: the windows.
        lips: the rig's lip measures.
        batch_size: windows per step.
    """

    def __init__(
        self, encoder: AudioEncoder, lookahead: int, sampler: WindowSampler, lips: LipShape, batch_size: int
    ) -> None:
        self.encoder, self.lookahead, self.sampler = encoder, lookahead, sampler
        self.lips, self.batch_size = lips, batch_size
        self.device = encoder.vad_head.weight.device

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss and metrics of a random batch; see `trainer.Stage`."""
        window = self.sampler.sample(self.batch_size, rng).to(self.device)
        mels, loudness, voice = augment_features(window.mels), window.loudness, window.voice
        if self.sampler.augmentation_prob:
            noise_mels, noise_loudness = self.sampler.sample_noise_only(self.batch_size // 3 + 1, rng)
            mels = torch.cat((mels, noise_mels.to(self.device)))
            loudness = torch.cat((loudness, noise_loudness.to(self.device)))
            voice = torch.cat((voice, voice.new_zeros(len(mels) - self.batch_size, voice.shape[1])))
        with torch.no_grad():
            features = self.encoder.encode(mels, loudness)
        voice_loss = functional.binary_cross_entropy_with_logits(
            self.encoder.vad_head(features)[..., 0].float(), voice
        )
        spoken = features[: self.batch_size, self.lookahead :]
        articulation = articulation_loss(self.encoder, spoken, window, self.lips, FEATURE_DROPOUT)
        metrics = {"articulation": articulation.detach(), "voice": voice_loss.detach()}
        return articulation + voice_loss, metrics


@torch.no_grad()
def score_heads(network: TalkerNetwork, clips: Sequence[Clip]) -> tuple[Array, Array, Array]:
    """Head probabilities at the p, b, m and open vowels of clips.

    Args:
        network: the network, in evaluation mode on the CPU.
        clips: clips with phones; phones with unreliable alignment are left out.

    Returns:
        Highest closure probability in each p, b or m (n,); highest closure probability in the middle half of
        each open vowel (m,); lowest open-vowel probability in each p, b or m (n,).
    """
    config, encoder = network.config, network.encoder
    frame_rate, lookahead = config.frame_rate, config.lookahead_frames
    in_closures: list[float] = []
    in_vowels: list[float] = []
    openness_in_closures: list[float] = []
    for clip in clips:
        count = len(clip.weights)
        pcm = np.zeros((count + lookahead) * config.hop, np.float32)
        pcm[: len(clip.pcm)] = clip.pcm[: len(pcm)]
        features = encoder(torch.from_numpy(pcm)[None])[:, lookahead:]
        stacked = encoder.stack_features(features)
        closure, openness = (
            getattr(encoder, head)(stacked)[0, :, 0] for head in ("bilabial_head", "open_vowel_head")
        )
        aperture = encoder.lip_head(stacked)[0, :, APERTURE] if encoder.has_lip_head else None
        closure_prob = closure_logit(closure, aperture).sigmoid().numpy()
        vowel_prob = openness.sigmoid().numpy()
        for phone in clip.phones:
            quarter = 0.25 * (phone.end - phone.start)
            if phone.name in BILABIALS and not has_unreliable_alignment(phone):
                frames = _frames_between(
                    phone.start - ALIGNMENT_MARGIN_S, phone.end + ALIGNMENT_MARGIN_S, frame_rate, count
                )
                in_closures.append(closure_prob[frames].max(initial=0.0))
                openness_in_closures.append(vowel_prob[frames].min(initial=1.0))
            elif phone.name in OPEN_VOWELS:
                frames = _frames_between(phone.start + quarter, phone.end - quarter, frame_rate, count)
                in_vowels.append(closure_prob[frames].max(initial=0.0))
    return np.array(in_closures), np.array(in_vowels), np.array(openness_in_closures)


def _frames_between(start: float, end: float, frame_rate: float, count: int) -> slice:
    """Frames whose centre lies in [start, end] seconds, or the one nearest to the middle."""
    first, last = int(np.ceil(start * frame_rate - 0.5)), int(np.floor(end * frame_rate - 0.5))
    if last < first:
        first = last = int(0.5 * (start + end) * frame_rate)
    return slice(max(first, 0), min(last + 1, count))


def closure_thresholds(
    in_closures: Sequence[Array], in_vowels: Sequence[Array], min_recall: float, max_false_rate: float
) -> tuple[float, float]:
    """Probabilities at which the lips begin to close and are closed.

    The upper threshold reaches `min_recall` of p, b and m in every corpus, unless more than `max_false_rate`
    of the open vowels of one corpus would lie above it.

    Args:
        in_closures: per corpus, closure probabilities in p, b and m (n,).
        in_vowels: per corpus, closure probabilities in open vowels (m,).
        min_recall: fraction of p, b and m.
        max_false_rate: fraction of open vowels.
    """
    high = max(
        min(float(np.quantile(scores, 1.0 - min_recall)) for scores in in_closures),
        max(float(np.quantile(scores, 1.0 - max_false_rate)) for scores in in_vowels),
    )
    return 0.5 * high, high


def open_vowel_thresholds(openness_in_closures: Sequence[Array], max_hindered: float) -> tuple[float, float]:
    """Probabilities at which the lips begin to be kept apart and are.

    In no corpus more than `max_hindered` of the p, b and m have an open-vowel probability above the lower
    one.

    Args:
        openness_in_closures: per corpus, lowest open-vowel probability in each p, b and m (n,).
        max_hindered: fraction of p, b and m.
    """
    low = max(float(np.quantile(scores, 1.0 - max_hindered)) for scores in openness_in_closures)
    return low, 0.5 * (1.0 + low)
