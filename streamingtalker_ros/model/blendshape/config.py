# SPDX-License-Identifier: Apache-2.0
"""Configuration of a blendshape talker: one flat dataclass, stored as JSON beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.mouth_measures import MEASURES
from streamingtalker_ros.model.config_fields import Range, check_divides, check_fields

COLUMN_SAMPLES: Final = 160
"""Samples of one column of the log-mel spectrum, 10 ms; a hop holds a whole number of columns."""
MOTION_DIM: Final = 55
"""52 blendshape weights, then the head's rotation vector (rad)."""

ENCODER_KERNEL: Final = 3
"""Taps of the convolutions of the encoder's residual blocks."""
DECODER_KERNEL: Final = 2
"""Taps of the convolutions of the codec."""
COLUMN_CHANNELS: Final = 96
"""Channels of the encoder at 100 columns/s."""

RANGES: Final[dict[str, Range]] = {
    "sample_rate": (SAMPLE_RATE, SAMPLE_RATE),
    "hop": (COLUMN_SAMPLES, SAMPLE_RATE),
    "lookahead_frames": (0, 250),
    "num_mels": (1, 512),
    "audio_width": (1, 8192),
    "column_blocks": (0, 12),
    "audio_blocks": (0, 64),
    "motion_dim": (MOTION_DIM, MOTION_DIM),
    "num_codebooks": (1, 256),
    "codebook_size": (1, 65536),
    "code_dim": (1, 1024),
    "codec_width": (1, 8192),
    "width": (2, 8192),
    "heads": (1, 64),
    "layers": (1, 64),
    "feedforward": (1, 65536),
    "context_frames": (1, 1000),
    "positional_period": (1, 10000),
    "bilabial_thresholds": (0.0, 1.0),
    "open_vowel_thresholds": (0.0, 1.0),
    "lip_measure_weight": (0.0, 1.0),
    "articulation_context_frames": (0, 25),
    "head_width": (1, 8192),
    "head_blocks": (1, 64),
    "num_train_timesteps": (1, 100_000),
    "beta_start": (1e-9, 0.999),
    "beta_end": (1e-9, 0.999),
    "num_inference_steps": (1, 100_000),
    "temperature": (0.0, 10.0),
}
"""Least and greatest value of each field of `TalkerConfig` that holds numbers."""


def column_dilation(block: int) -> int:
    """Return the columns between the taps of a column block of the encoder (1, 1, 2, 4, 8, …)."""
    return 2 ** max(block - 1, 0)


def frame_dilation(block: int) -> int:
    """Return the frames between the taps of a frame block of the encoder: 1, 2, 4, 8, then again from 1."""
    return 2 ** (block % 4)


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
    motion_dim: int = MOTION_DIM
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
    # amplitude of the four mouth measures in each style, against people's; empty where they do not differ
    style_amplitudes: tuple[float, ...] = ()
    # articulation heads of the encoder; an empty value means that the model has no such head.
    # probabilities of a bilabial (p, b, m) at which the lips begin to close and are closed
    bilabial_thresholds: tuple[float, ...] = ()
    open_vowel_thresholds: tuple[float, ...] = ()  # likewise of an open vowel, and of keeping the lips apart
    # fraction of the mouth's measures (`face.mouth_measures`) that is taken from their head, the rest from
    # the sample
    lip_measure_weight: float = 0.0
    # frames before a frame whose features these heads read besides its own: lips move on from where they were
    articulation_context_frames: int = 0
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
    def has_articulation_heads(self) -> bool:
        """Whether the encoder has heads besides that of voice activity."""
        return bool(self.bilabial_thresholds or self.open_vowel_thresholds or self.lip_measure_weight)

    @property
    def columns(self) -> int:
        """Columns of the log-mel spectrum per frame."""
        return self.hop // COLUMN_SAMPLES

    @property
    def frame_rate(self) -> float:
        """Motion frames per second."""
        return self.sample_rate / self.hop

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(
        cls, values: Mapping[str, Any], where: str = "the checkpoint's config.json"
    ) -> TalkerConfig:
        """Build a configuration from JSON values with the field names of this version.

        Names of earlier versions are converted by `checkpoint.read_config`.

        Args:
            values: Fields by name; those left out have their defaults. `weights_sha256`, which describes the
                weights' file, is ignored.
            where: The file, for the error message.

        Raises:
            TalkerError: If a field is unknown, has another type, is out of range or contradicts another one.
        """
        values = {name: value for name, value in values.items() if name != "weights_sha256"}
        config = cls(**check_fields(cls, values, RANGES, where))
        config.check(where)
        return config

    def check(self, where: str) -> None:
        """Raise TalkerError if fields contradict each other.

        Args:
            where: The file, for the error message.
        """
        check_divides({"width": self.width, "heads": self.heads}, "width", "heads", where)
        if self.hop % COLUMN_SAMPLES:
            raise TalkerError(f"{where}: hop is {self.hop}, it must be a multiple of {COLUMN_SAMPLES}")
        if self.width % 2:
            raise TalkerError(f"{where}: width is {self.width}, it must be even")
        if not self.styles:
            raise TalkerError(f"{where}: styles is empty, it must name at least one style")
        if self.style_amplitudes and len(self.style_amplitudes) != len(MEASURES) * len(self.styles):
            raise TalkerError(
                f"{where}: style_amplitudes has {len(self.style_amplitudes)} numbers, it must have "
                f"{len(MEASURES)} for each style, or none"
            )
        for name in ("bilabial_thresholds", "open_vowel_thresholds"):
            thresholds = getattr(self, name)
            if len(thresholds) not in (0, 2) or sorted(thresholds) != list(thresholds):
                raise TalkerError(
                    f"{where}: {name} is {list(thresholds)[:4]}, it must be empty or hold two rising numbers"
                )
        if self.articulation_context_frames and not self.has_articulation_heads:
            raise TalkerError(
                f"{where}: articulation_context_frames is {self.articulation_context_frames}, but the model "
                "has no articulation heads"
            )
        if self.beta_start > self.beta_end:
            raise TalkerError(f"{where}: beta_start is {self.beta_start:g}, above beta_end {self.beta_end:g}")
        if self.num_inference_steps > self.num_train_timesteps:
            raise TalkerError(
                f"{where}: num_inference_steps is {self.num_inference_steps}, more than the "
                f"{self.num_train_timesteps} of num_train_timesteps"
            )
