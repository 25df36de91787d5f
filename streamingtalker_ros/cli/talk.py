# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker talk`: the talker node without ROS, until it is stopped."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from typing import TYPE_CHECKING

from streamingtalker_ros.cli.argument_types import duration_s, ros_domain, ros_namespace
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import ros_names
from streamingtalker_ros.messaging.speech_messages import SAY_TOPIC
from streamingtalker_ros.output_files import check_output_file, write_text
from streamingtalker_ros.process import FaultLog, print_line, print_result, print_warning
from streamingtalker_ros.runtime import parameters
from streamingtalker_ros.supervision import Supervisor

if TYPE_CHECKING:
    from streamingtalker_ros.dds.partner_player import PartnerPlayer
    from streamingtalker_ros.dds.talker_node import TalkerNode
    from streamingtalker_ros.model.protocol import TalkerProtocol
    from streamingtalker_ros.runtime.worker import TalkerWorker

HELP = "generate face motion from an audio topic, without a ROS installation"

_POLL_S = 0.05
_FAULTS = FaultLog()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Subscribes to the ROS 2 topic `audio` (audio_common_msgs of ros-drivers or of mgonzs13) and "
        "publishes `face_motion` and `visemes` (of a vertex checkpoint: `face_vertices`), `face_model` and "
        "`/diagnostics`, "
        "without a ROS installation. `streamingtalker play FILE` in another terminal sends it audio. Ctrl-C "
        "ends it with a summary. The domain is that of ROS_DOMAIN_ID; CYCLONEDDS_URI and "
        "ROS_AUTOMATIC_DISCOVERY_RANGE are honoured."
    )
    parser.add_argument(
        "--params",
        metavar="FILE",
        help="ROS 2 parameter file, default the package's config/talker.yaml; dynamic parameters that are "
        "changed in it while the node runs are applied",
    )
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set one parameter, such as device=cpu or idle=false; may be repeated",
    )
    parser.add_argument(
        "--output",
        metavar="URL",
        action="append",
        default=[],
        help="send the face's motion live to livelink://HOST (Unreal), vmc://HOST (VTuber programs) or "
        "osc://HOST, instead of the parameter outputs; may be repeated",
    )
    parser.add_argument(
        "--tts",
        metavar="COMMAND",
        help="text-to-speech command that says the texts of the topic `say`, such as 'espeak-ng --stdin "
        "--stdout', instead of the parameter tts_command",
    )
    parser.add_argument(
        "--play", action="store_true", help="play the audio on the loudspeaker, in step with the face"
    )
    parser.add_argument(
        "--partner",
        metavar="SOURCE",
        help="voice of the conversation partner, which the face attends to: an audio file, `microphone` or "
        "`microphone:DEVICE`; it is published on the topic of the parameter partner_audio_topic",
    )
    parser.add_argument("--domain", type=ros_domain, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument(
        "--namespace",
        type=ros_namespace,
        default="",
        help="namespace of the node, for several talkers in one domain",
    )
    parser.add_argument("--duration", type=duration_s, metavar="SECONDS", help="end after this time")
    parser.add_argument(
        "--until-idle",
        type=duration_s,
        metavar="SECONDS",
        help="end when audio has been received and then none for this time",
    )
    parser.add_argument("--stats", metavar="FILE", help="write the final statistics as JSON")
    parser.add_argument("--list-params", action="store_true", help="print all parameters and end")


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.
    """
    if args.list_params:
        return _list_parameters()
    if args.stats:
        check_output_file(args.stats, option="--stats", inputs=[args.params])
    assignments = [parameters.parse_assignment(text) for text in args.param]
    if args.output:
        assignments.append(("outputs", tuple(args.output)))
    if args.tts is not None:
        assignments.append(("tts_command", args.tts))
    if args.play:
        assignments.append(("play_audio", True))
    file = parameters.ParameterFile(
        args.params,
        assignments,
        ros_names.full_name(args.namespace, parameters.NODE_NAME),
        print_warning,
    )
    values = file.read()
    partner: PartnerPlayer | None = None
    if args.partner:
        from streamingtalker_ros.dds.partner_player import PartnerPlayer

        partner = PartnerPlayer(args.partner)
    # here, since it takes a while: an invalid parameter is reported at once, and outside of the supervisor a
    # signal ends the command at once
    from streamingtalker_ros.runtime.worker import load_talker

    start = time.monotonic()
    talker = load_talker(values)
    with Supervisor() as supervisor:
        _talk(talker, start, values, file, args, supervisor, partner)
    return supervisor.exit_code


def _talk(
    talker: TalkerProtocol,
    start: float,
    values: parameters.TalkerParameters,
    file: parameters.ParameterFile,
    args: argparse.Namespace,
    supervisor: Supervisor,
    partner: PartnerPlayer | None,
) -> None:
    """Run the node until the command is to stop."""
    from streamingtalker_ros.dds.talker_node import TalkerNode
    from streamingtalker_ros.runtime.worker import describe_backend

    node = TalkerNode(values, args.namespace, args.domain, talker, print_warning)
    worker = node.worker
    try:
        print_line(
            f"talker ready in {time.monotonic() - start:.1f} s: model {talker.name} on "
            f"{describe_backend(talker)}, "
            f"{values.steps or talker.steps} diffusion steps, domain {node.dds_node.domain}; "
            f"subscribes to {node.dds_node.resolve_name(values.audio_topic)}, "
            f"publishes {', '.join(node.topics)}{_sent_to(node)}"
        )
        if partner is not None:
            partner.start(values.partner_audio_topic, args.namespace, args.domain)
        _wait(worker, args, file, supervisor)
        node.speech.close()
        worker.stop()
        node.outputs.close()
        if args.stats:
            statistics = {
                "model": talker.name,
                "family": talker.family,
                "device": talker.device,
                "frame_rate": talker.frame_rate,
                **worker.statistics(),
                "outputs": node.outputs.statistics(),
            }
            print_line(worker.summary())
            write_text(args.stats, json.dumps(statistics, indent=1))
        else:
            print_line(worker.summary())
        for line in node.outputs.summary():
            print_line(line)
    finally:
        if partner is not None:
            partner.close()
        node.close()


def _sent_to(node: TalkerNode) -> str:
    """Name the topic of texts and the live outputs of a node, for the message that it is ready."""
    addresses = [str(output.address) for output in node.outputs.outputs]
    says = f", says the texts of {node.dds_node.resolve_name(SAY_TOPIC)}" if node.speech.has_tts else ""
    return says + (f", sends to {', '.join(addresses)}" if addresses else "")


def _wait(
    worker: TalkerWorker,
    args: argparse.Namespace,
    file: parameters.ParameterFile,
    supervisor: Supervisor,
) -> None:
    """Wait until the command is to stop, for the duration, or `--until-idle` seconds without audio.

    Follows the parameter file meanwhile.
    """
    end = time.monotonic() + args.duration if args.duration else None
    idle_since: float | None = None
    while not supervisor.wait(_POLL_S):
        now = time.monotonic()
        apply_changes(worker, file)
        if end is not None and now >= end:
            return
        if worker.state != "idle":
            idle_since = None
        elif idle_since is None:
            idle_since = now
        elif args.until_idle is not None and now - idle_since >= args.until_idle:
            return


def apply_changes(worker: TalkerWorker, file: parameters.ParameterFile) -> None:
    """Apply the dynamic parameters of a file that was written since the last call.

    Args:
        worker: Its parameters are set.
        file: An unreadable file, or one with invalid values, is reported and changes nothing.
    """
    try:
        changes = file.reload_if_changed(worker.parameters)
        if changes is None:
            return
        values, static = changes
        worker.set_parameters(values)
    except TalkerError as error:
        print_warning(f"{error}; the parameters stay as they were")
        return
    except Exception as fault:  # the node continues
        _FAULTS.log("the parameter file could not be followed", fault)
        return
    print_line("the parameter file was read again")
    if static:
        print_warning(f"{', '.join(static)} cannot change while the node runs: restart it for that")


def _list_parameters() -> int:
    defaults = dataclasses.asdict(parameters.TalkerParameters())
    for name, parameter in parameters.PARAMETERS.items():
        meta = parameter.metadata
        allowed = "" if not meta["choices"] else f" One of {', '.join(meta['choices'])}."
        allowed = allowed if not meta["range"] else f" From {meta['range'][0]} to {meta['range'][1]}."
        print_result(
            f"{name} ({parameters.type_name(parameter)}, default {defaults[name]!r}): "
            f"{meta['description']}{allowed}"
        )
    return 0
