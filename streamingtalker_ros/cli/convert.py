# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker convert CKPT --config published.yaml --out DIR`: published weights to safetensors + JSON.

Reads the .ckpt without executing anything in it, checks every weight against the configuration, adds the
template of one face and writes a folder that the talker loads.
"""

from pathlib import Path

from streamingtalker_ros.errors import require

HELP = "convert a published checkpoint into safetensors and JSON"

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def add_arguments(parser) -> None:
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="published stage-2 checkpoint")
    parser.add_argument("--config", type=Path, required=True, help="its published YAML configuration")
    parser.add_argument("--hubert-config", type=Path, help="JSON of its HuBERT; without it the base model's")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--template",
        help="rest face: FILE.npy, FILE.ply or templates.pkl:SUBJECT; "
        "without it frames are offsets from the rest face",
    )
    parser.add_argument(
        "--unit", choices=UNITS, default="m", help="unit of the checkpoint's and template's vertices"
    )


def run(args) -> int:
    torch = require("torch", "the published model")
    from streamingtalker_ros.model.vertex import checkpoint, config, template  # late: torch

    hubert = config.read_hubert_json(args.hubert_config) if args.hubert_config else None
    settings = config.read_yaml(args.config, hubert)
    settings.unit = UNITS[args.unit]
    network = checkpoint.read_ckpt(args.checkpoint, settings)
    if args.template:
        points, triangles = template.read_template(args.template, settings.vertices)
        network.template.copy_(torch.from_numpy(points))
        network.triangles = torch.from_numpy(triangles)
    checkpoint.save(args.out, network)
    count = sum(p.numel() for p in network.parameters())
    print(
        f"{args.out}: {settings.dataset}, {settings.vertices} vertices, {settings.frame_rate:g} frames/s, "
        f"{count / 1e6:.1f} M parameters\nidentities: {', '.join(settings.identities)}"
    )
    return 0
