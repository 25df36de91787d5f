# SPDX-License-Identifier: Apache-2.0
"""Configuration of a robot's head: which joint follows which sources, by how much and within which limits.

`load_head` reads a YAML file, validates all of it and returns a `RobotHead`; docs/heads.md describes the
format. Numbers are in the joints' own units: radians for a joint controller, 0..1 or microseconds for a servo
that expects those.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros import resources
from streamingtalker_ros.config_files import check_keys, describe, read_yaml, shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES

ANGLES: Final = ("head_yaw", "head_pitch", "head_roll")
"""Sources: the head's angles in rad, by the conventions of `face.formats.livelink`."""

SOURCES: Final = (*ARKIT_NAMES, *ANGLES, "speaking")
"""Everything that a joint can follow: weights 0..1, the head's angles, and `speaking`, 0 or 1."""

OUTPUT_TYPES: Final = {
    "JointState": "sensor_msgs/msg/JointState",
    "Float64MultiArray": "std_msgs/msg/Float64MultiArray",
    "JointTrajectory": "trajectory_msgs/msg/JointTrajectory",
    "FacialActionUnits": "hri_msgs/msg/FacialActionUnits",
}
"""Type of an output in YAML, and its message type."""


@dataclass(frozen=True)
class Joint:
    """One joint: position = offset + sum of gain · source, within its limits, in its own unit and seconds.

    Attributes:
        name: name of the joint.
        gains: {source: gain}.
        min: lowest position.
        max: highest position.
        max_velocity: units per second.
        max_acceleration: units per second squared.
        offset: position at which all sources are 0.
        rest: position without motion.
        smoothing: s, time constant of a low-pass filter.
        deadband: smaller changes are ignored.
        lead: s by which the actuator is commanded earlier.
    """

    name: str
    gains: Mapping[str, float]
    min: float
    max: float
    max_velocity: float
    max_acceleration: float
    offset: float = 0.0
    rest: float = 0.0
    smoothing: float = 0.0
    deadband: float = 0.0
    lead: float = 0.0


@dataclass(frozen=True)
class Output:
    """A topic with commands.

    Attributes:
        type: a key of OUTPUT_TYPES.
        topic: relative to the node.
        joints: indices of its joints in the head.
    """

    type: str
    topic: str
    joints: tuple[int, ...]


@dataclass(frozen=True)
class RobotHead:
    """A robot's head.

    Attributes:
        name: name of the head.
        joints: its joints.
        outputs: topics of the commands.
        rate: commands per second.
        timeout: s without motion until the head goes to rest.
        delay: s from a frame's stamp until its audio is heard, None to play frames as they arrive.
        feedback: topic of the joint states to start from, or "".
    """

    name: str
    joints: tuple[Joint, ...]
    outputs: tuple[Output, ...]
    rate: float = 50.0
    timeout: float = 0.5
    delay: float | None = None
    feedback: str = ""

    def column(self, field: str) -> npt.NDArray[np.float64]:
        """Return a field of every joint, (J,)."""
        return np.array([getattr(joint, field) for joint in self.joints], np.float64)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the gains, (J, len(SOURCES))."""
        gains = np.zeros((len(self.joints), len(SOURCES)))
        for row, joint in zip(gains, self.joints, strict=True):
            for source, gain in joint.gains.items():
                row[SOURCES.index(source)] = gain
        return gains


# numbers of a head and of a joint in YAML, and their ranges, in which no arithmetic overflows
_HEAD_RANGES: Final = {
    "rate": (1.0, 1000.0),
    "timeout": (0.05, 10.0),
    "delay": (0.0, 10.0),
    "lead": (0.0, 1.0),
}
_JOINT_RANGES: Final = {
    "min": (-1e6, 1e6),
    "max": (-1e6, 1e6),
    "max_velocity": (1e-9, 1e9),
    "max_acceleration": (1e-9, 1e12),
    "offset": (-1e6, 1e6),
    "rest": (-1e6, 1e6),
    "smoothing": (0.0, 1.0),
    "deadband": (0.0, 1e6),
    "lead": (0.0, 1.0),
}
_GAIN_RANGE: Final = (-1e6, 1e6)
_MAX_JOINTS: Final = 1000
_MAX_OUTPUTS: Final = 100
_MAX_NAME_LENGTH: Final = 200
_HEAD_KEYS: Final = (*_HEAD_RANGES, "name", "joints", "outputs", "defaults", "feedback")
_JOINT_KEYS: Final = (*({field.name for field in dataclasses.fields(Joint)} - {"name", "gains"}), "from")
_LIMITS: Final = ("max", "max_acceleration", "max_velocity", "min")


def load_head(source: str | Path) -> RobotHead:
    """Load a head.

    Args:
        source: path of a YAML file, or the name of one in config/heads.

    Raises:
        TalkerError: if the file does not exist or is not valid.
    """
    path = Path(source)
    if not path.suffix and not path.exists():
        path = _find_head(str(source))
    return parse_head(read_yaml(path, "the head"), path.stem)


def _find_head(name: str) -> Path:
    """Return the path of a head in config/heads."""
    folder = resources.find("config", "heads/jaw.yaml").parent
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name not in paths:
        near = difflib.get_close_matches(name, paths, 1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        raise TalkerError(
            f"there is no head {shorten(name)!r}: {hint} {', '.join(paths)}, or give the path of a YAML file"
        )
    return paths[name]


def parse_head(document: Mapping[str, Any], name: str) -> RobotHead:
    """Validate the content of a head's YAML file.

    Args:
        document: the content.
        name: name of the head, for errors; the document's own `name` overrides it.

    Raises:
        TalkerError: if anything in the document is not valid.
    """
    try:
        return _parse_head(document, shorten(name))
    except TalkerError:
        raise
    except Exception as error:  # of a value that none of the checks expects
        raise TalkerError(
            f"the head {shorten(name)} cannot be used ({type(error).__name__}): "
            "compare it with config/heads/jaw.yaml"
        ) from None


def _parse_head(document: Mapping[str, Any], name: str) -> RobotHead:
    where = f"the head {name}"
    check_keys(document, _HEAD_KEYS, where)
    numbers: dict[str, float] = {}
    for key, (lowest, highest) in _HEAD_RANGES.items():
        if document.get(key) is not None:
            numbers[key] = _check_number(document[key], f"{key} of {where}", lowest, highest)
    lead = numbers.pop("lead", 0.0)
    defaults = document.get("defaults") or {}
    entries = document.get("joints") or {}
    if not isinstance(entries, dict) or not isinstance(defaults, dict):
        raise TalkerError(f"joints or defaults of {where} is not a mapping: write `name: {{from: …}}` lines")
    if len(entries) > _MAX_JOINTS:
        raise TalkerError(f"{where} has {len(entries)} joints: give at most {_MAX_JOINTS}")
    joints = tuple(_parse_joint(joint, entry, defaults, lead) for joint, entry in entries.items())
    names = [joint.name for joint in joints]
    output_entries = document.get("outputs") or []
    if not isinstance(output_entries, list) or len(output_entries) > _MAX_OUTPUTS:
        raise TalkerError(
            f"outputs of {where} is not a list of 1 to {_MAX_OUTPUTS}: write - {{type: …, topic: …}}"
        )
    outputs = tuple(_parse_output(entry, names, where) for entry in output_entries)
    if not outputs:
        raise TalkerError(
            f"{where} has no outputs: add `outputs: [{{type: JointState, topic: joint_states}}]`"
        )
    return RobotHead(
        _check_name(document.get("name") or name, f"name of {where}"),
        joints,
        outputs,
        feedback=_check_name(document.get("feedback") or "", f"feedback of {where}"),
        **numbers,
    )


def _parse_joint(name: Any, entry: Any, defaults: Mapping[str, Any], lead: float) -> Joint:
    name = _check_name(name, "a joint's name")
    where = f"joint {name}"
    if not isinstance(entry, dict):
        raise TalkerError(f"{where} is not a mapping: write `{name}: {{from: {{jawOpen: 0.3}}, …}}`")
    entry = {**defaults, **entry}
    check_keys(entry, _JOINT_KEYS, where)
    gains = entry.pop("from", None)
    if not isinstance(gains, dict):
        raise TalkerError(
            f"{where} follows nothing: write `from: {{jawOpen: 0.3}}`, or `from: {{}}` for a joint at rest"
        )
    check_keys(gains, SOURCES, f"{where}: from", "source")
    gains = {
        source: _check_number(gain, f"{where}: gain of {source}", *_GAIN_RANGE)
        for source, gain in gains.items()
    }
    numbers = {
        key: _check_number(value, f"{where}: {key}", *_JOINT_RANGES[key])
        for key, value in entry.items()
        if value is not None
    }
    missing = [key for key in _LIMITS if key not in numbers]
    if missing:
        raise TalkerError(f"{where} has no {', '.join(missing)}: a joint without limits is not driven")
    if numbers["min"] > numbers["max"]:
        raise TalkerError(f"{where}: min {numbers['min']:g} is above max {numbers['max']:g}: exchange them")
    numbers.setdefault("lead", lead)
    rest = numbers.setdefault("rest", min(max(numbers.get("offset", 0.0), numbers["min"]), numbers["max"]))
    if not numbers["min"] <= rest <= numbers["max"]:
        raise TalkerError(f"{where}: rest {rest:g} is outside of its limits: put it between min and max")
    return Joint(name, gains, **numbers)


def _parse_output(entry: Any, names: Sequence[str], head: str) -> Output:
    if not isinstance(entry, dict) or "type" not in entry or "topic" not in entry:
        raise TalkerError(
            f"an output of {head} lacks type or topic: write {{type: JointState, topic: joint_states}}"
        )
    check_keys(entry, ("type", "topic", "joints"), f"an output of {head}")
    topic = _check_name(entry["topic"], f"topic of an output of {head}")
    where = f"the output {topic}"
    check_keys([entry["type"]], OUTPUT_TYPES, where, "type")
    chosen = entry.get("joints", list(names))
    if not isinstance(chosen, list):
        raise TalkerError(f"joints of {where} is not a list: write [first, second]")
    check_keys(chosen, names, where, "joint")
    if not chosen and entry["type"] != "FacialActionUnits":
        raise TalkerError(f"{where} has no joints: {head} defines none")
    return Output(entry["type"], topic, tuple(names.index(name) for name in chosen))


def _check_name(value: Any, where: str) -> str:
    name = "" if isinstance(value, (Mapping, list)) else str(value)
    if isinstance(value, (Mapping, list)) or len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        raise TalkerError(
            f"{where} is {describe(value)}: give at most {_MAX_NAME_LENGTH} characters, all printable"
        )
    return name


def _check_number(value: Any, where: str, lowest: float, highest: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and lowest <= value <= highest:
        return float(value)
    needed = f"a number from {lowest:g} to {highest:g}"
    raise TalkerError(f"{where} is {describe(value)}: give {needed}")
