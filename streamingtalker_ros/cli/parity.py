# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker parity DIR`: run a recording of the published code again, in its own order, and compare.

DIR holds config.yaml, hubert_config.json, checkpoint.ckpt and expected.npz (inputs, noise, recorded outputs).
Prints the error of every array, max|ours − recorded| / max|recorded|, and a last line `parity: worst ERROR
(ARRAY)`; exits 0 only if all are within 1e-4 and the code indices are equal, else 1.
"""

import zipfile
from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError, require

HELP = "compare with a recording of the published code"

LIMIT = 1e-4
INPUTS = ("audio", "identity", "template", "noise", "vq_motion")
OUTPUTS = (
    "audio_encoder_output",
    "audio_features",
    "start_latent",
    "conditions",
    "latents",
    "frames",
    "vq_quantized",
    "vq_indices",
    "vq_decoded",
)


def add_arguments(parser) -> None:
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="recording: config.yaml, hubert_config.json, checkpoint.ckpt, expected.npz",
    )


def run(args) -> int:
    errors = compare(args.folder)
    for name, (error, equal) in errors.items():
        verdict = "ok" if error <= LIMIT and equal else "FAIL"
        print(f"{name:22s} {error:9.2e}  {verdict}{'' if equal else '  indices differ'}")
    failed = {name for name, (error, equal) in errors.items() if not (error <= LIMIT and equal)}
    worst = max(failed or errors, key=lambda name: errors[name][0])
    print(f"parity: worst {errors[worst][0]:.1e} ({worst})")
    return 1 if failed else 0


def compare(folder):
    """{array: (relative error, indices equal)} of a recording. Raises TalkerError on bad files."""
    torch = require("torch", "the published model")
    from streamingtalker_ros.model.vertex import checkpoint, config, offline  # late: torch

    folder = Path(folder)
    if not folder.is_dir():
        raise TalkerError(f"there is no folder {folder}: give a recording of the published code")
    for name in ("config.yaml", "hubert_config.json", "checkpoint.ckpt", "expected.npz"):
        if not (folder / name).is_file():
            raise TalkerError(f"{folder} lacks {name}: a recording holds it beside the other files")
    hubert = config.read_hubert_json(folder / "hubert_config.json")
    settings = config.read_yaml(folder / "config.yaml", hubert)
    recorded = _read_arrays(folder / "expected.npz", settings)
    network = checkpoint.read_ckpt(folder / "checkpoint.ckpt", settings)
    inputs = {name: torch.from_numpy(recorded[name].astype(np.float32)) for name in INPUTS}
    frames = len(recorded["noise"])
    try:
        ran = offline.generate(
            network,
            inputs["audio"],
            int(inputs["identity"].argmax()),
            inputs["noise"],
            inputs["template"].view(-1, 3),
        )
        quantized, indices, decoded = offline.round_trip(network, inputs["vq_motion"])
    except (RuntimeError, ValueError) as error:
        raise TalkerError(
            f"{folder / 'expected.npz'} does not fit the network: {str(error).splitlines()[0]}"
        ) from None
    if len(ran.frames) != frames:
        raise TalkerError(
            f"{folder / 'expected.npz'}: noise has {frames} rows, the audio gives {len(ran.frames)} frames"
        )
    ours = {name: getattr(ran, name) for name in OUTPUTS[:6]}
    ours.update(vq_quantized=quantized, vq_indices=indices, vq_decoded=decoded)
    return {name: _error(name, ours[name].numpy(), recorded[name], folder) for name in OUTPUTS}


def _error(name, ours, recorded, folder):
    if ours.shape != recorded.shape:
        raise TalkerError(
            f"{folder / 'expected.npz'}: {name} has shape {recorded.shape}, {ours.shape} was computed"
        )
    equal = name != "vq_indices" or bool(np.array_equal(ours, recorded))
    difference = np.abs(ours.astype(np.float64) - recorded.astype(np.float64))
    scale = np.abs(recorded.astype(np.float64)).max(initial=0.0)
    error = float(difference.max(initial=0.0) / scale) if scale else float(difference.max(initial=0.0))
    return (error if np.isfinite(error) else float("inf")), equal


def _read_arrays(path, c):
    """The arrays of expected.npz; raises TalkerError naming the one that is missing or cannot be an input."""
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
    rows = 3 * c.vertices
    shapes = {
        "audio": (None,),
        "identity": (len(c.identities),),
        "template": (rows,),
        "noise": (None, c.latent_dim),
        "vq_motion": (None, rows),
    }
    for name, shape in shapes.items():
        there = arrays[name].shape
        if len(there) != len(shape) or any(want not in (None, have) for want, have in zip(shape, there)):
            asked = str(shape).replace("None", "…")
            raise TalkerError(f"{path}: {name} has shape {there}, the configuration asks for {asked}")
        if not np.isfinite(arrays[name]).all():
            raise TalkerError(f"{path}: {name} holds values that are not finite: record it again")
    who = arrays["identity"]
    if not (np.sort(who) == np.eye(len(who), dtype=who.dtype)[-1]).all():
        raise TalkerError(f"{path}: identity is not one-hot: record it again")
    return arrays
