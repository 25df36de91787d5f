# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker web`: serves a page with a face that speaks from a microphone, a file or a talker."""

from __future__ import annotations

import argparse

from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from streamingtalker_ros.cli.argument_types import (
    add_backend_options,
    integer,
    number,
    ros_domain,
    ros_namespace,
)
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.named_faces import FACE_HELP, find_face
from streamingtalker_ros.process import print_line, print_warning
from streamingtalker_ros.speech_synthesis.command import DEFAULT_TTS_RATE, TtsCommand
from streamingtalker_ros.supervision import Supervisor

HELP = "serve a page: speak into the microphone and see the face speak"

MAX_DRAIN_S = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Serves a page on this machine: speak into the microphone, drop a file on it, or watch the topics of "
        "a running talker, and see the face speak in time. Ctrl-C ends it. The page fetches nothing from "
        "elsewhere."
    )
    parser.add_argument(
        "--port", type=integer(0, 65_535), default=8080, help="port to serve on; 0 for any free one"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to bind; any other than the loopback requires a token of clients",
    )
    parser.add_argument("--token", help="that token; generated and printed if left out")
    parser.add_argument(
        "--certificate",
        metavar="PEM",
        help="serve https: browsers give the microphone to a page from another machine only so",
    )
    parser.add_argument("--key", metavar="PEM", help="the certificate's private key")
    parser.add_argument(
        "--allow-origin",
        "--origin",
        dest="origin",
        action="append",
        default=[],
        metavar="URL",
        help="origin of other pages that may use this server, such as https://www.example with a "
        "<talking-face>, or that of a reverse proxy; repeatable",
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address or network of a reverse proxy whose header X-Forwarded-For is believed, so that limits "
        "hold for each visitor behind it; repeatable",
    )
    parser.add_argument("--visitors", type=integer(1, 1000), help="maximum number of visitors at once")
    parser.add_argument(
        "--session-minutes", type=number(1, 1440), help="duration after which a visitor has to connect again"
    )
    parser.add_argument(
        "--drain-seconds",
        type=number(0, MAX_DRAIN_S),
        help="time for open sessions to end after SIGTERM, while no further ones are accepted",
    )
    add_backend_options(parser)
    parser.add_argument("--model", help="folder of a checkpoint; the one inside the package if left out")
    parser.add_argument(
        "--face",
        metavar="PATH",
        help=f"face to show: {FACE_HELP}, a .glb with ARKit morph targets or a folder of .obj shapes",
    )
    parser.add_argument(
        "--output",
        metavar="URL",
        action="append",
        default=[],
        help="let a character follow the visitor who speaks: send the motion live to livelink://HOST "
        "(Unreal), vmc://HOST (VTuber programs) or osc://HOST; repeatable",
    )
    parser.add_argument(
        "--output-session",
        metavar="NAME",
        help="follow the session that is shared under this name only",
    )
    parser.add_argument(
        "--tts",
        metavar="COMMAND",
        help="let visitors have texts said by this text-to-speech command, such as 'espeak-ng --stdin "
        "--stdout'; it runs on this machine",
    )
    parser.add_argument(
        "--tts-rate",
        type=integer(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        default=DEFAULT_TTS_RATE,
        help="samples per second of what it writes, if that is PCM without a header",
    )
    parser.add_argument("--domain", type=ros_domain, help="ROS domain to watch, instead of ROS_DOMAIN_ID")
    parser.add_argument(
        "--namespace", type=ros_namespace, default="", help="namespace of the talker to watch"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: if an option is out of range, a module is missing or the server cannot start.
    """
    for module in ("starlette", "uvicorn", "websockets"):
        require(module, "the web server")
    if bool(args.certificate) != bool(args.key):
        raise TalkerError("https needs both --certificate and --key")
    from streamingtalker_ros.outputs import OutputGroup, parse_address
    from streamingtalker_ros.web.message_fields import SESSION_NAME

    for url in args.output:
        parse_address(url)
    if args.output_session and not args.output:
        raise TalkerError("--output-session says whom the outputs follow: name one with --output URL")
    if args.output_session and not SESSION_NAME.fullmatch(args.output_session):
        raise TalkerError(
            "--output-session is no name of a session: give 1 to 64 letters, digits, points, hyphens and "
            "underscores"
        )
    tts = None
    if args.tts is not None:
        tts = TtsCommand.parse(args.tts, args.tts_rate)
        tts.check_installed()
    from streamingtalker_ros.streaming import Talker
    from streamingtalker_ros.web import assets
    from streamingtalker_ros.web.app import WebContext
    from streamingtalker_ros.web.limits import Limits
    from streamingtalker_ros.web.server import DRAIN_S, Server, is_loopback
    from streamingtalker_ros.web.server_log import throttle_library_logs
    from streamingtalker_ros.web.speaker_output import SpeakerOutput

    defaults = Limits()
    limits = Limits(
        max_sessions=args.visitors or defaults.max_sessions,
        session_seconds=60 * args.session_minutes if args.session_minutes else defaults.session_seconds,
    )
    talker = Talker.load(args.model, args.device, args.backend, args.precision)
    face = find_face(args.face)
    output = None
    if args.output:
        group = OutputGroup.of_talker(args.output, talker, print_warning)
        output = SpeakerOutput(group, args.output_session)
    with Supervisor() as supervisor:
        context = WebContext(
            talker, limits, args.domain, args.namespace, print_warning, face, args.trusted_proxy, output, tts
        )
        throttle_library_logs(context.faults)
        drain_seconds = DRAIN_S if args.drain_seconds is None else args.drain_seconds
        server = Server(
            context,
            args.host,
            args.port,
            args.token,
            args.certificate,
            args.key,
            args.origin,
            drain_seconds,
        )
        if not assets.is_built():
            print_line(f"streamingtalker: {assets.NOT_BUILT}")
        if not is_loopback(args.host) and not args.certificate:
            print_line(
                "streamingtalker: without --certificate, browsers on other machines give the page neither "
                "microphone nor sound; watching works"
            )
        if output is not None:
            print_line(f"streamingtalker: who speaks moves {', '.join(output.addresses)}")
        print_line(f"open {server.address}")
        if server.loopback_url:
            print_line(f"on this machine: {server.loopback_url}")
        supervisor.on_stop(lambda: server.abort() if supervisor.failed_thread else server.stop())
        try:
            server.run()
        except TalkerError:
            if not supervisor.failed_thread:
                raise
        for line in output.summary() if output is not None else ():
            print_line(line)
    return supervisor.exit_code
