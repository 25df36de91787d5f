# SPDX-License-Identifier: Apache-2.0
"""Parameters of the talker node: name, type, default, range, description, and whether a parameter is dynamic.

This is their one definition. The rclpy node declares its parameters from `PARAMETERS`, the node without ROS
reads the same YAML file through `load`; both pass a `TalkerParameters` to the worker.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_origin

import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.expression import parse_expression
from streamingtalker_ros.model.control_ranges import (
    GAIN_RANGE,
    GUIDANCE_RANGE,
    NEUTRAL_GAIN,
    NEUTRAL_GUIDANCE,
    NUMBER_CONTROLS,
    SEED_RANGE,
)

NODE_NAME: Final = "talker"

_T = TypeVar("_T")


def _parameter(
    default: _T,
    description: str,
    *,
    range: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    dynamic: bool = False,
) -> _T:
    """Field of `TalkerParameters`.

    Args:
        default: Default value.
        description: Its meaning, for the user.
        range: Least and greatest value, both allowed.
        choices: Allowed strings.
        dynamic: Whether it may change while the node runs.
    """
    metadata = {"description": description, "range": range, "choices": choices, "dynamic": dynamic}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TalkerParameters:
    """Values of all parameters; config/talker.yaml describes each.

    Raises:
        TalkerError: If a value has the wrong type or is out of range.
    """

    model: str = _parameter("", "Folder of the checkpoint; empty for the default one inside the package.")
    device: str = _parameter(
        "auto", "Where the diffusion runs: auto (CUDA where it is), cuda, cuda:N or cpu."
    )
    frame_id: str = _parameter(
        "head", "frame_id of the published headers: the frame that the face is fixed to."
    )
    audio_topic: str = _parameter("audio", "Topic of the audio, relative to the node's namespace.")
    audio_info_topic: str = _parameter(
        "audio_info", "Topic of the audio's format (audio_common_msgs of ros-drivers)."
    )
    sample_format: str = _parameter(
        "s16",
        "Encoding of a payload whose message and audio_info do not specify it, little-endian.",
        choices=("u8", "s8", "s16", "s24", "s32", "f32"),
    )
    sample_rate: int = _parameter(16000, "Its samples per second.", range=(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE))
    channels: int = _parameter(1, "Its interleaved channels.", range=(1, 64))
    seed: int = _parameter(
        0,
        "Seed of the voice's noise: other numbers give other blinks, brows and head motion.",
        range=SEED_RANGE,
        dynamic=True,
    )
    style: str = _parameter("", "Speaking style, one of the checkpoint's; empty for its first.", dynamic=True)
    steps: int = _parameter(
        0, "Diffusion steps per frame; 0 for the checkpoint's own number.", range=(0, 1000), dynamic=True
    )
    mouth_expressiveness: float = _parameter(
        NEUTRAL_GAIN,
        "Gain on the motion of mouth and jaw, 1 as learned; lips that touch stay in touch.",
        range=GAIN_RANGE,
        dynamic=True,
    )
    face_expressiveness: float = _parameter(
        NEUTRAL_GAIN,
        "Gain on brows, squint, cheeks, nose and the head's rotation, 1 as learned.",
        range=GAIN_RANGE,
        dynamic=True,
    )
    expression: tuple[str, ...] = _parameter(
        ("",),
        'Shapes added under the speech, each "name:weight", such as mouthSmileLeft:0.4; it never parts lips '
        "that touch.",
        dynamic=True,
    )
    guidance: float = _parameter(
        NEUTRAL_GUIDANCE,
        "Classifier-free guidance on the audio; 1 is off and costs nothing, "
        "more follows the sound more strictly.",
        range=GUIDANCE_RANGE,
        dynamic=True,
    )
    idle: bool = _parameter(
        True, "Go on with idle frames when the audio stops; false publishes nothing then.", dynamic=True
    )
    idle_after: float = _parameter(
        0.1,
        "Seconds without audio (1.5 packets, if longer) until the mouth goes to rest.",
        range=(0.05, 0.5),
        dynamic=True,
    )
    pacing: str = _parameter(
        "audio",
        "audio: a frame is published no earlier than its audio is played; none: at once.",
        choices=("audio", "none"),
        dynamic=True,
    )
    queue_seconds: float = _parameter(
        60.0, "Seconds of audio that may be queued ahead of its time; more is rejected.", range=(1.0, 600.0)
    )
    overload_after: float = _parameter(
        0.5, "Seconds of lag after which old audio is skipped to catch up.", range=(0.2, 10.0), dynamic=True
    )
    publish_vertices: bool = _parameter(
        False, "Publish face_vertices too: the default head's offsets for each frame."
    )
    autostart: bool = _parameter(
        True, "With ROS: configure and activate by itself; without ROS it always does."
    )

    def __post_init__(self) -> None:
        for parameter in dataclasses.fields(self):
            object.__setattr__(self, parameter.name, validate(parameter, getattr(self, parameter.name)))
        parse_expression(self.expression)

    @property
    def controls(self) -> dict[str, Any]:
        """The parameters that `StreamProtocol.set` accepts, as its keyword arguments."""
        return {name: getattr(self, name) for name in (*NUMBER_CONTROLS, "expression")}

    @property
    def audio_format(self) -> AudioFormat:
        """Format of audio that nothing else describes."""
        return AudioFormat(self.sample_rate, self.channels, self.sample_format)

    def replace(self, **values: Any) -> "TalkerParameters":
        """Return a copy with other values.

        Raises:
            TalkerError: If a name is unknown or a value is invalid.
        """
        return from_values({**dataclasses.asdict(self), **values})


Parameter = dataclasses.Field[Any]
"""A field of `TalkerParameters`, with description, range, choices and dynamic in its metadata."""

PARAMETERS: Final[dict[str, Parameter]] = {
    parameter.name: parameter for parameter in dataclasses.fields(TalkerParameters)
}


def _value_type(parameter: Parameter) -> type:
    return tuple if get_origin(parameter.type) is tuple else cast(type, parameter.type)


def type_name(parameter: Parameter) -> str:
    """Name of a parameter's type, for the user."""
    value_type = _value_type(parameter)
    return "list of strings" if value_type is tuple else value_type.__name__


def validate(parameter: Parameter, value: object) -> Any:
    """Return a value converted to the parameter's type.

    Raises:
        TalkerError: If it has another type, is out of range or is not an allowed choice.
    """
    name, value_type = parameter.name, _value_type(parameter)
    if value_type is float and type(value) is int:
        value = float(value)
    if value_type is tuple and isinstance(value, (list, tuple)):
        items = cast("Iterable[object]", value)
        if all(type(item) is str for item in items):
            value = tuple(items)
    if type(value) is not value_type:
        raise TalkerError(
            f"parameter {name} is {value!r}, of type {type(value).__name__}: give a {type_name(parameter)}"
        )
    choices = parameter.metadata["choices"]
    if choices and value not in choices:
        raise TalkerError(f"parameter {name} is {value!r}: choose one of {', '.join(choices)}")
    limits = parameter.metadata["range"]
    if limits and not limits[0] <= cast(float, value) <= limits[1]:
        raise TalkerError(f"parameter {name} is {value}: give a value from {limits[0]} to {limits[1]}")
    return value


def from_values(values: Mapping[str, Any]) -> TalkerParameters:
    """Build TalkerParameters from named values.

    Raises:
        TalkerError: If a name is unknown or a value is invalid.
    """
    for name in values:
        if name not in PARAMETERS:
            raise TalkerError(f"{name} is not a parameter of the talker: choose from {', '.join(PARAMETERS)}")
    return TalkerParameters(**values)


def load(path: str | Path | None = None, node: str = NODE_NAME) -> dict[str, Any]:
    """Read the values of a node from a ROS 2 parameter file.

    Args:
        path: YAML file, default the package's config/talker.yaml.
        node: Name of the node. The section `/**` applies to it, and then its own, with or without a leading
            slash.

    Returns:
        The values that the file sets, by name.

    Raises:
        TalkerError: If the file cannot be read or has another form.
    """
    path = path or resources.find("config", "talker.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            document: Any = yaml.safe_load(file)
    except OSError as error:
        raise TalkerError(
            f"the parameter file {path} cannot be read ({error.strerror}): check its path"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f", line {mark.line + 1}" if mark else ""
        raise TalkerError(f"the parameter file {path} is not YAML{position}: check its indentation") from None
    values: dict[str, Any] = {}
    for name in ("/**", node, f"/{node}"):
        section: Any = document.get(name) if isinstance(document, dict) else None
        if section is not None:
            if not isinstance(section, dict) or not isinstance(section.get("ros__parameters"), dict):
                raise TalkerError(
                    f"{path} has no ros__parameters under {name}: write them as ROS 2 does, "
                    f"{node}: {{ros__parameters: {{…}}}}"
                )
            values.update(cast("dict[str, Any]", section["ros__parameters"]))
    values.pop("use_sim_time", None)  # rclpy's own
    return values


def parse_assignment(text: str) -> tuple[str, Any]:
    """Parse "name=value" of a command line.

    Args:
        text: "name=value" with a name of `PARAMETERS`; the value is YAML, a plain string, or words separated
            by commas, depending on the parameter.

    Returns:
        The name, and the value as the parameter's type.

    Raises:
        TalkerError: If the name is unknown or the value is invalid.
    """
    name, equals, value = text.partition("=")
    if not equals or name not in PARAMETERS:
        raise TalkerError(
            f"{text!r} is not an assignment: write name=value with a name of {', '.join(PARAMETERS)}"
        )
    value_type = _value_type(PARAMETERS[name])
    if value_type is str:
        return name, value
    if value_type is tuple:
        return name, tuple(value.split(","))
    try:
        return name, validate(PARAMETERS[name], yaml.safe_load(value))
    except yaml.YAMLError:
        raise TalkerError(f"{text!r} has no readable value: write name=value") from None


class ParameterFile:
    """Parameter file that may be edited while the node runs.

    Args:
        path: As `load` takes it.
        assignments: (name, value) pairs of the command line, which override the file.
    """

    def __init__(self, path: str | Path | None = None, assignments: Iterable[tuple[str, Any]] = ()) -> None:
        self._path = path or resources.find("config", "talker.yaml")
        self._assignments = dict(assignments)
        self._last_version = self._version()

    def read(self) -> TalkerParameters:
        """Return the parameters of file and command line.

        Raises:
            TalkerError: As `load` and `from_values`.
        """
        return from_values({**load(self._path), **self._assignments})

    def reload_if_changed(self, current: TalkerParameters) -> tuple[TalkerParameters, list[str]] | None:
        """Read the file again if it was written since the last call.

        Args:
            current: The parameters in use.

        Returns:
            None if the file has not changed; else the parameters to use, `current` with the dynamic ones of
            the file, and the names of other parameters that differ, which need a restart.

        Raises:
            TalkerError: Once for each time that the file is written, if it cannot be read.
        """
        version = self._version()
        if version in (
            None,
            self._last_version,
        ):  # None: the file is being replaced, so read it at the next call
            return None
        self._last_version = version
        new = dataclasses.asdict(self.read())
        changed = [name for name, value in dataclasses.asdict(current).items() if new[name] != value]
        dynamic = {name: new[name] for name in changed if PARAMETERS[name].metadata["dynamic"]}
        return current.replace(**dynamic), [name for name in changed if name not in dynamic]

    def _version(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size
