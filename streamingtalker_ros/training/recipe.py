# SPDX-License-Identifier: Apache-2.0
"""The YAML recipe of the blendshape family: sections of values, checked when they are read.

A `Recipe` maps each section's name to its values. Sections that configure a dataclass keep what the file
says, so that a run can be compared with the recipe it was begun with; `section_config` makes the dataclass.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from streamingtalker_ros.config_files import check_keys, read_yaml, shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.config_fields import check_fields
from streamingtalker_ros.training.feature_augmentation import FeatureAugmentationConfig
from streamingtalker_ros.training.generator import GeneratorConfig, HistoryConfig
from streamingtalker_ros.training.recipe_keys import modernize_sections
from streamingtalker_ros.training.trainer import TrainerConfig

Recipe = dict[str, dict[str, Any]]
ConfigT = TypeVar("ConfigT")

SECTIONS: dict[str, type | None] = {  # section -> dataclass of its values, None where it has none
    "corpora": None,
    "model": TalkerConfig,
    "mixture": None,
    "head_mixture": None,
    "windows": None,
    "codec": TrainerConfig,
    "encoder": TrainerConfig,
    "generator": GeneratorConfig,
    "articulation_heads": TrainerConfig,
    "history": HistoryConfig,
}
WINDOW_DEFAULTS: dict[str, Any] = {"frames": 80, "burn_in": 32, "motion_variants": 2, "audio_variants": 3}
WINDOW_KEYS = (
    *WINDOW_DEFAULTS,
    "clean_prob",
    "start_prob",
    "mirror_prob",
    "use_captured_upper_face",
    "augmentation_prob",
    "stationary_noise_prob",
    "augmentation",
    "seed",
    "num_workers",
)


def read_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe; keys of earlier versions are renamed.

    Args:
        path: YAML file.

    Returns:
        Every section of `SECTIONS`, empty where the file lacks it.

    Raises:
        TalkerError: if the file cannot be read, or has an unknown section or key, or a value out of range.
    """
    try:
        return _check_recipe(read_yaml(path, "the recipe"), path)
    except TalkerError:
        raise
    except Exception as error:  # of a value that none of the checks expects
        raise TalkerError(
            f"the recipe {path} has a value of a wrong type ({shorten(str(error))}): compare it with "
            "config/train.yaml"
        ) from None


def _check_recipe(content: dict[str, Any], path: str | Path) -> Recipe:
    sections = modernize_sections(content)
    check_keys(sections, SECTIONS, f"the recipe {path}")
    recipe: Recipe = {}
    for name, config_type in SECTIONS.items():
        where = f"the recipe {path}, section {name}"
        values = sections.get(name) or {}
        if not isinstance(values, dict):
            raise TalkerError(f"{where}, must be a table of names and values")
        recipe[name] = values
        if name == "model":
            recipe[name] = model_values(values, where)
        elif config_type is not None:
            section_config(config_type, values, where)
    where = f"the recipe {path}, section windows"
    check_keys(recipe["windows"], WINDOW_KEYS, where)
    augmentation = recipe["windows"].get("augmentation") or {}
    check_keys(
        augmentation, [field.name for field in fields(FeatureAugmentationConfig)], f"{where}, augmentation"
    )
    return recipe


def section_config(config_type: type[ConfigT], values: dict[str, Any], where: str) -> ConfigT:
    """The dataclass of a section.

    Args:
        config_type: the dataclass.
        values: its fields; those left out keep their defaults.
        where: the section, for the error message.

    Raises:
        TalkerError: if a field is unknown or a value has another type.
    """
    check_keys(values, [field.name for field in fields(config_type)], where)  # pyright: ignore[reportArgumentType]
    return config_type(**check_fields(config_type, values, {}, where))


def model_values(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The section model, with fields under their present names.

    Args:
        values: the section.
        where: the section, for the error message.

    Raises:
        TalkerError: if a field is unknown or a value has another type or is out of range.
    """
    values = checkpoint.convert_config(values, where)
    check_keys(values, [field.name for field in fields(TalkerConfig)], where)
    config = TalkerConfig.from_json(values, where)
    return {name: getattr(config, name) for name in values}
