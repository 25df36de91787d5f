# SPDX-License-Identifier: Apache-2.0
"""The YAML recipe of the vertex family: sections of values, each a dataclass with defaults.

`read_recipe(path, dataset)` returns a `Recipe`; its `model` section overrides the sizes of the paper's
network for that data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from streamingtalker_ros.config_files import check_keys, read_yaml, rename_keys
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex.config import RENAMED_FIELDS, VertexConfig, read_hubert_json
from streamingtalker_ros.training.recipe_keys import modernize_sections
from streamingtalker_ros.training.trainer import TrainerConfig
from streamingtalker_ros.training.vertex.dataset import get_layout

ConfigT = TypeVar("ConfigT")

NEUTRAL = "neutral"  # the style without an identity: the first row of the embedding, a stream's default
AUDIO_MODES = ("stream", "utterance")
DATASET_SIZES: dict[str, dict[str, Any]] = {
    "vocaset": {
        "num_codebooks": 16,
        "code_dim": 64,
        "codebook_size": 256,
        "width": 768,
        "feedforward": 1024,
        "activation": "relu",
        "positional_period": 30,
        "context_frames": 60,
    },
    "biwi": {
        "num_codebooks": 8,
        "code_dim": 128,
        "codebook_size": 512,
        "width": 1024,
        "feedforward": 2048,
        "activation": "gelu",
        "positional_period": 25,
        "context_frames": 120,
    },
}
SHARED_SIZES: dict[str, Any] = {
    "codec_width": 1024,
    "codec_layers": 6,
    "codec_heads": 8,
    "codec_feedforward": 1536,
    "codec_slope": 0.2,
    "codec_affine": False,
    "heads": 4,
    "layers": 2,
}


@dataclass(frozen=True)
class DataConfig:
    """Which clips are read."""

    skip_incomplete: bool = False  # leave out clips that lack their audio or motion, instead of raising
    template: str = (
        ""  # subject whose face the checkpoint has at rest; empty: the mean of the training subjects
    )


@dataclass(frozen=True)
class SegmentConfig:
    """Stage 1: the part of a clip that the codec encodes at once; it attends to all rows, so lengths vary."""

    full_clip_prob: float = 0.5  # of whole clips, as in the paper; else segments of 2 … max_frames rows
    max_frames: int = 60
    decoder_crop_prob: float = 0.5  # that the decoder sees only a part of the encoded rows, as in streaming
    restart_interval: int = 0  # steps after which unused codes are moved onto data; 0: never, as in the paper


@dataclass(frozen=True)
class WindowConfig:
    """Stage 2: windows of `frames` frames that count after `burn_in` frames of real history."""

    frames: int = 60
    burn_in: int = 30
    start_prob: float = 0.15  # that a window begins where the clip does, without history


@dataclass(frozen=True)
class HistoryConfig:
    """Probabilities per window that the history is changed, against drift; 0 turns one off."""

    dropout_prob: float = 0.1  # all of it is rest
    truncation_prob: float = 0.15  # it reaches 1 … h frames back
    max_noise: float = 0.4  # largest noise added to it, in units of its standard deviation
    scheduled_sampling_prob: float = 0.5  # it is partly the network's own
    scheduled_sampling_start: float = 0.3  # fraction of the run after which that begins
    scheduled_sampling_ratio: float = 0.5  # fraction of its frames that are then the network's own


@dataclass(frozen=True)
class AudioConfig:
    """Input and training of HuBERT."""

    hubert: Any = None  # a local folder, or a dict of HubertConfig arguments: random weights of that shape
    mode: str = (
        "stream"  # "stream": the runs of a stream with the three numbers below; "utterance": as published
    )
    chunk_frames: int = 12  # frames per encoder run
    window: float = 1.0  # seconds of audio per encoder run
    context: float = 0.1  # of these, after its last frame
    freeze_encoder: bool = False  # False: all but the convolutions learn, as in the paper
    cache_features: bool = True  # keep the output of the frozen part, per clip
    mask_prob: float = 0.05  # fraction of masked features (SpecAugment, Park et al. 2019)


@dataclass(frozen=True)
class LearningConfig:
    """Regularisation of stage 2, and whether the codec's decoder is fine-tuned."""

    dropout: float = 0.2  # of the predictor
    style_dropout: float = 0.2  # probability per window that the subject is replaced by the neutral style
    finetune_decoder: bool = False  # the codec's decoder continues to train in stage 2


@dataclass(frozen=True)
class Recipe:
    """A recipe of the vertex family; `model` overrides fields of `VertexConfig`."""

    dataset: str
    model: dict[str, Any]
    data: DataConfig = field(default_factory=DataConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    codec: TrainerConfig = field(default_factory=TrainerConfig)
    generator: TrainerConfig = field(default_factory=TrainerConfig)

    def config(self, identities: Sequence[str], hubert: Mapping[str, Any]) -> VertexConfig:
        """The network's configuration.

        Args:
            identities: names of the training subjects.
            hubert: HubertConfig arguments.

        Raises:
            TalkerError: if sizes do not fit each other.
        """
        layout = get_layout(self.dataset)
        config = VertexConfig(
            dataset=self.dataset,
            identities=(NEUTRAL, *identities),
            hubert=dict(hubert),
            audio_dim=hubert.get("hidden_size", 768),
            **{
                **SHARED_SIZES,
                "vertices": layout.vertices,
                "frame_rate": layout.frame_rate,
                **DATASET_SIZES[self.dataset],
                **self.model,
            },
        )
        if self.dataset == "vocaset" and config.latent_dim != config.codec_width:
            raise TalkerError(
                f"the recipe's model has num_codebooks · code_dim {config.latent_dim} and codec_width "
                f"{config.codec_width}: for vocaset they must be equal"
            )
        for width, heads in (("width", "heads"), ("codec_width", "codec_heads")):
            if not getattr(config, heads) or getattr(config, width) % getattr(config, heads):
                raise TalkerError(
                    f"the recipe's model has {width} {getattr(config, width)} and {heads} "
                    f"{getattr(config, heads)}, which do not divide"
                )
        return config


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "segments": SegmentConfig,
    "windows": WindowConfig,
    "history": HistoryConfig,
    "audio": AudioConfig,
    "learning": LearningConfig,
    "codec": TrainerConfig,
    "generator": TrainerConfig,
}


def read_recipe(path: str | Path, dataset: str) -> Recipe:
    """Read and check the recipe of a training; keys of earlier versions are renamed.

    Args:
        path: YAML file.
        dataset: "vocaset" or "biwi".

    Raises:
        TalkerError: if the file cannot be read, or has an unknown section or key, or a value of a wrong type.
    """
    sections = modernize_sections(read_yaml(path, "the recipe"))
    check_keys(sections, ("model", *SECTIONS), f"the recipe {path}")
    get_layout(dataset)
    configs: dict[str, Any] = {}
    model: dict[str, Any] = {}
    for name, values in sections.items():
        where = f"the recipe {path}, section {name}"
        if not isinstance(values or {}, dict):
            raise TalkerError(f"{where}, must be a table of names and values")
        if name == "model":
            model = _model_values(values or {}, where)
        else:
            configs[name] = _section_config(SECTIONS[name], values or {}, where)
    recipe = Recipe(dataset, model, **configs)
    if recipe.audio.mode not in AUDIO_MODES:
        raise TalkerError(
            f"the recipe {path}: audio.mode is {recipe.audio.mode!r}, it may be {' or '.join(AUDIO_MODES)}"
        )
    return recipe


def _model_values(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Overrides of VertexConfig's sizes, checked."""
    fixed = ("dataset", "identities", "hubert", "audio_dim")
    values = rename_keys(values, RENAMED_FIELDS)
    types = get_type_hints(VertexConfig)
    names = [field.name for field in fields(VertexConfig) if field.name not in fixed]
    check_keys(values, names, where)
    for name, value in values.items():
        _check_type(value, types[name], f"{where}: {name}")
    return dict(values)


def _section_config(config_type: type[ConfigT], values: dict[str, Any], where: str) -> ConfigT:
    types = get_type_hints(config_type)
    check_keys(values, types, where)
    for name, value in values.items():
        _check_type(value, types[name], f"{where}: {name}")
    return config_type(**values)


def _check_type(value: Any, expected: Any, where: str) -> None:
    """Raise TalkerError unless a value is of a scalar type, and not negative if it is a number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        int: is_number and isinstance(value, int),
        bool: isinstance(value, bool),
        float: is_number,
        str: isinstance(value, str),
    }
    if not fits.get(expected, True):
        raise TalkerError(f"{where} is {value!r}, it must be of type {expected.__name__}")
    if expected in (int, float) and value < 0:
        raise TalkerError(f"{where} is {value}, it must not be negative")


def hubert_arguments(audio: AudioConfig) -> dict[str, Any]:
    """Arguments of `HubertConfig` in the section audio of a recipe.

    Raises:
        TalkerError: if it names no HuBERT.
    """
    if isinstance(audio.hubert, dict):
        return dict(audio.hubert)
    if not audio.hubert:
        raise TalkerError(
            "stage 2 needs HuBERT: give --hubert a local folder with its config.json and weights"
        )
    return read_hubert_json(Path(audio.hubert) / "config.json")
