# SPDX-License-Identifier: Apache-2.0
"""Published weights on disk: the authors' `.ckpt` read safely, and the converted folder (safetensors + JSON).

`read_ckpt(path, config)` gives a VertexNetwork from the authors' file; `save` and `load` are the converted
form. No pickle is executed beyond what torch's `weights_only` admits: tensors and plain containers.
"""

import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex.codec import position_table
from streamingtalker_ros.model.vertex.config import VertexConfig
from streamingtalker_ros.model.vertex.network import VertexNetwork, names, tables

PREFIXES = ("audio_encoder.", "autoencoder.", "diff_ar_network.")
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def read_state_dict(path):
    """The authors' file -> {name: tensor}, Lightning's wrapping off. Raises TalkerError when it is none."""
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True)
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
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise TalkerError(f"{path} holds no state_dict: give the published .ckpt")
    for prefix in PREFIXES:
        if not any(name.startswith(prefix) for name in weights):
            raise TalkerError(
                f"{path} has no weights named {prefix}…: give a stage-2 checkpoint of the release"
            )
    return {name: value for name, value in weights.items() if name.startswith(PREFIXES)}


def read_ckpt(path, config):
    """The authors' `.ckpt` -> VertexNetwork in float32 on the CPU.

    Raises TalkerError naming the file, and the weight that is missing, unknown, of another shape or not
    finite.
    """
    theirs = read_state_dict(path)
    network = VertexNetwork(config)
    ours = {name: value for name, value in network.state_dict().items() if name in ("template", "triangles")}
    heard = PREFIXES[0]
    audio = {name[len(heard) :]: theirs.pop(name) for name in list(theirs) if name.startswith(heard)}
    ours.update({f"audio.{name}": value for name, value in _hubert_names(audio, network.audio).items()})
    for name, (period, width) in tables(config).items():
        _check_table(path, name, theirs.pop(name, None), period, width)
    table = names(config)
    for name in sorted(set(table) ^ set(theirs)):
        state = "lacks" if name in table else "has the unknown weight"
        raise TalkerError(f"{path} {state} {name}: does the configuration belong to this checkpoint?")
    for name, value in theirs.items():
        if ".multihead_attn.in_proj_" in name:  # query, key, value stacked: keep the value's third
            value = value[2 * config.width :]
        ours[table[name]] = value
    shapes = network.state_dict()
    back = {mine: name for name, mine in table.items()}
    mine = [name for name in {*ours, *shapes} if name.startswith("audio.")]
    back.update({name: name.replace("audio.", heard, 1) for name in mine})
    for name, value in ours.items():
        if not isinstance(value, torch.Tensor) or name not in shapes or value.shape != shapes[name].shape:
            wanted = tuple(shapes[name].shape) if name in shapes else "none"
            there = tuple(getattr(value, "shape", ()))
            raise TalkerError(
                f"{path}: {back.get(name, name)} has shape {there}, the configuration asks for {wanted}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise TalkerError(
                f"{path}: {back.get(name, name)} holds values that are not finite: fetch the file again"
            )
    missing = sorted(set(shapes) - set(ours))
    if missing:
        raise TalkerError(
            f"{path} lacks {back[missing[0]]}: does the HuBERT configuration belong to this checkpoint?"
        )
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in ours.items()}
    )
    return network


def _hubert_names(audio, model):
    """Bring the weight-normed convolution's names to the ones this transformers uses, older or newer."""
    wanted = model.state_dict()
    pairs = (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    )
    renamed = {}
    for name, value in audio.items():
        if name not in wanted:
            for old, new in pairs:
                for a, b in ((old, new), (new, old)):
                    if name.endswith(f".{a}") and name[: -len(a)] + b in wanted:
                        name = name[: -len(a)] + b
        if name != "masked_spec_embed" or name in wanted:  # used in training only
            renamed[name] = value
    if "masked_spec_embed" in wanted:
        renamed.setdefault("masked_spec_embed", wanted["masked_spec_embed"])
    return renamed


def _check_table(path, name, stored, period, width) -> None:
    """The stored position tables are formulas; one that differs would be a network of another kind."""
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


def save(folder, network) -> None:
    """Write a converted checkpoint: weights.safetensors (float32, template included) and config.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = network.state_dict()
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    save_file(weights, str(folder / WEIGHTS))
    (folder / CONFIG).write_text(json.dumps(network.config.to_json(), indent=2) + "\n")


def load(folder):
    """Read a converted folder -> VertexNetwork. Raises TalkerError naming a missing or damaged file."""
    folder = Path(folder)
    try:
        values = json.loads((folder / CONFIG).read_text())
    except OSError:
        raise TalkerError(
            f"no checkpoint at {folder}: a folder with {CONFIG} and {WEIGHTS} is expected"
        ) from None
    except ValueError:
        raise TalkerError(f"{folder / CONFIG} is not valid JSON: convert the checkpoint again") from None
    if not isinstance(values, dict) or values.get("family") != "published":
        raise TalkerError(f"{folder / CONFIG} is not of the published family: convert a published checkpoint")
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
    weights.update({f"audio.{name}": value for name, value in _hubert_names(audio, network.audio).items()})
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise TalkerError(f"{folder / WEIGHTS} does not fit its {CONFIG}: {detail}") from None
    return network
