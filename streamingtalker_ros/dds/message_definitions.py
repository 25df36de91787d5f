# SPDX-License-Identifier: Apache-2.0
"""Message definitions as text: {type name: definition}. A standard typestore holds none but those of `NODES`.

`VARIANTS` maps each audio variant to its `audio_common_msgs`. Two packages share that name and differ in
every type: the one of ros-drivers (github.com/ros-drivers/audio_common, branch ros2; BSD licence) and the one
of github.com/mgonzs13/audio_common (MIT licence). `COMMON` holds std_srvs/Trigger
(github.com/ros2/common_interfaces, Apache-2.0) as its two halves, the services and the action of this
package, action_msgs/CancelGoal (github.com/ros2/rcl_interfaces, Apache-2.0), and of hri_msgs
(github.com/ros4hri/hri_msgs, BSD licence) the action units and Expression, without their constants. `NODES`
holds the standard types that every node uses, so that it starts without the typestore's hundreds of others.
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


def _action(type_name: str, goal: str, result: str, feedback: str) -> dict[str, str]:
    """Return the messages of an action, with those that ROS derives from its three parts."""
    return {
        f"{type_name}_Goal": goal,
        f"{type_name}_Result": result,
        f"{type_name}_Feedback": feedback,
        f"{type_name}_SendGoal_Request": f"unique_identifier_msgs/UUID goal_id\n{type_name}_Goal goal\n",
        f"{type_name}_SendGoal_Response": "bool accepted\nbuiltin_interfaces/Time stamp\n",
        f"{type_name}_GetResult_Request": "unique_identifier_msgs/UUID goal_id\n",
        f"{type_name}_GetResult_Response": f"int8 status\n{type_name}_Result result\n",
        f"{type_name}_FeedbackMessage": (
            f"unique_identifier_msgs/UUID goal_id\n{type_name}_Feedback feedback\n"
        ),
    }


COMMON = {
    # ROS gives a struct without fields this one, because IDL has no empty struct
    "std_srvs/srv/Trigger_Request": "uint8 structure_needs_at_least_one_member\n",
    "std_srvs/srv/Trigger_Response": "bool success\nstring message\n",
    # the halves of srv/*.srv
    "streamingtalker_ros/srv/SetExpression_Request": (
        "string name\nfloat32 strength 1.0\nfloat32 valence\nfloat32 arousal\nfloat32 decay\n"
    ),
    "streamingtalker_ros/srv/SetExpression_Response": "bool success\nstring message\n",
    "streamingtalker_ros/srv/MakeGesture_Request": "string name\nfloat32 amplitude\nuint8 count\n",
    "streamingtalker_ros/srv/MakeGesture_Response": "bool success\nstring message\n",
    # the parts of action/Say.action
    **_action(
        "streamingtalker_ros/action/Say",
        "string text\nuint8[] audio\n",
        "string outcome\nstring message\nfloat32 duration\n",
        "string state\nfloat32 time\nfloat32 duration\n",
    ),
    "action_msgs/srv/CancelGoal_Request": "action_msgs/GoalInfo goal_info\n",
    "action_msgs/srv/CancelGoal_Response": "int8 return_code\naction_msgs/GoalInfo[] goals_canceling\n",
    "hri_msgs/msg/Expression": (
        "std_msgs/Header header\nstring expression\nfloat32 valence\nfloat32 arousal\nfloat32 confidence\n"
    ),
    "hri_msgs/msg/FacialActionUnits": (
        "std_msgs/Header header\n"
        "float32[] intensity\n"  # 99, indexed by the units' codes
        "float32[] confidence\n"
    ),
}

NODES = {
    "builtin_interfaces/msg/Time": "int32 sec\nuint32 nanosec\n",
    "std_msgs/msg/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "std_msgs/msg/String": "string data\n",
    "unique_identifier_msgs/msg/UUID": "uint8[16] uuid\n",
    "action_msgs/msg/GoalInfo": "unique_identifier_msgs/UUID goal_id\nbuiltin_interfaces/Time stamp\n",
    "action_msgs/msg/GoalStatus": (
        "int8 STATUS_UNKNOWN=0\n"
        "int8 STATUS_ACCEPTED=1\n"
        "int8 STATUS_EXECUTING=2\n"
        "int8 STATUS_CANCELING=3\n"
        "int8 STATUS_SUCCEEDED=4\n"
        "int8 STATUS_CANCELED=5\n"
        "int8 STATUS_ABORTED=6\n"
        "action_msgs/GoalInfo goal_info\n"
        "int8 status\n"
    ),
    "action_msgs/msg/GoalStatusArray": "action_msgs/GoalStatus[] status_list\n",
    "geometry_msgs/msg/Point": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/msg/PointStamped": "std_msgs/Header header\ngeometry_msgs/Point point\n",
    "geometry_msgs/msg/Quaternion": "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n",
    "diagnostic_msgs/msg/KeyValue": "string key\nstring value\n",
    "diagnostic_msgs/msg/DiagnosticStatus": (
        "byte OK=0\n"
        "byte WARN=1\n"
        "byte ERROR=2\n"
        "byte STALE=3\n"
        "byte level\n"
        "string name\n"
        "string message\n"
        "string hardware_id\n"
        "diagnostic_msgs/KeyValue[] values\n"
    ),
    "diagnostic_msgs/msg/DiagnosticArray": (
        "std_msgs/Header header\ndiagnostic_msgs/DiagnosticStatus[] status\n"
    ),
    "rmw_dds_common/msg/Gid": "uint8[16] data\n",  # char in the definition, which ROS hashes as uint8
    "rmw_dds_common/msg/NodeEntitiesInfo": (
        "string<=256 node_namespace\n"
        "string<=256 node_name\n"
        "rmw_dds_common/Gid[] reader_gid_seq\n"
        "rmw_dds_common/Gid[] writer_gid_seq\n"
    ),
    "rmw_dds_common/msg/ParticipantEntitiesInfo": (
        "rmw_dds_common/Gid gid\nrmw_dds_common/NodeEntitiesInfo[] node_entities_info_seq\n"
    ),
}

VARIANTS = {"ros-drivers": ROS_DRIVERS, "mgonzs13": MGONZS13}
PACKAGE_MESSAGES = (
    "FaceMotion",
    "FaceVertices",
    "FaceModel",
    "Visemes",
    "SpeechStatus",
    "Expression",
    "Gesture",
    "DialogueState",
)
