# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker markers`: shows the face in RViz, without ROS, until it is stopped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamingtalker_ros.cli.argument_types import duration_s, frame_name, number, ros_domain, ros_namespace
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.named_faces import FACE_HELP, open_face
from streamingtalker_ros.output_files import atomic_output, check_output_file
from streamingtalker_ros.process import print_line, print_result, print_warning
from streamingtalker_ros.supervision import Supervisor

HELP = "show face motion in RViz, as markers and a transform"

if TYPE_CHECKING:
    from streamingtalker_ros.face.rig import Rig

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_TILE_SIZE = (480, 600)  # pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Subscribes to the ROS 2 topic `face_motion` (of a vertex talker: `face_vertices`) and publishes the "
        "face as visualization_msgs/Marker on `face_markers`, with the head's rotation on /tf: in RViz, set "
        "the fixed frame to `head` and add the topic. Nothing is sent without a subscriber. Ctrl-C ends it."
    )
    parser.add_argument(
        "--face", metavar="FACE", help=f"{FACE_HELP}: .glb, .gltf, .ply or a folder of .obj shapes"
    )
    parser.add_argument("--rate", type=number(1, 120), default=25.0, help="markers per second at most")
    parser.add_argument(
        "--frame", type=frame_name, default="head", help="frame of the face until face_motion states it"
    )
    parser.add_argument(
        "--face-frame", type=frame_name, default="face", help="frame of the turning head, in /tf"
    )
    parser.add_argument(
        "--still",
        action="store_true",
        help="no transform, the head does not turn: for a robot whose neck does",
    )
    parser.add_argument("--domain", type=ros_domain, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument(
        "--namespace", type=ros_namespace, default="", help="namespace of the node and its topics"
    )
    parser.add_argument("--duration", type=duration_s, metavar="SECONDS", help="end after this time")
    parser.add_argument(
        "--picture", metavar="PNG", help="draw what RViz receives, from the bytes of the messages, and end"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.
    """
    if args.picture:
        check_output_file(args.picture, option="--picture", endings=PICTURE_ENDINGS, inputs=[args.face])
    rig = None
    if args.face:
        rig = open_face(args.face)
    if args.picture:
        return _save_picture(rig, args.picture)
    with Supervisor() as supervisor:
        _publish(rig, args, supervisor)
    return supervisor.exit_code


def _publish(rig: Rig | None, args: argparse.Namespace, supervisor: Supervisor) -> None:
    """Publish markers until the command is to stop."""
    from streamingtalker_ros.dds.markers_node import FaceMarkersNode

    node = FaceMarkersNode(
        rig,
        args.rate,
        not args.still,
        args.face_frame,
        args.frame,
        args.namespace,
        args.domain,
        warn=print_warning,
    )
    try:
        resolve_name = node.dds_node.resolve_name
        print_line(
            f"face markers ready, domain {node.dds_node.domain}; subscribes to "
            f"{resolve_name('face_motion')}, publishes "
            f"{resolve_name('face_markers')}{'' if args.still else ' and /tf'}"
        )
        supervisor.wait(args.duration)
    finally:
        print_line(f"markers {node.sent}, dropped {node.dropped}")
        node.close()


def _save_picture(rig: Rig | None, path: str) -> int:
    """Draw the triangles of the serialized markers with their colours, as RViz does."""
    from streamingtalker_ros.cli.markers_preview import render
    from streamingtalker_ros.cli.pictures import EXPRESSIONS, VISEMES, case_weights
    from streamingtalker_ros.face.arkit import ARKIT_NAMES
    from streamingtalker_ros.face.default_head.stored import default_rig

    rig = rig or default_rig()
    if rig.shape_names != ARKIT_NAMES:
        raise TalkerError("this face has no ARKit shapes to show: give a .glb or a folder of .obj shapes")
    faces = [
        case_weights(case)
        for case in (EXPRESSIONS["neutral"], VISEMES["ah"], VISEMES["p b m"], EXPRESSIONS["happy"])
    ]
    picture = render(rig, faces, _TILE_SIZE)
    with atomic_output(path) as partial:
        picture.save(partial, optimize=True)
    print_result(f"{path}: {picture.width} x {picture.height}")
    return 0
