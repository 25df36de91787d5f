# SPDX-License-Identifier: Apache-2.0
"""Starlette application: shared model worker, topic watcher, limits and routes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.status import WS_1013_TRY_AGAIN_LATER
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamingtalker_ros import __version__
from streamingtalker_ros.conversation.commands import GESTURE_NAMES
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.named_faces import prepared_faces
from streamingtalker_ros.process import FaultLog, each_once, never_raising, print_warning
from streamingtalker_ros.supervision import EXIT_THREAD_FAILED
from streamingtalker_ros.web import assets
from streamingtalker_ros.web.batch_worker import BatchWorker
from streamingtalker_ros.web.connection_guard import ConnectionGuard
from streamingtalker_ros.web.controls import describe_controls
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.metrics import MetricsPage, WebMetrics
from streamingtalker_ros.web.protocol import PROTOCOL_VERSION, WS_PROTOCOL_ERROR, parse_query
from streamingtalker_ros.web.shared_sessions import SharedSessions
from streamingtalker_ros.web.speaker_output import SpeakerOutput
from streamingtalker_ros.web.styles import distinct_styles
from streamingtalker_ros.web.topic_watcher import TopicWatcher
from streamingtalker_ros.web.trusted_proxies import TrustedProxies
from streamingtalker_ros.web.websocket_session import CLOSE_TIMEOUT_S, WebSocketSession

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol
    from streamingtalker_ros.speech_synthesis.command import TtsCommand

MAX_STEP_S = 30.0
"""A step of the model that lasts longer never ends: the server is not alive."""

SAMPLE_AUDIO = Path(__file__).parents[1] / "data" / "voice.flac"


class WebContext:
    """State that all sessions share.

    Args:
        talker: the model, of either family.
        limits: of the server.
        domain: ROS domain of the watched talker; None: of the environment variable ROS_DOMAIN_ID.
        namespace: of the watched talker.
        warn: called with a message for the operator.
        face: a face that the page shows in place of the default one, in any format of `load_face`.
        trusted_proxies: addresses of the reverse proxies whose header X-Forwarded-For is believed.
        output: live outputs that follow a visitor who speaks; None for none.
        tts: command that says the texts of visitors; None for none.

    Attributes:
        metrics: counters since the start.
        worker: steps the streams of all sessions.
        watcher: forwards the topics of a running talker.
        shared_sessions: forwards the frames of sessions to others that watch them.
        faults: log of internal errors.
        guard: bounds the connections of each address.
        warn_of_speech: called with a message for the operator when that command fails.
        sessions: those that are open.
        max_unacknowledged_frames: frames that may be in flight to one browser.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        limits: Limits | None = None,
        domain: int | None = None,
        namespace: str = "",
        warn: Callable[[str], Any] = print_warning,
        face: Path | None = None,
        trusted_proxies: Iterable[str] = (),
        output: SpeakerOutput | None = None,
        tts: TtsCommand | None = None,
    ) -> None:
        warn = never_raising(warn)
        self.talker = talker
        self.limits = limits or Limits()
        self.faults = FaultLog()
        self.metrics = WebMetrics()
        self.guard = ConnectionGuard(self.limits, TrustedProxies(trusted_proxies))
        self.worker = BatchWorker(talker, self.limits, warn)
        self.watcher = TopicWatcher(domain, namespace, warn)
        self.shared_sessions = SharedSessions(talker.frame_rate)
        self.output = output
        self.tts = tts
        self.warn_of_speech = each_once(warn)
        self.sessions: set[WebSocketSession] = set()
        self.max_unacknowledged_frames = round(self.limits.unacknowledged_seconds * talker.frame_rate)
        self._controls = describe_controls(talker, distinct_styles(talker))
        self._metrics_page: MetricsPage | None = None
        self._is_vertex = talker.family == "vertex"
        self._prepared_faces = prepared_faces()
        names = {path: name for name, path in self._prepared_faces.items()}
        self._face_name = None if face is None else names.get(face, face.name)
        self._assets = self._load_assets(face, warn)

    @property
    def session_count(self) -> int:
        """Number of open sessions."""
        return len(self.sessions)

    @property
    def unready_reason(self) -> str | None:
        """Why a further visitor would be refused: "failed", "draining" or "full"; None if none would."""
        if not self.is_alive:
            return "failed"
        if self.guard.is_draining:
            return "draining"
        return "full" if self.session_count >= self.limits.max_sessions else None

    @property
    def is_alive(self) -> bool:
        """Whether the model's thread works."""
        busy_since = self.worker.busy_since
        is_stuck = busy_since is not None and time.monotonic() - busy_since > MAX_STEP_S
        return not self.worker.failed and not is_stuck

    def drain(self) -> None:
        """Accept no further sessions, because the server is about to end."""
        self.guard.is_draining = True

    def count_refusal(self, reason: str) -> None:
        """Count a refused request.

        Args:
            reason: one of `metrics.REFUSAL_REASONS`.
        """
        self.metrics.refused[reason] += 1

    def server_info(self) -> dict[str, Any]:
        """Fields of the message `hello`, the first of each session."""
        return {
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "model": self.talker.name,
            "device": str(self.talker.device),
            "vertices": self._is_vertex,
            "frame_rate": self.talker.frame_rate,
            "lookahead": self.talker.lookahead,
            "names": list(ARKIT_NAMES),
            "controls": self._controls,
            "gestures": [] if self._is_vertex else list(GESTURE_NAMES),
            "say": self.tts is not None,
            "limit": self.limits.max_sessions,
            "session_seconds": self.limits.session_seconds,
            "watch": self.watcher.is_available,
            "face": self._face_name,
        }

    def start(self) -> None:
        """Warm up the model, start the worker and open the live outputs."""
        self.worker.start()
        if self.output is not None:
            self.output.open()

    def stop(self) -> None:
        """Stop the worker, leave the ROS domain and close the live outputs."""
        self.watcher.stop()
        self.worker.stop()
        if self.output is not None:
            self.output.close()

    def _load_assets(self, face: Path | None, warn: Callable[[str], Any]) -> dict[str, assets.StaticAsset]:
        files = assets.load_page()
        files["/voice.flac"] = assets.StaticAsset.compress(SAMPLE_AUDIO.read_bytes(), "audio/flac")
        files["/face.glb"] = assets.encode_face(default_rig())
        if self.talker.template is not None and self.talker.triangles is not None:
            files["/template.glb"] = assets.encode_template(self.talker.template, self.talker.triangles)
        people: list[str] = []
        for name, path in self._prepared_faces.items():
            try:
                files[f"/faces/{name}.glb"] = assets.load_prepared_face(path)
                people.append(name)
            except TalkerError as error:
                warn(f"{name} is not offered: {error}")
        files["/faces.json"] = assets.StaticAsset.compress(json.dumps(people).encode(), "application/json")
        if face is not None:
            files["/avatar.glb"] = assets.load_avatar(face)
        return files

    async def serve_asset(self, request: Request) -> Response:
        """Endpoint of the page's files.

        Args:
            request: HTTP request; the path of its URL selects the file.

        Returns:
            The file, compressed with gzip if the client accepts it; 304 if the client has it already; 404 if
            there is no such file.
        """
        asset = self._assets.get(request.url.path)
        if asset is None:
            return PlainTextResponse("There is no such page.\n", 404)
        headers = {"etag": asset.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        body = asset.body
        if "gzip" in request.headers.get("accept-encoding", "") and len(asset.gzipped) < len(body):
            body = asset.gzipped
            headers["content-encoding"] = "gzip"
        return Response(body, media_type=asset.media_type, headers=headers)

    async def serve_health(self, request: Request) -> Response:
        """Endpoint /healthz: 200 while the server works, 503 if it has to be started again.

        Args:
            request: HTTP request.
        """
        return _state_response(None if self.is_alive else "failed", "ok")

    async def serve_readiness(self, request: Request) -> Response:
        """Endpoint /readyz: 200 while a further visitor would be accepted, else 503 with the reason.

        Args:
            request: HTTP request.
        """
        return _state_response(self.unready_reason, "ready")

    async def serve_metrics(self, request: Request) -> Response:
        """Endpoint /metrics: the counters in Prometheus's text format.

        Args:
            request: HTTP request.

        Returns:
            The text; 503 with the cure if prometheus_client is not installed.
        """
        try:
            page = self._metrics_page = self._metrics_page or MetricsPage(self)
        except TalkerError as error:
            return PlainTextResponse(f"{error}\n", 503)
        headers = {"cache-control": "no-store", "content-type": page.media_type}
        return Response(page.render(), headers=headers)

    async def serve_session(self, socket: WebSocket) -> None:
        """Endpoint of the WebSocket.

        Args:
            socket: WebSocket of one client, not yet accepted; rejected if the server has no session left.
        """
        try:
            await self._serve_session(socket)
        except (WebSocketDisconnect, OSError):  # the client has left, in whatever state
            pass
        except Exception as fault:
            self.faults.log("a client's connection could not be handled", fault)

    async def _serve_session(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            frame_format = parse_query(socket.query_params)
        except TalkerError as error:
            await _reject_session(socket, str(error), WS_PROTOCOL_ERROR, "protocol")
            return
        connection = self.guard.connection(socket.client)
        use, limits = connection.use, self.limits
        if self.session_count >= limits.max_sessions:
            text = f"all {limits.max_sessions} sessions of this server are in use: try again soon"
            self.count_refusal("full")
            await _reject_session(socket, text)
            return
        if use.session_count >= limits.session_share:
            text = (
                f"this network address has {use.session_count} of the server's {limits.max_sessions} "
                "sessions, and the others are kept for other addresses: close one"
            )
            self.count_refusal("address_share")
            await _reject_session(socket, text)
            return
        connection.is_session = True
        session = WebSocketSession(self, socket, frame_format)
        self.sessions.add(session)
        self.metrics.sessions_opened += 1
        use.session_count += 1
        try:
            await session.run()
        finally:
            self.sessions.discard(session)
            self.metrics.frames_dropped.update(session.dropped_frames())
            use.session_count -= 1


def create_app(context: WebContext) -> Starlette:
    """The ASGI application. Its lifespan starts and stops `context`.

    Starlette's StaticFiles and GZipMiddleware are not used: all files are read once at the start, some of
    them are generated, and each is compressed once, because compression per request would delay the model.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(_end_on_fatal_exception)
        context.start()
        try:
            yield
        finally:
            context.stop()

    routes = [
        WebSocketRoute("/socket", context.serve_session),
        Route("/healthz", context.serve_health),
        Route("/readyz", context.serve_readiness),
        Route("/metrics", context.serve_metrics),
        Route("/{path:path}", context.serve_asset),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _end_on_fatal_exception(loop: asyncio.AbstractEventLoop, details: dict[str, Any]) -> None:
    """End the event loop by an exception that no handler of `Exception` may catch; asyncio would drop it."""
    error = details.get("exception")
    if error is not None and not isinstance(error, (Exception, asyncio.CancelledError)):
        raise SystemExit(EXIT_THREAD_FAILED) from error
    loop.default_exception_handler(details)


def _state_response(problem: str | None, text: str) -> Response:
    headers = {"cache-control": "no-store", **({"retry-after": "5"} if problem else {})}
    return PlainTextResponse(f"{problem or text}\n", 503 if problem else 200, headers)


async def _reject_session(
    socket: WebSocket, text: str, code: int = WS_1013_TRY_AGAIN_LATER, reason: str = "full"
) -> None:
    try:
        await asyncio.wait_for(socket.send_json({"type": "refused", "text": text}), CLOSE_TIMEOUT_S)
        await asyncio.wait_for(socket.close(code, reason), CLOSE_TIMEOUT_S)
    except (asyncio.TimeoutError, RuntimeError):  # it does not read, or its connection is closed
        pass
