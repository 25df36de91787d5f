# SPDX-License-Identifier: Apache-2.0
"""The YAML of a robot's head: which joint follows which shapes, by how much and within which limits.

`load_head(name or path)` reads it, checks every line of it and gives a `Head`; docs/heads.md describes the
language. Numbers are in the joints' own units: radians for a controller of joints, 0..1 or microseconds for a
servo that wants those.
"""

import dataclasses
import difflib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES

# what a joint may follow: shapes 0..1, the head's angles in rad as face/livelink has them, speaking 0 or 1
ANGLES = ("head_yaw", "head_pitch", "head_roll")
SOURCES = (*ARKIT_NAMES, *ANGLES, "speaking")
OUTPUT_TYPES = {
    "JointState": "sensor_msgs/msg/JointState",
    "Float64MultiArray": "std_msgs/msg/Float64MultiArray",
    "JointTrajectory": "trajectory_msgs/msg/JointTrajectory",
    "FacialActionUnits": "hri_msgs/msg/FacialActionUnits",
}


@dataclass(frozen=True)
class Joint:
    """One joint: position = offset + sum of gain · source, within the limits. Numbers in the joint's unit and
    seconds."""

    name: str
    gains: dict  # source -> gain
    min: float
    max: float
    max_velocity: float
    max_acceleration: float
    offset: float = 0.0
    rest: float = None  # where it goes when no motion comes; default: offset, within the limits
    smoothing: float = 0.0  # s, time constant of a low-pass
    deadband: float = 0.0  # changes smaller than this are left out
    lead: float = None  # s, default the head's


@dataclass(frozen=True)
class Output:
    """type: a key of OUTPUT_TYPES; topic: relative to the node; joints: their indices in the head."""

    type: str
    topic: str
    joints: tuple


@dataclass(frozen=True)
class Head:
    """rate: commands per second; timeout: s without motion until the head goes to rest; delay: s from a
    frame's stamp until its audio is heard, None for as soon as frames come; feedback: topic of the joint
    states to begin from, or empty."""

    name: str
    joints: tuple
    outputs: tuple
    rate: float = 50.0
    timeout: float = 0.5
    delay: float = None
    feedback: str = ""

    def column(self, field):
        """A field of every joint, (J,) float64."""
        return np.array([getattr(joint, field) for joint in self.joints], np.float64)

    def matrix(self):
        """(J, len(SOURCES)) float64: gains of the sources in their order."""
        out = np.zeros((len(self.joints), len(SOURCES)))
        for row, joint in zip(out, self.joints):
            for source, gain in joint.gains.items():
                row[SOURCES.index(source)] = gain
        return out


_HEAD = {"rate": (1.0, 1000.0), "timeout": (0.05, 10.0), "delay": (0.0, 10.0), "lead": (0.0, 1.0)}
_JOINT = {field.name for field in dataclasses.fields(Joint)} - {"name", "gains"} | {"from"}


def load_head(source):
    """Path of a YAML file, or name of one in config/heads -> Head. Raises TalkerError, one sentence, for a
    file that is not there or says what cannot be."""
    path = Path(source)
    if not path.suffix and not path.exists():
        path = resources.find("config", f"heads/{source}.yaml")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TalkerError(
            f"the head {path} cannot be read ({getattr(error, 'strerror', error)}): check its path"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise TalkerError(f"the head {path} is not YAML{where}: check its indentation") from None
    return parse_head(document, path.stem)


def parse_head(document, name):
    """The YAML's content -> Head. Raises TalkerError as load_head does."""
    if not isinstance(document, dict):
        raise TalkerError(f"the head {name} holds no mapping: write joints and outputs, as config/heads does")
    _known(document, {*_HEAD, "name", "joints", "outputs", "defaults", "feedback"}, f"the head {name}")
    values = {}
    for key, (lowest, highest) in _HEAD.items():
        if document.get(key) is not None:
            values[key] = _number(document[key], f"{key} of the head {name}", lowest, highest)
    lead = values.pop("lead", 0.0)
    defaults = document.get("defaults") or {}
    entries = document.get("joints") or {}
    if not isinstance(entries, dict) or not isinstance(defaults, dict):
        raise TalkerError(
            f"joints or defaults of the head {name} is no mapping: write `name: {{from: …}}` lines"
        )
    joints = tuple(_joint(joint, entry, defaults, lead) for joint, entry in entries.items())
    outputs = tuple(
        _output(entry, [joint.name for joint in joints], name) for entry in document.get("outputs") or ()
    )
    if not outputs:
        raise TalkerError(
            f"the head {name} has no outputs: add `outputs: [{{type: JointState, topic: joint_states}}]`"
        )
    feedback = document.get("feedback") or ""
    return Head(str(document.get("name") or name), joints, outputs, feedback=str(feedback), **values)


def _joint(name, entry, defaults, lead):
    where = f"joint {name}"
    if not isinstance(entry, dict):
        raise TalkerError(f"{where} is no mapping: write `{name}: {{from: {{jawOpen: 0.3}}, …}}`")
    entry = {**defaults, **entry}
    _known(entry, _JOINT, where)
    gains = entry.pop("from", None)
    if not isinstance(gains, dict):
        raise TalkerError(
            f"{where} follows nothing: write `from: {{jawOpen: 0.3}}`, or `from: {{}}` for a joint that rests"
        )
    _known(gains, SOURCES, f"{where}: from")
    gains = {source: _number(gain, f"{where}: gain of {source}") for source, gain in gains.items()}
    values = {key: _number(value, f"{where}: {key}") for key, value in entry.items() if value is not None}
    missing = {"min", "max", "max_velocity", "max_acceleration"} - set(values)
    if missing:
        raise TalkerError(
            f"{where} has no {', '.join(sorted(missing))}: a joint without limits is not driven"
        )
    if values["min"] > values["max"]:
        raise TalkerError(f"{where}: min {values['min']:g} is above max {values['max']:g}: exchange them")
    for key in ("max_velocity", "max_acceleration"):
        if values[key] <= 0:
            raise TalkerError(f"{where}: {key} is {values[key]:g}: give a number above 0")
    for key in ("smoothing", "deadband", "lead"):
        if not 0 <= values.get(key, 0) <= (1.0 if key != "deadband" else math.inf):
            raise TalkerError(
                f"{where}: {key} is {values[key]:g}: give 0 to 1 s"
                if key != "deadband"
                else f"{where}: deadband is {values[key]:g}: give 0 or more"
            )
    values.setdefault("lead", lead)
    rest = values.setdefault("rest", min(max(values.get("offset", 0.0), values["min"]), values["max"]))
    if not values["min"] <= rest <= values["max"]:
        raise TalkerError(f"{where}: rest {rest:g} is outside of its limits: put it between min and max")
    return Joint(str(name), gains, **values)


def _output(entry, names, head):
    if not isinstance(entry, dict) or "type" not in entry or "topic" not in entry:
        raise TalkerError(
            f"an output of the head {head} lacks type or topic: write {{type: JointState, topic: "
            "joint_states}"
        )
    _known(entry, {"type", "topic", "joints"}, f"an output of the head {head}")
    _known([entry["type"]], OUTPUT_TYPES, f"an output's type of the head {head}")
    chosen = entry.get("joints", names)
    if not isinstance(chosen, list):
        raise TalkerError(f"joints of the output {entry['topic']} is no list: write [first, second]")
    _known(chosen, names, f"joints of the output {entry['topic']}")
    if not chosen and entry["type"] != "FacialActionUnits":
        raise TalkerError(f"the output {entry['topic']} has no joints: the head {head} names none")
    return Output(entry["type"], str(entry["topic"]), tuple(names.index(name) for name in chosen))


def _known(given, allowed, where) -> None:
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), map(str, allowed), 1)
            hint = (
                f"did you mean {near[0]}?" if near else "known are " + ", ".join(map(str, list(allowed)[:12]))
            )
            raise TalkerError(f"{where}: {key!r} is not known: {hint}")


def _number(value, where, lowest=-math.inf, highest=math.inf):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TalkerError(f"{where} is {value!r}: give a number")
    if not lowest <= value <= highest:
        raise TalkerError(f"{where} is {value:g}: give {lowest:g} to {highest:g}")
    return float(value)
