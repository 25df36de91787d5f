# SPDX-License-Identifier: Apache-2.0
"""Options of commands that publish an audio topic without ROS."""

from __future__ import annotations

import argparse
from typing import Final

from streamingtalker_ros.cli.argument_types import duration_s, ros_domain, ros_namespace, ros_topic

_WAIT_S: Final = 10.0


def add_audio_topic_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which topic is published, where, and when it begins.

    Args:
        parser: Parser of the command, which is extended in place.
    """
    parser.add_argument(
        "--lineage",
        choices=("ros-drivers", "mgonzs13"),
        default="ros-drivers",
        help="which audio_common_msgs to publish",
    )
    parser.add_argument(
        "--topic",
        type=ros_topic,
        default="audio",
        help="the topic; its format goes to TOPIC_info (ros-drivers)",
    )
    parser.add_argument("--namespace", type=ros_namespace, default="", help="namespace of the topic")
    parser.add_argument("--domain", type=ros_domain, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument(
        "--wait",
        type=duration_s,
        default=_WAIT_S,
        help="seconds to wait for a subscriber before starting anyway",
    )
