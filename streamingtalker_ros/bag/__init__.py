# SPDX-License-Identifier: Apache-2.0
"""Recordings: reading and writing rosbag2 files, and their replay."""
