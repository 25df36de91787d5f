# SPDX-License-Identifier: Apache-2.0
"""Voices in other rooms and noises, in the domain of the features: every step of a training hears recordings anew.

Log-mel features hold powers, and powers of independent sounds add. So noise, reverberation, a band limit and a level
cost a few operations on a batch, where `augment` filters samples; what samples alone know (clipping) stays there.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from streamingtalker_ros.model.blendshape.features import POWER_FLOOR, MIN_LEVEL, LEVEL_RELEASE, track_level, mel_edges, normalize_log_mel

COLUMN = 0.01  # seconds
NEPERS = 0.2302585  # of power, per dB
MICROPHONE = {"low": (0.0, 350.0), "high": (3000.0, 7900.0)}  # Hz
TELEPHONE = {"low": (250.0, 350.0), "high": (3200.0, 3600.0)}  # Hz; ITU-T G.712 passes 300 to 3400
MU_LAW = (
    36.0,
    40.0,
)  # dB by which sound stands above the noise of 8-bit mu-law steps, ITU-T G.711: 38 whatever its level


@dataclass(frozen=True)
class FeatureAugmentationConfig:
    """Chances per window; 0 turns one off. Ranges are uniform."""

    noise: float = 0.35  # a sound without speech under it
    babble: float = 0.1  # other windows of the batch, several at once
    snr: tuple = (3.0, 35.0)  # dB
    room: float = 0.3
    band: float = 0.15  # a small microphone's
    telephone: float = 0.25  # its band, and half of them the noise of mu-law steps above it
    level: tuple = (-22.0, 14.0)  # dB of gain


def absolute(mels, level):
    """Normalised log-mel features (B, n, columns, mels) and levels (B, n) -> log powers, as before `LogMel` leveled them."""
    return (mels - 1.0) * 4.0 + level[:, :, None, None]


def leveled(power, start, frame_rate=25.0):
    """Log powers (B, n, columns, mels) and the level before them (B,) -> (mels, loudness) as `LogMel` gives them."""
    power = power.clamp(min=math.log(POWER_FLOOR))
    loudness = power.exp().mean((2, 3)).log()
    level = track_level(loudness, start, LEVEL_RELEASE / frame_rate)
    return normalize_log_mel(power, level), loudness - level


def mix(power, start, quiet, config=FeatureAugmentationConfig()):
    """Another recording of each window: (mels, loudness), see `leveled`, and by how many dB the voice stands above what was
    added, (B,), infinite where nothing was.

    power: log powers (B, n, columns, mels) of the windows; start (B,): level before them; quiet: log powers of as many
    sounds without speech. Chance comes from torch's generator.
    """
    batch, device = len(power), power.device

    def chance(*shape):
        return torch.rand(shape, device=device)

    def between(low, high):
        return low + (high - low) * chance(batch)

    peak = torch.log(torch.exp(power).mean((2, 3)) + POWER_FLOOR).amax(1)  # (B,)
    power = torch.where((chance(batch) < config.room)[:, None, None, None], _room(power, between), power)
    gain = NEPERS * between(*config.level)
    power, peak = power + gain[:, None, None, None], peak + gain
    start = torch.where(
        start > MIN_LEVEL, start + gain, start
    )  # where nothing has sounded there is nothing to amplify
    others = torch.stack(
        [power.roll(k, 0) + NEPERS * between(-8.0, 0.0)[:, None, None, None] for k in (1, 2, 3)]
    )
    kind = chance(batch)
    under = torch.where((kind < config.babble)[:, None, None, None], torch.logsumexp(others, 0), quiet)
    usual = torch.log(torch.exp(under).mean((1, 2, 3)) + POWER_FLOOR)
    speech = peak.clamp(min=MIN_LEVEL) - 5.0 * NEPERS  # a peak stands some 5 dB above the mean of what sounds
    snr = between(*config.snr)
    under = under + (speech - NEPERS * snr - usual)[:, None, None, None]
    added = (kind < config.babble + config.noise)[:, None, None, None]
    power = torch.where(added, torch.logaddexp(power, under), power)
    start = torch.where(added[:, 0, 0, 0], torch.maximum(start, under[:, 0].exp().mean((1, 2)).log()), start)
    snr = torch.where(added[:, 0, 0, 0], snr, torch.full_like(snr, math.inf))
    power = _band(power, config.band, MICROPHONE, chance, between)
    return *leveled(_telephone(power, config.telephone, chance, between), start), snr


def _room(power, between):
    """A diffuse tail: powers decay by 60 dB in 0.15 to 0.7 s, the tail 0 to 15 dB under the direct sound."""
    batch, frames, columns, mels = power.shape
    t60, drr = between(0.15, 0.7), between(0.0, 15.0)
    age = COLUMN * torch.arange(1, 41, device=power.device)
    tail = torch.exp(-13.8155 * age / t60[:, None])  # (B, 40)
    tail = tail / tail.sum(1, keepdim=True) * torch.exp(-NEPERS * drr)[:, None]
    kernel = torch.cat((tail.flip(1), torch.ones(batch, 1, device=power.device)), 1)[:, None]  # (B, 1, 41)
    rows = (power.exp() - POWER_FLOOR).clamp(min=0.0).flatten(1, 2).permute(2, 0, 1)  # (mels, B, n·columns)
    smeared = functional.conv1d(functional.pad(rows, (40, 0)), kernel, groups=batch)
    return torch.log(smeared + POWER_FLOOR).permute(1, 2, 0).view(batch, frames, columns, mels)


def _band(power, share, microphone, chance, between):
    """Bands outside a microphone's range fall by 2 nepers per band that they lie outside, 12 at most."""
    hertz = _hertz(power)
    mel = torch.log1p(hertz / 700.0)
    low, high = (torch.log1p(between(*microphone[edge]) / 700.0)[:, None] for edge in ("low", "high"))
    outside = (torch.maximum(low - mel, mel - high) / (mel[1] - mel[0])).clamp(
        0.0, 6.0
    )  # (B, bands), in bands
    outside = torch.where(chance(len(power), 1) < share, outside, torch.zeros_like(outside))
    return power - 2.0 * outside[:, None, None]


def _telephone(power, share, chance, between):
    """The band of a share of windows, and in half of these the noise of mu-law steps, which follows the sound: as strong at
    all frequencies (a band is a mean of powers), so it is heard above the band alone."""
    narrow = _band(power, 1.0, TELEPHONE, chance, between)
    width = 700.0 + _hertz(power)  # of a band, up to a factor: equal on the mel scale
    mean = torch.log(narrow.exp() @ (width / width.sum()))[..., None]  # over frequency
    steps = mean - NEPERS * between(*MU_LAW)[:, None, None, None]
    stepped = torch.where(
        (chance(len(power)) < 0.5)[:, None, None, None], torch.logaddexp(narrow, steps), narrow
    )
    return torch.where((chance(len(power)) < share)[:, None, None, None], stepped, power)


def _hertz(power):
    """(bands,) Hz, where each band of log powers (…, bands) peaks."""
    return mel_edges(power.shape[-1])[1:-1].to(power)
