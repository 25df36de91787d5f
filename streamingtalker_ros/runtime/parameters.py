# SPDX-License-Identifier: Apache-2.0
"""Parameters of the talker node: name, type, default, range, description, and whether a parameter is dynamic.

This is their one definition. The rclpy node declares its parameters from `PARAMETERS`, the node without ROS
reads the same YAML file through `load`; both pass a `TalkerParameters` to the worker.
"""

import dataclasses
import difflib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast, get_origin

from streamingtalker_ros import resources
from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFormat
from streamingtalker_ros.config_files import describe, parse_yaml, read_yaml_text, shorten
from streamingtalker_ros.conversation.emotion_table import EMOTIONS, parse_emotion
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.expression import parse_expression
from streamingtalker_ros.messaging.ros_names import NAME_RULE, is_full_name, is_section_of
from streamingtalker_ros.model.blendshape.backend import BACKENDS, PRECISIONS
from streamingtalker_ros.model.control_ranges import (
    ASYMMETRY_RANGE,
    DEFAULT_ASYMMETRY,
    GAIN_RANGE,
    GUIDANCE_RANGE,
    LIVELINESS_RANGE,
    NEUTRAL_GAIN,
    NEUTRAL_GUIDANCE,
    NEUTRAL_LIVELINESS,
    NUMBER_CONTROLS,
    SEED_RANGE,
)
from streamingtalker_ros.outputs.address import parse_address
from streamingtalker_ros.speech_synthesis.command import DEFAULT_TTS_RATE, TtsCommand

NODE_NAME: Final = "talker"

FULL_NODE_NAME: Final = f"/{NODE_NAME}"
"""Name of the node in the root namespace."""

_SECTION_KEY: Final = "ros__parameters"
_MAX_SECTIONS: Final = 10_000  # of one file; aliases of YAML can let a few bytes stand for more
_MAX_SECTION_DEPTH: Final = 120  # namespaces of one name
_MAX_ABSENCE_S: Final = 1.0  # of a parameter file that an editor writes again
_MAX_NAME_CHARS: Final = 60
_MAX_TEXT_CHARS: Final = 1000
_NAMES: Final = (
    "frame_id",
    "audio_topic",
    "audio_info_topic",
    "audio_publisher",
    "gaze_topic",
    "gaze_head",
    "partner_audio_topic",
    "partner_audio_info_topic",
)  # go into messages, the log

_CONTROLS: Final = (*NUMBER_CONTROLS, "expression", "emotion", "parted_rest")

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
    backend: str = _parameter(
        "auto",
        "What computes the frames: auto (torch on a GPU, else ONNX Runtime, else torch), torch or onnx.",
        choices=BACKENDS,
    )
    precision: str = _parameter(
        "auto",
        "Type in which weights are multiplied: auto (float32), float32 or int8; int8 is cheaper and less "
        "exact, and on ONNX Runtime alone.",
        choices=PRECISIONS,
    )
    frame_id: str = _parameter(
        "head", "frame_id of the published headers: the frame that the face is fixed to."
    )
    audio_topic: str = _parameter("audio", "Topic of the audio, relative to the node's namespace.")
    audio_info_topic: str = _parameter(
        "audio_info", "Topic of the audio's format (audio_common_msgs of ros-drivers)."
    )
    audio_publisher: str = _parameter(
        "",
        "Node, frame_id or GUID of the publisher of audio that is followed whenever it sends; empty for the "
        "first, until it falls silent.",
    )
    gaze_topic: str = _parameter("gaze_target", "Topic of the point to look at (geometry_msgs/PointStamped).")
    gaze_timeout: float = _parameter(
        2.0, "Seconds after which a gaze target without news is released.", range=(0.1, 60.0), dynamic=True
    )
    gaze_aversion: bool = _parameter(
        True,
        "Look away from the target at times, as people do from a partner: at the start of a turn, and now "
        "and then.",
        dynamic=True,
    )
    gaze_head: str = _parameter(
        "",
        "Robot head whose neck's limits the gaze keeps: a name in config/heads or the path of a YAML file; "
        "empty for those of a person.",
    )
    partner_audio_topic: str = _parameter(
        "partner_audio", "Topic of the conversation partner's audio, which the face listens to."
    )
    partner_audio_info_topic: str = _parameter(
        "partner_audio_info", "Topic of the format of the partner's audio (audio_common_msgs of ros-drivers)."
    )
    interrupt_on_partner: bool = _parameter(
        False,
        "Stop speaking, as ~/interrupt does, when the partner has spoken into the face's turn for 0.2 s.",
        dynamic=True,
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
    style: str = _parameter(
        "",
        "Speaking style: one of the checkpoint's, or the name of style_example without its ending; empty for "
        "the example's where there is one, else for the checkpoint's first.",
        dynamic=True,
    )
    style_example: str = _parameter(
        "",
        "Motion file of some seconds of speech, CSV (Live Link Face) or NPZ: the face opens, spreads and "
        "rounds its mouth as far as the speaker does.",
    )
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
    liveliness: float = _parameter(
        NEUTRAL_LIVELINESS,
        "How much head and brows beat time with the voice, beyond the learned motion: 0 not at all, 1 as in "
        "lively talk.",
        range=LIVELINESS_RANGE,
        dynamic=True,
    )
    asymmetry: float = _parameter(
        DEFAULT_ASYMMETRY,
        "How much one corner of the mouth moves further than the other: 1 as people's, 0 as learned; the "
        "seed chooses the side.",
        range=ASYMMETRY_RANGE,
        dynamic=True,
    )
    emotion: str = _parameter(
        "",
        "Emotion that the face shows where the topic expression does not say otherwise, with its strength, "
        f"such as happy:0.8: {', '.join(EMOTIONS)}; empty is neutral.",
        dynamic=True,
    )
    expression: tuple[str, ...] = _parameter(
        ("",),
        'Shapes added under the speech, each "name:weight", such as mouthSmileLeft:0.4; it never parts lips '
        "that touch.",
        dynamic=True,
    )
    parted_rest: bool = _parameter(
        True,
        "Rest with lips slightly apart in the pauses of a turn, and part them before a voice that is queued.",
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
        "Seconds without audio until the mouth goes to rest; long packets are played to their end first.",
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
    outputs: tuple[str, ...] = _parameter(
        ("",),
        "Addresses of live outputs that get the motion, such as livelink://HOST?subject=NAME, vmc://HOST or "
        "osc://HOST.",
    )
    tts_command: str = _parameter(
        "",
        "Text-to-speech command that says the texts of the topic and the action say, such as espeak-ng "
        "--stdin --stdout; it writes audio to its standard output; empty for none.",
    )
    tts_rate: int = _parameter(
        DEFAULT_TTS_RATE,
        "Samples per second of what it writes without a header, 16-bit mono.",
        range=(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
    )
    tts_action: str = _parameter(
        "tts_engine/tts",
        "With ROS: name of the action tts_msgs/TTS of ROS4HRI that says texts with that command, where "
        "tts_msgs is sourced; empty for none.",
    )
    play_audio: bool = _parameter(
        False, "Play the audio on the default loudspeaker, each frame's when it is published."
    )
    autostart: bool = _parameter(
        True, "With ROS: configure and activate by itself; without ROS it always does."
    )

    def __post_init__(self) -> None:
        for parameter in dataclasses.fields(self):
            object.__setattr__(self, parameter.name, validate(parameter, getattr(self, parameter.name)))
        parse_expression(self.expression)
        parse_emotion(self.emotion)
        for url in filter(None, self.outputs):
            parse_address(url)
        if self.tts_command:
            TtsCommand.parse(self.tts_command, self.tts_rate)
        if self.tts_action and not is_full_name(f"/{self.tts_action.removeprefix('/')}"):
            raise TalkerError(f"parameter tts_action is {describe(self.tts_action)}: write {NAME_RULE}")

    @property
    def controls(self) -> dict[str, Any]:
        """The parameters that `StreamProtocol.set` accepts, as its keyword arguments."""
        return {name: getattr(self, name) for name in _CONTROLS}

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
        try:
            value = float(value)
        except OverflowError:  # beyond any range
            raise TalkerError(f"parameter {name} is {describe(value)}: give a smaller number") from None
    if value_type is tuple and isinstance(value, (list, tuple)):
        items = cast("Iterable[object]", value)
        if all(type(item) is str for item in items):
            value = tuple(items)
    if type(value) is not value_type:
        raise TalkerError(
            f"parameter {name} is {describe(value)}, of type {type(value).__name__}: give a "
            f"{type_name(parameter)}"
        )
    if name in _NAMES and not (cast(str, value).isprintable() and len(cast(str, value)) <= _MAX_TEXT_CHARS):
        raise TalkerError(
            f"parameter {name} is {describe(value)}: give at most {_MAX_TEXT_CHARS} printable characters"
        )
    choices = parameter.metadata["choices"]
    if choices and value not in choices:
        raise TalkerError(f"parameter {name} is {describe(value)}: choose one of {', '.join(choices)}")
    limits = parameter.metadata["range"]
    if limits and not limits[0] <= cast(float, value) <= limits[1]:
        raise TalkerError(
            f"parameter {name} is {describe(value)}: give a value from {limits[0]} to {limits[1]}"
        )
    return value


def from_values(values: Mapping[str, Any]) -> TalkerParameters:
    """Build TalkerParameters from named values.

    Raises:
        TalkerError: If a name is unknown or a value is invalid.
    """
    names = cast("Iterable[object]", values)  # YAML may hold names of any type
    for name in names:
        if name not in PARAMETERS:
            near = difflib.get_close_matches(str(name)[:_MAX_NAME_CHARS], PARAMETERS, 1)
            hint = f"did you mean {near[0]}?" if near else "config/talker.yaml lists them all"
            shown = shorten(name) if isinstance(name, str) else describe(name)
            raise TalkerError(f"{shown} is not a parameter of the talker: {hint}")
    return TalkerParameters(**values)


def _ignore(message: str) -> None: ...


def load(
    path: str | Path | None = None,
    node: str = FULL_NODE_NAME,
    warn: Callable[[str], object] = _ignore,
) -> dict[str, Any]:
    """Read the values of a node from a ROS 2 parameter file, by rclpy's rules.

    Args:
        path: YAML file, default the package's config/talker.yaml.
        node: Name of the node with its namespace. The sections that name it apply, with wildcards
            (`ros_names.is_section_of`), in the order of the file: later ones override. A section with the
            bare name, without a slash, applies in any namespace, other than with rclpy.
        warn: Receives a message if all sections are those of other nodes.

    Returns:
        The values that the file sets, by name.

    Raises:
        TalkerError: If the file cannot be read or has another form.
    """
    path = path or resources.find("config", "talker.yaml")
    return _parse(read_yaml_text(path, "the parameter file"), path, node, warn)


def _parse(text: str, path: str | Path, node: str, warn: Callable[[str], object]) -> dict[str, Any]:
    node = f"/{node.removeprefix('/')}"
    document: Any = parse_yaml(text, f"the parameter file {path}")
    if document is not None and not isinstance(document, dict):
        raise TalkerError(
            f"the parameter file {path} holds no names with values: write {NODE_NAME}: "
            f"{{{_SECTION_KEY}: {{…}}}}"
        )
    values: dict[str, Any] = {}
    is_set, others = False, list[str]()  # sections of other nodes
    for number, (name, section) in enumerate(_sections(cast("dict[Any, Any]", document or {}), "", 1), 1):
        if number > _MAX_SECTIONS:
            raise TalkerError(
                f"the parameter file {path} has more than {_MAX_SECTIONS} sections: give another file"
            )
        if section is None:
            continue
        if not is_section_of(name, node) and name != node.rpartition("/")[2]:
            others.append(name)
            continue
        if not isinstance(section, dict) or not isinstance(section.get(_SECTION_KEY), dict):
            raise TalkerError(
                f"{path} has no {_SECTION_KEY} under {shorten(name.removeprefix('/'))}: write them as ROS 2 "
                f"does, {NODE_NAME}: {{{_SECTION_KEY}: {{…}}}}"
            )
        is_set = True
        values.update(cast("dict[str, Any]", section[_SECTION_KEY]))
    if others and not is_set:
        warn(
            f"the parameter file {path} sets nothing for {node}: its sections are "
            f"{shorten(', '.join(others))}; name one /** or {node}"
        )
    values.pop("use_sim_time", None)  # rclpy's own
    return values


def _sections(document: dict[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the full name and the content of each section, and of each namespace its name and None."""
    for key, value in document.items():
        if key == _SECTION_KEY and prefix:
            continue
        name = f"{prefix}/{str(key).strip('/')}" if prefix else str(key).rstrip("/")
        nested = cast("dict[Any, Any]", value) if isinstance(value, dict) else {}
        is_namespace = bool(nested) and all(isinstance(each, dict) for each in nested.values())
        yield name, value if _SECTION_KEY in nested or not is_namespace else None
        if is_namespace and depth < _MAX_SECTION_DEPTH:
            yield from _sections(nested, name, depth + 1)


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
            f"{shorten(text)!r} is not an assignment: write name=value with a name of {', '.join(PARAMETERS)}"
        )
    value_type = _value_type(PARAMETERS[name])
    if value_type is str:
        return name, value
    if value_type is tuple:
        return name, tuple(value.split(","))
    return name, validate(PARAMETERS[name], parse_yaml(value, f"the value of {name}"))


class ParameterFile:
    """Parameter file that may be edited while the node runs.

    Whatever is written into it, or put in its place, the parameters in use stay until it holds valid ones.

    Args:
        path: As `load` takes it.
        assignments: (name, value) pairs of the command line, which override the file.
        node: As `load` takes it.
        warn: As `load` takes it.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        assignments: Iterable[tuple[str, Any]] = (),
        node: str = FULL_NODE_NAME,
        warn: Callable[[str], object] = _ignore,
    ) -> None:
        self._node, self._warn = node, warn
        self._path = path or resources.find("config", "talker.yaml")
        self._assignments = dict(assignments)
        self._last_version = self._version()
        self._last_outcome: str | None = None  # the text, or why there is none
        self._absent_since: float | None = None
        self._is_followed = self._last_version is not None and stat.S_ISREG(self._last_version.mode)

    def read(self) -> TalkerParameters:
        """Return the parameters of file and command line; a pipe is read to its end.

        Raises:
            TalkerError: As `load` and `from_values`.
        """
        self._last_outcome = read_yaml_text(self._path, "the parameter file")
        return self._to_parameters(self._last_outcome)

    def reload_if_changed(self, current: TalkerParameters) -> tuple[TalkerParameters, list[str]] | None:
        """Read the file again if it was written since the last call. Never waits for a pipe.

        A file that is missing or empty is taken for one that is being written, for a second.

        Args:
            current: The parameters in use.

        Returns:
            None if the content has not changed; else the parameters to use, `current` with the dynamic ones
            of the file, and the names of other parameters that differ, which need a restart.

        Raises:
            TalkerError: Once for each content that is not valid.
        """
        if not self._is_followed:  # a pipe has no other content later
            return None
        version = self._version()
        if version is None or (not version.size and stat.S_ISREG(version.mode)):
            self._wait_for_content(version is None)
            return None
        self._absent_since = None
        if version == self._last_version:
            return None
        self._last_version = version
        try:
            outcome = read_yaml_text(self._path, "the parameter file", regular=True)
        except TalkerError as error:
            if str(error) != self._last_outcome:
                self._last_outcome = str(error)
                raise
            return None
        if outcome == self._last_outcome:
            return None
        self._last_outcome = outcome
        new = dataclasses.asdict(self._to_parameters(outcome))
        changed = [name for name, value in dataclasses.asdict(current).items() if new[name] != value]
        dynamic = {name: new[name] for name in changed if PARAMETERS[name].metadata["dynamic"]}
        return current.replace(**dynamic), [name for name in changed if name not in dynamic]

    def _to_parameters(self, text: str) -> TalkerParameters:
        return from_values({**_parse(text, self._path, self._node, self._warn), **self._assignments})

    def _wait_for_content(self, is_missing: bool) -> None:
        """Raise TalkerError once if the file has been missing or empty for `_MAX_ABSENCE_S`."""
        now = time.monotonic()
        if self._absent_since is None:
            self._absent_since = now
        outcome = "does not exist any more" if is_missing else "is empty"
        if now - self._absent_since >= _MAX_ABSENCE_S and outcome != self._last_outcome:
            self._last_outcome, self._last_version = outcome, None
            raise TalkerError(f"the parameter file {self._path} {outcome}: write it again")

    def _version(self) -> "_FileVersion | None":
        try:
            status = os.stat(self._path)
        except (OSError, ValueError):
            return None
        return _FileVersion(
            status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode
        )


class _FileVersion(NamedTuple):
    """What changes when a file is written or replaced."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    mode: int
