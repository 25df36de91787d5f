# SPDX-License-Identifier: Apache-2.0
"""Leaves the ROS tests out where they cannot run; `test_environment` shows the reason.

A skip at the head of a module would not do: where ROS is sourced, launch_testing's plugin imports the modules
outside of pytest's collection, and a skip there ends the collection of everything.
"""

from support.ros_missing import missing

collect_ignore_glob = ["test_ros_*.py"] if missing() else []
