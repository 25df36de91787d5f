# SPDX-License-Identifier: Apache-2.0
"""Runs one rclpy node as a process: until SIGINT, SIGTERM or SIGHUP, with time to come to rest before it leaves."""

import os
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import cyclonedds_config
from streamingtalker_ros.process import FaultLog, on_stop_signals, print_line


def run(name, make, args=None, close=lambda node, spin: None) -> int:
    """make: gives the node; close: called with it and with `spin(seconds)`, which lets its callbacks run, when a
    signal has come.

    name: the executable's, for the sentence when `make` raises TalkerError. Returns the exit code: 0, or 2 then.
    """
    # one frame is too little work to share: on a busy machine a second thread costs more than it gives
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cyclonedds_config.set_receive_buffer()
    # rclpy's own handlers would close the context before the face is at rest
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    ended, faults = [], FaultLog()
    on_stop_signals(lambda *_: ended.append(True))
    try:
        node = make()
    except TalkerError as error:
        print_line(f"{name}: error: {error}", error=True)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin(seconds) -> None:
        try:
            executor.spin_once(timeout_sec=seconds)
        except Exception as fault:  # of one message or timer: it is left out, the node goes on
            faults.log(f"{name}: a callback failed", fault)
            time.sleep(0.001)

    try:
        while rclpy.ok() and not ended:
            spin(0.1)
    finally:
        try:
            close(node, spin)
        except Exception as fault:
            faults.log(f"{name}: coming to rest failed", fault)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
