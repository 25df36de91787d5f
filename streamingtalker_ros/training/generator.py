# SPDX-License-Identifier: Apache-2.0
"""Stage 2: encoder, predictor and diffusion head learn motion from audio; the codec is frozen (paper).

The paper's loss, mean squared errors with weight 1 as released: of the latent, of the motion (in units of
each shape's standard deviation) and of its velocity. Added here: the inner-lip gap, missed lip contacts, the
probe of encoder pre-training, and voice activity.

Against drift the true history is augmented in a fraction of the windows: it is dropped, truncated, blurred
with noise, or replaced by the network's own output (scheduled sampling). In another fraction the style is
dropped, so that the neutral style is a blend of all, or the audio, for classifier-free guidance. With each
batch the encoder also takes a step of its pre-training on another batch, for more voices; `train_encoder:
false` freezes the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from streamingtalker_ros.face.lip_shape import LipShape
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.ddim import NoiseSchedule
from streamingtalker_ros.training.batches import Batch, WindowSampler
from streamingtalker_ros.training.distributed import autocast
from streamingtalker_ros.training.encoder import (
    CONTACT_GAP,
    GAP_SCALE,
    EncoderPretraining,
    augment_features,
)
from streamingtalker_ros.training.trainer import TrainerConfig

CONTACT_OVERLAP = (
    0.01  # of a wide-open mouth: target overlap of touching lips, so that a sample still touches
)
MIN_COMMON_TIMESTEP = 200  # most training timesteps lie above: few-step sampling never reaches lower ones
RARE_TIMESTEP_PROB = 0.15


@dataclass(frozen=True)
class GeneratorConfig(TrainerConfig):
    """Settings of the loop and of this stage."""

    train_encoder: bool = True  # False freezes the encoder, which makes a step three times faster
    noise_draws: int = 2  # noisy versions of each latent per step


@dataclass(frozen=True)
class HistoryConfig:
    """Probabilities per window with which the history and the conditions are changed; 0 turns one off."""

    dropout_prob: float = 0.1  # no history at all
    truncation_prob: float = 0.15  # a history of 1 … h frames
    max_noise: float = 0.4  # largest noise added to the history, in units of its standard deviation
    scheduled_sampling_prob: float = 0.5  # the history is partly the network's own
    scheduled_sampling_start: float = 0.3  # fraction of the run after which that begins
    scheduled_sampling_ratio: float = 0.5  # fraction of the history's frames that are then the network's own
    style_dropout: float = 0.5  # the style is replaced by the neutral one
    audio_dropout: float = 0.08  # the audio is replaced by zeros: the unconditional branch of guidance


class GeneratorStage:
    """Loss of stage 2 over random windows of audio and motion.

    Args:
        network: the network; its codec is trained and frozen.
        sampler: the windows.
        lips: the rig's lip measures.
        config: settings of this stage.
        history: how the history is changed.
    """

    def __init__(
        self,
        network: TalkerNetwork,
        sampler: WindowSampler,
        lips: LipShape,
        config: GeneratorConfig,
        history: HistoryConfig | None = None,
    ) -> None:
        self.network, self.sampler, self.lips = network, sampler, lips
        self.config, self.history = config, history or HistoryConfig()
        model = network.config
        self.pretraining = EncoderPretraining(
            network.encoder,
            network.codec,
            model.lookahead_frames,
            sampler,
            lips,
            config.batch_size,
            config.mixed_precision,
        )
        self.probe, self.device = self.pretraining.probe, self.pretraining.device
        self.schedule = NoiseSchedule(model.beta_start, model.beta_end, model.num_train_timesteps)

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss and metrics of a random batch; see `trainer.Stage`."""
        network, config = self.network, self.config
        window = self.sampler.sample(config.batch_size, rng).to(self.device)
        with torch.no_grad():  # full precision for the targets
            inputs = augment_features(window.mels), window.loudness
            latents = network.codec.encode(window.motion)  # (B, T, D)
        past = torch.cat((torch.zeros_like(latents[:, :1]), latents[:, :-1]), 1)
        style = torch.where(self._uniform(len(past)) < self.history.style_dropout, 0, window.style)
        has_audio = (self._uniform(len(past)) >= self.history.audio_dropout).float()[:, None]
        with autocast(self.device, config.mixed_precision):
            with torch.set_grad_enabled(config.train_encoder):
                features = network.encoder.encode(*inputs)  # (B, T + look-ahead, audio_width)
                voice = network.encoder.vad_head(features)[..., 0].float()
            audio = features[:, network.config.lookahead_frames :]
            known, past, reach = self._change_history(window, past, audio, style, step, rng)
            condition = network.predictor(
                past, known, audio * has_audio[..., None], style, window.first, reach
            )
            predicted = self._denoise(condition, latents).float()  # (draws, B, T, D)
            readouts = self.probe(audio)

        mask = window.loss_mask
        count = mask.sum()
        latent = ((predicted - latents).square().mean((0, -1)) * mask).sum() / count
        motion, velocity, gap, contact = self._motion_errors(predicted[0], window, mask * has_audio, count)
        mouth, phones = self.probe.loss(
            readouts, window, self.lips.gap(window.motion), network.codec.motion_scale
        )
        voice_loss = functional.binary_cross_entropy_with_logits(voice, window.voice)
        loss = latent + motion + velocity + 2.0 * gap + 30.0 * contact
        if config.train_encoder:
            pretraining_loss = self.pretraining(step, rng)[0]
            loss = loss + mouth + 0.5 * phones + 0.3 * voice_loss + pretraining_loss
        metrics = {
            "latent": latent,
            "motion": motion,
            "gap": gap,
            "contact": contact,
            "velocity": velocity,
            "mouth": mouth,
            "phones": phones,
            "voice": voice_loss,
        }
        return loss, {name: value.detach() for name, value in metrics.items()}

    def _uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, device=self.device)

    def _denoise(self, condition: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Predict z_0 from `noise_draws` mostly very noisy versions of each latent: (draws, B, T, D)."""
        head, draws = self.network.head, self.config.noise_draws
        clean = latents.flatten(0, 1).repeat(draws, 1)
        count, device = (len(clean),), self.device
        t = torch.randint(MIN_COMMON_TIMESTEP, self.schedule.num_train_timesteps, count, device=device)
        is_rare = self._uniform(*count) < RARE_TIMESTEP_PROB
        t = torch.where(is_rare, torch.randint(0, MIN_COMMON_TIMESTEP, count, device=device), t)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), t)
        prepared = head.project_condition(condition.flatten(0, 1)).repeat(draws, 1)
        return head(noisy, prepared, head.timestep_shifts(t)).view(draws, *latents.shape)

    def _motion_errors(
        self, predicted: torch.Tensor, window: Batch, mask: torch.Tensor, count: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Errors of decoded motion, velocity, lip gap and missed contacts: four scalars."""
        codec = self.network.codec
        decoded = codec.decode(predicted)
        difference = (decoded - window.motion) / codec.motion_scale
        motion = (difference.square().mean(-1) * mask).sum() / count
        pairs = mask[:, 1:] * mask[:, :-1]
        velocity = (difference.diff(dim=1).square().mean(-1) * pairs).sum() / pairs.sum()
        target, gap = GAP_SCALE * self.lips.gap(window.motion), GAP_SCALE * self.lips.gap(decoded)
        gap_error = ((gap - target).square() * mask).sum() / count
        is_voiced = window.voice[:, : mask.shape[1]] * mask  # in silence the voice gate closes the mouth
        excess = (gap + GAP_SCALE * CONTACT_OVERLAP).clamp(min=0.0)
        contact = (excess * (target < GAP_SCALE * CONTACT_GAP) * is_voiced).sum() / count
        return motion, velocity, gap_error, contact

    def _change_history(
        self,
        window: Batch,
        past: torch.Tensor,
        audio: torch.Tensor,
        style: torch.Tensor,
        step: int,
        rng: np.random.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, int | None]:
        """Known frames (B, T), history (B, T, D) and attention reach in frames, as this batch has them."""
        history = self.history
        batch_size, length = past.shape[:2]
        known = torch.arange(length, device=self.device) > 0  # the frame before the window is unknown
        known = known.expand(batch_size, length)
        begins = step > history.scheduled_sampling_start * self.config.steps
        if begins and rng.random() < history.scheduled_sampling_prob:
            past = self._mix_own_history(known, past, audio, style, window.first)
        noise = self._uniform(batch_size, 1, 1) * history.max_noise
        past = past + noise * torch.randn_like(past)
        known = known & (self._uniform(batch_size, 1) >= history.dropout_prob)
        is_truncated = rng.random() < history.truncation_prob
        reach = int(rng.integers(1, self.network.config.context_frames + 1)) if is_truncated else None
        return known, past, reach

    @torch.no_grad()
    def _mix_own_history(
        self,
        known: torch.Tensor,
        past: torch.Tensor,
        audio: torch.Tensor,
        style: torch.Tensor,
        first: torch.Tensor,
    ) -> torch.Tensor:
        """History (B, T, D) with a random fraction of its frames replaced by the network's own output.

        Two denoising steps from pure noise are close to a sample, and cheap.
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
        generated = torch.cat((torch.zeros_like(clean[:, :1]), clean[:, :-1]), 1)
        generated = torch.where(known[..., None], generated, past)
        is_own = self._uniform(len(past), past.shape[1], 1) < self.history.scheduled_sampling_ratio
        return torch.where(is_own, generated, past)
