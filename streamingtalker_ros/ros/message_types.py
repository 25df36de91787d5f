# SPDX-License-Identifier: Apache-2.0
"""Message classes of rclpy by the names of their types."""

from __future__ import annotations

import importlib
from typing import Any


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
