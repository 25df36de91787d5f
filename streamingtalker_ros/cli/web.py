# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker web`: a page on which a face speaks what it hears, from a microphone, a file or a running talker."""

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.process import on_stop_signals, say, warn


def add_arguments(parser) -> None:
    parser.description = (
        "Serves a page on this machine: speak into the microphone, drop a file on it, or watch the topics of a running "
        "talker, and see the face speak in time. Ctrl-C ends it. The page fetches nothing from elsewhere."
    )
    parser.add_argument("--port", type=int, default=8080, help="port to serve on; 0 for any free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to bind; any other than the loopback asks visitors for a token",
    )
    parser.add_argument("--token", help="that token; made by chance, and printed, if left out")
    parser.add_argument(
        "--certificate",
        metavar="PEM",
        help="serve https: browsers give the microphone to a page from another machine only so",
    )
    parser.add_argument("--key", metavar="PEM", help="the certificate's private key")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="an origin of a proxy that may pass visitors on, such as https://robot.example; may be repeated",
    )
    parser.add_argument("--visitors", type=int, help="at most so many at once")
    parser.add_argument(
        "--session-minutes", type=float, help="after which a visitor is asked to connect again"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--model", help="folder of a checkpoint; the one inside the package if left out")
    parser.add_argument("--domain", type=int, help="ROS domain to watch, instead of ROS_DOMAIN_ID")
    parser.add_argument("--namespace", default="", help="namespace of the talker to watch")


def run(args) -> int:
    for module in ("starlette", "uvicorn", "websockets", "torch"):
        require(module, "the web server" if module != "torch" else "the model")
    if args.visitors is not None and not 1 <= args.visitors <= 1000:
        raise TalkerError(f"--visitors {args.visitors} cannot be: give 1 to 1000")
    if args.session_minutes is not None and not 1 <= args.session_minutes <= 1440:
        raise TalkerError(f"--session-minutes {args.session_minutes:g} cannot be: give 1 to 1440")
    if bool(args.certificate) != bool(args.key):
        raise TalkerError("https needs both --certificate and --key")
    if not 0 <= args.port <= 65535:
        raise TalkerError(f"--port {args.port} cannot be: give 0 to 65535")
    import dataclasses

    from streamingtalker_ros.streaming import Talker
    from streamingtalker_ros.web import assets
    from streamingtalker_ros.web.app import WebContext
    from streamingtalker_ros.web.limits import Limits
    from streamingtalker_ros.web.server import Server, is_loopback

    given = {"visitors": args.visitors, "session_seconds": args.session_minutes and 60 * args.session_minutes}
    limits = dataclasses.replace(
        Limits(), **{name: value for name, value in given.items() if value is not None}
    )
    talker = Talker.load(args.model, args.device)
    context = WebContext(talker, limits, args.domain, args.namespace, warn)
    server = Server(context, args.host, args.port, args.token, args.certificate, args.key, args.origin)
    if not assets.is_built():
        say(f"streamingtalker: {assets.NOT_BUILT}")
    if not is_loopback(args.host) and not args.certificate:
        say(
            "streamingtalker: without --certificate, browsers on other machines give the page neither microphone nor "
            "sound; watching works"
        )
    say(f"open {server.address}")
    if server.loopback_url:
        say(f"on this machine: {server.loopback_url}")
    on_stop_signals(server.stop)  # SIGHUP; uvicorn has handlers of its own for the others
    server.run()
    return 0
