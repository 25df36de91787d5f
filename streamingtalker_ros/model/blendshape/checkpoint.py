# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the blendshape family: folders with `weights.safetensors` and `config.json`.

`save(folder, network)` writes it, `load(folder)` returns the network in evaluation mode on the CPU. Fields
and tensors of checkpoints written by earlier versions are renamed on load by the two tables below, and
nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork

WEIGHTS, CONFIG = "weights.safetensors", "config.json"

# earlier name of a field of config.json -> name in TalkerConfig
RENAMED_FIELDS = {
    "mels": "num_mels",
    "slots": "num_codebooks",
    "codes": "codebook_size",
    "history": "context_frames",
    "period": "positional_period",
    "closure": "bilabial_thresholds",
    "openness": "open_vowel_thresholds",
    "opening": "lip_aperture_weight",
    "lip_width": "lip_width_weight",
    "train_steps": "num_train_timesteps",
    "steps": "num_inference_steps",
}
RENAMED_FAMILIES = {"default": "blendshape", "published": "vertex"}

# earlier part of a tensor's name -> part in TalkerNetwork
RENAMED_TENSORS = {
    "encoder.columns_in.": "encoder.column_conv.",
    "encoder.frames_in.": "encoder.frame_conv.",
    "encoder.voice.": "encoder.vad_head.",
    "encoder.closure.": "encoder.bilabial_head.",
    "encoder.openness.": "encoder.open_vowel_head.",
    "encoder.opening.": "encoder.lip_aperture_head.",
    "encoder.lip_width.": "encoder.lip_width_head.",
    ".attended.": ".attention_out.",
    ".norm_out.": ".norm_feedforward.",
}


def convert_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `config.json` under the names of this version.

    Args:
        values: Fields of this version or of an earlier one, as parsed from the file.

    Returns:
        A new dictionary with the same values, apart from the family, which is renamed too.
    """
    converted = {RENAMED_FIELDS.get(name, name): value for name, value in values.items()}
    if converted.get("family") in RENAMED_FAMILIES:
        converted["family"] = RENAMED_FAMILIES[converted["family"]]
    return converted


def convert_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict under the tensor names of this version.

    Args:
        tensors: Tensors by name, of this version or of an earlier one.

    Returns:
        A new dictionary of the same tensors.
    """

    def convert(name: str) -> str:
        for old, new in RENAMED_TENSORS.items():
            name = name.replace(old, new)
        return name

    return {convert(name): tensor for name, tensor in tensors.items()}


def save(folder: str | Path, network: TalkerNetwork) -> None:
    """Write the network (float32) and its configuration into a folder, which is created."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()},
        str(folder / WEIGHTS),
    )
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a checkpoint is shared
    (folder / CONFIG).write_text(json.dumps(network.config.to_json(), indent=2) + "\n")


def read_json(folder: str | Path) -> dict[str, Any]:
    """Return the JSON object of a checkpoint folder of either family, as it is in the file.

    Raises:
        TalkerError: If the file is missing or malformed.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise TalkerError(f"no checkpoint at {folder}: a folder with {CONFIG} and {WEIGHTS} is expected")
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise TalkerError(
            f"{path} is not valid JSON ({error}): restore it from where the checkpoint came"
        ) from None
    if not isinstance(values, dict):
        raise TalkerError(f"{path} holds no JSON object: restore it from where the checkpoint came")
    return values


def read_family(folder: str | Path) -> str:
    """Return the family of a checkpoint folder: "blendshape" or "vertex". Raises as `read_json`."""
    family = str(read_json(folder).get("family", "blendshape"))
    return RENAMED_FAMILIES.get(family, family)


def read_config(folder: str | Path) -> TalkerConfig:
    """Return the configuration of a blendshape checkpoint.

    Args:
        folder: Checkpoint folder, which holds config.json.

    Raises:
        TalkerError: If the file is missing, malformed, or has an unknown field.
    """
    return TalkerConfig.from_json(convert_config(read_json(folder)))


def load(folder: str | Path) -> TalkerNetwork:
    """Read a checkpoint.

    Args:
        folder: Checkpoint folder, which holds config.json and the weights.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        TalkerError: If a file is missing, damaged or does not fit the other; the message names it.
    """
    network = TalkerNetwork(read_config(folder))
    path = Path(folder) / WEIGHTS
    try:
        network.load_state_dict(convert_tensors(load_file(str(path))))
    except (OSError, SafetensorError) as error:
        raise TalkerError(f"{path} cannot be read ({error}): copy the checkpoint again") from None
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise TalkerError(f"{path} does not fit its {CONFIG}: {detail}") from None
    return network.eval()
