"""Stage 2: encoder, predictor and diffusion head learn motion from sound; the codec is frozen (paper, stage 2).

The paper's loss, all mean squared with weight 1 as released: the error of the latent, of the motion (in units of each
shape's spread) and of its velocity. Added here, because lips are what people look at: the inner-lip gap, lips that
should touch and do not, a probe that must read the mouth off the audio feature alone (a past that tells where the
mouth goes next teaches the ear nothing), and the voice activity's cross-entropy.
Against drift the history that training shows is not always the true one: it is dropped, cut short, blurred with
noise, or replaced by what the network itself would have said.
"""
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ..face.arkit import ARKIT_NAMES
from ..model.sampler import Schedule


MOUTH = torch.tensor([name.startswith(("jaw", "mouth")) for name in ARKIT_NAMES] + [False] * 3)  # (55,)
GAP = 8.0  # the gap is in parts of a wide-open mouth; times this, an open vowel's is of order 1
TOUCH = 0.02  # under this part of a wide-open mouth the lips touch
PRESS = 0.01  # part of a wide-open mouth by which touching lips are asked to overlap, so that a sample still touches
NOISY = 200  # most training times lie above it: few-step sampling never looks below


@dataclass(frozen=True)
class HistoryConfig:
    """Chances per window; 0 turns one off."""

    drop: float = 0.1  # no past at all
    cut: float = 0.15  # a past of 1…h frames
    blur: float = 0.4  # most noise added to the past, in units of its spread
    own: float = 0.5  # chance that the past is the network's own
    own_from: float = 0.3  # of the run: when that begins
    frames: float = 0.5  # share of the past's frames that are then its own


def disguise(mels):
    """Another throat, another microphone: log-mel features (B, n, columns, mels) of voices that nobody recorded.

    In half of the windows: the bands stretched by up to 12 % (vocal tract length perturbation, Jaitly and Hinton 2013), a smooth
    random equaliser of a few dB, and sometimes a few bands hidden (SpecAugment, Park et al. 2019).
    """
    batch, bands, clean = len(mels), mels.shape[-1], mels
    place = torch.arange(bands) * (1.0 + 0.24 * (torch.rand(batch, 1) - 0.5))  # (B, bands)
    low = place.floor().clamp(0, bands - 2).long()
    part = (place - low).clamp(0.0, 1.0)[:, None, None]
    low = low[:, None, None].expand(mels.shape)
    mels = mels.gather(-1, low) * (1.0 - part) + mels.gather(-1, low + 1) * part
    wave = torch.arange(bands) / bands * torch.tensor([1.0, 2.0, 3.0, 5.0])[:, None]  # (4, bands)
    curves = torch.cos(2.0 * torch.pi * (wave + torch.rand(batch, 4, 1))) * torch.randn(batch, 4, 1)
    mels = mels + 0.12 * curves.sum(1)[:, None, None]  # 0.25 is one neper of power, 4.3 dB
    first, width = torch.randint(0, bands, (batch, 1)), torch.randint(0, 9, (batch, 1))
    hidden = (torch.arange(bands) >= first) & (torch.arange(bands) < first + width) & (torch.rand(batch, 1) < 0.5)
    mels = torch.where(hidden[:, None, None], mels.mean((1, 2), keepdim=True), mels)
    return torch.where(torch.rand(batch, 1, 1, 1) < 0.5, clean, mels)


class TalkerStage:
    """The loss of stage 2 over windows of audio and motion."""

    def __init__(self, network, windows, gap, batch, steps, history=HistoryConfig(), draws=2, mixed=True):
        self.network, self.windows, self.gap, self.batch, self.steps = network, windows, gap, batch, steps
        self.history, self.draws, self.mixed = history, draws, mixed
        config = network.config
        self.probe = nn.Linear(config.audio_width, int(MOUTH.sum()) + 2)  # serves training alone, is not kept
        self.schedule = Schedule(config.beta_start, config.beta_end, config.train_steps)

    def __call__(self, step, rng):
        network, window = self.network, self.windows.draw(self.batch, rng)
        with torch.no_grad():  # full precision for what the loss compares with
            mels, loudness = network.encoder.log_mel(window.audio)
            features = disguise(mels), loudness
            latents = network.codec.encode(window.motion)  # (B, T, D)
        past = torch.cat((torch.zeros_like(latents[:, :1]), latents[:, :-1]), 1)
        style = torch.zeros(len(past), dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            heard = network.encoder.encode(*features)  # (B, T + lookahead, audio_width)
            voice = network.encoder.voice(heard)[..., 0].float()
            audio = heard[:, network.config.lookahead_frames:]
            known, past, reach = self._history(window, past, audio, style, step, rng)
            condition = network.predictor(past, known, audio, style, window.first, reach)
            said = self._denoise(condition, latents).float()  # (draws, B, T, D)
            probed = self.probe(audio).float()

        learned = window.learned
        count = learned.sum()
        latent = ((said - latents).square().mean((0, -1)) * learned).sum() / count
        motion, velocity, gap, touch = self._motion_errors(said[0], window, learned, count)
        probe = self._probe_error(probed, window, learned, count)
        speech = functional.binary_cross_entropy_with_logits(voice, window.voice)
        loss = latent + motion + velocity + 2.0 * gap + 20.0 * touch + probe + 0.3 * speech
        return loss, {"latent": latent.item(), "motion": motion.item(), "gap": gap.item(), "touch": touch.item(),
                      "velocity": velocity.item(), "probe": probe.item(), "voice": speech.item()}

    def _denoise(self, condition, latents):
        """Predict z_0 from `draws` noisy versions of each latent, most of them very noisy. -> (draws, B, T, D)."""
        head, draws = self.network.head, self.draws
        clean = latents.flatten(0, 1).repeat(draws, 1)
        times = torch.randint(NOISY, self.schedule.train_steps, (len(clean),))
        times = torch.where(torch.rand(len(clean)) < 0.15, torch.randint(0, NOISY, (len(clean),)), times)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), times)
        prepared = head.prepare(condition.flatten(0, 1)).repeat(draws, 1)
        return head(noisy, prepared, head.times(times)).view(draws, *latents.shape)

    def _motion_errors(self, said, window, learned, count):
        codec = self.network.codec
        made = codec.decode(said)
        difference = (made - window.motion) / codec.motion_scale
        motion = (difference.square().mean(-1) * learned).sum() / count
        pairs = learned[:, 1:] * learned[:, :-1]
        velocity = (difference.diff(dim=1).square().mean(-1) * pairs).sum() / pairs.sum()
        true, gap = GAP * self.gap(window.motion), GAP * self.gap(made)
        error = ((gap - true).square() * learned).sum() / count
        spoken = window.voice[:, :learned.shape[1]] * learned  # in silence the gate closes the mouth
        touch = ((gap + GAP * PRESS).clamp(min=0.0) * (true < GAP * TOUCH) * spoken).sum() / count
        return motion, velocity, error, touch

    def _probe_error(self, probed, window, learned, count):
        """What a linear probe of the audio feature misses of mouth shapes, gap and whether the lips touch."""
        mouth, gap = (window.motion / self.network.codec.motion_scale)[..., MOUTH], self.gap(window.motion)
        error = (probed[..., :-2] - mouth).square().mean(-1) + (probed[..., -2] - GAP * gap).square()
        touch = (gap < TOUCH) * window.voice[:, : gap.shape[1]]
        error = error + 0.5 * functional.binary_cross_entropy_with_logits(
            probed[..., -1], touch, reduction="none", pos_weight=torch.tensor(4.0))  # few frames touch
        return (error * learned).sum() / count

    def _history(self, window, past, audio, style, step, rng):
        """What of the past this batch shows: (known (B, T), past (B, T, D), reach in frames)."""
        config, chances = self.network.config, self.history
        batch, total = past.shape[:2]
        known = (torch.arange(total) > 0).expand(batch, total)  # what came before the window is not there
        if step > chances.own_from * self.steps and rng.random() < chances.own:
            past = self._own_past(known, past, audio, style, window.first)
        blur = torch.rand(batch, 1, 1) * chances.blur
        past = past + blur * torch.randn_like(past)
        known = known & (torch.rand(batch, 1) >= chances.drop)
        reach = int(rng.integers(1, config.history + 1)) if rng.random() < chances.cut else None
        return known, past, reach

    @torch.no_grad()
    def _own_past(self, known, past, audio, style, first):
        """The past as the network would have said it, at a random share of the frames.

        One step from pure noise gives the conditional mean, two steps are close to a sample; either is cheap.
        """
        network, head = self.network, self.network.head
        condition = network.predictor(past, known, audio, style, first)
        prepared = head.prepare(condition.flatten(0, 1))
        last = self.schedule.train_steps - 1
        noise = torch.randn(len(prepared), past.shape[-1])
        clean = head(noise, prepared, head.times(torch.tensor([last])))
        middle = torch.full((len(clean),), last // 2)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), middle)
        clean = head(noisy, prepared, head.times(middle[:1])).view_as(past)
        own = torch.cat((torch.zeros_like(clean[:, :1]), clean[:, :-1]), 1)
        own = torch.where(known[..., None], own, past)
        share = torch.rand(len(past), past.shape[1], 1) < self.history.frames
        return torch.where(share, own, past)
