# SPDX-License-Identifier: Apache-2.0
"""HuBERT features of the frames of a window, as a stream computes them or as the published training does.

`stream` mode: the encoder runs of bounded streaming (`model.vertex.chunking`): windows of audio under a
running normalisation, frame and feature centres aligned. `utterance` mode: the whole clip, normalised by its
own level, stretched onto the clip's frames. HuBERT's convolutions are frozen (paper); what the frozen part
computes, or all of a frozen HuBERT, is computed once and cached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.model.checkpoint_files import check_weights
from streamingtalker_ros.model.vertex import hubert
from streamingtalker_ros.model.vertex.chunking import ChunkSchedule
from streamingtalker_ros.model.vertex.config import VertexConfig
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.model.vertex.streaming import RunningNormalizer
from streamingtalker_ros.training.vertex.dataset import VertexClip
from streamingtalker_ros.training.vertex.recipe import AudioConfig

MASK_SPAN = 10  # features masked together, as in HuBERT's pre-training

Array = npt.NDArray[np.float32]


@dataclass
class EncoderRun:
    """One run of HuBERT.

    Attributes:
        key: names it in the cache.
        pcm: (n,) normalised audio.
        positions: of the required frames among its features.
    """

    key: tuple[str, int | str]
    pcm: Array
    positions: torch.Tensor


class AudioContextEncoder:
    """Computes features of windows of clips.

    Args:
        model: a HubertModel; its convolutions are frozen, and all of it where the recipe says so.
        config: the network's configuration.
        audio: the recipe's section.
        device: of the model.
    """

    def __init__(self, model: Any, config: VertexConfig, audio: AudioConfig, device: torch.device) -> None:
        self.model, self.config, self.audio, self.device = model, config, audio, device
        self.stride, self.receptive_field = hubert.geometry(model)
        self.schedule = ChunkSchedule.create(
            config.frame_rate,
            config.audio_fps,
            self.stride,
            self.receptive_field,
            audio.chunk_frames,
            audio.window,
            audio.context,
        )
        self._cache: dict[tuple[str, int | str], torch.Tensor] = {}
        self._cumulative_sums: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}
        model.requires_grad_(not audio.freeze_encoder)
        model.feature_extractor.requires_grad_(False)

    def train(self, mode: bool = True) -> AudioContextEncoder:
        """Turn dropout and feature masking on or off; a frozen HuBERT has neither.

        Args:
            mode: Whether to turn them on.

        Returns:
            This object.
        """
        self.model.train(mode and not self.audio.freeze_encoder)
        return self

    def __call__(self, clips: Sequence[VertexClip], first: Sequence[int], count: int) -> torch.Tensor:
        """Features of `count` frames of each clip.

        Args:
            clips: B clips.
            first: their first frames.
            count: number of frames.

        Returns:
            (B, count, audio_dim).
        """
        plan = self.plan_stream if self.audio.mode == "stream" else self.plan_utterance
        runs = [plan(clip, start, count) for clip, start in zip(clips, first, strict=True)]
        by_length: dict[int, dict[tuple[str, int | str], EncoderRun]] = {}
        for run in (run for row in runs for run in row):
            by_length.setdefault(len(run.pcm), {})[run.key] = run
        features: dict[tuple[str, int | str], torch.Tensor] = {}
        for group in by_length.values():
            features.update(zip(group, self._encode(list(group.values())), strict=True))

        def gather(run: EncoderRun) -> torch.Tensor:
            positions = run.positions.to(self.device)[None]
            return hubert.gather_features(features[run.key][None], positions)[0]

        return torch.stack([torch.cat([gather(run) for run in row]) for row in runs])

    def plan_stream(self, clip: VertexClip, first: int, count: int) -> list[EncoderRun]:
        """Plan the encoder runs of a stream that cover some frames.

        Args:
            clip: the clip.
            first: index of the first frame.
            count: number of frames.
        """
        hop = self.schedule.chunk_frames
        runs: list[EncoderRun] = []
        for chunk in range(first // hop, (first + count - 1) // hop + 1):
            start, stop = self.schedule.window_span(chunk)
            pcm = np.zeros(stop - start, np.float32)  # silence after the clip's end
            samples = clip.pcm[start:stop]
            pcm[: len(samples)] = samples
            positions = torch.tensor(self.schedule.feature_positions(chunk), dtype=torch.float32)
            required = slice(max(first - chunk * hop, 0), min(first + count - chunk * hop, hop))
            normalizer = self._normalizer_at(clip, self.schedule.samples_needed(chunk))
            runs.append(EncoderRun((clip.name, chunk), normalizer.normalize(pcm), positions[required]))
        return runs

    def _normalizer_at(self, clip: VertexClip, end: int) -> RunningNormalizer:
        """The running normalisation of a stream that has received `end` samples."""
        if clip.name not in self._cumulative_sums:
            pcm = clip.pcm.astype(np.float64)
            self._cumulative_sums[clip.name] = (
                np.concatenate(([0.0], np.cumsum(pcm))),
                np.concatenate(([0.0], np.cumsum(pcm * pcm))),
            )
        total, squares = (float(sums[min(end, len(clip.pcm))]) for sums in self._cumulative_sums[clip.name])
        return RunningNormalizer(end, total, squares)

    def plan_utterance(self, clip: VertexClip, first: int, count: int) -> list[EncoderRun]:
        """One encoder run over the whole clip.

        Args:
            clip: The clip.
            first: Index of the first required frame, from 0.
            count: Number of required frames.

        Returns:
            A list of one run, with the positions of those frames among its features.

        Raises:
            TalkerError: if the clip is shorter than HuBERT's receptive field.
        """
        num_features = (len(clip.pcm) - self.receptive_field) // self.stride + 1
        if num_features < 1:
            raise TalkerError(
                f"clip {clip.name} holds {len(clip.pcm) / SAMPLE_RATE:.3f} s of audio: too little"
            )
        positions = torch.linspace(0, num_features - 1, len(clip))[first : first + count]
        pcm = hubert.normalize(torch.from_numpy(clip.pcm)).numpy()
        return [EncoderRun((clip.name, "utterance"), pcm, positions)]

    def _encode(self, runs: list[EncoderRun]) -> torch.Tensor:
        """Features of runs of one length: (len(runs), N, audio_dim)."""
        if self.audio.freeze_encoder:
            return self._compute_frozen(
                runs, lambda pcm: self._transformer(self._convolutions(pcm), mask=False)
            )
        return self._transformer(self._compute_frozen(runs, self._convolutions), mask=self.model.training)

    @torch.no_grad()
    def _compute_frozen(
        self, runs: list[EncoderRun], compute: Callable[[Array], torch.Tensor]
    ) -> torch.Tensor:
        """Output of the frozen part.

        Cached output is computed run by run: the last bits may depend on the batch, and a resumed training
        must reproduce them.
        """
        if not self.audio.cache_features:
            return compute(np.stack([run.pcm for run in runs]))
        for run in runs:
            if run.key not in self._cache:
                self._cache[run.key] = compute(run.pcm[None])[0].cpu()
        return torch.stack([self._cache[run.key] for run in runs]).to(self.device)

    def _convolutions(self, pcm: Array) -> torch.Tensor:
        """(B, n) -> (B, N, channels of the last convolution)."""
        with torch.autocast(self.device.type, enabled=False):
            return self.model.feature_extractor(torch.from_numpy(pcm).to(self.device)).transpose(1, 2)

    def _transformer(self, features: torch.Tensor, mask: bool) -> torch.Tensor:
        """(B, N, channels) -> (B, N, audio_dim), with random spans masked."""
        x = self.model.feature_projection(features)
        can_mask = x.shape[1] > MASK_SPAN and hasattr(self.model, "masked_spec_embed")
        if mask and self.audio.mask_prob and can_mask:
            starts = (torch.rand(x.shape[:2], device=x.device) < self.audio.mask_prob / MASK_SPAN).float()
            masked = F.max_pool1d(F.pad(starts, (MASK_SPAN - 1, 0)), MASK_SPAN, 1)  # (B, N)
            x = torch.where(masked[..., None] > 0, self.model.masked_spec_embed.to(x.dtype), x)
        return self.model.encoder(x)[0].float()


def load_hubert(network: VertexNetwork, folder: str | Path) -> None:
    """Fill the network's audio encoder from a local transformers folder; nothing is downloaded.

    Args:
        network: changed in place.
        folder: config.json and weights.

    Raises:
        TalkerError: if the folder holds no HuBERT weights, or some are missing or not finite.
    """
    transformers = require("transformers", "the vertex models' audio encoder")
    folder = Path(folder)
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise TalkerError(f"{folder} holds no weights of HuBERT (model.safetensors or pytorch_model.bin)")
    transformers.logging.set_verbosity_error()
    try:
        model, report = transformers.HubertModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
        network.audio.load_state_dict(model.state_dict())
    except Exception as error:  # transformers' readers raise many types
        reason = shorten(str(error), 200) or type(error).__name__
        raise TalkerError(f"HuBERT in {folder} cannot be read: {reason}") from None
    check_weights(folder, network.audio.state_dict())
