# SPDX-License-Identifier: Apache-2.0
"""rclpy parameters of the nodes; those of the talker come from the one table in `runtime.parameters`."""

from __future__ import annotations

import array
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from streamingtalker_ros.config_files import describe, shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.runtime.parameters import PARAMETERS, Parameter, TalkerParameters, from_values

_T = TypeVar("_T", bool, int, float, str)

_CONVERTS_BEFORE_CHECK: Final = hasattr(Node, "add_pre_set_parameters_callback")  # not in ROS 2 Humble
_MIDDLEWARE_PREFIXES: Final = ("qos_overrides.",)  # rclpy declares them with the publishers they belong to
_MAX_NAMED: Final = 4


def to_descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return the descriptor of a field of `TalkerParameters`.

    Args:
        parameter: Field whose metadata hold the description, range, choices and whether it is dynamic.

    Returns:
        The descriptor; it is read-only unless the parameter is dynamic.
    """
    meta = parameter.metadata
    return _create_descriptor(
        parameter.name, meta["description"], meta["range"], meta["choices"], meta["dynamic"]
    )


def _create_descriptor(
    name: str,
    description: str,
    limits: tuple[float, float] | None = None,
    choices: Sequence[str] | None = None,
    dynamic: bool = False,
) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=name, description=description, read_only=not dynamic)
    # where nothing can be converted before rclpy checks the type, the callback of `on_change` checks it
    descriptor.dynamic_typing = dynamic and not _CONVERTS_BEFORE_CHECK
    if choices:
        descriptor.additional_constraints = "one of " + ", ".join(choices)
    if limits and isinstance(limits[0], int):
        descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1], step=1)]
    elif limits:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=limits[0], to_value=limits[1], step=0.0)
        ]
    return descriptor


@dataclass(frozen=True)
class NodeParameter(Generic[_T]):
    """A read-only parameter of a node without `TalkerParameters`.

    Attributes:
        name: Name of the parameter.
        default: Its default, which sets the type; a whole number is accepted for a float.
        description: Its meaning, for the user.
        limits: Least and greatest value, both allowed.
    """

    name: str
    default: _T
    description: str
    limits: tuple[float, float] | None = None


def declare_value(node: Node, parameter: NodeParameter[_T]) -> _T:
    """Declare one read-only parameter of a node without `TalkerParameters`.

    Args:
        node: The node.
        parameter: The parameter.

    Returns:
        Its value.

    Raises:
        TalkerError: If an override has the wrong type or is out of range.
    """
    name, limits = parameter.name, parameter.limits
    default: Any = parameter.default
    value: Any = _override(node, name, default)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise TalkerError(
            f"parameter {name} is {describe(value)}, of type {type(value).__name__}: give a "
            f"{type(default).__name__}, such as {default!r}"
        )
    if limits and not limits[0] <= value <= limits[1]:
        raise TalkerError(
            f"parameter {name} is {describe(value)}: give a value from {limits[0]} to {limits[1]}"
        )
    descriptor = _create_descriptor(name, f"{parameter.description} Read-only.", limits)
    node.declare_parameter(name, value, descriptor, ignore_override=True)
    return value


def declare(node: Node) -> TalkerParameters:
    """Declare every parameter of the talker; overrides of the command line and of parameter files apply.

    Args:
        node: Node on which the parameters are declared.

    Returns:
        Their values.

    Raises:
        TalkerError: If an override has the wrong type, is out of range or is none of the choices.
    """
    values = from_values(
        {
            parameter.name: _convert(parameter, _override(node, parameter.name, parameter.default))
            for parameter in PARAMETERS.values()
        }
    )
    for parameter in PARAMETERS.values():
        value = getattr(values, parameter.name)
        if isinstance(value, tuple):
            value = list(value) or [""]  # rclpy cannot see the type of an empty list
        node.declare_parameter(parameter.name, value, to_descriptor(parameter), ignore_override=True)
    return values


def read(node: Node) -> TalkerParameters:
    """Return the present values of the talker's parameters.

    Args:
        node: Node on which `declare` has declared the parameters.

    Raises:
        TalkerError: If a value is invalid.
    """
    return from_values(
        {name: _convert(PARAMETERS[name], node.get_parameter(name).value) for name in PARAMETERS}
    )


def on_change(node: Node, apply: Callable[[Mapping[str, Any]], None]) -> None:
    """Register a callback for changes of the talker's parameters.

    A whole number is accepted for a float, and an empty list of any type for a list of strings.

    Args:
        node: The node.
        apply: Called with the new values by name before rclpy accepts them; an exception rejects the change.
    """
    faults = FaultLog()

    def convert(changes: Sequence[Any]) -> list[Any]:
        return [_to_static_type(change) for change in changes]

    def validate(changes: Sequence[Any]) -> SetParametersResult:
        try:
            values = {
                change.name: _convert(PARAMETERS[change.name], change.value)
                for change in changes
                if change.name in PARAMETERS
            }
            if values:
                apply(values)
        except TalkerError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as fault:  # the request would have no response
            faults.log("setting a parameter failed", fault)
            reason = f"setting it failed ({type(fault).__name__}): see the log of the node"
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    if _CONVERTS_BEFORE_CHECK:
        node.add_pre_set_parameters_callback(convert)
    node.add_on_set_parameters_callback(validate)


def warn_of_unknown(node: Node) -> None:
    """Log one warning that names the overrides which no parameter of the node has received.

    Args:
        node: The node, whose parameters are declared.
    """
    overrides: Mapping[str, Any] = getattr(node, "_parameter_overrides", {})  # rclpy has no public access
    unknown = [
        name
        for name in overrides
        if not node.has_parameter(name) and not name.startswith(_MIDDLEWARE_PREFIXES)
    ]
    if not unknown:
        return
    known = [*node.list_parameters([], 0).names]
    hints = [_suggest(name, known) for name in unknown[:_MAX_NAMED]]
    more = ", …" if len(unknown) > _MAX_NAMED else ""
    node.get_logger().warning(
        f"{node.get_name()} has no parameter {', '.join(hints)}{more}: what was set for it has no effect"
    )


def _suggest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return shorten(name) + (f" (did you mean {near[0]}?)" if near else "")


def _override(node: Node, name: str, default: Any) -> Any:
    """Return the value of the command line or of a parameter file, of any type; else the default.

    The parameter is declared for a moment, since rclpy gives access to the values of declared ones only, and
    with its own type would not convert a whole number to a float.
    """
    descriptor = ParameterDescriptor(dynamic_typing=True)
    value = node.declare_parameter(name, _to_list(default), descriptor).value
    node.undeclare_parameter(name)
    if value is None:  # YAML's null
        return default
    return value


def _to_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _takes_list(parameter: Parameter) -> bool:
    return isinstance(parameter.default, tuple)


def _convert(parameter: Parameter, value: Any) -> Any:
    """Return the value, an array as a list; an empty one of any type, and none at all, is an empty list."""
    if _takes_list(parameter):
        if value is None:
            return ()
        if isinstance(value, array.array):
            return tuple(value)
    return value


def _to_static_type(change: Any) -> Any:
    """Return an rclpy parameter whose value has the parameter's type, where it can be converted to it."""
    parameter = PARAMETERS.get(change.name)
    if parameter is None:
        return change
    if isinstance(parameter.default, float) and type(change.value) is int:
        return RosParameter(change.name, RosParameter.Type.DOUBLE, float(change.value))
    is_array = isinstance(change.value, list | tuple | array.array)
    if _takes_list(parameter) and is_array and not len(change.value):
        return RosParameter(change.name, RosParameter.Type.STRING_ARRAY, [])
    return change
