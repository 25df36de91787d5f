# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and the package's own types, by message fields alone; imports no transport."""
