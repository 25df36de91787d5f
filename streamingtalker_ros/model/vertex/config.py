# SPDX-License-Identifier: Apache-2.0
"""Configuration of a vertex network: read from the authors' YAML, stored as JSON beside converted weights.

`config.yaml` of the release (VOCASET or BIWI) and a HuBERT configuration give a flat `VertexConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from streamingtalker_ros import config_files
from streamingtalker_ros.config_files import describe, parse_yaml_file
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.config_fields import (
    MAX_LIST_LENGTH,
    Range,
    check_divides,
    check_fields,
    check_whole_number,
)

# training subjects in the order of the identity rows; other numbers of rows are named by their numbers
SUBJECTS = {
    "vocaset": (
        "FaceTalk_170728_03272_TA",
        "FaceTalk_170904_00128_TA",
        "FaceTalk_170725_00137_TA",
        "FaceTalk_170915_00223_TA",
        "FaceTalk_170811_03274_TA",
        "FaceTalk_170913_03279_TA",
        "FaceTalk_170904_03276_TA",
        "FaceTalk_170912_03278_TA",
    ),
    "biwi": ("F2", "F3", "F4", "M3", "M4", "M5"),
}


# field of an earlier version's config.json -> field of VertexConfig
RENAMED_FIELDS = {
    "slots": "num_codebooks",
    "codes": "codebook_size",
    "codec_ff": "codec_feedforward",
    "ff": "feedforward",
    "period": "positional_period",
    "history": "context_frames",
    "steps": "num_inference_steps",
    "train_steps": "num_train_timesteps",
    "spacing": "timestep_spacing",
    "alpha_to_one": "set_alpha_to_one",
}

RANGES: Final[dict[str, Range]] = {
    "vertices": (1, 1_000_000),
    "frame_rate": (1.0, 1000.0),
    "num_codebooks": (1, 256),
    "code_dim": (1, 4096),
    "codebook_size": (1, 65536),
    "codec_width": (2, 16384),
    "codec_layers": (1, 64),
    "codec_heads": (1, 128),
    "codec_feedforward": (1, 65536),
    "codec_slope": (-10.0, 10.0),
    "width": (2, 16384),
    "audio_dim": (1, 16384),
    "heads": (1, 64),
    "layers": (1, 64),
    "feedforward": (1, 65536),
    "positional_period": (1, 10_000),
    "context_frames": (1, 1000),
    "num_inference_steps": (1, 100_000),
    "beta_start": (1e-9, 0.999),
    "beta_end": (1e-9, 0.999),
    "num_train_timesteps": (1, 100_000),
    "steps_offset": (0, 1000),
    "audio_fps": (1.0, 1000.0),
    "unit": (1e-6, 1e3),
}
"""Least and greatest value of each field of `VertexConfig` that holds a number."""

HUBERT_RANGES: Final[dict[str, Range]] = {
    "hidden_size": (1, 16384),
    "num_hidden_layers": (1, 128),
    "num_attention_heads": (1, 256),
    "intermediate_size": (1, 65536),
    "num_conv_pos_embeddings": (1, 4096),
    "num_conv_pos_embedding_groups": (1, 4096),
}
"""Likewise of the sizes of HuBERT that memory and time depend on."""

HUBERT_CONV_RANGES: Final[dict[str, Range]] = {
    "conv_dim": (1, 8192),
    "conv_kernel": (1, 1024),
    "conv_stride": (1, 64),
}
"""Likewise of the items of HuBERT's lists, one item for each of its convolutions."""

MAX_HUBERT_CONVOLUTIONS: Final = 16


@dataclass
class VertexConfig:
    """Sizes and rates of a vertex network; every size is a number of channels unless it says otherwise."""

    dataset: str  # "vocaset" | "biwi": biwi has one more linear layer on each side of the latent
    vertices: int  # V; motion rows are 3V wide
    frame_rate: float  # frames per second
    num_codebooks: int  # H: codes per frame, all from one shared codebook
    code_dim: int  # C
    codebook_size: int  # N, entries of the codebook
    codec_width: int
    codec_layers: int
    codec_heads: int
    codec_feedforward: int
    codec_slope: float  # of the LeakyReLU
    codec_affine: bool  # whether the instance norms carry weights
    width: int  # d of the predictor and the head
    audio_dim: int  # of HuBERT's last hidden state
    heads: int
    layers: int
    feedforward: int
    activation: str  # of the predictor's feed-forward: "relu" | "gelu"
    positional_period: int  # frames after which the positional encoding repeats
    identities: tuple[str, ...]  # names, one per row of the identity embedding
    context_frames: int  # h, frames of past motion in training and in bounded streaming
    num_inference_steps: int = 50  # DDIM steps
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000
    steps_offset: int = 1
    timestep_spacing: str = "leading"
    set_alpha_to_one: bool = False
    audio_fps: float = 50.0  # of the audio encoder's features
    unit: float = 1.0  # metres per unit of the vertices
    # arguments of transformers.HubertConfig; empty: the base model
    hubert: dict[str, Any] = field(default_factory=dict)

    @property
    def latent_dim(self) -> int:
        """Width of one frame's latent, H·C."""
        return self.num_codebooks * self.code_dim

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the family."""
        return {"family": "vertex", **asdict(self)}

    @classmethod
    def from_json(
        cls, values: Mapping[str, Any], where: str = "the checkpoint's config.json"
    ) -> VertexConfig:
        """Build a configuration from what `to_json` of this version or an earlier one returned.

        Args:
            values: Fields by name; the family and `weights_sha256`, which describes the weights' file, are
                ignored.
            where: The file, for the error message.

        Raises:
            TalkerError: If a field is missing or unknown, has another type, is out of range or contradicts
                another one; the message names it.
        """
        values = {
            RENAMED_FIELDS.get(name, name): value
            for name, value in values.items()
            if name not in ("family", "weights_sha256")
        }
        checked = check_fields(cls, values, RANGES, where)
        for f in fields(cls):
            if f.default is MISSING and f.default_factory is MISSING and f.name not in checked:
                raise TalkerError(f"{where} lacks the field {f.name!r}: convert the checkpoint again")
        config = cls(**checked)
        config.check(where)
        return config

    def check(self, where: str) -> None:
        """Raise TalkerError if a field is out of range or contradicts another one.

        Args:
            where: The file, for the error message.
        """
        check_fields(type(self), {f.name: getattr(self, f.name) for f in fields(self)}, RANGES, where)
        for name, choices in (
            ("activation", ("relu", "gelu")),
            ("timestep_spacing", ("leading", "trailing")),
        ):
            if getattr(self, name) not in choices:
                raise TalkerError(
                    f"{where}: {name} is {describe(getattr(self, name))}, it must be {' or '.join(choices)}"
                )
        check_divides({"width": self.width, "heads": self.heads}, "width", "heads", where)
        check_divides(
            {"codec_width": self.codec_width, "codec_heads": self.codec_heads},
            "codec_width",
            "codec_heads",
            where,
        )
        for name in ("width", "codec_width"):
            if getattr(self, name) % 2:
                raise TalkerError(f"{where}: {name} is {getattr(self, name)}, it must be even")
        if not self.identities:
            raise TalkerError(f"{where}: identities is empty, it must name at least one")
        if self.beta_start > self.beta_end:
            raise TalkerError(f"{where}: beta_start is {self.beta_start:g}, above beta_end {self.beta_end:g}")
        if self.num_inference_steps > self.num_train_timesteps:
            raise TalkerError(
                f"{where}: num_inference_steps is {self.num_inference_steps}, more than the "
                f"{self.num_train_timesteps} of num_train_timesteps"
            )
        check_hubert(self.hubert, where)


def check_hubert(values: Mapping[str, Any], where: str) -> None:
    """Check the sizes in a HuBERT configuration; its other values are transformers' matter.

    Args:
        values: Arguments of transformers.HubertConfig; those left out have the base model's values.
        where: The file, for the error message.

    Raises:
        TalkerError: If a size has another type, is out of range or contradicts another one.
    """
    for name, (low, high) in HUBERT_RANGES.items():
        if name in values:
            check_whole_number(f"HuBERT's {name}", values[name], low, high, where)
    lengths: dict[str, int] = {}
    for name, (low, high) in HUBERT_CONV_RANGES.items():
        items = values.get(name)
        if name not in values:
            continue
        if not isinstance(items, (list, tuple)) or not 1 <= len(items) <= MAX_HUBERT_CONVOLUTIONS:
            raise TalkerError(
                f"{where}: HuBERT's {name} is {describe(items)}, it must be a list of 1 to "
                f"{MAX_HUBERT_CONVOLUTIONS} numbers"
            )
        for item in items:
            check_whole_number(f"an item of HuBERT's {name}", item, low, high, where)
        lengths[name] = len(items)
    if len(set(lengths.values())) > 1:
        raise TalkerError(f"{where}: HuBERT's {' and '.join(lengths)} differ in length")


def read_yaml(path: str | Path, hubert: Mapping[str, Any] | None = None) -> VertexConfig:
    """Read the authors' configuration file.

    Args:
        path: YAML file of the release.
        hubert: Arguments of HubertConfig; None for the base model.

    Raises:
        TalkerError: If something is missing, or the published network does not support a setting.
    """
    tree = parse_yaml_file(path, "the published configuration")

    def get(*keys: str, default: Any = None, kind: Callable[[Any], Any] | None = None) -> Any:
        value: Any = tree
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            value = default
        if value is None:
            raise TalkerError(f"{path} lacks {'.'.join(keys)}: give the published stage-2 configuration")
        try:
            return kind(value) if kind else value
        except (TypeError, ValueError, OverflowError):
            noun = "text" if kind is _as_text else "number"
            raise TalkerError(
                f"{path}: {'.'.join(keys)} is {describe(value)}, which is not a {noun}"
            ) from None

    for keys, required, default in (
        (("MODEL", "VAE", "quant_factor"), 0, 0),
        (("MODEL", "SCHEDULER", "prediction_type"), "sample", "epsilon"),
        (("MODEL", "SCHEDULER", "beta_schedule"), "scaled_linear", "linear"),
        (("MODEL", "SCHEDULER", "clip_sample"), False, True),
        (("MODEL", "eta"), 0.0, 0.0),
    ):
        value = get(*keys, default=default)
        if type(value) not in (bool, int, float, str) or value != required:
            raise TalkerError(
                f"{path}: {'.'.join(keys)} must be {required!r}, as in the published configurations"
            )
    dataset = get("DATASET", "NAME", kind=_as_text).lower()
    count = get("MODEL", "DIFF_AR_DEC", "id_dim", default=8, kind=int)
    check_whole_number("MODEL.DIFF_AR_DEC.id_dim", count, 1, MAX_LIST_LENGTH, str(path))
    subjects = SUBJECTS.get(dataset, ())
    predictor, codec, schedule = ("MODEL", "DIFF_AR_DEC"), ("MODEL", "VAE"), ("MODEL", "SCHEDULER")
    rows = get(*codec, "n_vert", kind=int)
    check_whole_number("MODEL.VAE.n_vert", rows, 3, 3 * RANGES["vertices"][1], str(path))
    if rows % 3:
        raise TalkerError(f"{path}: MODEL.VAE.n_vert is {rows}, which is not three numbers per vertex")
    activation = get(*predictor, "activation", default="relu", kind=_as_text)
    if activation not in ("relu", "gelu"):
        raise TalkerError(f"{path}: MODEL.DIFF_AR_DEC.activation is {describe(activation)}: set relu or gelu")
    spacing = get(*schedule, "timestep_spacing", default="leading", kind=_as_text)
    if spacing not in ("leading", "trailing"):
        raise TalkerError(
            f"{path}: MODEL.SCHEDULER.timestep_spacing is {describe(spacing)}: set leading or trailing"
        )
    config = VertexConfig(  # the defaults are those of the published code
        dataset=dataset,
        vertices=rows // 3,
        frame_rate=get("MODEL", "AUDIO_ENCODER", "hidden_fps", kind=float),
        num_codebooks=get(*codec, "face_quan_num", kind=int),
        code_dim=get(*codec, "zquant_dim", kind=int),
        codebook_size=get(*codec, "n_embed", kind=int),
        codec_width=get(*codec, "hidden_size", kind=int),
        codec_layers=get(*codec, "num_hidden_layers", kind=int),
        codec_heads=get(*codec, "num_attention_heads", kind=int),
        codec_feedforward=get(*codec, "intermediate_size", kind=int),
        codec_slope=get(*codec, "neg", default=0.2, kind=float),
        codec_affine=get(*codec, "INaffine", default=False, kind=bool),
        width=get(*predictor, "latent_dim", default=768, kind=int),
        audio_dim=get(*predictor, "audio_encode_dim", default=768, kind=int),
        heads=get(*predictor, "n_heads", default=4, kind=int),
        layers=get(*predictor, "num_layers", default=1, kind=int),
        feedforward=get(*predictor, "feedforward_dim", default=1024, kind=int),
        activation=activation,
        positional_period=get(*predictor, "period", default=30, kind=int),
        identities=subjects if len(subjects) == count else tuple(str(i) for i in range(count)),
        context_frames=get("MODEL", "window_size", default=60, kind=int) or 60,
        num_inference_steps=get("MODEL", "num_inference_timesteps", default=50, kind=int),
        beta_start=get(*schedule, "beta_start", kind=float),
        beta_end=get(*schedule, "beta_end", kind=float),
        num_train_timesteps=get(*schedule, "num_train_timesteps", default=1000, kind=int),
        steps_offset=get(*schedule, "steps_offset", default=0, kind=int),
        timestep_spacing=spacing,
        set_alpha_to_one=get(*schedule, "set_alpha_to_one", default=True, kind=bool),
        audio_fps=get("MODEL", "AUDIO_ENCODER", "audio_fps", default=50, kind=float),
        hubert=dict(hubert or {}),
    )
    for width, heads, names in (
        (config.width, config.heads, "DIFF_AR_DEC.latent_dim and n_heads"),
        (config.codec_width, config.codec_heads, "VAE.hidden_size and num_attention_heads"),
    ):
        if heads > 0 and width % heads:
            raise TalkerError(
                f"{path}: MODEL.{names} are {describe(width)} and {describe(heads)}, which do not divide"
            )
    config.check(str(path))
    latent = get(*predictor, "vq_dim", default=1024, kind=int)
    if latent != config.latent_dim:
        raise TalkerError(
            f"{path}: vq_dim is {describe(latent)}, but face_quan_num · zquant_dim is {config.latent_dim}"
        )
    return config


def read_hubert_json(path: str | Path) -> dict[str, Any]:
    """Read a transformers HuBERT `config.json`. Raises TalkerError if it is missing or of another model.

    Args:
        path: The JSON file.

    Returns:
        Its content, unchanged; `hubert.build` takes it.
    """
    values = config_files.read_json(path, "HuBERT's JSON configuration")
    if values.get("model_type", "hubert") != "hubert":
        raise TalkerError(f"{path} is not a HuBERT configuration: its model_type must be hubert")
    check_hubert(values, str(path))
    return values


def _as_text(value: Any) -> str:
    if not isinstance(value, str):  # the text of a list of aliases could fill the memory
        raise TypeError
    return value
