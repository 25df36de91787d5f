# SPDX-License-Identifier: Apache-2.0
"""Shows why the ROS tests are skipped; else, that the audio types are those of a lineage."""

import pytest

from support.ros_missing import missing


def test_ros_and_the_built_package_are_here() -> None:
    reason = missing()
    if reason:
        pytest.skip(f"the tests of the ROS 2 node are left out: {reason}")
    from streamingtalker_ros.messaging import audio_common
    from streamingtalker_ros.ros import audio_input

    lineage = audio_input.installed_lineage()
    assert audio_input.message_class(audio_common.PUBLISHED_TYPES[lineage])().header.stamp.sec == 0
