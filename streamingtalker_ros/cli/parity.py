# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker parity DIR`: repeat a recording of the published code in the recorded order, and compare.

DIR holds config.yaml, hubert_config.json, checkpoint.ckpt and expected.npz (inputs, noise, recorded outputs).
Prints the error of every array, max|computed − recorded| / max|recorded|, and a last line `parity: worst
ERROR (ARRAY)`; exits with 0 if all are within 1e-4 and the code indices are equal, else with 1.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.process import print_result

if TYPE_CHECKING:
    from streamingtalker_ros.model.vertex.config import VertexConfig

HELP = "compare with a recording of the published code"

MAX_RELATIVE_ERROR: Final = 1e-4
FILES: Final = ("config.yaml", "hubert_config.json", "checkpoint.ckpt", "expected.npz")
INPUTS: Final = ("audio", "identity", "template", "noise", "vq_motion")
_GENERATED: Final = (
    "audio_encoder_output",
    "audio_features",
    "start_latent",
    "conditions",
    "latents",
    "frames",
)
_INDICES: Final = "vq_indices"
OUTPUTS: Final = (*_GENERATED, "vq_quantized", _INDICES, "vq_decoded")


class Comparison(NamedTuple):
    """Difference between a computed and a recorded array.

    Attributes:
        relative_error: max|computed − recorded| / max|recorded|.
        indices_equal: Whether the code indices are equal; True for an array of another kind.
    """

    relative_error: float
    indices_equal: bool

    @property
    def passed(self) -> bool:
        """Whether the array is equal within `MAX_RELATIVE_ERROR`."""
        return self.relative_error <= MAX_RELATIVE_ERROR and self.indices_equal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    parser.add_argument("folder", metavar="DIR", type=Path, help=f"recording: {', '.join(FILES)}")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code: 0 if every array is equal within the tolerance, else 1.

    Raises:
        TalkerError: If a package is missing or the recording is unusable.
    """
    comparisons = compare(args.folder)
    for name, comparison in comparisons.items():
        status = "ok" if comparison.passed else "FAIL"
        remark = "" if comparison.indices_equal else "  indices differ"
        print_result(f"{name:22s} {comparison.relative_error:9.2e}  {status}{remark}")
    failed = {name for name, comparison in comparisons.items() if not comparison.passed}
    worst = max(failed or comparisons, key=lambda name: comparisons[name].relative_error)
    print_result(f"parity: worst {comparisons[worst].relative_error:.1e} ({worst})")
    return 1 if failed else 0


def compare(folder: Path) -> dict[str, Comparison]:
    """Repeat a recording and compare every array.

    Args:
        folder: the recording.

    Returns:
        The comparison of each array of `OUTPUTS`.

    Raises:
        TalkerError: If a package is missing or the recording is unusable.
    """
    torch = require("torch", "a vertex checkpoint")
    require("transformers", "the audio encoder of a vertex checkpoint")
    from streamingtalker_ros.model.vertex import checkpoint, config, offline

    if not folder.is_dir():
        raise TalkerError(f"there is no folder {folder}: give a recording of the published code")
    for name in FILES:
        if not (folder / name).is_file():
            raise TalkerError(f"{folder} lacks {name}: a recording holds it beside the other files")
    expected = folder / "expected.npz"
    hubert = config.read_hubert_json(folder / "hubert_config.json")
    network_config = config.read_yaml(folder / "config.yaml", hubert)
    recorded = _read_arrays(expected, network_config)
    network = checkpoint.read_ckpt(folder / "checkpoint.ckpt", network_config)
    inputs = {name: torch.from_numpy(recorded[name].astype(np.float32)) for name in INPUTS}
    try:
        result = offline.generate(
            network,
            inputs["audio"],
            int(inputs["identity"].argmax()),
            inputs["noise"],
            inputs["template"].view(-1, 3),
        )
        quantized, indices, decoded = offline.round_trip(network, inputs["vq_motion"])
    except (RuntimeError, ValueError) as error:
        raise TalkerError(f"{expected} does not fit the network: {str(error).splitlines()[0]}") from None
    num_rows = len(recorded["noise"])
    if len(result.frames) != num_rows:
        raise TalkerError(
            f"{expected}: noise has {num_rows} rows, the audio gives {len(result.frames)} frames"
        )
    computed = {name: getattr(result, name) for name in _GENERATED}
    computed.update(vq_quantized=quantized, vq_indices=indices, vq_decoded=decoded)
    return {name: _compare_array(name, computed[name].numpy(), recorded[name], expected) for name in OUTPUTS}


def _compare_array(name: str, computed: np.ndarray, recorded: np.ndarray, path: Path) -> Comparison:
    if computed.shape != recorded.shape:
        raise TalkerError(f"{path}: {name} has shape {recorded.shape}, {computed.shape} was computed")
    indices_equal = name != _INDICES or bool(np.array_equal(computed, recorded))
    difference = np.abs(computed.astype(np.float64) - recorded.astype(np.float64))
    scale = np.abs(recorded.astype(np.float64)).max(initial=0.0)
    error = float(difference.max(initial=0.0) / scale) if scale else float(difference.max(initial=0.0))
    return Comparison(error if np.isfinite(error) else float("inf"), indices_equal)


def _read_arrays(path: Path, config: VertexConfig) -> dict[str, npt.NDArray[Any]]:
    """Read expected.npz; raise TalkerError naming the array that is missing or unusable."""
    try:
        # opened here, since numpy leaves a file open that it finds to be no archive
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise TalkerError(
            f"{path} cannot be read as arrays ({str(error).splitlines()[0]}): record it again"
        ) from None
    for name in INPUTS + OUTPUTS:
        if name not in arrays:
            raise TalkerError(f"{path} lacks the array {name}: record it again")
        if not np.issubdtype(arrays[name].dtype, np.number):
            raise TalkerError(f"{path}: {name} does not hold numbers: record it again")
    _check_inputs(path, arrays, config)
    return arrays


def _check_inputs(path: Path, arrays: dict[str, npt.NDArray[Any]], config: VertexConfig) -> None:
    """Raise TalkerError for an input that does not fit the configuration."""
    coordinates = 3 * config.vertices
    expected_shapes = {
        "audio": (None,),
        "identity": (len(config.identities),),
        "template": (coordinates,),
        "noise": (None, config.latent_dim),
        "vq_motion": (None, coordinates),
    }
    for name, expected in expected_shapes.items():
        shape = arrays[name].shape
        if len(shape) != len(expected) or any(
            size not in (None, actual) for size, actual in zip(expected, shape, strict=True)
        ):
            text = str(expected).replace("None", "…")
            raise TalkerError(f"{path}: {name} has shape {shape}, the configuration requires {text}")
        if not np.isfinite(arrays[name]).all():
            raise TalkerError(f"{path}: {name} holds values that are not finite: record it again")
    identity = arrays["identity"]
    if not (np.sort(identity) == np.eye(len(identity), dtype=identity.dtype)[-1]).all():
        raise TalkerError(f"{path}: identity is not one-hot: record it again")
