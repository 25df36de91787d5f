"""Shows why the ROS tests are skipped; else, that the audio types are those of a lineage."""
import pytest
from ros_missing import missing


def test_ros_and_the_built_package_are_here():
    reason = missing()
    if reason:
        pytest.skip(f"the tests of the ROS 2 node are left out: {reason}")
    from streamingtalker_ros.node import ros_audio
    from streamingtalker_ros.dds import audio_player
    lineage = ros_audio.installed_lineage()
    assert ros_audio.message_class(audio_player.TYPES[lineage])().header.stamp.sec == 0
