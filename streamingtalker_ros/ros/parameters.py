# SPDX-License-Identifier: Apache-2.0
"""The talker's parameters as rclpy knows them, from the one table in `settings`.

`declare(node)` declares each with its descriptor (meaning, range or choices, read-only or live);
`read(node)` gives them as `TalkerParameters`; `watch(node, apply)` hands every change of live ones to the node
before rclpy accepts it.
"""

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.parameters import PARAMETERS, from_values, type_name


def descriptor(parameter):
    """A field of `TalkerParameters` -> its ParameterDescriptor."""
    meta = parameter.metadata
    return _descriptor(parameter.name, meta["description"], meta["range"], meta["choices"], meta["dynamic"])


def _descriptor(name, text, range, choices=None, live=False):
    described = ParameterDescriptor(name=name, description=text, read_only=not live)
    if choices:
        described.additional_constraints = "one of " + ", ".join(choices)
    if range and isinstance(range[0], int):
        described.integer_range = [IntegerRange(from_value=range[0], to_value=range[1], step=1)]
    elif range:
        described.floating_point_range = [
            FloatingPointRange(from_value=range[0], to_value=range[1], step=0.0)
        ]
    return described


def value_of(node, name, default, text, range=None):
    """Declare one read-only parameter of a node without `TalkerParameters`, and give its value.

    Raises TalkerError for an override of the wrong type or out of its range.
    """
    try:
        return node.declare_parameter(name, default, _descriptor(name, text, range)).value
    except Exception as refused:  # rclpy's own kinds differ between ROS distributions
        raise TalkerError(
            f"parameter {name} was refused ({refused}): give a {type(default).__name__}, such as {default!r}"
        ) from None


def declare(node) -> None:
    """Declare every parameter on `node`; overrides of the command line and of parameter files apply.

    Raises TalkerError for an override of the wrong type or out of its range.
    """
    for parameter in PARAMETERS.values():
        try:
            node.declare_parameter(parameter.name, parameter.default, descriptor(parameter))
        except Exception as refused:  # rclpy's own kinds differ between ROS distributions
            kind = type_name(parameter)
            raise TalkerError(
                f"parameter {parameter.name} was refused ({refused}): give a {kind} that "
                f"`ros2 param describe` allows, such as {parameter.default!r}"
            ) from None


def read(node):
    """The node's parameters now -> TalkerParameters. Raises TalkerError where a value is not one of the choices."""
    return from_values({name: node.get_parameter(name).value for name in PARAMETERS})


def watch(node, apply) -> None:
    """apply: called with {name: value} of the parameters about to change; a TalkerError of it refuses the
    change.
    """

    def asked(changes):
        values = {change.name: change.value for change in changes if change.name in PARAMETERS}
        try:
            if values:
                apply(values)
        except TalkerError as wrong:
            return SetParametersResult(successful=False, reason=str(wrong))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(asked)
