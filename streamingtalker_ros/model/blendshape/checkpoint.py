# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the blendshape family: folders with `weights.safetensors` and `config.json`.

`save(folder, network)` writes it, `load(folder)` returns the network in evaluation mode on the CPU. Fields
and tensors of checkpoints written by earlier versions are renamed on load by the two tables below, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model import checkpoint_files
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.checkpoint_files import CONFIG, WEIGHTS, read_json
from streamingtalker_ros.model.protocol import Family

if TYPE_CHECKING:
    from streamingtalker_ros.model.blendshape.network import TalkerNetwork

__all__ = ["CONFIG", "WEIGHTS", "convert_config", "load", "read_config", "read_family", "read_json", "save"]

# earlier name of a field of config.json -> name in TalkerConfig
RENAMED_FIELDS = {
    "mels": "num_mels",
    "slots": "num_codebooks",
    "codes": "codebook_size",
    "history": "context_frames",
    "period": "positional_period",
    "closure": "bilabial_thresholds",
    "openness": "open_vowel_thresholds",
    "train_steps": "num_train_timesteps",
    "steps": "num_inference_steps",
}
REPLACED_FIELDS = {"lip_aperture_weight", "lip_width_weight", "opening", "lip_width"}
RENAMED_FAMILIES = {"default": "blendshape", "published": "vertex"}

# earlier part of a tensor's name -> part in TalkerNetwork
RENAMED_TENSORS = {
    "encoder.columns_in.": "encoder.column_conv.",
    "encoder.frames_in.": "encoder.frame_conv.",
    "encoder.voice.": "encoder.vad_head.",
    "encoder.closure.": "encoder.bilabial_head.",
    "encoder.openness.": "encoder.open_vowel_head.",
    ".attended.": ".attention_out.",
    ".norm_out.": ".norm_feedforward.",
}


def convert_config(values: Mapping[str, Any], where: str = "the checkpoint's config.json") -> dict[str, Any]:
    """Return the fields of a `config.json` under the names of this version.

    Args:
        values: Fields of this version or of an earlier one, as parsed from the file.
        where: The file, for the error message.

    Returns:
        A new dictionary with the same values, apart from the family, which is renamed too.

    Raises:
        TalkerError: If a field is there under both its names, or the checkpoint has heads that are no more.
    """
    if REPLACED_FIELDS & values.keys():
        raise TalkerError(
            f"{where} is of version 0.1.0, whose heads of lip aperture and width were replaced by one of the "
            "mouth's measures: use it with that version, or train the model again"
        )
    for old, new in RENAMED_FIELDS.items():
        if old in values and new in values:
            raise TalkerError(f"{where} has {new!r} twice, once by its former name {old!r}: keep one of them")
    converted = {RENAMED_FIELDS.get(name, name): value for name, value in values.items()}
    family = converted.get("family")
    if isinstance(family, str):
        converted["family"] = RENAMED_FAMILIES.get(family, family)
    return converted


def convert_tensor_names(names: Iterable[str], network: object = None) -> dict[str, str]:
    """Return the tensor names of this version for those of this or an earlier one.

    Args:
        names: Names of a file's tensors.
        network: Not used; the networks of this family are renamed alike.

    Returns:
        {name: name in TalkerNetwork}.
    """

    def convert(name: str) -> str:
        for old, new in RENAMED_TENSORS.items():
            name = name.replace(old, new)
        return name

    return {name: convert(name) for name in names}


def save(folder: str | Path, network: TalkerNetwork) -> None:
    """Write the network (float32) and its configuration into a folder, which is created."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    checkpoint_files.save(folder, tensors, network.config.to_json())
    for manifest in Path(folder).glob("onnx.*.json"):  # of the weights before
        manifest.unlink()


def read_family(folder: str | Path) -> Family:
    """Return the family of a checkpoint folder.

    Args:
        folder: Checkpoint folder, which holds config.json.

    Raises:
        TalkerError: If the file is missing or malformed, or names no family.
    """
    stated = read_json(folder).get("family", "blendshape")
    family = RENAMED_FAMILIES.get(stated, stated) if isinstance(stated, str) else stated
    if family == "blendshape" or family == "vertex":
        return family
    raise TalkerError(
        f"{Path(folder) / CONFIG}: the family is {describe(stated)}, it must be blendshape or vertex"
    )


def read_config(folder: str | Path) -> TalkerConfig:
    """Return the configuration of a blendshape checkpoint.

    Args:
        folder: Checkpoint folder, which holds config.json.

    Raises:
        TalkerError: If the file is missing, malformed, or has an unknown field.
    """
    where = str(Path(folder) / CONFIG)
    return TalkerConfig.from_json(convert_config(read_json(folder), where), where)


def load(folder: str | Path) -> TalkerNetwork:
    """Read a checkpoint.

    Args:
        folder: Checkpoint folder, which holds config.json and the weights.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        TalkerError: If a file is missing, damaged or does not fit the other; the message names it.
    """
    from streamingtalker_ros.model.blendshape.network import TalkerNetwork

    values, where = read_json(folder), str(Path(folder) / CONFIG)
    config = TalkerConfig.from_json(convert_config(values, where), where)
    network, _ = checkpoint_files.load_network(
        folder, values, lambda: TalkerNetwork(config), convert_tensor_names
    )
    return network
