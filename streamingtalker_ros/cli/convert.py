# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker convert CKPT --config published.yaml --out DIR`: published weights to safetensors + JSON.

Reads the .ckpt without executing anything in it, checks every weight against the configuration, adds the
template of one face and writes a folder that the talker loads.

`streamingtalker convert --onnx [DIR]` writes the ONNX graphs of a blendshape checkpoint beside its weights,
by default of the checkpoint inside the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import check_output_file, check_output_folder
from streamingtalker_ros.process import print_result

HELP = "convert a published checkpoint into safetensors and JSON, or a checkpoint folder to ONNX"

METRES_PER_UNIT: Final = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    parser.add_argument(
        "checkpoint",
        metavar="CKPT",
        type=Path,
        nargs="?",
        help="published stage-2 checkpoint; with --onnx a checkpoint folder, by default that in the package",
    )
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="write the ONNX graphs of a blendshape checkpoint beside its weights (needs the package onnx)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "int8", "all"),
        default="all",
        help="with --onnx: precision of the graphs",
    )
    parser.add_argument("--config", type=Path, help="the checkpoint's published YAML configuration")
    parser.add_argument("--hubert-config", type=Path, help="JSON of its HuBERT; without it the base model's")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write")
    parser.add_argument(
        "--template",
        help="rest face: FILE.npy, FILE.ply or templates.pkl:SUBJECT; "
        "without it frames are offsets from the rest face",
    )
    parser.add_argument(
        "--unit",
        choices=tuple(METRES_PER_UNIT),
        default="m",
        help="unit of the checkpoint's and template's vertices",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If a package is missing, a file is unusable, or the weights do not fit the configuration.
    """
    if args.onnx:
        return _export_onnx(args)
    for value, what in ((args.checkpoint, "CKPT"), (args.config, "--config"), (args.out, "--out")):
        if value is None:
            raise TalkerError(
                f"{what} is missing: give CKPT, --config and --out, or --onnx for a checkpoint folder"
            )
    check_output_folder(args.out)
    if args.out.is_dir():
        template = args.template.rpartition(":")[0] or args.template if args.template else None
        for name in ("config.json", "weights.safetensors"):
            inputs = [args.checkpoint, args.config, args.hubert_config, template]
            check_output_file(args.out / name, inputs=inputs)
    torch = require("torch", "a vertex checkpoint")
    require("transformers", "the audio encoder of a vertex checkpoint")
    from streamingtalker_ros.model.vertex import checkpoint, config, template

    hubert = config.read_hubert_json(args.hubert_config) if args.hubert_config else None
    network_config = config.read_yaml(args.config, hubert)
    network_config.unit = METRES_PER_UNIT[args.unit]
    network = checkpoint.read_ckpt(args.checkpoint, network_config)
    if args.template:
        points, triangles = template.read_template(args.template, network_config.vertices)
        network.template.copy_(torch.from_numpy(points))
        network.triangles = torch.from_numpy(triangles)
    checkpoint.save(args.out, network)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    print_result(
        f"{args.out}: {network_config.dataset}, {network_config.vertices} vertices, "
        f"{network_config.frame_rate:g} frames/s, {num_parameters / 1e6:.1f} M parameters\n"
        f"identities: {', '.join(network_config.identities)}"
    )
    return 0


def _export_onnx(args: argparse.Namespace) -> int:
    from streamingtalker_ros.model.blendshape import checkpoint, onnx_files
    from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT

    if args.config or args.hubert_config or args.template or args.out:
        raise TalkerError(
            "--onnx takes a checkpoint folder and writes beside its weights: leave out the other options"
        )
    folder = args.checkpoint or DEFAULT_CHECKPOINT
    if checkpoint.read_family(folder) == "vertex":
        raise TalkerError(f"{folder} is a vertex checkpoint, which has no ONNX graphs: it runs on torch")
    for package in ("onnx", "onnxruntime"):
        require(package, "exporting to ONNX")
    check_output_folder(folder)
    for precision in ("float32", "int8"):
        if args.precision in (precision, "all"):
            for name, size in onnx_files.export(folder, precision).items():
                print_result(f"{folder / name}: {size / 1e6:.2f} MB")
    return 0
