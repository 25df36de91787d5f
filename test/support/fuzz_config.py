# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets of YAML: heads, parameter files, parameters of the command line, recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from streamingtalker_ros.config_files import parse_yaml
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.resources import find
from streamingtalker_ros.robot_head import HeadController, load_head
from streamingtalker_ros.runtime import parameters
from streamingtalker_ros.training import recipe
from streamingtalker_ros.training.vertex import recipe as vertex_recipe
from support.face_motion import face_motion, shape_weights
from support.fuzz_faces import open_file
from support.fuzzing import TEXT_TOKENS, Consume, FuzzTarget, mutate_document, mutate_text

_HEADS: Final = ("jaw", "pan_tilt", "animatronic", "arkit", "facs")
_START: Final = 1_700_000_000_000_000_000
_BOMB: Final = b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: &d [*c, *c, *c]\ne: [*d, *d, *d]\n"
_MERGES: Final = b"a: &a {b: 1, c: 2}\nd: &d {<<: *a, e: 3}\nf: {<<: [*a, *d]}\n"


def head_seeds() -> list[bytes]:
    """Return the heads that ship."""
    return [find("config", f"heads/{name}.yaml").read_bytes() for name in _HEADS]


def mutate_yaml(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage YAML as a document, as text, or both."""
    kind = random.random()
    if kind < 0.5:
        document = mutate_document(_parse(data), random)
        data = yaml.dump(document, allow_unicode=True, width=1000).encode("utf-8", "surrogatepass")
    if kind < 0.03:
        data = (_BOMB, _MERGES)[int(random.integers(2))] + data
    return mutate_text(data, seeds, random) if kind > 0.4 else data


@cache
def _parse(data: bytes) -> Any:
    return yaml.safe_load(data)


def check_head(path: Path) -> None:
    """Load a head and drive it: no command is outside of its limits or not finite."""
    head = load_head(path)
    controller = HeadController(head, lambda text: None)
    low, high = head.column("min"), head.column("max")
    for tick in range(8):
        now = _START + round(tick * 1e9 / head.rate)
        if tick < 5:
            weight = (0.0, 1.0, 0.3, 1.0, 0.0)[tick]
            controller.update(face_motion(shape_weights(jawOpen=weight, browInnerUp=weight), now), now)
        command = controller.step(now)
        if command is not None:
            assert np.isfinite(command.positions).all() and np.isfinite(command.velocities).all()
            assert (command.positions >= low - 1e-9).all() and (command.positions <= high + 1e-9).all()


def parameter_seeds() -> list[bytes]:
    """Return parameter files as ROS 2 writes them."""
    return [
        find("config", "talker.yaml").read_bytes(),
        b"/**:\n  ros__parameters:\n    use_sim_time: true\n    idle: false\n"
        b"talker:\n  ros__parameters: {seed: 3, mouth_expressiveness: 1.5, expression: ['jawOpen:0.1']}\n",
    ]


def _open_parameters(folder: Path) -> Consume:
    path = folder / "parameters.yaml"
    path.write_bytes(parameter_seeds()[1])
    file, current = parameters.ParameterFile(path), parameters.TalkerParameters()

    def consume(data: bytes, random: np.random.Generator) -> None:
        """Read a file as at the start, and as a file that changes while the node runs."""
        path.write_bytes(data)
        rejection: TalkerError | None = None
        try:
            live = file.reload_if_changed(current)
            assert live is None or isinstance(live[0], parameters.TalkerParameters)
        except TalkerError as error:
            rejection = error
        values = parameters.from_values(parameters.load(path))
        assert rejection is None
        assert dataclasses.asdict(values) == dataclasses.asdict(file.read())

    return consume


def _assignment_seeds() -> list[bytes]:
    texts = ("mouth_expressiveness=1.5", "idle=false", "seed=3", "expression=jawOpen:0.1,a:b", "device=cpu")
    return [text.encode() for text in texts]


def _mutate_value(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    if random.random() < 0.5:
        return data.partition(b"=")[0] + b"=" + TEXT_TOKENS[int(random.integers(len(TEXT_TOKENS)))]
    return mutate_text(data, seeds, random)


def _open_assignment(folder: Path) -> Consume:
    def consume(data: bytes, random: np.random.Generator) -> None:
        name, value = parameters.parse_assignment(data.decode("utf-8", "surrogateescape"))
        parameters.from_values({name: value})

    return consume


def recipe_seeds() -> list[bytes]:
    """Return the recipe of the blendshape family."""
    return [find("config", "train.yaml").read_bytes()]


def vertex_recipe_seeds() -> list[bytes]:
    """Return the recipes of the vertex family."""
    return [find("config", f"train_{name}.yaml").read_bytes() for name in ("vocaset", "biwi")]


def _open_text(folder: Path) -> Consume:
    def consume(data: bytes, random: np.random.Generator) -> None:
        parse_yaml(data.decode("utf-8", "replace"), "the text")

    return consume


TARGETS: Final = (
    FuzzTarget("head yaml", head_seeds, open_file(".yaml", check_head), mutate_yaml),
    FuzzTarget("parameter yaml", parameter_seeds, _open_parameters, mutate_yaml),
    FuzzTarget("assignments", _assignment_seeds, _open_assignment, _mutate_value, lambda: None),
    FuzzTarget("recipe yaml", recipe_seeds, open_file(".yaml", recipe.read_recipe), mutate_yaml),
    FuzzTarget(
        "vertex recipe yaml",
        vertex_recipe_seeds,
        open_file(".yaml", lambda path: vertex_recipe.read_recipe(path, "vocaset")),
        mutate_yaml,
    ),
    FuzzTarget("yaml text", lambda: [_BOMB, _MERGES, *head_seeds()], _open_text, mutate_text),
)
