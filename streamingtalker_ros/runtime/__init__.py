# SPDX-License-Identifier: Apache-2.0
"""The node: a transport-free core, and its two faces on the ROS 2 wire."""
