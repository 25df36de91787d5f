# SPDX-License-Identifier: Apache-2.0
"""The qualities of service of the rclpy node's and the audio source's topics, as docs/ros2.md lists them."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT

MOTION = QoSProfile(depth=10, reliability=RELIABLE)
HEARD_MOTION = QoSProfile(depth=1000, reliability=RELIABLE)  # a sentence at once, for those who play it later
LATEST = QoSProfile(depth=1, reliability=RELIABLE)
# reliable, as RViz asks for unless it is told otherwise; what it does not take in time is old
MARKERS = QoSProfile(depth=2, reliability=RELIABLE)
TRANSFORMS = QoSProfile(depth=100, reliability=RELIABLE)
COMMANDS = QoSProfile(depth=1, reliability=RELIABLE)
VERTICES = QoSProfile(depth=5, reliability=BEST_EFFORT)
# for those who come later, too
LATCHED = QoSProfile(depth=1, reliability=RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# deep enough for twenty seconds of 20-ms packets that a text-to-speech node sends at once; the core, which empties
# the queue without waiting, bounds what is kept
HEARD_AUDIO = QoSProfile(depth=1000, reliability=BEST_EFFORT)
HEARD_RELIABLY = QoSProfile(depth=1000, reliability=RELIABLE)
HEARD_INFO = QoSProfile(depth=10, reliability=BEST_EFFORT)
SENT_AUDIO = QoSProfile(depth=1000, reliability=RELIABLE)
