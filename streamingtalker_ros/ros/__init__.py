# SPDX-License-Identifier: Apache-2.0
"""The rclpy adapters: lifecycle talker, RViz markers, robot head and audio player nodes."""
