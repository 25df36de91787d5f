# SPDX-License-Identifier: Apache-2.0
"""Configuration of a blendshape talker: one flat dataclass, stored as JSON beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError


@dataclass(frozen=True)
class TalkerConfig:
    """Every number that the network needs to be rebuilt; a reason per field."""

    name: str = "default"
    family: str = "blendshape"  # of the checkpoint's reader
    # time
    sample_rate: int = SAMPLE_RATE
    hop: int = HOP_LENGTH  # samples of audio per motion frame: 25 frames/s
    lookahead_frames: int = 2  # frame n depends on audio up to frame n + 2: 80 ms
    # audio encoder
    num_mels: int = 64  # bands of the log-mel spectrum, four columns per motion frame
    audio_width: int = 224
    # at 100 columns/s, which resolve the bursts of p, t and k; dilations 1, 1, 2, 4, 8
    column_blocks: int = 0
    audio_blocks: int = 4  # dilations 1, 2, 4, 8, then again from 1: four reach 1.2 s into the past
    # motion codec
    motion_dim: int = 55  # 52 blendshape weights, then the head's rotation vector (rad)
    num_codebooks: int = 8  # H: codes per frame, all from one shared codebook
    codebook_size: int = 256  # N: entries of the codebook
    code_dim: int = 16  # C: latent_dim = num_codebooks · code_dim
    codec_width: int = 160
    # condition predictor
    width: int = 256
    heads: int = 4
    layers: int = 2
    feedforward: int = 512
    context_frames: int = 50  # h: past frames that attention sees, 2 s
    positional_period: int = 25  # frames after which the positional encoding repeats
    styles: tuple[str, ...] = ("neutral",)  # names of the style embedding's rows
    # articulation heads of the encoder; an empty value means that the model has no such head.
    # probabilities of a bilabial (p, b, m) at which the lips begin to close and are closed
    bilabial_thresholds: tuple[float, ...] = ()
    open_vowel_thresholds: tuple[float, ...] = ()  # likewise of an open vowel, and of keeping the lips apart
    # fraction of the lip aperture that is taken from its head, the rest from the sample
    lip_aperture_weight: float = 0.0
    lip_width_weight: float = 0.0  # likewise of the mouth's width
    # diffusion head
    head_width: int = 256
    head_blocks: int = 3
    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_inference_steps: int = 4  # DDIM steps, trailing spacing
    temperature: float = 1.0  # scale of the initial noise; below 1 samples lie nearer to the likely motion

    @property
    def latent_dim(self) -> int:
        """Width of one frame's latent, H·C."""
        return self.num_codebooks * self.code_dim

    @property
    def frame_rate(self) -> float:
        """Motion frames per second."""
        return self.sample_rate / self.hop

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TalkerConfig:
        """Build a configuration from JSON values with the field names of this version.

        Names of earlier versions are converted by `checkpoint.read_config`.

        Raises:
            TalkerError: If a field is unknown.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise TalkerError(
                f"the checkpoint's config.json has unknown fields {sorted(unknown)}: "
                "it was written by a newer version, upgrade streamingtalker_ros"
            )
        values = dict(values)
        for name in ("styles", "bilabial_thresholds", "open_vowel_thresholds"):
            values[name] = tuple(values.get(name, getattr(cls, name)))
        return cls(**values)
