# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker talk`: the talker node without ROS; hears an audio topic, publishes face motion until it
is stopped.
"""

import dataclasses
import json
import threading
import time

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import FaultLog, on_stop_signals, print_line, print_warning
from streamingtalker_ros.runtime import parameters

HELP = "generate face motion from an audio topic, without a ROS installation"

_FAULTS = FaultLog()


def add_arguments(parser) -> None:
    parser.description = (
        "Hears the ROS 2 topic `audio` (audio_common_msgs of ros-drivers or of mgonzs13) and publishes "
        "`face_motion`, `face_model` and `/diagnostics`, without a ROS installation. `streamingtalker play "
        "FILE` in another terminal gives it a voice. Ctrl-C ends it with a summary. The domain is that of "
        "ROS_DOMAIN_ID; CYCLONEDDS_URI and ROS_AUTOMATIC_DISCOVERY_RANGE are honoured."
    )
    parser.add_argument(
        "--params",
        metavar="FILE",
        help="ROS 2 parameter file, the package's config/talker.yaml otherwise; what is changed in it "
        "while the node runs is taken over, as far as the parameter is live",
    )
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set one parameter, such as device=cpu or idle=false; may be repeated",
    )
    parser.add_argument("--domain", type=int, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument(
        "--namespace", default="", help="namespace of the node, for several talkers in one domain"
    )
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="end after this time")
    parser.add_argument(
        "--until-idle",
        type=float,
        metavar="SECONDS",
        help="end when a voice has been heard and then none for this time",
    )
    parser.add_argument("--stats", metavar="FILE", help="write the final statistics as JSON")
    parser.add_argument("--list-params", action="store_true", help="print all parameters and end")


def run(args):
    if args.list_params:
        return _list_parameters()
    file = parameters.ParameterFile(args.params, [parameters.parse_assignment(text) for text in args.param])
    settings = file.read()
    stop = threading.Event()
    on_stop_signals(lambda *_: stop.set())

    from streamingtalker_ros.dds.talker_node import (
        TalkerNode,  # late: torch and DDS take their time, bad parameters do not wait
    )

    started = time.monotonic()
    node = TalkerNode(settings, args.namespace, args.domain, warn=print_warning)
    talker, resolve = node.worker.talker, node.dds_node.resolve_name
    print_line(
        f"talker ready in {time.monotonic() - started:.1f} s: model {talker.name} on {talker.device}, "
        f"{settings.steps or talker.steps} diffusion steps, domain {node.dds_node.domain}; "
        f"hears {resolve(settings.audio_topic)}, speaks {', '.join(node.topics)}"
    )
    _wait(node.worker, stop, args, file)
    node.worker.stop()
    numbers = node.worker.statistics()
    if args.stats:
        with open(args.stats, "w", encoding="utf-8") as file:
            json.dump(
                {"model": talker.name, "device": talker.device, "frame_rate": talker.frame_rate, **numbers},
                file,
                indent=1,
            )
    print_line(node.worker.summary())
    node.close()
    return 0


def _wait(core, stop, args, file) -> None:
    """Until a signal, the duration, or a silence of `--until-idle` seconds after a voice; follow the parameter file."""
    end = time.monotonic() + args.duration if args.duration else None
    silent_since = None
    while not stop.wait(0.05):
        now = time.monotonic()
        _follow(core, file)
        if end is not None and now >= end:
            return
        if core.state != "idle":
            silent_since = None
        elif silent_since is None:
            silent_since = now
        elif args.until_idle is not None and now - silent_since >= args.until_idle:
            return


def _follow(core, file) -> None:
    """Take over what was written into the parameter file."""
    try:
        news = file.reload_if_changed(core.parameters)
        if news is None:
            return
        settings, others = news
        core.set_parameters(settings)
    except TalkerError as error:
        print_warning(f"{error}; the parameters stay as they were")
        return
    except Exception as fault:  # the voice goes on
        _FAULTS.log("the parameter file could not be followed", fault)
        return
    print_line("the parameter file was read again")
    if others:
        print_warning(f"{', '.join(others)} cannot change while the node runs: start it anew for that")


def _list_parameters() -> int:
    for name, parameter in parameters.PARAMETERS.items():
        meta = parameter.metadata
        allowed = "" if not meta["choices"] else f" One of {', '.join(meta['choices'])}."
        allowed = allowed if not meta["range"] else f" From {meta['range'][0]} to {meta['range'][1]}."
        default = dataclasses.asdict(parameters.TalkerParameters())[name]
        print(
            f"{name} ({parameters.type_name(parameter)}, default {default!r}): {meta['description']}{allowed}"
        )
    return 0
