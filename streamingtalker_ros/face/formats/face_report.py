# SPDX-License-Identifier: Apache-2.0
"""What a face file can show and what it cannot: `inspect_face`, which `streamingtalker face check` prints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.imported_mesh import ImportedMesh
from streamingtalker_ros.face.formats.shape_drivers import suggest_name
from streamingtalker_ros.face.rig import Rig

ABILITIES = (
    ("open the mouth", ("jawOpen",)),
    ("close the lips on p, b and m", ("mouthClose",)),
    ("round the lips on o and u", ("mouthPucker", "mouthFunnel")),
    ("smile", ("mouthSmileLeft", "mouthSmileRight")),
    ("blink", ("eyeBlinkLeft", "eyeBlinkRight")),
    ("raise the brows", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")),
    ("look around", ("eyeLookUpLeft", "eyeLookInLeft", "eyeLookOutRight")),
)
"""What a face does, and ARKit shapes of which one at least must move for that."""


@dataclass(frozen=True)
class FaceReport:
    """What a face file can show.

    Attributes:
        name: Of the face.
        vertices: Their number.
        height: Metres.
        mouth: What drives the mouth: "ARKit shapes", the name of a scheme of visemes, or "nothing".
        driven: ARKit names that move something, in Apple's order.
        missing: The others.
        unused: Names of the file's shapes that nothing drives.
        suggestions: {unused name: the missing ARKit name that it resembles}.
        turns: What turns with the head: "the head" of a figure, or "all of it".
        lips_found: Whether the lips were found, so that their gap can be measured.
    """

    name: str
    vertices: int
    height: float
    mouth: str
    driven: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    suggestions: dict[str, str]
    turns: str
    lips_found: bool

    def inabilities(self) -> tuple[str, ...]:
        """What the face cannot do, in words."""
        return tuple(text for text, names in ABILITIES if not set(names) & set(self.driven))

    def lines(self) -> Iterator[str]:
        """The report as text, line by line."""
        yield f"{self.name}: {self.vertices} vertices, {self.height:.2f} m high; {self.turns} turns"
        yield f"mouth: {self.mouth}" + ("" if self.lips_found else "; the lips were not found")
        yield f"moves: {len(self.driven)} of {len(ARKIT_NAMES)} ARKit shapes"
        if self.missing:
            yield f"missing: {', '.join(self.missing)}"
        for text in self.inabilities():
            yield f"cannot {text}"
        for label, name in self.suggestions.items():
            yield f"is {label[:60]} meant to be {name}?"
        if self.unused:
            more = f" and {len(self.unused) - 12} more" if len(self.unused) > 12 else ""
            yield f"not used: {', '.join(label[:60] for label in self.unused[:12])}{more}"


def inspect_face(path: str | os.PathLike[str]) -> FaceReport:
    """Load a face and report what it can show.

    Args:
        path: A file that `load_face` reads.

    Raises:
        TalkerError: If the face cannot be loaded.
    """
    from streamingtalker_ros.face.formats.importers import load_mesh

    rig, mesh = load_mesh(path)
    return report_face(rig, mesh)


def report_face(rig: Rig, mesh: ImportedMesh) -> FaceReport:
    """Report what a loaded face can show.

    Args:
        rig: The face.
        mesh: What its file holds.
    """
    driven = mesh.drivers.driven
    missing = tuple(name for name in ARKIT_NAMES if name not in driven)
    suggestions = {label: name for label in mesh.unused if (name := suggest_name(label)) in missing}
    mouth = "nothing"
    if mesh.drivers.scheme is not None:
        mouth = mesh.drivers.scheme
    elif "jawOpen" in driven:
        mouth = "ARKit shapes"
    return FaceReport(
        rig.name,
        len(rig.vertices),
        float(np.ptp(rig.vertices[:, 2])),
        mouth,
        tuple(name for name in ARKIT_NAMES if name in driven),
        missing,
        mesh.unused,
        {label: name for label, name in suggestions.items() if name is not None},
        "all of it" if rig.follow is None else "the head",
        bool(rig.landmarks),
    )
