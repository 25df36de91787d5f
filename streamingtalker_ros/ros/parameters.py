# SPDX-License-Identifier: Apache-2.0
"""rclpy parameters of the nodes; those of the talker come from the one table in `runtime.parameters`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.parameters import (
    PARAMETERS,
    Parameter,
    TalkerParameters,
    from_values,
    type_name,
)

_T = TypeVar("_T", bool, int, float, str)


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
    if choices:
        descriptor.additional_constraints = "one of " + ", ".join(choices)
    if limits and isinstance(limits[0], int):
        descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1], step=1)]
    elif limits:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=limits[0], to_value=limits[1], step=0.0)
        ]
    return descriptor


def declare_value(
    node: Node, name: str, default: _T, description: str, limits: tuple[float, float] | None = None
) -> _T:
    """Declare one read-only parameter of a node without `TalkerParameters`.

    Args:
        node: The node.
        name: Name of the parameter.
        default: Its default, which sets the type.
        description: Its meaning, for the user.
        limits: Least and greatest value, both allowed.

    Returns:
        Its value.

    Raises:
        TalkerError: If an override has the wrong type or is out of range.
    """
    try:
        return node.declare_parameter(name, default, _create_descriptor(name, description, limits)).value
    except Exception as error:  # rclpy's exceptions differ between ROS distributions
        raise TalkerError(
            f"parameter {name} was rejected ({error}): give a {type(default).__name__}, such as {default!r}"
        ) from None


def declare(node: Node) -> None:
    """Declare every parameter of the talker; overrides of the command line and of parameter files apply.

    Args:
        node: Node on which the parameters are declared.

    Raises:
        TalkerError: If an override has the wrong type or is out of range.
    """
    for parameter in PARAMETERS.values():
        try:
            node.declare_parameter(parameter.name, parameter.default, to_descriptor(parameter))
        except Exception as error:  # rclpy's exceptions differ between ROS distributions
            raise TalkerError(
                f"parameter {parameter.name} was rejected ({error}): give a {type_name(parameter)} that "
                f"`ros2 param describe` allows, such as {parameter.default!r}"
            ) from None


def read(node: Node) -> TalkerParameters:
    """Return the present values of the talker's parameters.

    Args:
        node: Node on which `declare` has declared the parameters.

    Raises:
        TalkerError: If a value is none of the choices.
    """
    return from_values({name: node.get_parameter(name).value for name in PARAMETERS})


def on_change(node: Node, apply: Callable[[Mapping[str, Any]], None]) -> None:
    """Register a callback for changes of the talker's parameters.

    Args:
        node: The node.
        apply: Called with the new values by name before rclpy accepts them; a TalkerError rejects the change.
    """

    def validate(changes: Sequence[Any]) -> SetParametersResult:
        values = {change.name: change.value for change in changes if change.name in PARAMETERS}
        try:
            if values:
                apply(values)
        except TalkerError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(validate)
