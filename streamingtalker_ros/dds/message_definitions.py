# SPDX-License-Identifier: Apache-2.0
"""Message definitions that no standard typestore holds, as text: {type name: definition}.

`VARIANTS` maps each audio variant to its `audio_common_msgs`. Two packages share that name and differ in
every type: the one of ros-drivers (github.com/ros-drivers/audio_common, branch ros2; BSD licence) and the one
of github.com/mgonzs13/audio_common (MIT licence). `COMMON` holds std_srvs/Trigger
(github.com/ros2/common_interfaces, Apache-2.0) as its two halves, and of hri_msgs
(github.com/ros4hri/hri_msgs, BSD licence) the action units, without their constants.
"""

ROS_DRIVERS = {
    "audio_common_msgs/msg/AudioData": "uint8[] data\n",
    "audio_common_msgs/msg/AudioDataStamped": "std_msgs/Header header\naudio_common_msgs/AudioData audio\n",
    "audio_common_msgs/msg/AudioInfo": (
        "uint8 channels\n"
        "uint32 sample_rate\n"
        "string sample_format\n"  # such as S16LE
        "uint32 bitrate\n"  # bits per second
        "string coding_format\n"
    ),  # such as wave, mp3
}

MGONZS13 = {
    "audio_common_msgs/msg/AudioData": (
        "float32[] float32_data\n"
        "int32[] int32_data\n"
        "int16[] int16_data\n"
        "int8[] int8_data\n"
        "uint8[] uint8_data\n"
    ),
    "audio_common_msgs/msg/AudioInfo": "int32 format\nint32 channels\nint32 rate\nint32 chunk\n",
    "audio_common_msgs/msg/Audio": (
        "audio_common_msgs/AudioData audio_data\naudio_common_msgs/AudioInfo info\n"
    ),
    "audio_common_msgs/msg/AudioStamped": "std_msgs/Header header\naudio_common_msgs/Audio audio\n",
}

COMMON = {
    # ROS gives a struct without fields this one, because IDL has no empty struct
    "std_srvs/srv/Trigger_Request": "uint8 structure_needs_at_least_one_member\n",
    "std_srvs/srv/Trigger_Response": "bool success\nstring message\n",
    "hri_msgs/msg/FacialActionUnits": (
        "std_msgs/Header header\n"
        "float32[] intensity\n"  # 99, indexed by the units' codes
        "float32[] confidence\n"
    ),
}

VARIANTS = {"ros-drivers": ROS_DRIVERS, "mgonzs13": MGONZS13}
PACKAGE_MESSAGES = ("FaceMotion", "FaceVertices", "FaceModel")
