# SPDX-License-Identifier: Apache-2.0
"""Vertex checkpoints on disk: the authors' `.ckpt`, read safely, and the converted folder.

`read_ckpt(path, config)` returns a VertexNetwork from the authors' file; `save` and `load` handle the
converted form. No pickle is executed beyond what torch's `weights_only` admits: tensors and plain containers.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex.codec import position_table
from streamingtalker_ros.model.vertex.config import VertexConfig
from streamingtalker_ros.model.vertex.network import VertexNetwork, parameter_names, position_tables

PREFIXES = ("audio_encoder.", "autoencoder.", "diff_ar_network.")
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
FAMILY_NAMES = ("vertex", "published")  # of config.json: today and in earlier versions


def read_state_dict(path: str | Path) -> dict[str, Any]:
    """Read the authors' file without Lightning's wrapping: {name: tensor}.

    Args:
        path: The published .ckpt file of stage 2.

    Returns:
        The tensors of the audio encoder, the codec and the predictor under the authors' names, on the CPU.

    Raises:
        TalkerError: If the file is missing, damaged, or holds more than tensors.
    """
    try:
        content: Any = torch.load(str(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror or error}): give the published .ckpt"
        ) from None
    except pickle.UnpicklingError:
        raise TalkerError(
            f"{path} holds more than tensors and cannot be read safely: where you trust it, "
            'save its {"state_dict": …} alone into a new file and give that'
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError):
        raise TalkerError(f"{path} is damaged or not a PyTorch file: give the published .ckpt") from None
    weights: Any = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise TalkerError(f"{path} holds no state_dict: give the published .ckpt")
    for prefix in PREFIXES:
        if not any(name.startswith(prefix) for name in weights):
            raise TalkerError(
                f"{path} has no weights named {prefix}…: give a stage-2 checkpoint of the release"
            )
    return {name: value for name, value in weights.items() if name.startswith(PREFIXES)}


def read_ckpt(path: str | Path, config: VertexConfig) -> VertexNetwork:
    """Read the authors' `.ckpt` into a network in float32 on the CPU.

    Args:
        path: The file.
        config: Of the same checkpoint.

    Raises:
        TalkerError: If the file is unusable, or a weight is missing, unknown, of another shape or not finite;
            the message names both.
    """
    published = read_state_dict(path)
    network = VertexNetwork(config)
    ours = {name: value for name, value in network.state_dict().items() if name in ("template", "triangles")}
    prefix = PREFIXES[0]
    audio = {name[len(prefix) :]: published.pop(name) for name in list(published) if name.startswith(prefix)}
    ours.update(
        {f"audio.{name}": value for name, value in _convert_hubert_names(audio, network.audio).items()}
    )
    for name, (period, width) in position_tables(config).items():
        _check_table(path, name, published.pop(name, None), period, width)
    table = parameter_names(config)
    for name in sorted(set(table) ^ set(published)):
        problem = "lacks" if name in table else "has the unknown weight"
        raise TalkerError(f"{path} {problem} {name}: does the configuration belong to this checkpoint?")
    for name, value in published.items():
        if ".multihead_attn.in_proj_" in name:  # query, key, value stacked: keep the value's third
            value = value[2 * config.width :]
        ours[table[name]] = value
    shapes = network.state_dict()
    published_name = {our_name: name for name, our_name in table.items()}
    hubert_names = [name for name in {*ours, *shapes} if name.startswith("audio.")]
    published_name.update({name: name.replace("audio.", prefix, 1) for name in hubert_names})
    for name, value in ours.items():
        if not isinstance(value, torch.Tensor) or name not in shapes or value.shape != shapes[name].shape:
            expected = tuple(shapes[name].shape) if name in shapes else "none"
            actual = tuple(getattr(value, "shape", ()))
            raise TalkerError(
                f"{path}: {published_name.get(name, name)} has shape {actual}, "
                f"the configuration requires {expected}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise TalkerError(
                f"{path}: {published_name.get(name, name)} holds values that are not finite: "
                "fetch the file again"
            )
    missing = sorted(set(shapes) - set(ours))
    if missing:
        raise TalkerError(
            f"{path} lacks {published_name[missing[0]]}: "
            "does the HuBERT configuration belong to this checkpoint?"
        )
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in ours.items()}
    )
    return network


def _convert_hubert_names(audio: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Rename the weight-normed convolution's parameters to the names that the installed transformers uses."""
    expected = model.state_dict()
    pairs = (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    )
    renamed: dict[str, Any] = {}
    for name, value in audio.items():
        if name not in expected:
            for old, new in pairs:
                for a, b in ((old, new), (new, old)):
                    if name.endswith(f".{a}") and name[: -len(a)] + b in expected:
                        name = name[: -len(a)] + b
        if name != "masked_spec_embed" or name in expected:  # used in training only
            renamed[name] = value
    if "masked_spec_embed" in expected:
        renamed.setdefault("masked_spec_embed", expected["masked_spec_embed"])
    return renamed


def _check_table(path: str | Path, name: str, stored: Any, period: int | None, width: int) -> None:
    """Raise TalkerError if a stored position table differs from its formula."""
    if stored is None:
        return
    is_table = isinstance(stored, torch.Tensor) and stored.ndim > 1
    rows = stored.reshape(-1, stored.shape[-1]) if is_table else torch.zeros(0, 0)
    if rows.shape[1] == width:
        table = position_table(period or len(rows), width)
        rounding = 1e-6 + 2e-7 * len(table)  # float32 sinusoids of large positions differ between machines
        if (rows - table[torch.arange(len(rows)) % len(table)]).abs().max() <= rounding:
            return
    raise TalkerError(
        f"{path}: {name} is not the published table of positions: it cannot be run as published"
    )


def save(folder: str | Path, network: VertexNetwork) -> None:
    """Write a converted checkpoint: weights.safetensors (float32, template included) and config.json.

    Args:
        folder: Folder to write into; created if absent.
        network: The network to write, on any device; it is not changed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = network.state_dict()
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    save_file(weights, str(folder / WEIGHTS))
    (folder / CONFIG).write_text(json.dumps(network.config.to_json(), indent=2) + "\n")


def load(folder: str | Path) -> VertexNetwork:
    """Read a converted folder. Raises TalkerError naming a missing or damaged file."""
    folder = Path(folder)
    try:
        values = json.loads((folder / CONFIG).read_text())
    except OSError:
        raise TalkerError(
            f"no checkpoint at {folder}: a folder with {CONFIG} and {WEIGHTS} is expected"
        ) from None
    except ValueError:
        raise TalkerError(f"{folder / CONFIG} is not valid JSON: convert the checkpoint again") from None
    if not isinstance(values, dict) or values.get("family") not in FAMILY_NAMES:
        raise TalkerError(f"{folder / CONFIG} is not of the vertex family: convert a published checkpoint")
    config = VertexConfig.from_json(values)
    try:
        weights = load_file(str(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise TalkerError(
            f"{folder / WEIGHTS} cannot be read ({error}): convert the checkpoint again"
        ) from None
    network = VertexNetwork(config)
    network.triangles = weights.get("triangles", network.triangles)
    # safetensors may have been written under a transformers that names the positional convolution otherwise
    audio = {name[6:]: weights.pop(name) for name in list(weights) if name.startswith("audio.")}
    weights.update(
        {f"audio.{name}": value for name, value in _convert_hubert_names(audio, network.audio).items()}
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise TalkerError(f"{folder / WEIGHTS} does not fit its {CONFIG}: {detail}") from None
    return network
