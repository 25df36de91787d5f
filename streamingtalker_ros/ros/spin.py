# SPDX-License-Identifier: Apache-2.0
"""Runs one rclpy node as a process until a signal arrives or a thread fails, and brings it to rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import rclpy
from rclpy.executors import ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import cyclonedds_config
from streamingtalker_ros.process import FaultLog, print_line
from streamingtalker_ros.ros import arguments
from streamingtalker_ros.supervision import Supervisor

_SPIN_TIMEOUT_S: Final = 0.1
_FAULT_PAUSE_S: Final = 0.001
_REST_RATIO: Final = 3.0  # of rest to work of the executor, while more arrives than can be handled
_FREE_WORK_S: Final = 0.1  # of the processor, for bursts
_MAX_DEBT_S: Final = 0.2  # a transition that works for seconds does not stop the callbacks for long
_REST_S: Final = 0.015

NodeType = TypeVar("NodeType", bound=Node)
SpinOnce: TypeAlias = Callable[[float], None]
"""Lets the node's callbacks run, for at most this number of seconds until the first."""


class NodeFailureError(Exception):
    """Raised by a callback without whose work the node must not go on: the process ends."""


def _do_nothing(node: Any, spin_once: SpinOnce) -> None: ...


def initialize(args: Sequence[str] | None = None) -> None:
    """Initialize rclpy without its signal handlers, which would close the context before the face is at rest.

    Args:
        args: Command line, default that of the process.

    Raises:
        TalkerError: If the ROS arguments or the surroundings are invalid.
    """
    try:
        rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's exceptions differ between ROS distributions
        raise TalkerError(arguments.describe_failure(error)) from None


class _Throttle:
    """Leaves the interpreter to other threads while more messages arrive than can be handled.

    The middleware then drops the oldest, by the depth of the subscription.
    """

    def __init__(self) -> None:
        self._time, self._work_time = time.monotonic(), time.thread_time()
        self._debt = 0.0  # s of work that no rest has followed

    def rest(self) -> None:
        """Sleep if the calling thread has worked more than its share."""
        now, work_time = time.monotonic(), time.thread_time()
        worked = work_time - self._work_time
        rested = max(0.0, now - self._time - worked)
        self._time, self._work_time = now, work_time
        self._debt = min(max(0.0, self._debt + worked - rested / _REST_RATIO), _MAX_DEBT_S)
        if self._debt > _FREE_WORK_S:
            time.sleep(_REST_S)


def spin_node(
    name: str,
    create: Callable[[], NodeType],
    args: Sequence[str] | None = None,
    on_stop: Callable[[NodeType, SpinOnce], None] = _do_nothing,
    shares_interpreter: bool = False,
) -> int:
    """Create a node and spin it until a signal arrives or a thread of the process fails.

    Args:
        name: Name of the executable, for error messages.
        create: Returns the node.
        args: Command line, default that of the process.
        on_stop: Called with the node when the process is to end.
        shares_interpreter: Whether the node has threads beside the executor, which need their share of the
            interpreter when messages flood the node.

    Returns:
        The exit code: 0, 2 if `create` raised TalkerError, or `supervision.EXIT_THREAD_FAILED`.
    """
    # the tensors of one frame are too small for several threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cyclonedds_config.set_receive_buffer()
    with Supervisor() as supervisor:
        try:
            initialize(args)
            node = _create_node(create)
        except TalkerError as error:
            print_line(f"{name}: error: {error}", error=True)
            rclpy.try_shutdown()
            return 2
        for sentence in arguments.files_without_section(
            arguments.split(args or [])[1], node.get_fully_qualified_name()
        ):
            node.get_logger().warning(sentence)
        throttle = _Throttle() if shares_interpreter else None
        _spin(name, node, supervisor, on_stop, throttle)
    return supervisor.exit_code


def _create_node(create: Callable[[], NodeType]) -> NodeType:
    try:
        return create()
    except TalkerError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("rclpy"):  # of names, namespaces and remappings
            raise TalkerError(arguments.describe_failure(error)) from None
        raise


def _spin(
    name: str,
    node: NodeType,
    supervisor: Supervisor,
    on_stop: Callable[[NodeType, SpinOnce], None],
    throttle: _Throttle | None,
) -> None:
    """Spin a node until the supervisor stops, then bring it to rest and destroy it."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    faults = FaultLog()

    def spin_once(seconds: float) -> None:
        try:
            handler, entity, _ = executor.wait_for_ready_callbacks(timeout_sec=seconds)
        except (TimeoutException, ShutdownException):
            return
        handler()
        fault = handler.exception()
        if isinstance(fault, NodeFailureError):
            raise fault
        if fault is not None:  # of one callback: the node continues
            faults.log(f"{name}: a callback failed", fault)
            _release(entity)
            time.sleep(_FAULT_PAUSE_S)

    supervisor.on_stop(executor.wake)
    try:
        while rclpy.ok() and not supervisor.is_stopping:
            spin_once(_SPIN_TIMEOUT_S)
            if throttle is not None:
                throttle.rest()
    except Exception as fault:  # of the executor itself, or a NodeFailureError
        supervisor.thread_failed("executor", fault)
    finally:
        try:
            on_stop(node, spin_once)
        except Exception as fault:
            faults.log(f"{name}: coming to rest failed", fault)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def _release(entity: Any) -> None:
    """Make an entity ready again whose message could not be taken.

    rclpy leaves it, and its callback group with every other callback of the node, reserved for ever.
    """
    if getattr(entity, "_executor_event", False):
        entity._executor_event = False
        entity.callback_group.ending_execution(entity)
