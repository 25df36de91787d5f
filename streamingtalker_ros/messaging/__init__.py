# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and the package's types, by message fields; imports no transport."""
