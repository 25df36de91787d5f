# SPDX-License-Identifier: Apache-2.0
"""Command line of the ROS 2 executables: own options, ROS arguments, and what is wrong with either.

rcl reads the ROS arguments, and reports a mistake in several lines of C: `check` finds the common ones.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from streamingtalker_ros.config_files import MAX_YAML_BYTES, shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.ros_names import is_section_of

_BEGIN: Final = "--ros-args"
_END: Final = "--"
_PARAMETER_OPTIONS: Final = ("-p", "--param")
_FILE_OPTION: Final = "--params-file"
_OPTIONS_WITH_VALUE: Final = {
    **dict.fromkeys(_PARAMETER_OPTIONS, "name:=value"),
    _FILE_OPTION: "the path of a YAML file",
    "-r": "from:=to",
    "--remap": "from:=to",
    "--log-level": "debug, info, warn, error or fatal",
    "--log-config-file": "the path of a file",
    "-e": "an enclave",
    "--enclave": "an enclave",
}
_REMAPPING: Final = re.compile(
    r"(?:\w+:)?(?:rostopic://|rosservice://)?([\w~/{}*\\]+):=([\w~/{}\\]+)", re.ASCII
)
_LOG_LEVELS: Final = ("unset", "debug", "info", "warn", "error", "fatal")
_SECTION_KEY: Final = "ros__parameters"
_MAX_DEPTH: Final = 30


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line.

    Args:
        arguments: Arguments without the program's name.

    Returns:
        The program's own arguments, and the ROS arguments: what lies between `--ros-args` and `--`.
    """
    own: list[str] = []
    ros: list[str] = []
    is_ros = False
    for argument in arguments:
        if argument == _BEGIN:
            is_ros = True
        elif is_ros and argument == _END:
            is_ros = False
        else:
            (ros if is_ros else own).append(argument)
    return own, ros


def check(arguments: Sequence[str]) -> None:
    """Check the ROS arguments of a command line.

    Args:
        arguments: As `split` returns them.

    Raises:
        TalkerError: If an argument lacks its value, an assignment or a remapping is malformed, or a parameter
            file is missing or malformed.
    """
    for option, value in _options(arguments):
        if option in _PARAMETER_OPTIONS:
            _check_assignment(value)
        elif option == _FILE_OPTION:
            _check_file(Path(value))
        elif option in ("-r", "--remap"):
            _check_remapping(option, value)
        elif option == "--log-level" and value.rpartition(":=")[2].lower() not in _LOG_LEVELS:
            raise TalkerError(f"--log-level {shorten(value)} is unknown: give {', '.join(_LOG_LEVELS[1:])}")


def files_without_section(arguments: Sequence[str], node: str) -> list[str]:
    """Describe the parameter files that set nothing for a node.

    Args:
        arguments: As `split` returns them; they have been checked.
        node: Name of the node with its namespace, "/robot/talker".

    Returns:
        A sentence for each file.
    """
    sentences: list[str] = []
    for option, value in _options(arguments):
        names = _sections(Path(value)) if option == _FILE_OPTION else None
        if names and not any(is_section_of(name, node) for name in names):
            sentences.append(
                f"the parameter file {value} sets nothing for {node}: its sections are "
                f"{shorten(', '.join(names))}; name one /** or {node}"
            )
    return sentences


def describe_failure(error: Exception) -> str:
    """Return what rclpy says of ROS arguments that it rejects, as one sentence.

    Args:
        error: The exception of rclpy.
    """
    if type(error).__name__ == "UnknownROSArgsError":
        return f"unknown ROS arguments {shorten(str(error))}: see the usage of ROS 2 nodes"
    text = re.sub(r",? at \S+:\d+", "", str(error)).strip()
    text = text.removeprefix("Failed to parse global arguments:").removeprefix("failed to initialize rcl:")
    return f"the ROS arguments cannot be used ({shorten(text, 300) or type(error).__name__})"


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options that take a value, with it."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument not in _OPTIONS_WITH_VALUE:
            continue
        value = next(remaining, None)
        if value is None:
            raise TalkerError(f"{argument} has no value: give {_OPTIONS_WITH_VALUE[argument]}")
        yield argument, value


def _check_remapping(option: str, text: str) -> None:
    match = _REMAPPING.fullmatch(text)
    if match is None:
        raise TalkerError(
            f"{option} {shorten(text)} is not a remapping: write {option} from:=to, with names of "
            "letters, digits, _ and /"
        )
    name, value = match.groups()
    if name in ("__node", "__name") and not re.fullmatch(r"[A-Za-z_]\w*", value):
        raise TalkerError(f"{shorten(value)} cannot be the name of a node: use letters, digits and _")
    if name == "__ns" and not re.fullmatch(r"(/[A-Za-z_]\w*)+|/", value):
        raise TalkerError(f"{shorten(value)} is not a namespace: write it with a /, such as /robot")


def _check_assignment(text: str) -> None:
    name, separator, value = text.partition(":=")
    if not separator or not name:
        hint = f"{text.replace('=', ':=', 1)}" if "=" in text and not separator else "name:=value"
        raise TalkerError(f"-p {shorten(text)} is not an assignment: write -p {shorten(hint)}")
    try:
        node = yaml.compose(value, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise TalkerError(
            f"-p {shorten(text)} has a value that is not YAML: quote a text that has : [ ] {{ }} # or ,"
        ) from None
    if isinstance(node, yaml.MappingNode):
        raise TalkerError(f"-p {shorten(text)} has a mapping for a value: give a number, a text or a list")
    if isinstance(node, yaml.SequenceNode):
        _check_list(node, f"-p {shorten(text)}")


def _check_list(node: yaml.SequenceNode, where: str) -> None:
    if any(not isinstance(item, yaml.ScalarNode) for item in node.value):
        raise TalkerError(f"{where} has a list within a list: give numbers or texts alone")
    if len({item.tag for item in node.value}) > 1:
        raise TalkerError(f'{where} has a list of several types: give one type, such as ["a", "b"]')


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise TalkerError(f"the parameter file {path} is a folder: give a YAML file")
        document = _compose(path)
    except OSError as error:
        raise TalkerError(
            f"the parameter file {path} cannot be read ({error.strerror or error}): check its path"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = shorten(str(getattr(error, "problem", None) or "not text"))
        line = f" in line {mark.line + 1}" if mark else ""
        raise TalkerError(f"the parameter file {path} is not valid YAML ({problem}{line})") from None
    except (ValueError, RecursionError):
        raise TalkerError(f"the parameter file {path} is not YAML: it is not text, or too deep") from None
    if document is not None:
        _check_sections(document, str(path), 0)


def _compose(path: Path) -> Any:
    """Return the YAML nodes of a file; None for an empty or a long one, or one that can be read only once."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_YAML_BYTES:
        return None  # rcl reads it
    return yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)


def _check_sections(node: Any, path: str, depth: int) -> None:
    """Check that every mapping above ros__parameters holds mappings alone, as rcl wants it."""
    example = "write node: {ros__parameters: {name: value}}, or /** for every node"
    if not isinstance(node, yaml.MappingNode) or depth > _MAX_DEPTH:
        raise TalkerError(
            f"the parameter file {path} has no ros__parameters in line {node.start_mark.line + 1}: {example}"
        )
    for key, value in node.value:
        if key.value == _SECTION_KEY:
            if isinstance(value, yaml.ScalarNode) and not value.value:
                continue
            if not isinstance(value, yaml.MappingNode):
                raise TalkerError(
                    f"the parameter file {path} has no names below ros__parameters in line "
                    f"{key.start_mark.line + 1}: {example}"
                )
            _check_values(value, path, 0)
        elif isinstance(value, yaml.MappingNode):
            _check_sections(value, path, depth + 1)
        else:
            raise TalkerError(
                f"the parameter file {path} sets {shorten(str(key.value))} outside of ros__parameters in "
                f"line {key.start_mark.line + 1}: {example}"
            )


def _check_values(node: yaml.MappingNode, path: str, depth: int) -> None:
    for key, value in node.value:
        name = shorten(str(key.value))
        if isinstance(value, yaml.ScalarNode) and not value.value and value.style is None:
            raise TalkerError(
                f"the parameter file {path} sets {name} to nothing in line {key.start_mark.line + 1}: "
                "give a value"
            )
        if isinstance(value, yaml.SequenceNode):
            _check_list(value, f"the parameter file {path}, {name} in line {key.start_mark.line + 1},")
        elif isinstance(value, yaml.MappingNode) and depth < _MAX_DEPTH:
            _check_values(value, path, depth + 1)


def _sections(path: Path) -> list[str] | None:
    """Return the names of the sections of a parameter file, or None if it is not read here."""
    try:
        document = _compose(path)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return list(_section_names(document, "", 0)) if document is not None else None


def _section_names(node: Any, prefix: str, depth: int) -> Iterator[str]:
    if not isinstance(node, yaml.MappingNode) or depth > _MAX_DEPTH:
        return
    for key, value in node.value:
        if key.value == _SECTION_KEY:
            yield prefix or "/"
        else:
            yield from _section_names(value, f"{prefix}/{str(key.value).strip('/')}", depth + 1)
