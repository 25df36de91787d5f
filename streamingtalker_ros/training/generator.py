# SPDX-License-Identifier: Apache-2.0
"""Stage 2: encoder, predictor and diffusion head learn motion from sound; the codec is frozen (paper, stage 2).

The paper's loss, all mean squared with weight 1 as released: the error of the latent, of the motion (in units of each
shape's spread) and of its velocity. Added here, because lips are what people look at: the inner-lip gap, lips that
should touch and do not, the listener's probe (see `listener`), and the voice activity's cross-entropy.
Against drift the history that training shows is not always the true one: it is dropped, cut short, blurred with
noise, or replaced by what the network itself would have said. Half of the windows do not tell their source's style, so
that the neutral style is a blend of all; some are not heard at all, for guidance. With each batch the encoder alone
hears another one: listening is cheap and is what new voices fail at. Where that is too dear, `listens: false` leaves the
encoder as the listener made it.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from streamingtalker_ros.model.ddim import NoiseSchedule
from streamingtalker_ros.training.distributed import autocast
from streamingtalker_ros.training.encoder import GAP, TOUCH, ListenerStage, disguise
from streamingtalker_ros.training.trainer import LoopConfig

PRESS = 0.01  # part of a wide-open mouth by which touching lips are asked to overlap, so that a sample still touches
NOISY = 200  # most training times lie above it: few-step sampling never looks below


@dataclass(frozen=True)
class TalkerLoopConfig(LoopConfig):
    """A loop's settings, and those of this stage alone."""

    listens: bool = (
        True  # the encoder learns on; False keeps the listener's, which makes a step three times cheaper
    )
    draws: int = 2  # noisy versions of each latent in a step


@dataclass(frozen=True)
class HistoryConfig:
    """Chances per window; 0 turns one off."""

    drop: float = 0.1  # no past at all
    cut: float = 0.15  # a past of 1…h frames
    blur: float = 0.4  # most noise added to the past, in units of its spread
    own: float = 0.5  # chance that the past is the network's own
    own_from: float = 0.3  # of the run: when that begins
    frames: float = 0.5  # share of the past's frames that are then its own
    neutral: float = 0.5  # the style is not told
    deaf: float = 0.08  # the sound is not heard: what guidance compares with


class TalkerStage:
    """The loss of stage 2 over windows of audio and motion."""

    def __init__(self, network, windows, lips, settings, history=HistoryConfig()) -> None:
        """network: TalkerNetwork; windows: WindowSampler; lips: LipShape; settings: TalkerLoopConfig."""
        self.network, self.windows, self.lips, self.history = network, windows, lips, history
        self.batch, self.steps, self.draws, self.mixed = (
            settings.batch,
            settings.steps,
            settings.draws,
            settings.mixed,
        )
        self.listens, config = settings.listens, network.config
        self.listener = ListenerStage(
            network.encoder, network.codec, config.lookahead_frames, windows, lips, self.batch, self.mixed
        )
        self.probe, self.device = self.listener.probe, self.listener.device
        self.schedule = NoiseSchedule(config.beta_start, config.beta_end, config.num_train_timesteps)

    def __call__(self, step, rng):
        network, window = self.network, self.windows.draw(self.batch, rng).to(self.device)
        with torch.no_grad():  # full precision for what the loss compares with
            features = disguise(window.mels), window.loudness
            latents = network.codec.encode(window.motion)  # (B, T, D)
        past = torch.cat((torch.zeros_like(latents[:, :1]), latents[:, :-1]), 1)
        style = torch.where(self._chance(len(past)) < self.history.neutral, 0, window.style)
        hears = (self._chance(len(past)) >= self.history.deaf).float()[:, None]
        with autocast(self.device, self.mixed):
            with torch.set_grad_enabled(self.listens):
                heard = network.encoder.encode(*features)  # (B, T + lookahead, audio_width)
                voice = network.encoder.vad_head(heard)[..., 0].float()
            audio = heard[:, network.config.lookahead_frames :]
            known, past, reach = self._history(window, past, audio, style, step, rng)
            condition = network.predictor(past, known, audio * hears[..., None], style, window.first, reach)
            said = self._denoise(condition, latents).float()  # (draws, B, T, D)
            read = self.probe(audio)

        learned = window.learned
        count = learned.sum()
        latent = ((said - latents).square().mean((0, -1)) * learned).sum() / count
        motion, velocity, gap, touch = self._motion_errors(said[0], window, learned * hears, count)
        mouth, phones = self.probe.loss(
            read, window, self.lips.gap(window.motion), network.codec.motion_scale
        )
        speech = functional.binary_cross_entropy_with_logits(voice, window.voice)
        loss = latent + motion + velocity + 2.0 * gap + 30.0 * touch
        if self.listens:
            loss = loss + mouth + 0.5 * phones + 0.3 * speech + self.listener(step, rng)[0]
        figures = {
            "latent": latent,
            "motion": motion,
            "gap": gap,
            "touch": touch,
            "velocity": velocity,
            "mouth": mouth,
            "phones": phones,
            "voice": speech,
        }
        return loss, {name: figure.detach() for name, figure in figures.items()}

    def _chance(self, *shape):
        return torch.rand(shape, device=self.device)

    def _denoise(self, condition, latents):
        """Predict z_0 from `draws` noisy versions of each latent, most of them very noisy. -> (draws, B, T, D)."""
        head, draws = self.network.head, self.draws
        clean = latents.flatten(0, 1).repeat(draws, 1)
        count, device = (len(clean),), self.device
        times = torch.randint(NOISY, self.schedule.num_train_timesteps, count, device=device)
        times = torch.where(self._chance(*count) < 0.15, torch.randint(0, NOISY, count, device=device), times)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), times)
        prepared = head.project_condition(condition.flatten(0, 1)).repeat(draws, 1)
        return head(noisy, prepared, head.timestep_shifts(times)).view(draws, *latents.shape)

    def _motion_errors(self, said, window, learned, count):
        codec = self.network.codec
        made = codec.decode(said)
        difference = (made - window.motion) / codec.motion_scale
        motion = (difference.square().mean(-1) * learned).sum() / count
        pairs = learned[:, 1:] * learned[:, :-1]
        velocity = (difference.diff(dim=1).square().mean(-1) * pairs).sum() / pairs.sum()
        true, gap = GAP * self.lips.gap(window.motion), GAP * self.lips.gap(made)
        error = ((gap - true).square() * learned).sum() / count
        spoken = window.voice[:, : learned.shape[1]] * learned  # in silence the gate closes the mouth
        touch = ((gap + GAP * PRESS).clamp(min=0.0) * (true < GAP * TOUCH) * spoken).sum() / count
        return motion, velocity, error, touch

    def _history(self, window, past, audio, style, step, rng):
        """What of the past this batch shows: (known (B, T), past (B, T, D), reach in frames)."""
        config, chances = self.network.config, self.history
        batch, total = past.shape[:2]
        known = torch.arange(total, device=self.device) > 0  # what came before the window is not there
        known = known.expand(batch, total)
        if step > chances.own_from * self.steps and rng.random() < chances.own:
            past = self._own_past(known, past, audio, style, window.first)
        blur = self._chance(batch, 1, 1) * chances.blur
        past = past + blur * torch.randn_like(past)
        known = known & (self._chance(batch, 1) >= chances.drop)
        reach = int(rng.integers(1, config.context_frames + 1)) if rng.random() < chances.cut else None
        return known, past, reach

    @torch.no_grad()
    def _own_past(self, known, past, audio, style, first):
        """The past as the network would have said it, at a random share of the frames.

        One step from pure noise gives the conditional mean, two steps are close to a sample; either is cheap.
        """
        network, head = self.network, self.network.head
        condition = network.predictor(past, known, audio, style, first)
        prepared = head.project_condition(condition.flatten(0, 1))
        last = self.schedule.num_train_timesteps - 1
        noise = torch.randn(len(prepared), past.shape[-1], device=self.device)
        clean = head(noise, prepared, head.timestep_shifts(torch.tensor([last], device=self.device)))
        middle = torch.full((len(clean),), last // 2, device=self.device)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), middle)
        clean = head(noisy, prepared, head.timestep_shifts(middle[:1])).view_as(past)
        own = torch.cat((torch.zeros_like(clean[:, :1]), clean[:, :-1]), 1)
        own = torch.where(known[..., None], own, past)
        share = self._chance(len(past), past.shape[1], 1) < self.history.frames
        return torch.where(share, own, past)
