"""The node: a transport-free core, and its two faces on the ROS 2 wire."""
