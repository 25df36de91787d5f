# SPDX-License-Identifier: Apache-2.0
"""Pre-training of the audio encoder with phone, viseme, contact and voice-activity losses, before stage 2.

A linear probe predicts all of them from the audio feature of each frame, look-ahead included. A step costs a
tenth of one of stage 2, so the encoder sees every voice of the corpora many times. In stage 2 the same probe
stays as an auxiliary loss: there the motion history alone predicts much of the next frame, which yields
little gradient for the encoder.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.lip_shape import APERTURE, LipShape
from streamingtalker_ros.face.mouth_measures import MEASURES, SPEECH_STD
from streamingtalker_ros.model.blendshape.codec import MotionCodec
from streamingtalker_ros.model.blendshape.encoder import AudioEncoder
from streamingtalker_ros.phonetics.phones import BILABIALS, OPEN_VOWELS
from streamingtalker_ros.training.batches import IGNORED_LABEL, PHONES, Batch, WindowSampler
from streamingtalker_ros.training.distributed import autocast

HEAD_PHONES = {  # articulation head -> indices into PHONES of the phones it detects
    head: torch.tensor([PHONES.index(name) for name in sorted(names) if name in PHONES])
    for head, names in (("bilabial_head", BILABIALS), ("open_vowel_head", OPEN_VOWELS))
}
MOUTH_SHAPES = [row for row, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth"))]
# Lip gaps below are in units of a wide-open mouth (see `face/mouth_measures.py`).
AMPLITUDE_WEIGHT = 2.0  # of the error of a measure's standard deviation, against that of its values
HABITUAL = [float(measure in ("width", "rounding")) for measure in MEASURES]
"""Measures that show a speaker's habits more than the sound: seconds of a voice teach the wrong ones."""
GAP_SCALE = 8.0  # brings an open vowel's gap to order 1
CONTACT_GAP = 0.02  # lips touch below this gap
COSTLY_GAP = 0.12  # closing lips that are this far apart is as wrong as missing a closure
MASKED_CLOSURE_SNR_DB, AUDIBLE_CLOSURE_SNR_DB = 10.0, 30.0  # from least to full weight of a missed closure
MIN_CLOSURE_WEIGHT = 0.1
SOFT_MAX_WIDTH = 0.5  # of a logit, of the soft maximum over a phone's frames
SPEC_AUGMENT_PROB = 0.75


def augment_features(mels: torch.Tensor) -> torch.Tensor:
    """Random speaker and channel changes of log-mel features, in three of four windows.

    Vocal tract length perturbation by up to 16 % (Jaitly and Hinton 2013), a smooth random equaliser of a few
    dB, and masked bands and columns (SpecAugment, Park et al. 2019).

    Args:
        mels: (B, n, columns, mels) normalised log-mel.
    """
    batch_size, num_bands, device = len(mels), mels.shape[-1], mels.device
    clean = mels
    band = torch.arange(num_bands, device=device)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, device=device)

    position = band * (1.0 + 0.32 * (uniform(batch_size, 1) - 0.5))  # (B, bands)
    low = position.floor().clamp(0, num_bands - 2).long()
    fraction = (position - low).clamp(0.0, 1.0)[:, None, None]
    low = low[:, None, None].expand(mels.shape)
    mels = mels.gather(-1, low) * (1.0 - fraction) + mels.gather(-1, low + 1) * fraction
    phase = band / num_bands * torch.tensor([1.0, 2.0, 3.0, 5.0], device=device)[:, None]  # (4, bands)
    curves = torch.cos(2.0 * torch.pi * (phase + uniform(batch_size, 4, 1)))
    curves = curves * torch.randn(batch_size, 4, 1, device=device)
    mels = mels + 0.15 * curves.sum(1)[:, None, None]  # 0.25 is one neper of power, 4.3 dB
    mean = mels.mean((1, 2), keepdim=True)
    mels = torch.where(_random_spans(batch_size, num_bands, 2, 10, device)[:, None, None], mean, mels)
    columns = _random_spans(batch_size, mels.shape[1] * mels.shape[2], 6, 9, device)
    mels = torch.where(columns.view(batch_size, *mels.shape[1:3], 1), mean, mels)
    return torch.where(uniform(batch_size, 1, 1, 1) < 1.0 - SPEC_AUGMENT_PROB, clean, mels)


def _random_spans(
    batch_size: int, length: int, count: int, max_width: int, device: torch.device
) -> torch.Tensor:
    """(B, length) bool: `count` random spans of 0 to max_width - 1 places."""
    place = torch.arange(length, device=device)
    first = torch.randint(0, length, (batch_size, count, 1), device=device)
    width = torch.randint(0, max_width, (batch_size, count, 1), device=device)
    return ((place >= first) & (place < first + width)).any(1)


class LinearProbe(nn.Module):
    """Linear readout of mouth shapes, lip gap, contact and phone from audio features, for training alone."""

    def __init__(self, audio_width: int) -> None:
        super().__init__()
        self.mouth = nn.Linear(audio_width, len(MOUTH_SHAPES) + 2)  # shapes, lip gap, logit of lip contact
        self.phones = nn.Linear(audio_width, len(PHONES))

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 mouth and phone readouts of audio features (B, T, audio_width), as `loss` takes them."""
        return self.mouth(audio).float(), self.phones(audio).float()

    def loss(
        self,
        readouts: tuple[torch.Tensor, torch.Tensor],
        window: Batch,
        gap: torch.Tensor,
        motion_scale: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mouth error and phone cross-entropy over the frames that count: two scalars.

        Args:
            readouts: of `forward`.
            window: the batch.
            gap: (B, T) true lip gap.
            motion_scale: (55,) of the codec.
        """
        mouth, phones = readouts
        mask = window.loss_mask
        count = mask.sum()
        target = (window.motion / motion_scale)[..., MOUTH_SHAPES]
        error = (mouth[..., :-2] - target).square().mean(-1) + (mouth[..., -2] - GAP_SCALE * gap).square()
        contact = (gap < CONTACT_GAP) * window.voice[:, : gap.shape[1]]
        error = error + 0.5 * functional.binary_cross_entropy_with_logits(
            mouth[..., -1], contact, reduction="none", pos_weight=contact.new_tensor(4.0)
        )  # contacts are rare
        cross_entropy = functional.cross_entropy(
            phones.flatten(0, 1), window.phones.flatten(), ignore_index=IGNORED_LABEL, reduction="none"
        ).view_as(mask)
        return (error * mask).sum() / count, (cross_entropy * mask).sum() / count


def articulation_loss(
    encoder: AudioEncoder, features: torch.Tensor, window: Batch, lips: LipShape, dropout: float = 0.0
) -> torch.Tensor:
    """Sum of the losses of the encoder's articulation heads over the frames that count; 0 without heads.

    `closure_event_loss` for p, b and m, with less weight in louder noise; frame-wise cross-entropy for open
    vowels, whose neighbouring frames are ignored; mean squared error and amplitude of the mouth's measures.
    Unknown phones are ignored.

    Args:
        encoder: the encoder.
        features: (B, T, audio_width).
        window: the batch.
        lips: the rig's lip measures.
        dropout: fraction of the features that are dropped, except for the amplitude, which would shrink.
    """
    loss = window.loss_mask.new_zeros(())
    stacked = encoder.stack_features(features)
    heard = functional.dropout(stacked, dropout)
    target = lips.measures(window.motion)
    gap = target[..., APERTURE]
    if encoder.has_lip_head:
        weight = 1.0 - window.is_brief[:, None] * target.new_tensor(HABITUAL)  # (B, 4)
        for head_loss, heard_features in ((measures_loss, heard), (amplitude_loss, stacked)):
            predicted = encoder.lip_head(heard_features).float()
            loss = loss + head_loss(predicted, target, window.loss_mask, weight)
    for head in (name for name in HEAD_PHONES if name in encoder.auxiliary_heads):
        is_phone = torch.isin(window.phones, HEAD_PHONES[head].to(features.device))
        is_beside = functional.max_pool1d(is_phone.float()[:, None], 3, 1, 1)[:, 0].bool() & ~is_phone
        mask = window.loss_mask * ((window.phones != IGNORED_LABEL) & ~is_beside)
        logits = getattr(encoder, head)(heard)[..., 0].float()
        if head == "bilabial_head":
            assert window.snr is not None, "articulation losses need windows with audio"
            snr_range = AUDIBLE_CLOSURE_SNR_DB - MASKED_CLOSURE_SNR_DB
            weight = ((window.snr - MASKED_CLOSURE_SNR_DB) / snr_range).clamp(MIN_CLOSURE_WEIGHT, 1.0)
            loss = loss + closure_event_loss(logits, is_phone, mask, gap, weight)
        else:
            cross_entropy = functional.binary_cross_entropy_with_logits(
                logits, is_phone.float(), mask, reduction="sum"
            )
            loss = loss + cross_entropy / mask.sum()
    return loss


def measures_loss(
    predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, measure_weight: torch.Tensor
) -> torch.Tensor:
    """Mean squared error of the mouth's measures, relative to `SPEECH_STD`.

    Args:
        predicted: (B, T, 4) measures.
        target: (B, T, 4) measures.
        mask: (B, T) 1 where a frame counts.
        measure_weight: (B, 4) weight of each measure in each window.

    Returns:
        A scalar.
    """
    error = ((predicted - target) / target.new_tensor(SPEECH_STD)).square()
    return (error * mask[..., None] * measure_weight[:, None]).sum() / mask.sum()


def amplitude_loss(
    predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, measure_weight: torch.Tensor
) -> torch.Tensor:
    """Weighted squared error of the measures' standard deviations in each window, relative to `SPEECH_STD`.

    The mean that minimizes `measures_loss` moves less than people do, the more so the less a measure can be
    heard; this keeps the amplitude.

    Args:
        predicted: (B, T, 4) measures.
        target: (B, T, 4) measures.
        mask: (B, T) 1 where a frame counts.
        measure_weight: (B, 4) weight of each measure in each window.

    Returns:
        A scalar, times `AMPLITUDE_WEIGHT`.
    """
    weight = mask[..., None]
    count = weight.sum(1).clamp(min=1.0)  # (B, 1)
    scale = target.new_tensor(SPEECH_STD)

    def deviation(values: torch.Tensor) -> torch.Tensor:
        mean = (values * weight).sum(1) / count
        variance = ((values - mean[:, None]).square() * weight).sum(1) / count
        return (variance + 1e-6 * scale.square()).sqrt()

    difference = (deviation(predicted) - deviation(target)) / scale
    return AMPLITUDE_WEIGHT * (difference.square() * measure_weight).sum(-1).mean()


def closure_event_loss(
    logits: torch.Tensor,
    is_phone: torch.Tensor,
    mask: torch.Tensor,
    gap: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy of closures per phone, and of false closures per frame weighted by the squared lip gap.

    Lips that met once in a p, b or m have closed in it, so the soft maximum over a phone's frames counts
    (multiple-instance learning, Dietterich et al. 1997). A closure in any other frame costs what it takes
    from the motion: nothing where the lips are shut anyway.

    Args:
        logits: (B, T) of the closure head.
        is_phone: (B, T) bool: a p, b or m sounds.
        mask: (B, T) 1 where a frame counts; phones that are not wholly inside are left out.
        gap: (B, T) true lip gap.
        weight: (B,) weight of a missed closure.

    Returns:
        A scalar.
    """
    begins = is_phone & ~functional.pad(is_phone, (1, 0))[:, :-1]
    # number of the phone that a frame belongs to: 1, 2, … over the batch, 0 elsewhere
    number = (begins.flatten().cumsum(0).view_as(is_phone) * is_phone).flatten()
    flat = logits.flatten()

    def per_phone(initial: float, values: torch.Tensor, reduce: str) -> torch.Tensor:
        # room for as many phones as there are frames, so that no number has to be read back from the device
        buffer = flat.new_full((len(flat) + 1,), initial)
        return buffer.scatter_reduce(0, number, values, reduce, include_self=True)

    highest = per_phone(-30.0, flat.detach(), "amax")
    total = per_phone(1e-9, ((flat - highest[number]) / SOFT_MAX_WIDTH).exp(), "sum")
    soft_max = highest + SOFT_MAX_WIDTH * total.log()
    exists = per_phone(0.0, is_phone.flatten().float(), "amax")
    is_whole = (exists * per_phone(1.0, mask.flatten().float(), "amin") > 0)[1:]
    phone_weight = per_phone(0.0, weight[:, None].expand_as(is_phone).flatten(), "amax")[1:]
    missed = functional.softplus(-soft_max[1:]) * is_whole * phone_weight
    missed = missed.sum() / is_whole.sum().clamp(min=1)
    cost = ((gap.clamp(min=0.0) / COSTLY_GAP).square().clamp(max=4.0) + 0.05) * mask * ~is_phone
    return missed + (functional.softplus(logits) * cost).sum() / cost.sum().clamp(min=1e-6)


class EncoderPretraining:
    """Loss of encoder pre-training over random windows.

    Args:
        encoder: the audio encoder.
        codec: the trained codec, whose motion scale normalises the targets.
        lookahead: frames of audio after a window.
        sampler: the windows.
        lips: the rig's lip measures.
        batch_size: windows per step.
        mixed_precision: bfloat16 where it is fast.
    """

    def __init__(
        self,
        encoder: AudioEncoder,
        codec: MotionCodec,
        lookahead: int,
        sampler: WindowSampler,
        lips: LipShape,
        batch_size: int,
        mixed_precision: bool = True,
    ) -> None:
        self.encoder, self.codec, self.lookahead = encoder, codec, lookahead
        self.sampler, self.lips, self.batch_size = sampler, lips, batch_size
        self.mixed_precision = mixed_precision
        self.device: torch.device = codec.motion_scale.device
        self.probe = LinearProbe(encoder.norm.normalized_shape[0]).to(self.device)

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss and metrics of a random batch; see `trainer.Stage`."""
        window = self.sampler.sample(self.batch_size, rng).to(self.device)
        with autocast(self.device, self.mixed_precision):
            features = self.encoder.encode(augment_features(window.mels), window.loudness)
            voice = self.encoder.vad_head(features)[..., 0].float()
            readouts = self.probe(features[:, self.lookahead :])
            articulation = articulation_loss(self.encoder, features[:, self.lookahead :], window, self.lips)
        gap = self.lips.gap(window.motion)
        mouth, phones = self.probe.loss(readouts, window, gap, self.codec.motion_scale)
        voice_loss = functional.binary_cross_entropy_with_logits(voice, window.voice)
        is_labelled = (window.phones != IGNORED_LABEL) & (window.loss_mask > 0)
        is_right = (readouts[1].argmax(-1) == window.phones) & is_labelled
        metrics = {
            "mouth": mouth,
            "phones": phones,
            "voice": voice_loss,
            "phone_accuracy": is_right.sum() / is_labelled.sum(),
        }
        loss = mouth + phones + 0.3 * voice_loss + articulation
        return loss, {name: value.detach() for name, value in metrics.items()}
