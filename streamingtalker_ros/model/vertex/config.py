# SPDX-License-Identifier: Apache-2.0
"""Configuration of a vertex network: read from the authors' YAML, stored as JSON beside converted weights.

`config.yaml` of the release (VOCASET or BIWI) and a HuBERT configuration give a flat `VertexConfig`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from streamingtalker_ros.config_files import parse_yaml_file
from streamingtalker_ros.errors import TalkerError

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
    def from_json(cls, values: Mapping[str, Any]) -> VertexConfig:
        """Build a configuration from what `to_json` of this version or an earlier one returned.

        Args:
            values: Fields by name; the family is ignored.

        Raises:
            TalkerError: If a field is missing or unknown; the message names it.
        """
        values = {RENAMED_FIELDS.get(name, name): value for name, value in values.items() if name != "family"}
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - names)
        try:
            config = cls(**{name: value for name, value in values.items() if name in names})
        except TypeError as error:
            raise TalkerError(f"the checkpoint's config.json lacks a field: {error}") from None
        if unknown:
            raise TalkerError(
                f"the checkpoint's config.json has the unknown field {unknown[0]!r}: convert it again"
            )
        config.identities = tuple(config.identities)
        return config


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
        except (TypeError, ValueError):
            raise TalkerError(f"{path}: {'.'.join(keys)} is {value!r}, which is not a number") from None

    for keys, required, default in (
        (("MODEL", "VAE", "quant_factor"), 0, 0),
        (("MODEL", "SCHEDULER", "prediction_type"), "sample", "epsilon"),
        (("MODEL", "SCHEDULER", "beta_schedule"), "scaled_linear", "linear"),
        (("MODEL", "SCHEDULER", "clip_sample"), False, True),
        (("MODEL", "eta"), 0.0, 0.0),
    ):
        if get(*keys, default=default) != required:
            raise TalkerError(
                f"{path}: {'.'.join(keys)} must be {required!r}, as in the published configurations"
            )
    dataset = get("DATASET", "NAME", kind=str).lower()
    count = get("MODEL", "DIFF_AR_DEC", "id_dim", default=8, kind=int)
    subjects = SUBJECTS.get(dataset, ())
    predictor, codec, schedule = ("MODEL", "DIFF_AR_DEC"), ("MODEL", "VAE"), ("MODEL", "SCHEDULER")
    rows = get(*codec, "n_vert", kind=int)
    if rows % 3:
        raise TalkerError(f"{path}: MODEL.VAE.n_vert is {rows}, which is not three numbers per vertex")
    activation = get(*predictor, "activation", default="relu", kind=str)
    if activation not in ("relu", "gelu"):
        raise TalkerError(f"{path}: MODEL.DIFF_AR_DEC.activation is {activation!r}: set relu or gelu")
    spacing = get(*schedule, "timestep_spacing", default="leading", kind=str)
    if spacing not in ("leading", "trailing"):
        raise TalkerError(f"{path}: MODEL.SCHEDULER.timestep_spacing is {spacing!r}: set leading or trailing")
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
    for name in (
        "vertices",
        "frame_rate",
        "num_codebooks",
        "code_dim",
        "codebook_size",
        "codec_width",
        "codec_layers",
        "codec_heads",
        "codec_feedforward",
        "width",
        "audio_dim",
        "heads",
        "layers",
        "feedforward",
        "positional_period",
        "context_frames",
        "num_inference_steps",
        "audio_fps",
    ):
        if not getattr(config, name) > 0:
            raise TalkerError(
                f"{path}: the {name} of the network is {getattr(config, name)}, it must be positive"
            )
    for width, heads, names in (
        (config.width, config.heads, "DIFF_AR_DEC.latent_dim and n_heads"),
        (config.codec_width, config.codec_heads, "VAE.hidden_size and num_attention_heads"),
    ):
        if width % heads:
            raise TalkerError(f"{path}: MODEL.{names} are {width} and {heads}, which do not divide")
    latent = get(*predictor, "vq_dim", default=1024, kind=int)
    if latent != config.latent_dim:
        raise TalkerError(
            f"{path}: vq_dim is {latent}, but face_quan_num · zquant_dim is {config.latent_dim}"
        )
    return config


def read_hubert_json(path: str | Path) -> dict[str, Any]:
    """Read a transformers HuBERT `config.json`. Raises TalkerError if it is missing or of another model.

    Args:
        path: The JSON file.

    Returns:
        Its content, unchanged; `hubert.build` takes it.
    """
    try:
        values = json.loads(Path(path).read_text())
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror}): give HuBERT's JSON configuration"
        ) from None
    except ValueError:
        raise TalkerError(f"{path} is not valid JSON: give HuBERT's JSON configuration") from None
    if not isinstance(values, dict) or values.get("model_type", "hubert") != "hubert":
        raise TalkerError(f"{path} is not a HuBERT configuration: its model_type must be hubert")
    return values
