# SPDX-License-Identifier: Apache-2.0
"""Before stage 2 the encoder learns to listen: which phone sounds, what the mouth does, whether somebody speaks.

A linear probe reads all of it off the audio feature of each frame, look-ahead included. It costs a tenth of a step of
stage 2, so that the encoder hears every voice of the corpora many times; in stage 2 the same probe stays as a loss,
since a past that tells where the mouth goes next teaches the ear nothing.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.phonetics.phones import BILABIALS, OPEN_VOWELS
from streamingtalker_ros.training.batches import PHONES, UNKNOWN
from streamingtalker_ros.training.distributed import autocast
from streamingtalker_ros.training.trainer import LoopConfig

HEARD = {
    ear: torch.tensor([PHONES.index(name) for name in sorted(names) if name in PHONES])
    for ear, names in (("bilabial_head", BILABIALS), ("open_vowel_head", OPEN_VOWELS))
}
MOUTH = [row for row, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth"))]
GAP = 8.0  # the gap is in parts of a wide-open mouth; times this, an open vowel's is of order 1
WIDTH = 20.0  # so is the mouth's width, times this
TOUCH = 0.02  # under this part of a wide-open mouth the lips touch
APART = (
    0.12  # gap, in those parts, from which on pressing lips that belong open is as wrong as missing a closure
)
HIDDEN, PLAIN = (
    10.0,
    30.0,
)  # dB over a noise: a closure missed at the first counts for FAINT, from the second on in full
FAINT = 0.1
SURE = 0.5  # of a logit: how much less sure a frame of a sound may be to speak for it, too


@dataclass(frozen=True)
class ListenerLoopConfig(LoopConfig):
    """A loop's settings, and those of this stage alone."""

    steady: float = (
        0.0  # weight of hearing in every recording what the encoder that it began with hears in the clean one
    )
    keep: float = (
        0.0  # share of the weights it began with in those it ends with (WiSE-FT, Wortsman et al. 2022)
    )


def disguise(mels):
    """Another throat, another microphone: log-mel features (B, n, columns, mels) of voices that nobody recorded.

    In three of four windows: the bands stretched by up to 16 % (vocal tract length perturbation, Jaitly and Hinton
    2013), a smooth random equaliser of a few dB, and some bands and moments hidden (SpecAugment, Park et al. 2019).
    """
    batch, bands, clean, device = len(mels), mels.shape[-1], mels, mels.device
    band = torch.arange(bands, device=device)

    def chance(*shape):
        return torch.rand(shape, device=device)

    place = band * (1.0 + 0.32 * (chance(batch, 1) - 0.5))  # (B, bands)
    low = place.floor().clamp(0, bands - 2).long()
    part = (place - low).clamp(0.0, 1.0)[:, None, None]
    low = low[:, None, None].expand(mels.shape)
    mels = mels.gather(-1, low) * (1.0 - part) + mels.gather(-1, low + 1) * part
    wave = band / bands * torch.tensor([1.0, 2.0, 3.0, 5.0], device=device)[:, None]  # (4, bands)
    curves = torch.cos(2.0 * torch.pi * (wave + chance(batch, 4, 1))) * torch.randn(
        batch, 4, 1, device=device
    )
    mels = mels + 0.15 * curves.sum(1)[:, None, None]  # 0.25 is one neper of power, 4.3 dB
    mean = mels.mean((1, 2), keepdim=True)
    mels = torch.where(_spans(batch, bands, 2, 10, device)[:, None, None], mean, mels)
    moments = _spans(batch, mels.shape[1] * mels.shape[2], 6, 9, device).view(batch, *mels.shape[1:3], 1)
    mels = torch.where(moments, mean, mels)
    return torch.where(chance(batch, 1, 1, 1) < 0.25, clean, mels)


def _spans(batch, length, count, most, device):
    """(batch, length) bool: `count` spans of 0 to most - 1 places, anywhere."""
    place = torch.arange(length, device=device)
    first = torch.randint(0, length, (batch, count, 1), device=device)
    width = torch.randint(0, most, (batch, count, 1), device=device)
    return ((place >= first) & (place < first + width)).any(1)


class Probe(nn.Module):
    """Reads phone, mouth and contact off audio features; serves training alone, is not kept."""

    def __init__(self, audio_width) -> None:
        super().__init__()
        self.mouth = nn.Linear(audio_width, len(MOUTH) + 2)  # mouth shapes, gap, logit of touching lips
        self.phones = nn.Linear(audio_width, len(PHONES))

    def forward(self, audio):
        """audio (B, T, audio_width) -> what `loss` takes, in float32."""
        return self.mouth(audio).float(), self.phones(audio).float()

    def loss(self, read, window, gap, scale):
        """Errors over the learned frames: (mouth, phones), scalars. gap (B, T) true, scale (55,) of the motion."""
        mouth, phones = read
        learned = window.learned
        count = learned.sum()
        true = (window.motion / scale)[..., MOUTH]
        error = (mouth[..., :-2] - true).square().mean(-1) + (mouth[..., -2] - GAP * gap).square()
        touch = (gap < TOUCH) * window.voice[:, : gap.shape[1]]
        error = error + 0.5 * functional.binary_cross_entropy_with_logits(
            mouth[..., -1], touch, reduction="none", pos_weight=touch.new_tensor(4.0)
        )  # few frames touch
        named = functional.cross_entropy(
            phones.flatten(0, 1), window.phones.flatten(), ignore_index=UNKNOWN, reduction="none"
        ).view_as(learned)
        return (error * learned).sum() / count, (named * learned).sum() / count


def ears_loss(encoder, heard, window, lips):
    """The sum of the losses of the encoder's ears over a window's learned frames, 0 without ears: `closure_event_loss` of the one
    for p, b and m, a missed one counting the less the louder the noise; the cross-entropy of "an open vowel sounds in this
    frame", where frames just beside one count for nothing; the squared errors of lip gap and mouth's width. Frames that
    nobody knows count for nothing. heard: (B, T, audio_width); lips: LipShape."""
    loss, gap, width = 0.0, lips.gap(window.motion), lips.width(window.motion)
    for told, ear, unit, true in (
        (encoder.has_lip_aperture_head, "lip_aperture_head", GAP, gap),
        (encoder.has_lip_width_head, "lip_width_head", WIDTH, width),
    ):
        if told:
            error = unit**2 * (getattr(encoder, ear)(heard)[..., 0].float() - true).square()
            loss = loss + (error * window.learned).sum() / window.learned.sum()
    for name in [name for name in HEARD if name in encoder.auxiliary_heads]:
        sounds = torch.isin(window.phones, HEARD[name].to(heard.device))
        beside = functional.max_pool1d(sounds.float()[:, None], 3, 1, 1)[:, 0].bool() & ~sounds
        counts = window.learned * ((window.phones != UNKNOWN) & ~beside)
        logits = getattr(encoder, name)(heard)[..., 0].float()
        if name == "bilabial_head":
            worth = ((window.snr - HIDDEN) / (PLAIN - HIDDEN)).clamp(FAINT, 1.0)
            loss = loss + closure_event_loss(logits, sounds, counts, gap, worth)
        else:
            loss = (
                loss
                + functional.binary_cross_entropy_with_logits(logits, sounds.float(), counts, reduction="sum")
                / counts.sum()
            )
    return loss


def closure_event_loss(logits, sounds, counts, gap, worth):
    """Cross-entropy of "lips meet in this sound" and of "lips need not be pressed in this frame".

    Lips that met once in a p, b or m have closed in it, so that its surest frame speaks for all of it (multiple-instance
    learning, Dietterich et al. 1997; a soft maximum of width SURE). Pressing other frames costs what it takes from the
    lips' motion, the square of their gap: where they are shut it costs next to nothing. All (B, T); counts: 1 where a
    frame is learned from; sounds whose frames are not all learned from are left out; worth (B,): what a missed one costs.
    """
    begins = sounds & ~functional.pad(sounds, (1, 0))[:, :-1]
    number = (
        begins.flatten().cumsum(0).view_as(sounds) * sounds
    ).flatten()  # 1, 2, … of the sounds, 0 elsewhere
    flat = logits.flatten()

    def each(
        start, values, reduce
    ):  # room for as many sounds as there are frames: no device is asked for a number
        return flat.new_full((len(flat) + 1,), start).scatter_reduce(
            0, number, values, reduce, include_self=True
        )

    highest = each(-30.0, flat.detach(), "amax")
    surest = highest + SURE * each(1e-9, ((flat - highest[number]) / SURE).exp(), "sum").log()
    whole = (each(0.0, sounds.flatten().float(), "amax") * each(1.0, counts.flatten().float(), "amin") > 0)[
        1:
    ]
    cared = each(0.0, worth[:, None].expand_as(sounds).flatten(), "amax")[1:]
    missed = (functional.softplus(-surest[1:]) * whole * cared).sum() / whole.sum().clamp(min=1)
    cost = ((gap.clamp(min=0.0) / APART).square().clamp(max=4.0) + 0.05) * counts * ~sounds
    return missed + (functional.softplus(logits) * cost).sum() / cost.sum().clamp(min=1e-6)


class ListenerStage:
    """The loss of listening over windows of sound.

    steady: weight of the squared distance between what the encoder makes of each window, noise and disguise included,
    and what it made of the clean one when the stage began (noisy-student training, after Xie et al. 2020). It asks for
    the same vector in noise, where labels ask for the same phone alone, and lets predictor and head go on with an encoder
    that has learned on.
    """

    def __init__(self, encoder, codec, lookahead, windows, lips, batch, mixed=True, steady=0.0) -> None:
        self.steady = steady
        if steady:
            self.before = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.encoder, self.codec, self.lookahead = encoder, codec, lookahead
        self.windows, self.lips, self.batch, self.mixed = windows, lips, batch, mixed
        self.device = codec.motion_scale.device
        self.probe = Probe(encoder.norm.normalized_shape[0]).to(self.device)

    def __call__(self, step, rng):
        window = self.windows.draw(self.batch, rng, with_clean=self.steady > 0).to(self.device)
        with autocast(self.device, self.mixed):
            heard = self.encoder.encode(disguise(window.mels), window.loudness)
            voice = self.encoder.vad_head(heard)[..., 0].float()
            read = self.probe(heard[:, self.lookahead :])
            ears = ears_loss(self.encoder, heard[:, self.lookahead :], window, self.lips)
        mouth, phones = self.probe.loss(read, window, self.lips.gap(window.motion), self.codec.motion_scale)
        speech = functional.binary_cross_entropy_with_logits(voice, window.voice)
        named = (window.phones != UNKNOWN) & (window.learned > 0)
        right = ((read[1].argmax(-1) == window.phones) & named).sum() / named.sum()
        figures = {
            "mouth": mouth.detach(),
            "phones": phones.detach(),
            "voice": speech.detach(),
            "phones_right": right,
        }
        loss = mouth + phones + 0.3 * speech + ears
        if self.steady:
            figures["steady"] = distance = (heard.float() - self._before(window)).square().mean()
            loss = loss + self.steady * distance
        return loss, {name: figure.detach() for name, figure in figures.items()}

    @torch.no_grad()
    def _before(self, window):
        """What the encoder made of the clean windows when the stage began: (B, T + lookahead, audio_width)."""
        with autocast(self.device, self.mixed):
            return self.before.encode(*window.clean).float()
