# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker head`: drives a robot's head from `face_motion`, without ROS, until it is stopped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamingtalker_ros.process import print_line, print_result, print_warning
from streamingtalker_ros.supervision import Supervisor

if TYPE_CHECKING:
    from streamingtalker_ros.robot_head import RobotHead

from streamingtalker_ros.cli.argument_types import duration_s, ros_domain, ros_namespace

HELP = "drive the joints of a robot's head from face motion, within their limits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Subscribes to the ROS 2 topic `face_motion` and publishes commands for the joints of a robot head, "
        "which a YAML file describes (docs/heads.md): sensor_msgs/JointState, std_msgs/Float64MultiArray, "
        "trajectory_msgs/JointTrajectory or hri_msgs/FacialActionUnits. Position, velocity and acceleration "
        "stay within the file's limits; without motion the head goes to rest. Ctrl-C brings it to rest, too."
    )
    parser.add_argument(
        "--config",
        metavar="HEAD",
        default="jaw",
        help="YAML file, or one of the package: jaw, animatronic, pan_tilt, arkit, facs",
    )
    parser.add_argument("--domain", type=ros_domain, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument(
        "--namespace", type=ros_namespace, default="", help="namespace of the node and its topics"
    )
    parser.add_argument("--duration", type=duration_s, metavar="SECONDS", help="end after this time")
    parser.add_argument("--check", action="store_true", help="read the file, list the joints and end")


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.
    """
    from streamingtalker_ros.robot_head import load_head

    head = load_head(args.config)
    if args.check:
        for joint in head.joints:
            gains = " + ".join(f"{gain:g} {source}" for source, gain in joint.gains.items()) or "rest"
            print_result(
                f"{joint.name}: {gains} + {joint.offset:g}, {joint.min:g} to {joint.max:g}, at most "
                f"{joint.max_velocity:g}/s and {joint.max_acceleration:g}/s²"
            )
        for output in head.outputs:
            print_result(f"{output.topic}: {output.type}")
        return 0
    with Supervisor() as supervisor:
        _drive(head, args, supervisor)
    return supervisor.exit_code


def _drive(head: RobotHead, args: argparse.Namespace, supervisor: Supervisor) -> None:
    """Drive the head until the command is to stop, then bring it to rest."""
    from streamingtalker_ros.dds.head_node import HeadNode

    node = HeadNode(head, args.namespace, args.domain, warn=print_warning)
    try:
        topics = ", ".join(node.dds_node.resolve_name(output.topic) for output in head.outputs)
        print_line(
            f"head {head.name}: {len(head.joints)} joints, {head.rate:g} commands per second, domain "
            f"{node.dds_node.domain}; subscribes to "
            f"{node.dds_node.resolve_name('face_motion')}, publishes {topics}"
        )
        supervisor.wait(args.duration)
    finally:
        node.rest()
        print_line(f"commands {node.commands_sent}, rejected messages {node.controller.rejected}")
        node.close()
