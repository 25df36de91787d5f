# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of the published family: HuBERT, condition predictor and diffusion head learn motion from sound.

The paper's loss, all mean squared with weight 1 as released: the error of the clean latent predicted from a noised one
(one diffusion time per window), of the vertices and of their velocity. The codec is frozen, or its decoder learns on
(BIWI). Where the release begins every window at rest, here windows begin mid-speech with real history, at their own
places in the periodic table; and against drift the history is not always the true one: dropped, cut short, blurred
with noise, or what the network itself would have said. Now and then the subject is not told: that trains the neutral
style, which needs no identity.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from streamingtalker_ros.model.ddim import NoiseSchedule
from streamingtalker_ros.training.vertex.conditions import conditions


@dataclass
class Window:
    """B windows of T frames. Latents are those of the codec; row n of `past` is the one before row n of `latents`."""

    clips: list  # B Clips
    first: torch.Tensor  # (B,) int64: index of row 0 in its clip
    past: torch.Tensor  # (B, T, H·C)
    latents: torch.Tensor  # (B, T, H·C)
    offsets: torch.Tensor  # (B, T, 3V)
    style: torch.Tensor  # (B,) int64
    learned: torch.Tensor  # (B, T) 1 where the loss counts


def prepare(network) -> None:
    """Initialise the maps between latents and width as released."""
    for linear in (network.predictor.latent_in, network.head.leave):
        nn.init.xavier_normal_(linear.weight)


@torch.no_grad()
def code(codec, clips, device):
    """The quantized latents of clips: list of (T + 1, H·C), row 0 the latent with which every stream begins."""
    start, coded = codec.start_latent()[None], []
    for clip in clips:
        rows = torch.from_numpy(clip.rows(0, len(clip) + 1)).to(device)
        coded.append(torch.cat((start, codec.quantize(codec.encode(rows[None]))[0][0, 1:])))
    return coded


class TalkerStage:
    """The loss of stage 2 over windows of sound and motion."""

    def __init__(self, network, hearing, clips, recipe, machine) -> None:
        self.network, self.hearing, self.clips, self.recipe, self.machine = (
            network,
            hearing,
            clips,
            recipe,
            machine,
        )
        self.coded = code(network.codec, clips, machine.device)
        joined = torch.cat(self.coded)
        self.spread = joined.std(0)  # (H·C,)
        self.start = joined[0]
        self.chance = np.array([len(clip) for clip in clips], np.float64)
        self.chance /= self.chance.sum()
        c = network.config
        self.rows = [
            c.identities.index(clip.subject) if clip.subject in c.identities else 0 for clip in clips
        ]
        self.schedule = NoiseSchedule(c.beta_start, c.beta_end, c.num_train_timesteps)

    def draw(self, rng):
        """A random Window."""
        settings, device = self.recipe.windows, self.machine.device
        chosen = rng.choice(len(self.clips), self.recipe.talker.batch, p=self.chance)
        clips = [self.clips[i] for i in chosen]
        total = min(settings.lead + settings.frames, min(map(len, clips)))
        lead = min(settings.lead, total // 2)
        first = [
            0 if rng.random() < settings.at_start else int(rng.integers(0, len(clip) - total + 1))
            for clip in clips
        ]
        told = [self.rows[i] if rng.random() >= self.recipe.learning.neutral else 0 for i in chosen]
        latents = torch.stack(
            [self.coded[i][n : n + total + 1] for i, n in zip(chosen, first)]
        )  # (B, T + 1, H·C)
        offsets = np.stack([clip.rows(n + 1, total) for clip, n in zip(clips, first)])
        first = torch.tensor(first, device=device)
        learned = torch.ones(len(clips), total, device=device)
        learned[:, :lead] = (first == 0)[:, None].float()
        return Window(
            clips,
            first,
            latents[:, :-1],
            latents[:, 1:],
            torch.from_numpy(offsets).to(device),
            torch.tensor(told, device=device),
            learned,
        )

    def __call__(self, step, rng):
        network, window, mixed = self.network, self.draw(rng), self.recipe.talker.mixed
        with self.machine.autocast(mixed):
            audio = self.hearing(window.clips, window.first.tolist(), window.past.shape[1])
            past, reach = self._history(window, audio, step, rng)
            condition = conditions(
                network.predictor,
                past,
                audio,
                window.style,
                window.first,
                reach,
                self.recipe.learning.dropout,
            )
            said = self._denoise(condition, window.latents).float()  # (B, T, H·C)
            known = torch.where(window.learned[..., None] > 0, said, window.latents)
            rows = torch.cat(
                (window.past[:, :1], known), 1
            )  # decoding looks over all rows, so the lead comes along
            made = network.codec.decode(rows)[:, 1:].float()
        latent, vertices, velocity = errors(said, made, window)
        return latent + vertices + velocity, {
            "latent": latent.detach(),
            "vertices": vertices.detach(),
            "velocity": velocity.detach(),
        }

    def _denoise(self, condition, latents):
        head = self.network.head
        times = torch.randint(0, self.schedule.num_train_timesteps, (len(latents),), device=latents.device)
        noisy = self.schedule.add_noise(latents, torch.randn_like(latents), times)
        return head.x0(noisy, condition, head.embed_time(times)[:, None], self.network.predictor.latent_in)

    def _history(self, window, audio, step, rng):
        """(past (B, T, H·C) as this batch shows it, how many rows back attention reaches)."""
        chances, past, steps = self.recipe.history, window.past, self.recipe.talker.steps
        batch, device = len(past), past.device
        if step >= chances.own_from * steps and rng.random() < chances.own:
            past = self._own(past, audio, window)
        blur = torch.rand(batch, 1, 1, device=device) * chances.blur
        past = past + blur * self.spread * torch.randn_like(past)
        past = torch.where(torch.rand(batch, 1, 1, device=device) < chances.drop, self.start, past)
        reach = int(rng.integers(1, self.network.config.context_frames + 1)) if rng.random() < chances.cut else None
        return past, reach

    @torch.no_grad()
    def _own(self, past, audio, window):
        """The past with a random share of its rows as the network would have said them: two steps from pure noise."""
        head, predictor, last = self.network.head, self.network.predictor, self.schedule.num_train_timesteps - 1
        condition = conditions(predictor, past, audio, window.style, window.first)
        said = torch.randn_like(window.latents)
        for time in (last, last // 2):
            times = torch.full((len(past),), time, device=past.device)
            if time < last:
                said = self.schedule.add_noise(said, torch.randn_like(said), times)
            said = head.x0(said, condition, head.embed_time(times)[:, None], predictor.latent_in).float()
        own = torch.cat((past[:, :1], said[:, :-1]), 1)  # what came before the window stays true
        share = torch.rand(past.shape[:2], device=past.device)[..., None] < self.recipe.history.frames
        return torch.where(share, own, past)


def errors(said, made, window):
    """Mean squared errors of latents, vertices and velocities where the window learns: three scalars."""
    learned = window.learned
    count, pairs = learned.sum(), learned[:, 1:] * learned[:, :-1]
    difference = made - window.offsets
    latent = ((said - window.latents).square().mean(-1) * learned).sum() / count
    vertices = (difference.square().mean(-1) * learned).sum() / count
    velocity = (difference.diff(dim=1).square().mean(-1) * pairs).sum() / pairs.sum().clamp(min=1)
    return latent, vertices, velocity
