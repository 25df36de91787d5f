# SPDX-License-Identifier: Apache-2.0
"""The talker node's parameters: name, type, default, range, meaning and whether it may change while the node
runs.

They are written here once. The rclpy node makes its descriptors from `PARAMETERS`, the node without ROS reads
the same YAML file through `load`; both hand a `TalkerParameters` to the core.
"""

import dataclasses
import os
from dataclasses import dataclass, field

import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.expression import parse_expression

NODE_NAME = "talker"


def _parameter(default, text, *, range=None, choices=None, live=False):
    """live: may change while the node runs; range: (lowest, highest), both allowed; choices: the allowed
    strings."""
    return field(
        default=default, metadata={"description": text, "range": range, "choices": choices, "dynamic": live}
    )


@dataclass(frozen=True)
class TalkerParameters:
    """One set of parameter values; construction raises TalkerError for a value of the wrong type or out of
    its range."""

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
        "Encoding of a payload whose message and audio_info do not tell it, little-endian.",
        choices=("u8", "s8", "s16", "s24", "s32", "f32"),
    )
    sample_rate: int = _parameter(16000, "Its samples per second.", range=(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE))
    channels: int = _parameter(1, "Its interleaved channels.", range=(1, 64))
    seed: int = _parameter(
        0,
        "Seed of the voice's noise: other numbers give other blinks, brows and head motion.",
        range=(0, 2**31 - 1),
        live=True,
    )
    style: str = _parameter("", "Speaking style, one of the checkpoint's; empty for its first.", live=True)
    steps: int = _parameter(
        0, "Diffusion steps per frame; 0 for the checkpoint's own number.", range=(0, 1000), live=True
    )
    mouth_expressiveness: float = _parameter(
        1.0,
        "Gain on the motion of mouth and jaw, 1 as learned; lips that touch stay in touch.",
        range=(0.0, 2.0),
        live=True,
    )
    face_expressiveness: float = _parameter(
        1.0,
        "Gain on brows, squint, cheeks, nose and the head's rotation, 1 as learned.",
        range=(0.0, 2.0),
        live=True,
    )
    expression: tuple = _parameter(
        ("",),
        'Shapes added under the speech, each "name:weight", such as mouthSmileLeft:0.4; it never parts lips '
        "that touch.",
        live=True,
    )
    guidance: float = _parameter(
        1.0,
        "Classifier-free guidance on the audio; 1 is off and costs nothing, more follows the sound more strictly.",
        range=(0.0, 4.0),
        live=True,
    )
    idle: bool = _parameter(
        True, "Go on with idle frames when the audio stops; false publishes nothing then.", live=True
    )
    idle_after: float = _parameter(
        0.1,
        "Seconds without audio (1.5 packets, if longer) until the mouth goes to rest.",
        range=(0.05, 0.5),
        live=True,
    )
    pacing: str = _parameter(
        "audio",
        "audio: a frame leaves no earlier than its audio would be heard; none: at once.",
        choices=("audio", "none"),
        live=True,
    )
    queue_seconds: float = _parameter(
        60.0, "Audio sent ahead of its time that is kept; what comes beyond is refused.", range=(1.0, 600.0)
    )
    overload_after: float = _parameter(
        0.5, "Seconds of lag after which old audio is skipped to catch up.", range=(0.2, 10.0), live=True
    )
    publish_vertices: bool = _parameter(
        False, "Publish face_vertices too: the default head's offsets for each frame."
    )
    autostart: bool = _parameter(
        True, "With ROS: configure and activate by itself; without ROS it always does."
    )

    def __post_init__(self):
        for parameter in dataclasses.fields(self):
            object.__setattr__(self, parameter.name, validate(parameter, getattr(self, parameter.name)))
        parse_expression(self.expression)

    @property
    def controls(self):
        """The parameters that `streaming.Stream.set` takes, as its keyword arguments."""
        return {
            name: getattr(self, name)
            for name in ("mouth_expressiveness", "face_expressiveness", "expression", "guidance")
        }

    @property
    def audio_format(self):
        """The AudioFormat to assume where nothing else tells it."""
        return AudioFormat(self.sample_rate, self.channels, self.sample_format)

    def replace(self, **values):
        """A copy with other values. Raises TalkerError for an unknown name or a bad value."""
        return from_values({**dataclasses.asdict(self), **values})


PARAMETERS = {parameter.name: parameter for parameter in dataclasses.fields(TalkerParameters)}


def type_name(parameter):
    """Its type, as a person would write it."""
    return "list of strings" if parameter.type is tuple else parameter.type.__name__


def validate(parameter, value):
    """The value as the parameter's type. Raises TalkerError, one sentence, when it cannot be."""
    name, kind, meta = parameter.name, parameter.type, parameter.metadata
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and type(value) in (list, tuple) and all(type(part) is str for part in value):
        value = tuple(value)
    if type(value) is not kind:
        raise TalkerError(
            f"parameter {name} is {value!r}, of type {type(value).__name__}: give a {type_name(parameter)}"
        )
    if meta["choices"] and value not in meta["choices"]:
        raise TalkerError(f"parameter {name} is {value!r}: choose one of {', '.join(meta['choices'])}")
    if meta["range"] and not meta["range"][0] <= value <= meta["range"][1]:
        lowest, highest = meta["range"]
        raise TalkerError(f"parameter {name} is {value}: give a value from {lowest} to {highest}")
    return value


def from_values(values):
    """dict of values -> TalkerParameters. Raises TalkerError for a name that is no parameter."""
    for name in values:
        if name not in PARAMETERS:
            raise TalkerError(f"{name} is no parameter of the talker: known are {', '.join(PARAMETERS)}")
    return TalkerParameters(**values)


def load(path=None, node=NODE_NAME):
    """Read a ROS 2 parameter file -> dict of values of the node.

    path: a YAML file, default the package's config/talker.yaml. Takes the sections `/**` and then the node's
    own name, with or without a leading slash. Raises TalkerError when the file is not there or not of that
    form.
    """
    path = path or resources.find("config", "talker.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except OSError as error:
        raise TalkerError(
            f"the parameter file {path} cannot be read ({error.strerror}): check its path"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise TalkerError(f"the parameter file {path} is not YAML{where}: check its indentation") from None
    values = {}
    for name in ("/**", node, f"/{node}"):
        section = document.get(name) if isinstance(document, dict) else None
        if section is not None:
            if not isinstance(section, dict) or not isinstance(section.get("ros__parameters"), dict):
                raise TalkerError(
                    f"{path} has no ros__parameters under {name}: write them as ROS 2 does, "
                    f"{node}: {{ros__parameters: {{…}}}}"
                )
            values.update(section["ros__parameters"])
    values.pop("use_sim_time", None)  # rclpy's own
    return values


def parse_assignment(text):
    """ "name=value" of a command line -> (name, value of the parameter's type). Raises TalkerError."""
    name, equals, value = text.partition("=")
    if not equals or name not in PARAMETERS:
        raise TalkerError(
            f"{text!r} sets no parameter: write name=value with a name of {', '.join(PARAMETERS)}"
        )
    if PARAMETERS[name].type is str:
        return name, value
    if PARAMETERS[name].type is tuple:
        return name, tuple(value.split(","))
    try:
        return name, validate(PARAMETERS[name], yaml.safe_load(value))
    except yaml.YAMLError:
        raise TalkerError(f"{text!r} has no readable value: write name=value") from None


class ParameterFile:
    """A parameter file that may be edited while the node runs. path: as `load` takes it; assignments: (name, value)
    pairs of the command line, which hold over it."""

    def __init__(self, path=None, assignments=()) -> None:
        self._path, self._assignments = path or resources.find("config", "talker.yaml"), dict(assignments)
        self._seen = self._stamp()

    def read(self):
        """The TalkerParameters of file and command line. Raises TalkerError."""
        return from_values({**load(self._path), **self._assignments})

    def reload_if_changed(self, old):
        """None where the file has not been written since it was last looked at; else the TalkerParameters that hold now,
        `old` with the live parameters of the file, and the names of others that differ, which take a restart.
        Raises TalkerError, once for each writing, where it cannot be read."""
        stamp = self._stamp()
        if stamp in (None, self._seen):  # a file that is being replaced is looked at again
            return None
        self._seen = stamp
        new = dataclasses.asdict(self.read())
        differ = [name for name, value in dataclasses.asdict(old).items() if new[name] != value]
        live = {name: new[name] for name in differ if PARAMETERS[name].metadata["dynamic"]}
        return old.replace(**live), [name for name in differ if name not in live]

    def _stamp(self):
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
