# SPDX-License-Identifier: Apache-2.0
"""Vertex checkpoints on disk: the authors' `.ckpt`, read safely, and the converted folder.

`read_ckpt(path, config)` returns a VertexNetwork from the authors' file; `save` and `load` handle the
converted form. No pickle is executed beyond what torch's `weights_only` admits: tensors and plain containers.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model import checkpoint_files
from streamingtalker_ros.model.checkpoint_files import CONFIG
from streamingtalker_ros.model.vertex.codec import position_table
from streamingtalker_ros.model.vertex.config import VertexConfig
from streamingtalker_ros.model.vertex.network import VertexNetwork, parameter_names, position_tables

PREFIXES = ("audio_encoder.", "autoencoder.", "diff_ar_network.")
OPTIONAL = ("triangles", "audio.masked_spec_embed")  # the second is used in training only
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
    checkpoint_files.check_regular_file(path, "give the published .ckpt")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise TalkerError(  # PyTorch compresses nothing; a few bytes could fill the memory
                        f"{path} is a compressed archive and no PyTorch file: give the published .ckpt"
                    )
        content: Any = torch.load(str(path), map_location="cpu", weights_only=True)
    except TalkerError:
        raise
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror or error}): give the published .ckpt"
        ) from None
    except pickle.UnpicklingError:
        raise TalkerError(
            f"{path} holds more than tensors and cannot be read safely: where you trust it, "
            'save its {"state_dict": …} alone into a new file and give that'
        ) from None
    except Exception:  # the unpickler raises whatever the bytes lead to
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
    with torch.device("meta"):  # its shapes, without its memory
        skeleton = VertexNetwork(config)
    prefix = PREFIXES[0]
    for name, (period, width) in position_tables(config).items():
        _check_table(path, name, published.pop(name, None), period, width)
    audio = [name for name in published if name.startswith(prefix)]
    table = parameter_names(config)
    for name in sorted(set(table) ^ set(published).difference(audio)):
        problem = "lacks" if name in table else "has the unknown weight"
        raise TalkerError(
            f"{path} {problem} {shorten(name)}: does the configuration belong to this checkpoint?"
        )
    hubert_names = {name: f"audio.{name[len(prefix) :]}" for name in audio}
    renamed = rename_tensors(hubert_names.values(), skeleton)
    table.update({name: renamed[ours] for name, ours in hubert_names.items()})
    shapes = skeleton.state_dict()
    weights: dict[str, torch.Tensor] = {}
    for name, value in published.items():
        ours = table[name]
        if ours in OPTIONAL and ours not in shapes:
            continue
        if ".multihead_attn.in_proj_" in name and isinstance(value, torch.Tensor) and value.ndim:
            value = value[2 * config.width :]  # query, key, value stacked: keep the value's third
        if not isinstance(value, torch.Tensor) or ours not in shapes or value.shape != shapes[ours].shape:
            expected = tuple(shapes[ours].shape) if ours in shapes else "none"
            actual = tuple(getattr(value, "shape", ()))
            raise TalkerError(
                f"{path}: {shorten(name)} has shape {actual}, the configuration requires {expected}"
            )
        if value.is_floating_point() != shapes[ours].is_floating_point():
            raise TalkerError(f"{path}: {shorten(name)} is of type {value.dtype}, which is no weight's")
        weights[ours] = value
    published_name = {ours: name for name, ours in table.items()}
    published_name.update({ours: ours.replace("audio.", prefix, 1) for ours in shapes if ours not in weights})
    own = ("template", *OPTIONAL)
    missing = sorted(name for name in shapes if name not in weights and name not in own)
    if missing:
        raise TalkerError(
            f"{path} lacks {published_name[missing[0]]}: "
            "does the HuBERT configuration belong to this checkpoint?"
        )
    for ours, value in weights.items():
        checkpoint_files.check_weights(path, {published_name[ours]: value})
    network = VertexNetwork(config)
    network.load_state_dict(
        {**{name: value for name, value in network.state_dict().items() if name in own}, **weights}
    )
    return network


def rename_tensors(names: Iterable[str], network: nn.Module) -> dict[str, str]:
    """Rename the weight-normed convolution's parameters to the names that the installed transformers uses.

    Args:
        names: Names of the tensors of a network, or of a file that another version of transformers wrote.
        network: A `VertexNetwork`.

    Returns:
        {name: name in the network}.
    """
    expected = network.state_dict()
    pairs = (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    )
    renamed: dict[str, str] = {}
    for name in names:
        renamed[name] = name
        if name in expected or not name.startswith("audio."):
            continue
        for old, new in pairs:
            for a, b in ((old, new), (new, old)):
                if name.endswith(f".{a}") and name[: -len(a)] + b in expected:
                    renamed[name] = name[: -len(a)] + b
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
    weights = network.state_dict()
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    checkpoint_files.save(folder, weights, network.config.to_json())


def load(folder: str | Path) -> VertexNetwork:
    """Read a converted folder.

    Args:
        folder: Checkpoint folder, which holds config.json and the weights.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        TalkerError: If a file is missing, damaged or does not fit the other; the message names it.
    """
    values, config_path = checkpoint_files.read_json(folder), Path(folder) / CONFIG
    if values.get("family") not in FAMILY_NAMES:
        raise TalkerError(f"{config_path} is not of the vertex family: convert a published checkpoint")
    config = VertexConfig.from_json(values, str(config_path))
    network, others = checkpoint_files.load_network(
        folder, values, lambda: VertexNetwork(config), rename_tensors, OPTIONAL
    )
    if "triangles" in others:
        network.triangles = _check_triangles(
            Path(folder) / checkpoint_files.WEIGHTS, others["triangles"], config.vertices
        )
    return network


def _check_triangles(path: Path, triangles: torch.Tensor, vertices: int) -> torch.Tensor:
    """Return a mesh's triangles (T, 3) as int64; raise TalkerError if an index is no vertex."""
    is_whole = not (triangles.is_floating_point() or triangles.is_complex())
    if not is_whole or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise TalkerError(f"{path}: triangles are no whole numbers of shape (T, 3): convert it again")
    triangles = triangles.to(torch.int64)
    if triangles.numel() and not 0 <= int(triangles.min()) <= int(triangles.max()) < vertices:
        raise TalkerError(f"{path}: triangles name a vertex that is not there: convert it again")
    return triangles
