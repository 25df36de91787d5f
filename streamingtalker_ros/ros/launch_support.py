# SPDX-License-Identifier: Apache-2.0
"""Arguments that every launch file of the package has, and the nodes that follow them.

A launch file declares `declare_common_arguments()` and creates its nodes with `create_node` inside of an
`OpaqueFunction`: each node then has the namespace, the topics and the log level of the arguments, is started
again with `respawn:=true`, and ends the launch with `required:=true`. What happens to a node is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import launch.logging
from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, TimerAction
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

TOPICS: Final = {
    "audio": "topic of the audio",
    "audio_info": "topic of the audio's format (audio_common_msgs of ros-drivers)",
    "partner_audio": "topic of the conversation partner's audio",
    "partner_audio_info": "topic of the format of that audio (audio_common_msgs of ros-drivers)",
    "dialogue_state": "topic of who speaks",
    "gaze_target": "topic of the point to look at",
    "expression": "topic of emotions",
    "gesture": "topic of head gestures",
    "face_motion": "topic of the face's motion",
    "visemes": "topic of the visemes",
    "face_vertices": "topic of the face's vertices",
    "face_model": "topic of the face at rest",
    "face_markers": "topic of the face for RViz",
}
"""Topics of the nodes, each with a launch argument that renames it, relative to the namespace."""

LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
RESPAWN_DELAY_S: Final = 1.0
"""Default of respawn_delay."""

_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")
_LOGGER: Final = launch.logging.get_logger("streamingtalker_ros")


def declare_common_arguments(**defaults: str) -> list[DeclareLaunchArgument]:
    """Return the arguments that every launch file has.

    Args:
        defaults: Defaults that differ, by the name of the argument.
    """
    descriptions = {
        "namespace": ("", "namespace of all nodes and their topics"),
        **{name: (name, text) for name, text in TOPICS.items()},
        "log_level": ("info", f"of all nodes: {', '.join(LOG_LEVELS)}"),
        "respawn": ("false", "true: start a node again when it ends"),
        "respawn_delay": (str(RESPAWN_DELAY_S), "seconds until then"),
        "required": ("false", "true: end the launch, with an exit code, when a node ends"),
    }
    return [
        DeclareLaunchArgument(name, default_value=defaults.get(name, default), description=text)
        for name, (default, text) in descriptions.items()
    ]


def read_text(context: LaunchContext, name: str) -> str:
    """Return the value of a launch argument.

    Args:
        context: Context of the launch.
        name: Name of the argument.
    """
    return LaunchConfiguration(name).perform(context).strip()


def read_flag(context: LaunchContext, name: str) -> bool:
    """Return the value of a launch argument that is true or false.

    Args:
        context: Context of the launch.
        name: Name of the argument.

    Raises:
        RuntimeError: If it is neither.
    """
    text = read_text(context, name)
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise RuntimeError(f"the launch argument {name} is {text!r}: give true or false")


def read_number(context: LaunchContext, name: str, lowest: float, highest: float) -> float:
    """Return the value of a launch argument that is a number.

    Args:
        context: Context of the launch.
        name: Name of the argument.
        lowest: Least value.
        highest: Greatest value.

    Raises:
        RuntimeError: If it is no number in this range.
    """
    text = read_text(context, name)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not lowest <= number <= highest:
        raise RuntimeError(
            f"the launch argument {name} is {text!r}: give a number from {lowest:g} to {highest:g}"
        )
    return number


def read_file(context: LaunchContext, name: str) -> str:
    """Return the value of a launch argument that is the path of a file.

    launch_ros itself starts the node without a parameter file that is missing.

    Args:
        context: Context of the launch.
        name: Name of the argument.

    Raises:
        RuntimeError: If there is no such file.
    """
    text = read_text(context, name)
    if not Path(text).is_file():
        problem = "is a folder" if Path(text).is_dir() else "does not exist"
        raise RuntimeError(f"the file {text!r} of the launch argument {name} {problem}: check its path")
    return text


def resolve_topic(context: LaunchContext, name: str) -> str:
    """Return the full name of a topic, by its argument and the namespace.

    Args:
        context: Context of the launch.
        name: A key of `TOPICS`.
    """
    topic = read_text(context, name)
    if topic.startswith("/"):
        return topic
    namespace = read_text(context, "namespace").strip("/")
    return f"/{namespace}/{topic}" if namespace else f"/{topic}"


def create_node(
    context: LaunchContext,
    executable: str,
    *,
    package: str = "streamingtalker_ros",
    parameters: Sequence[Any] = (),
    arguments: Sequence[Any] = (),
    remappings: Mapping[str, str] | None = None,
    on_success: Callable[[], Sequence[Action]] | None = None,
    is_finite: bool = False,
    is_lifecycle: bool = False,
    **options: Any,
) -> list[Action]:
    """Return a node that follows the common arguments, and what happens when it ends.

    Args:
        context: Context of the launch.
        executable: Its executable, by which messages name it.
        package: Its package.
        parameters: As of `launch_ros.actions.Node`.
        arguments: As of `launch_ros.actions.Node`.
        remappings: Names beside `TOPICS`, or instead of them.
        on_success: Returns what follows its end with exit code 0, for a node without which the launch has no
            purpose: a failure ends the launch.
        is_finite: Whether the node ends by itself: then it is started again after a failure only.
        is_lifecycle: Whether to return a LifecycleNode, whose transitions can be waited for.
        options: Others of `launch_ros.actions.Node`.

    Raises:
        RuntimeError: If one of the common arguments is invalid.
    """
    respawn, required = read_flag(context, "respawn"), read_flag(context, "required")
    delay = read_number(context, "respawn_delay", 0.0, 3600.0)
    if respawn and required:
        raise RuntimeError("respawn and required are both true: a node starts again, or it ends the launch")
    level = read_text(context, "log_level").lower()
    if level not in LOG_LEVELS:
        raise RuntimeError(f"the launch argument log_level is {level!r}: give {', '.join(LOG_LEVELS)}")
    topics = {name: read_text(context, name) for name in TOPICS}
    node_class = LifecycleNode if is_lifecycle else Node
    node = node_class(
        package=package,
        executable=executable,
        namespace=read_text(context, "namespace"),
        output="screen",
        parameters=list(parameters),
        arguments=list(arguments),
        ros_arguments=["--log-level", level],
        remappings=[*{**topics, **(remappings or {})}.items()],  # the first rule of a name counts
        respawn=respawn and not is_finite,
        respawn_delay=delay,
        **options,
    )

    def on_exit(event: Any, context: LaunchContext) -> Sequence[Action] | None:
        if context.is_shutdown:
            return None
        what = f"{executable} ended with exit code {event.returncode}"
        if on_success is not None and event.returncode == 0:
            return on_success()
        if respawn:
            _LOGGER.error(f"{what} and is started again in {delay:g} s")
            if not is_finite:
                return None  # launch itself starts it
            again = create_node(
                context,
                executable,
                package=package,
                parameters=parameters,
                arguments=arguments,
                remappings=remappings,
                on_success=on_success,
                is_finite=is_finite,
                is_lifecycle=is_lifecycle,
                **options,
            )
            return [TimerAction(period=delay, actions=again)]
        if required or on_success is not None:
            # an exception is the only way to an exit code of `ros2 launch`
            if event.returncode:
                raise RuntimeError(f"{what}: the launch ends, see the error of the node above")
            return [EmitEvent(event=Shutdown(reason=what))]
        _LOGGER.error(
            f"{what}, and the other nodes go on without it: respawn:=true starts a node again, "
            "required:=true ends the launch"
        )
        return None

    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=on_exit))]
