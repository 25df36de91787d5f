# SPDX-License-Identifier: Apache-2.0
"""Stamps and headers of ROS messages, for any transport's message classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from streamingtalker_ros.audio.constants import NS_PER_S

MessageClassLookup = Callable[[str], Callable[..., Any]]
"""Returns the class of a message type ("std_msgs/msg/Header"): rclpy's or that of `dds.message_types`."""


class Time(Protocol):
    """builtin_interfaces/Time."""

    sec: int
    nanosec: int


class Header(Protocol):
    """std_msgs/Header."""

    frame_id: str

    @property
    def stamp(self) -> Any:
        """A `Time`; `Any`, since generated message classes declare their own type of it."""
        ...


def stamp_to_ns(stamp: Time) -> int:
    """Return a builtin_interfaces/Time in ns since the epoch, 0 if it was never set.

    Args:
        stamp: Time since the epoch: s in `sec`, ns in `nanosec`.
    """
    return stamp.sec * NS_PER_S + stamp.nanosec


def set_stamp(stamp: Time, ns: int) -> None:
    """Write a time in ns since the epoch into a builtin_interfaces/Time.

    Args:
        stamp: Message that is modified.
        ns: Time in ns since the epoch.
    """
    stamp.sec, stamp.nanosec = divmod(int(ns), NS_PER_S)


def set_header(header: Header, ns: int, frame_id: str) -> None:
    """Write a time in ns since the epoch and a frame_id into a std_msgs/Header.

    Args:
        header: Header that is modified.
        ns: Time in ns since the epoch.
        frame_id: Name of the tf frame.
    """
    set_stamp(header.stamp, ns)
    header.frame_id = frame_id
