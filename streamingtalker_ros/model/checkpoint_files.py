# SPDX-License-Identifier: Apache-2.0
"""Files of a checkpoint folder of either family: `config.json` and `weights.safetensors`.

A file may be of any content: `read_json` and `load_network` read it or raise one `TalkerError`. No pickle is
opened. Memory and time are bounded by the size of the weights' file, whatever the configuration says: the
network is first built without memory (on torch's device "meta"), and its tensors are compared with the
header of the file.

`config.json` holds the SHA-256 of the weights (`weights_sha256`), so that a copy that was damaged, or that
belongs to another configuration, is found. Folders of earlier versions have none and load all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from safetensors import SafetensorError, safe_open

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.output_files import atomic_folder

if TYPE_CHECKING:  # torch is loaded where a tensor is created, so that the files are read without it, too
    import torch
    from torch import nn

WEIGHTS: Final = "weights.safetensors"
CONFIG: Final = "config.json"
CHECKSUM_FIELD: Final = "weights_sha256"
MAX_CONFIG_BYTES: Final = 1_000_000
MAX_TABLE_BYTES: Final = 512_000_000
"""Of a network's tables that the weights' file does not hold (attention biases, position tables)."""

MAX_WEIGHT: Final = 1e5
"""Greatest absolute value of a weight; trained ones are below 1e3, far greater ones overflow in frames."""

_BLOCK_BYTES: Final = 1 << 20
_FLOAT_DTYPES: Final = ("F64", "F32", "F16", "BF16")
_WHOLE_DTYPES: Final = ("I64", "I32", "I16", "I8", "U8")

NetworkT = TypeVar("NetworkT", bound="nn.Module")


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as the header of a safetensors file describes it.

    Attributes:
        dtype: Such as "F32".
        shape: Its dimensions.
    """

    dtype: str
    shape: tuple[int, ...]


Renaming = Callable[[Iterable[str], Any], dict[str, str]]
"""Maps the names of a file's tensors to those of a network: (names, network) -> {name: name here}."""


def read_json(
    folder: str | Path, name: str = CONFIG, advice: str = "restore it from where the checkpoint came"
) -> dict[str, Any]:
    """Return the JSON object of a checkpoint folder of either family, as it is in the file.

    Args:
        folder: The folder.
        name: Name of the file.
        advice: What to do with a file that cannot be used, the end of the error message.

    Raises:
        TalkerError: If the file is missing, malformed, or longer than `MAX_CONFIG_BYTES`.
    """
    path = find_file(folder, name)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror or error}): check its permissions"
        ) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise TalkerError(f"{path} is longer than {MAX_CONFIG_BYTES} bytes: {advice}")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:  # also of text that is no Unicode, and of huge numbers
        raise TalkerError(f"{path} is not valid JSON ({shorten(str(error))}): {advice}") from None
    if not isinstance(values, dict):
        raise TalkerError(f"{path} holds no JSON object: {advice}")
    return values


def save(folder: str | Path, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
    """Write a checkpoint folder, which is created.

    Args:
        folder: The folder.
        tensors: Contiguous tensors on the CPU that share no memory.
        values: Of `config.json`; the checksum is added.
    """
    from safetensors.torch import save_file

    with atomic_folder(folder) as partial:
        save_file(dict(tensors), str(partial / WEIGHTS))
        values = {**values, CHECKSUM_FIELD: compute_checksum(partial / WEIGHTS)}
        (partial / CONFIG).write_text(json.dumps(values, indent=2) + "\n")


def compute_checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def load_network(
    folder: str | Path,
    values: Mapping[str, Any],
    build: Callable[[], NetworkT],
    rename: Renaming,
    optional: Collection[str] = (),
) -> tuple[NetworkT, dict[str, torch.Tensor]]:
    """Build a network and read its weights.

    Args:
        folder: Checkpoint folder.
        values: Content of its `config.json`, for the checksum.
        build: Returns a new network of the configured sizes, on torch's default device.
        rename: Maps the names of the file's tensors to those of the network.
        optional: Tensors that the file may lack, or hold in another shape than the network.

    Returns:
        The network in evaluation mode on the CPU, and the optional tensors of another shape.

    Raises:
        TalkerError: If the file is missing, damaged or does not fit the configuration; the message names it.
    """
    from safetensors.torch import load_file

    path = find_file(folder, WEIGHTS)
    config_path = Path(folder) / CONFIG
    header = read_header(path)
    skeleton = _build_without_memory(build, config_path)
    names = rename(header, skeleton)
    check_unique(path, names)
    expected = {
        name: (tuple(value.shape), value.is_floating_point()) for name, value in skeleton.state_dict().items()
    }
    check_header(path, {names[name]: info for name, info in header.items()}, expected, optional)
    verify_checksum(path, values, config_path)
    network = _build(build, config_path)
    try:
        stored = {names[name]: tensor for name, tensor in load_file(str(path)).items()}
        others: dict[str, torch.Tensor] = {}
        for name, value in network.state_dict().items():
            if name in stored and stored[name].shape == value.shape:
                value.copy_(stored[name])
            elif name in stored:
                others[name] = stored[name]
    except Exception as error:  # of the file, which may change or end while it is read, or of memory
        raise TalkerError(f"{path} cannot be read ({_reason(error)}): copy the checkpoint again") from None
    check_weights(path, network.state_dict())
    return network.eval(), others


def check_unique(path: Path, names: Mapping[str, str]) -> None:
    """Raise TalkerError if a file holds a tensor twice, by two of its names.

    Args:
        path: The file, for the error message.
        names: Name of each of its tensors in the network.
    """
    if len(set(names.values())) < len(names):
        raise TalkerError(
            f"{path} does not fit its {CONFIG}: a tensor has both its names, today's and a former"
        )


def check_weights(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise TalkerError if a tensor holds a value that is not finite, or is beyond ±`MAX_WEIGHT`.

    Args:
        path: The file they come from, for the error message.
        tensors: Tensors by name.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = (float(value) for value in tensor.aminmax())
        if not -MAX_WEIGHT <= low <= high <= MAX_WEIGHT:  # NaN compares as false
            raise TalkerError(
                f"{path}: {shorten(name)} holds values that are not finite, or beyond {MAX_WEIGHT:g}: copy "
                "the checkpoint again"
            )


def check_regular_file(path: str | Path, advice: str) -> None:
    """Raise TalkerError unless a path is a regular file that can be opened; a pipe would block.

    Args:
        path: The path.
        advice: What to do, the end of the error message.
    """
    try:
        is_file = Path(path).is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise TalkerError(f"{path} cannot be read (there is no such file): {advice}")


def find_file(folder: str | Path, name: str) -> Path:
    """Return the path of a regular file in a checkpoint folder.

    Args:
        folder: The folder.
        name: Name of the file.

    Raises:
        TalkerError: If there is none.
    """
    try:
        path = Path(folder) / name
        if path.is_file():
            return path
        is_missing = name == CONFIG or not path.exists()
    except (OSError, ValueError, TypeError):
        path, is_missing = Path(name), True
    if is_missing and name == CONFIG:
        raise TalkerError(f"no checkpoint at {folder}: a folder with {CONFIG} and {WEIGHTS} is expected")
    problem = "there is no such file" if is_missing else "it is no file"
    raise TalkerError(f"{path} cannot be read ({problem}): copy the checkpoint again")


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Return the tensors that a safetensors file holds, by name.

    Args:
        path: The file.

    Raises:
        TalkerError: If it cannot be read or is no safetensors file.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: TensorInfo(str(piece.get_dtype()), tuple(piece.get_shape()))
                for name, piece in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise TalkerError(f"{path} cannot be read ({_reason(error)}): copy the checkpoint again") from None
    except Exception as error:
        raise TalkerError(
            f"{path} is not a safetensors file ({_reason(error)}): copy the checkpoint again"
        ) from None


def _build(build: Callable[[], NetworkT], config_path: Path) -> NetworkT:
    try:
        return build()
    except TalkerError:
        raise
    except Exception as error:
        raise TalkerError(
            f"{config_path} describes a network that cannot be built ({_reason(error)}): restore it from "
            "where the checkpoint came"
        ) from None


def _build_without_memory(build: Callable[[], NetworkT], config_path: Path) -> NetworkT:
    import torch

    with torch.device("meta"):
        network = _build(build, config_path)
    stored = network.state_dict()
    tables = [value for name, value in network.named_buffers() if name not in stored]
    total = sum(value.numel() * value.element_size() for value in tables)
    if total > MAX_TABLE_BYTES:
        raise TalkerError(
            f"{config_path} describes a network whose tables take {total / 1e9:.1f} GB: restore it from "
            "where the checkpoint came"
        )
    return network


def check_header(
    path: Path,
    header: Mapping[str, TensorInfo],
    expected: Mapping[str, tuple[tuple[int, ...], bool]],
    optional: Collection[str] = (),
) -> None:
    """Raise TalkerError unless a file holds the tensors of a network.

    Args:
        path: The file, for the error message.
        header: Its tensors by name.
        expected: Shape of each tensor of the network, and whether it holds floats.
        optional: Tensors that the file may lack, or hold in another shape.
    """
    problem = None
    for name, (shape, is_float) in expected.items():
        if name in optional:
            continue
        if name not in header:
            problem = f"{name} is missing"
        elif header[name].shape != shape:
            problem = f"{name} has shape {list(header[name].shape)}, not {list(shape)}"
        elif header[name].dtype not in (_FLOAT_DTYPES if is_float else _WHOLE_DTYPES):
            problem = f"{name} is of type {header[name].dtype}"
        if problem:
            break
    unknown = [name for name in header if name not in expected and name not in optional]
    if unknown and not problem:
        problem = f"{shorten(unknown[0])} is unknown"
    if problem:
        raise TalkerError(f"{path} does not fit its {CONFIG}: {problem}")


def verify_checksum(path: Path, values: Mapping[str, Any], config_path: Path) -> str:
    """Return the SHA-256 of a file of weights, which must be the one that the configuration states.

    Args:
        path: The file.
        values: Content of `config.json`; folders of earlier versions state none, any weights pass then.
        config_path: Where they are from, for the error message.

    Raises:
        TalkerError: If it is another, or the file cannot be read.
    """
    stated = values.get(CHECKSUM_FIELD)
    if stated is not None and (not isinstance(stated, str) or len(stated) != 64):
        raise TalkerError(
            f"{config_path}: {CHECKSUM_FIELD} is no SHA-256, which has 64 hexadecimal digits: restore the "
            "file, or remove this field if you trust the weights"
        )
    try:
        actual = compute_checksum(path)
    except OSError as error:
        raise TalkerError(f"{path} cannot be read ({_reason(error)}): copy the checkpoint again") from None
    if stated is not None and actual != stated.lower():  # an earlier version states none
        raise TalkerError(
            f"{path} is damaged or belongs to another {CONFIG} (its SHA-256 is not {CHECKSUM_FIELD}): copy "
            f"the checkpoint again, or remove {CHECKSUM_FIELD} if you changed the weights yourself"
        )
    return actual


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return shorten(str(text)) or type(error).__name__
