# SPDX-License-Identifier: Apache-2.0
"""Reports why the ROS tests are skipped; under colcon they must run."""

from __future__ import annotations

import os

import pytest

from support.ros_missing import missing


def test_ros_and_the_built_package_are_available() -> None:
    if reason := missing():
        message = f"the tests of the ROS 2 nodes are skipped: {reason}"
        if "STREAMINGTALKER_REQUIRE_ROS" in os.environ:  # set by CMakeLists.txt
            pytest.fail(message)
        pytest.skip(message)
    from streamingtalker_ros.messaging import audio_common
    from streamingtalker_ros.ros import audio_input, message_types

    variant = audio_input.installed_variant()
    assert message_types.message_class(audio_common.PUBLISHED_TYPES[variant])().header.stamp.sec == 0
