# SPDX-License-Identifier: Apache-2.0
"""Names of ROS: which names of topics, services and namespaces exist, and which node a section names."""

from __future__ import annotations

import re
from typing import Final

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError

MAX_NAME_CHARS: Final = 240
"""Longest full name; DDS topics have at most 256 characters, with the prefixes that ROS puts before it."""

NAME_RULE: Final = "words of letters, digits and _ that begin with no digit, joined by /"
"""The rule for a name, for error messages."""

_NAME: Final = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


def is_full_name(name: str) -> bool:
    """Return whether a name, with its leading slash, is one that ROS accepts for a topic or service."""
    return len(name) <= MAX_NAME_CHARS and _NAME.fullmatch(name) is not None


def is_namespace(namespace: str) -> bool:
    """Return whether ROS accepts a namespace, which may lack its leading slash, or be empty."""
    words = namespace.strip("/")
    return not words or is_full_name(f"/{words}")


def full_name(namespace: str, node: str) -> str:
    """Return the name of a node with its namespace, such as `/robot/talker`.

    Args:
        namespace: As `is_namespace` accepts it.
        node: Name of the node.
    """
    return f"/{namespace.strip('/')}/{node}".replace("//", "/")


def check_full_name(name: str, given: str) -> str:
    """Return the full name of a topic or service.

    Args:
        name: Full name, with its leading slash.
        given: As the user wrote it, for the error message.

    Raises:
        TalkerError: If it is no name that ROS accepts.
    """
    if not is_full_name(name):
        raise TalkerError(f"{describe(given)} is no name of a ROS topic: write {NAME_RULE}")
    return name


def is_section_of(section: str, node: str) -> bool:
    """Return whether a section of a parameter file is for a node, by rclpy's rule.

    Args:
        section: Its name: that of the node, in which `*` stands for one word and `**` for any number of them,
            such as `/**`, `/*/talker` or `/robot/**`. A missing leading slash is added.
        node: Full name of the node, such as `/robot/talker`.
    """
    pattern = re.escape(f"/{section.removeprefix('/')}").replace(r"/\*", r"(/\w+)").replace(r"\*", "*")
    try:
        return re.fullmatch(pattern, node, re.ASCII) is not None
    except re.error:  # three stars
        return False
