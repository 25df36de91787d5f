# SPDX-License-Identifier: Apache-2.0
"""Message classes of rclpy by the names of their types, and their bounded deserialization."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from rclpy.serialization import deserialize_message

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.cdr_layout import CdrLayout


def message_class(type_name: str) -> Any:
    """Return rclpy's class of a message type.

    Args:
        type_name: "package/msg/Name".

    Raises:
        ModuleNotFoundError: If the package is not sourced.
        AttributeError: If it has no such message.
    """
    package, kind, short = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), short)


def deserialize(type_name: str, data: bytes) -> Any:
    """Return the message of its serialized form, as a subscription with `raw=True` receives it.

    rclpy's own conversion takes seconds for a message whose lengths are damaged, and the middleware logs a
    line for each. Such a message does not reach it.

    Args:
        type_name: "package/msg/Name".
        data: The serialized message.

    Raises:
        TalkerError: If the message is damaged; the text continues a sentence about it.
    """
    layout = _layout(type_name)
    if layout is not None:
        layout.check(data)
    try:
        return deserialize_message(data, message_class(type_name))
    except Exception as error:  # whatever the middleware raises for bytes that it cannot read
        raise TalkerError(f"it cannot be read: {type(error).__name__}") from None


@functools.cache
def _layout(type_name: str) -> CdrLayout | None:
    """Return the layout of a type, or None if it holds a field that `CdrLayout` does not support."""

    def fields(name: str) -> Mapping[str, str]:
        package, _, short = name.partition("/")
        return message_class(f"{package}/msg/{short}").get_fields_and_field_types()

    try:
        return CdrLayout(message_class(type_name).get_fields_and_field_types(), fields)
    except TalkerError:
        return None
