# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs in the folder of a blendshape checkpoint: written by `export`, read by `load`.

For each precision the folder holds a graph file for each of `onnx_export.GRAPHS`, such as
`encoder.int8.onnx`, and a manifest, `onnx.int8.json`, with the SHA-256 of each of them and of the weights
that they were made from. A graph that is damaged, or that belongs to other weights, is rejected before it
runs.
No graph holds weights: they refer to the bytes of `weights.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.backend import Precision
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.onnx_backend import OnnxBackend
from streamingtalker_ros.model.blendshape.onnx_export import GRAPHS, ExternalTensor, build_graphs
from streamingtalker_ros.model.checkpoint_files import (
    CHECKSUM_FIELD,
    CONFIG,
    MAX_WEIGHT,
    WEIGHTS,
    check_unique,
    compute_checksum,
    find_file,
    read_header,
    read_json,
    verify_checksum,
)
from streamingtalker_ros.output_files import atomic_folder

FORMAT: Final = 1
"""Of the graphs' inputs and outputs; a change of them gets another number."""
_EXPORT: Final = "streamingtalker convert --onnx"


def manifest_name(precision: Precision) -> str:
    """Return the name of the manifest of a precision."""
    return f"onnx.{precision}.json"


def graph_name(graph: str, precision: Precision) -> str:
    """Return the name of the file of a graph.

    Args:
        graph: One of `onnx_export.GRAPHS`.
        precision: "float32" or "int8".
    """
    return f"{graph}.{precision}.onnx"


def has_graphs(folder: str | Path, precision: Precision) -> bool:
    """Return whether a checkpoint folder has the manifest of a precision."""
    return (Path(folder) / manifest_name(precision)).is_file()


def read_tensors(folder: str | Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return the tensors of a checkpoint's weights under today's names, as float32.

    Args:
        folder: Checkpoint folder of the blendshape family.

    Raises:
        TalkerError: If the file cannot be read, or holds values that are not finite.
    """
    path = find_file(folder, WEIGHTS)
    names = checkpoint.convert_tensor_names(read_header(path))
    check_unique(path, names)
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    try:
        with safe_open(str(path), framework="np") as file:
            for stored, name in names.items():
                tensors[name] = np.asarray(file.get_tensor(stored), np.float32)
    except Exception as error:  # of the file, or of a type that NumPy lacks
        reason = shorten(str(error))
        raise TalkerError(f"{path} cannot be read ({reason}): copy the checkpoint again") from None
    for name, tensor in tensors.items():
        if tensor.size and not float(np.abs(tensor).max()) <= MAX_WEIGHT:  # NaN compares as false
            raise TalkerError(
                f"{path}: {shorten(name)} holds values that are not finite, or beyond {MAX_WEIGHT:g}: copy "
                "the checkpoint again"
            )
    return tensors


def find_external(folder: str | Path) -> dict[str, ExternalTensor]:
    """Return where the file of weights holds each float32 tensor, by today's name.

    Args:
        folder: Checkpoint folder of the blendshape family.
    """
    path = find_file(folder, WEIGHTS)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    names = checkpoint.convert_tensor_names(header)
    located: dict[str, ExternalTensor] = {}
    for stored, info in header.items():
        begin, end = info["data_offsets"]
        if info["dtype"] == "F32":
            located[names[stored]] = ExternalTensor(WEIGHTS, 8 + length + begin, end - begin)
    return located


def export(folder: str | Path, precision: Precision) -> dict[str, int]:
    """Write the graphs of a checkpoint beside its weights, once they have generated a frame.

    Args:
        folder: Checkpoint folder of the blendshape family.
        precision: "float32" or "int8".

    Returns:
        Bytes of each file that was written.

    Raises:
        TalkerError: If the checkpoint or a package is missing, the weights do not fit the configuration, or
            the folder cannot be written.
    """
    config, checksum = _read_checkpoint(folder)
    tensors = read_tensors(folder)
    _build(folder, config, tensors, precision)  # embedded: rejects weights that do not fit
    graphs = build_graphs(
        config, tensors, precision, find_external(folder), {CHECKSUM_FIELD: checksum, "precision": precision}
    )
    sizes: dict[str, int] = {}
    with atomic_folder(folder) as partial:
        digests: dict[str, str] = {}
        for graph, content in graphs.items():
            path = partial / graph_name(graph, precision)
            path.write_bytes(content)
            digests[path.name], sizes[path.name] = compute_checksum(path), len(content)
        manifest = {
            "format": FORMAT,
            "precision": precision,
            CHECKSUM_FIELD: checksum,
            "sizes": _network_sizes(config),
            "sha256": digests,
        }
        text = json.dumps(manifest, indent=2) + "\n"
        (partial / manifest_name(precision)).write_text(text, encoding="utf-8")
        sizes[manifest_name(precision)] = len(text)
    load(folder, precision)
    return sizes


def load(folder: str | Path, precision: Precision) -> OnnxBackend:
    """Load the graphs of a checkpoint folder.

    Args:
        folder: Checkpoint folder of the blendshape family with graphs of this precision.
        precision: "float32" or "int8".

    Raises:
        TalkerError: If a file is missing, damaged, or belongs to other weights; or if onnxruntime is missing.
    """
    require("onnxruntime", "backend onnx")
    config, checksum = _read_checkpoint(folder)
    where = Path(folder) / manifest_name(precision)
    manifest = read_json(folder, manifest_name(precision), f"run `{_EXPORT} {folder}` again")
    again = f"run `{_EXPORT} {folder}` again, or choose backend torch"
    if manifest.get("format") != FORMAT:
        raise TalkerError(f"{where} was written by another version of this package: {again}")
    if manifest.get(CHECKSUM_FIELD) != checksum:
        raise TalkerError(f"{where} belongs to other weights than {WEIGHTS} beside it: {again}")
    if manifest.get("sizes") != _network_sizes(config):
        raise TalkerError(f"{where} belongs to another {CONFIG} than that beside it: {again}")
    digests = manifest.get("sha256")
    paths: dict[str, str | bytes] = {}
    for graph in GRAPHS:
        path = Path(folder) / graph_name(graph, precision)
        expected = digests.get(path.name) if isinstance(digests, Mapping) else None
        try:
            is_whole = compute_checksum(path) == expected
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TalkerError(f"{path} cannot be read ({shorten(reason)}): {again}") from None
        if not is_whole:
            raise TalkerError(f"{path} is damaged (its SHA-256 is not that of {where.name}): {again}")
        paths[graph] = str(path)
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    with safe_open(str(find_file(folder, WEIGHTS)), framework="np") as file:
        for name in file.keys():  # noqa: SIM118
            if name.startswith(_TIME_PREFIX):
                tensors[name] = np.asarray(file.get_tensor(name), np.float32)
    return _start(folder, config, paths, tensors, precision, again)


def build(folder: str | Path, precision: Precision) -> OnnxBackend:
    """Load a checkpoint folder that has no graphs, building them in memory.

    Args:
        folder: Checkpoint folder of the blendshape family.
        precision: "float32" or "int8".

    Raises:
        TalkerError: If the checkpoint cannot be read, or a package is missing.
    """
    require("onnxruntime", "backend onnx")
    config, _ = _read_checkpoint(folder)
    return _build(folder, config, read_tensors(folder), precision)


def build_from_tensors(
    config: TalkerConfig, tensors: Mapping[str, npt.NDArray[np.float32]], precision: Precision
) -> OnnxBackend:
    """Return a backend of a network whose tensors are in memory.

    Args:
        config: Sizes of the network.
        tensors: Its tensors by name, float32.
        precision: "float32" or "int8".

    Raises:
        TalkerError: If a package is missing.
    """
    graphs: dict[str, str | bytes] = dict(build_graphs(config, tensors, precision))
    return OnnxBackend(config, graphs, _time_tensors(tensors), precision)


_TIME_PREFIX: Final = "head.time."


def _time_tensors(
    tensors: Mapping[str, npt.NDArray[np.float32]],
) -> dict[str, npt.NDArray[np.float32]]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(_TIME_PREFIX)}


def _read_checkpoint(folder: str | Path) -> tuple[TalkerConfig, str]:
    """Return the configuration of a checkpoint and the SHA-256 of its weights."""
    values, where = read_json(folder), str(Path(folder) / CONFIG)
    config = TalkerConfig.from_json(checkpoint.convert_config(values, where), where)
    return config, verify_checksum(find_file(folder, WEIGHTS), values, Path(where))


def _network_sizes(config: TalkerConfig) -> dict[str, int]:
    """Return the fields of a configuration on which the graphs depend."""
    sizes = {name: int(getattr(config, name)) for name in _SIZE_FIELDS}
    sizes["styles"] = len(config.styles)
    if config.articulation_context_frames:  # exports of earlier versions do not have the field
        sizes["articulation_context_frames"] = config.articulation_context_frames
    return {**sizes, **{name: int(bool(getattr(config, name))) for name in _HEAD_FIELDS}}


_SIZE_FIELDS: Final = (
    "hop",
    "num_mels",
    "audio_width",
    "column_blocks",
    "audio_blocks",
    "motion_dim",
    "latent_dim",
    "codec_width",
    "width",
    "heads",
    "layers",
    "feedforward",
    "context_frames",
    "positional_period",
    "head_width",
    "head_blocks",
)
_HEAD_FIELDS: Final = (
    "bilabial_thresholds",
    "open_vowel_thresholds",
    "lip_measure_weight",
)


def _build(
    folder: str | Path,
    config: TalkerConfig,
    tensors: Mapping[str, npt.NDArray[np.float32]],
    precision: Precision,
) -> OnnxBackend:
    path = Path(folder) / WEIGHTS
    try:
        graphs: dict[str, str | bytes] = dict(build_graphs(config, tensors, precision))
    except KeyError as error:
        name = shorten(str(error.args[0]))
        raise TalkerError(f"{path} does not fit its {CONFIG}: {name} is missing") from None
    except ValueError as error:
        raise TalkerError(f"{path} does not fit its {CONFIG}: {shorten(str(error))}") from None
    advice = f"{WEIGHTS} does not fit its {CONFIG}, copy the checkpoint again"
    return _start(folder, config, graphs, _time_tensors(tensors), precision, advice)


def _start(
    folder: str | Path,
    config: TalkerConfig,
    graphs: Mapping[str, str | bytes],
    tensors: Mapping[str, npt.NDArray[np.float32]],
    precision: Precision,
    advice: str,
) -> OnnxBackend:
    """Load graphs and generate a frame, which shows whether they fit the configuration."""
    try:
        backend = OnnxBackend(config, graphs, tensors, precision)
        row = backend.open_row()
        features, logits = backend.encode_hops([row], np.zeros((1, config.hop), np.float32))
        noise = np.zeros((1, config.latent_dim), np.float32)
        motion = backend.generate([row], features, noise, [0], config.num_inference_steps)
        backend.close_row(row)
        is_finite = bool(np.isfinite(motion).all() and np.isfinite(logits).all())
    except TalkerError:
        raise
    except Exception as error:  # of the runtime, which has no common class of its own
        raise TalkerError(
            f"the ONNX graphs of {folder} do not run ({shorten(str(error), 160)}): {advice}"
        ) from None
    if not is_finite:
        raise TalkerError(f"the ONNX graphs of {folder} give values that are not finite: {advice}")
    return backend
