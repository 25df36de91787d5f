# SPDX-License-Identifier: Apache-2.0
"""QoS profiles of the rclpy nodes' topics, as docs/ros2.md lists them."""

from __future__ import annotations

from typing import Final

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

RELIABLE: Final = ReliabilityPolicy.RELIABLE
BEST_EFFORT: Final = ReliabilityPolicy.BEST_EFFORT

MOTION_PUBLISHER: Final = QoSProfile(depth=10, reliability=RELIABLE)
# deep enough for the frames of an utterance, for subscribers that play them by their stamps
MOTION_SUBSCRIPTION: Final = QoSProfile(depth=1000, reliability=RELIABLE)
LATEST_SUBSCRIPTION: Final = QoSProfile(depth=1, reliability=RELIABLE)
# reliable, as RViz requests by default; a marker that is not received in time is out of date
MARKERS_PUBLISHER: Final = QoSProfile(depth=2, reliability=RELIABLE)
TRANSFORMS_PUBLISHER: Final = QoSProfile(depth=100, reliability=RELIABLE)
COMMANDS_PUBLISHER: Final = QoSProfile(depth=1, reliability=RELIABLE)
VERTICES: Final = QoSProfile(depth=5, reliability=BEST_EFFORT)
LATCHED: Final = QoSProfile(depth=1, reliability=RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SYNCED_PUBLISHER: Final = QoSProfile(depth=100, reliability=RELIABLE)
SPEECH_STATUS: Final = QoSProfile(depth=10, reliability=RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# deep enough for twenty seconds of 20-ms packets that a text-to-speech node sends at once; the worker bounds
# what it queues
AUDIO_DEPTH: Final = 1000
INFO_DEPTH: Final = 10
AUDIO_PUBLISHER: Final = QoSProfile(depth=1000, reliability=RELIABLE)
