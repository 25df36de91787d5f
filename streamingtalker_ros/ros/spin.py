# SPDX-License-Identifier: Apache-2.0
"""Runs one rclpy node as a process until SIGINT, SIGTERM or SIGHUP, and brings it to rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import cyclonedds_config
from streamingtalker_ros.process import FaultLog, on_stop_signals, print_line

_SPIN_TIMEOUT_S = 0.1
_FAULT_PAUSE_S = 0.001

NodeType = TypeVar("NodeType", bound=Node)
SpinOnce: TypeAlias = Callable[[float], None]
"""Lets the node's callbacks run, for at most this number of seconds until the first."""


def _do_nothing(node: Any, spin_once: SpinOnce) -> None: ...


def spin_node(
    name: str,
    create: Callable[[], NodeType],
    args: Sequence[str] | None = None,
    on_stop: Callable[[NodeType, SpinOnce], None] = _do_nothing,
) -> int:
    """Create a node and spin it until a signal arrives.

    Args:
        name: Name of the executable, for error messages.
        create: Returns the node.
        args: Command line, default that of the process.
        on_stop: Called with the node when a signal has arrived.

    Returns:
        The exit code: 0, or 2 if `create` raised TalkerError.
    """
    # the tensors of one frame are too small for several threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cyclonedds_config.set_receive_buffer()
    # rclpy's handlers would close the context before the face is at rest
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    signals: list[int] = []
    faults = FaultLog()
    on_stop_signals(lambda number, _: signals.append(number))
    try:
        node = create()
    except TalkerError as error:
        print_line(f"{name}: error: {error}", error=True)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin_once(seconds: float) -> None:
        try:
            executor.spin_once(timeout_sec=seconds)
        except Exception as fault:  # of one callback: the node continues
            faults.log(f"{name}: a callback failed", fault)
            time.sleep(_FAULT_PAUSE_S)

    try:
        while rclpy.ok() and not signals:
            spin_once(_SPIN_TIMEOUT_S)
    finally:
        try:
            on_stop(node, spin_once)
        except Exception as fault:
            faults.log(f"{name}: coming to rest failed", fault)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
