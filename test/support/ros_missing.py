# SPDX-License-Identifier: Apache-2.0
"""What the ROS tests need and this environment lacks: `missing()` gives the reason to skip them, or None."""

from __future__ import annotations

import importlib
from typing import Any

_NEEDED = (
    ("rclpy", "ROS 2 is not sourced here"),
    ("launch_pytest", "launch_pytest is not installed in this ROS 2"),
    (
        "streamingtalker_ros.msg",
        "the ROS 2 package is not built and sourced here, or the source tree hides it: run colcon test",
    ),
    ("audio_common_msgs.msg", "no audio_common_msgs is sourced here"),
    ("onnxruntime", "ONNX Runtime is not installed in ROS's Python"),
)


def missing() -> Any:
    for module, reason in _NEEDED:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            return reason
    return None
