# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 wire over Cyclone DDS, without ROS: nodes, message types, publishers."""
