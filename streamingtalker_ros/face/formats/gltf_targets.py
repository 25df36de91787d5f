# SPDX-License-Identifier: Apache-2.0
"""What drives each morph target of a glTF file: its name, or an expression of a VRM that binds it.

VRM 0.x calls expressions blend shape groups (`extensions.VRM.blendShapeMaster`), VRM 1.0 binds them to nodes
(`extensions.VRMC_vrm.expressions`). A target's own name counts first, since a bind to it would add the same
motion twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamingtalker_ros.face.formats.names import VRM_PRESETS, match_name
from streamingtalker_ros.face.formats.shape_drivers import ShapeDrivers, find_drivers

_PERCENT = 0.01  # weights of VRM 0.x


class Bind(NamedTuple):
    """A morph target that an expression moves.

    Attributes:
        mesh: Index of the mesh in the document.
        target: Index of the target in the mesh.
        weight: Its weight where the expression's is 1.
    """

    mesh: int
    target: int
    weight: float


@dataclass(frozen=True)
class TargetDrivers:
    """The drivers of a file's morph targets.

    Attributes:
        shapes: Drivers by name, of targets and of expressions.
        labels: Names of all morph targets, and of the expressions that are used.
        binds: {(mesh, target): {ARKit name: factor}} of the expressions that are used.
        empty: Names of targets that move nothing, in place of which others are driven.
        unused: Names of targets that nothing drives.
    """

    shapes: ShapeDrivers
    labels: tuple[str, ...]
    binds: Mapping[tuple[int, int], Mapping[str, float]]
    empty: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()

    def select(self, mesh: int, labels: Sequence[str], count: int) -> dict[int, dict[str, float]]:
        """The targets of a mesh that are driven.

        Args:
            mesh: Index of the mesh.
            labels: Names of its targets; fewer where it has none.
            count: Number of its targets.

        Returns:
            {target: {ARKit name: factor}}.
        """
        labels = ["" if label in self.empty else label for label in labels[:count]]
        by_label = self.shapes.select(labels)
        selected = {k: dict(by_label[label]) for k, label in enumerate(labels) if label in by_label}
        for target in range(count):
            for name, factor in self.binds.get((mesh, target), {}).items():
                factors = selected.setdefault(target, {})
                factors[name] = factors.get(name, 0.0) + factor
        return selected

    def is_bound(self, mesh: int) -> bool:
        """Whether an expression that is used moves targets of a mesh.

        Args:
            mesh: Index of the mesh.
        """
        return any(bound == mesh for bound, _ in self.binds)


def target_names(thing: dict[str, Any]) -> list[str]:
    """The names of morph targets in the `extras` of a mesh or a primitive; none if it has none.

    Args:
        thing: JSON object of the mesh or the primitive.
    """
    extras = thing.get("extras")
    names = extras.get("targetNames") if isinstance(extras, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def find_target_drivers(tree: dict[str, Any]) -> TargetDrivers:
    """The drivers of all morph targets of a document.

    Args:
        tree: The document's JSON.
    """
    labels, empty = _all_labels(tree)
    named = {
        match.name for label in labels if label not in empty and (match := match_name(label)) is not None
    }
    expressions = {
        label: binds
        for label, binds in read_expressions(tree).items()
        if (match := match_name(label)) is None or match.name not in named
    }
    shapes = find_drivers([*(label for label in labels if label not in empty), *expressions])
    if not empty.isdisjoint(labels):  # an empty target without a substitute is as good as none
        substituted = shapes.driven
        empty = frozenset(
            label for label in empty if (match := match_name(label)) is not None and match.name in substituted
        )
        shapes = find_drivers([*(label for label in labels if label not in empty), *expressions])
    selected = shapes.select(list(expressions))
    binds: dict[tuple[int, int], dict[str, float]] = {}
    for label, factors in selected.items():
        for bind in expressions[label]:
            target = binds.setdefault((bind.mesh, bind.target), {})
            for name, factor in factors.items():
                target[name] = target.get(name, 0.0) + bind.weight * factor
    drivers = TargetDrivers(shapes, (*labels, *selected), binds, empty)
    return dataclasses.replace(drivers, unused=_unused_labels(tree, drivers))


def read_expressions(tree: dict[str, Any]) -> dict[str, list[Bind]]:
    """The expressions of a VRM 0.x or 1.0 file that move morph targets.

    Args:
        tree: The document's JSON.

    Returns:
        {label: binds}. A preset has the ARKit name that it stands for, or `VRM preset aa`.
    """
    extensions = tree.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    found: dict[str, list[Bind]] = {}
    if "VRM" in extensions:
        for group in _as_list(_get(extensions["VRM"], "blendShapeMaster", "blendShapeGroups")):
            preset = group.get("presetName")
            preset = None if preset in (None, "", "unknown") else str(preset)
            binds = [
                Bind(int(bind["mesh"]), int(bind["index"]), _PERCENT * float(bind["weight"]))
                for bind in _as_list(group.get("binds"))
            ]
            _add(found, preset, str(group.get("name", "")), binds)
        return found
    expressions = _get(extensions.get("VRMC_vrm"), "expressions")
    nodes = _as_list(tree.get("nodes"))
    for kind in ("preset", "custom"):
        for name, expression in (_get(expressions, kind) or {}).items():
            binds = [
                Bind(int(nodes[bind["node"]]["mesh"]), int(bind["index"]), float(bind["weight"]))
                for bind in _as_list(expression.get("morphTargetBinds"))
            ]
            _add(found, str(name) if kind == "preset" else None, str(name), binds)
    return found


def _targets(tree: dict[str, Any]) -> Iterator[tuple[int, list[str], list[dict[str, Any]]]]:
    """Index of the mesh, names of the targets and the targets of each primitive that has some."""
    for index, mesh in enumerate(_as_list(tree.get("meshes"))):
        for primitive in _as_list(mesh.get("primitives")):
            targets = _as_list(primitive.get("targets"))
            if targets:
                yield index, target_names(mesh) or target_names(primitive), targets


def _all_labels(tree: dict[str, Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of all targets, and of those that move nothing."""
    moving: dict[str, bool] = {}
    for _, labels, targets in _targets(tree):
        for label, target in zip(labels, targets, strict=False):
            moving[label] = moving.get(label, False) or _moves(tree, target)
    return tuple(moving), frozenset(label for label, moves in moving.items() if not moves)


def _moves(tree: dict[str, Any], target: dict[str, Any]) -> bool:
    """Whether a target moves a vertex, as far as the bounds of its positions say."""
    if "POSITION" not in target:
        return False
    accessor = tree["accessors"][target["POSITION"]]
    if "bufferView" not in accessor and "sparse" not in accessor:
        return False
    low, high = accessor.get("min"), accessor.get("max")
    if not isinstance(low, list) or not isinstance(high, list):
        return True
    return any(low) or any(high)


def _unused_labels(tree: dict[str, Any], drivers: TargetDrivers) -> tuple[str, ...]:
    used: set[str] = set()
    for index, labels, targets in _targets(tree):
        used |= {labels[k] for k in drivers.select(index, labels, len(targets)) if k < len(labels)}
    expressions = drivers.shapes.select(drivers.labels)
    known = used | drivers.empty | set(expressions)
    return tuple(label for label in drivers.labels if label not in known)


def _add(found: dict[str, list[Bind]], preset: str | None, name: str, binds: list[Bind]) -> None:
    if binds:
        label = name if preset is None else VRM_PRESETS.get(preset, f"VRM preset {preset}")
        found.setdefault(label, binds)


def _get(value: Any, *keys: str) -> Any:
    """A member of nested objects; None where one of them is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
