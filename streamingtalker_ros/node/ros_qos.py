"""The qualities of service of the rclpy node's and the audio source's topics, as docs/ros2.md lists them."""
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT

MOTION = QoSProfile(depth=10, reliability=RELIABLE)
VERTICES = QoSProfile(depth=5, reliability=BEST_EFFORT)
# for those who come later, too
LATCHED = QoSProfile(depth=1, reliability=RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# best effort hears reliable publishers too; deep enough for two seconds of 20-ms packets
HEARD_AUDIO = QoSProfile(depth=100, reliability=BEST_EFFORT)
SENT_AUDIO = QoSProfile(depth=1000, reliability=RELIABLE)
