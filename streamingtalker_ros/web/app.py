# SPDX-License-Identifier: Apache-2.0
"""What all visitors share: the talker with its batch, the watcher of topics, the limits; and the routes to them."""

import asyncio
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from streamingtalker_ros import __version__
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.importers import SKIN, to_our_axes
from streamingtalker_ros.face.rig import default_rig
from streamingtalker_ros.process import FaultLog, never_raising
from streamingtalker_ros.process import warn as warn_user
from streamingtalker_ros.web import assets, controls
from streamingtalker_ros.web.batch_worker import Stepper
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.topic_watcher import Watcher
from streamingtalker_ros.web.websocket_session import TRY_LATER, Session

VOICE = Path(__file__).parents[1] / "data" / "voice.flac"


class House:
    """talker: Talker or PublishedModel; limits: Limits; domain, namespace: of the watched talker; warn: called with a
    sentence."""

    def __init__(self, talker, limits=None, domain=None, namespace="", warn=warn_user) -> None:
        warn = never_raising(warn)
        self.talker, self.limits, self.warn, self.faults = talker, limits or Limits(), warn, FaultLog()
        self.stepper = Stepper(talker, self.limits, warn)
        self.watcher = Watcher(domain, namespace, warn)
        self.visitors = 0
        self.window = round(
            self.limits.unseen_seconds * talker.frame_rate
        )  # frames on their way to one browser
        self._files = assets.page_files()
        self._files["/voice.flac"] = assets.File.of(VOICE.read_bytes(), "audio/flac")
        rig = default_rig()
        self._files["/default.face"] = assets.File.of(assets.pack_rig(rig), "application/octet-stream")
        self._vertices = not hasattr(talker, "styles")
        if self._vertices:
            template = to_our_axes(talker.template)
            face = assets.pack_face("model", template, talker.triangles, colors=[SKIN] * len(template))
            self._files["/model.face"] = assets.File.of(face, "application/octet-stream")

    def hello(self):
        """What a page is told first."""
        return {
            "version": __version__,
            "model": getattr(self.talker, "name", "published"),
            "device": str(self.talker.device),
            "vertices": self._vertices,
            "frame_rate": self.talker.frame_rate,
            "lookahead": self.talker.lookahead,
            "names": list(ARKIT_NAMES),
            "controls": controls.describe(self.talker),
            "limit": self.limits.visitors,
            "session_seconds": self.limits.session_seconds,
            "watch": self.watcher.possible,
        }

    def watch(self, session, epoch):
        """The topics of a running talker for one session; `close` the answer to end it."""
        return self.watcher.open(session.deliver_soon, session.tell_soon, epoch)

    def app(self):
        """The Starlette application."""
        return Starlette(routes=[WebSocketRoute("/socket", self._socket), Route("/{path:path}", self._file)])

    def start(self) -> None:
        self.stepper.start()

    def stop(self) -> None:
        self.watcher.stop()
        self.stepper.stop()

    async def _file(self, request):
        file = self._files.get(request.url.path)
        if file is None:
            return Response("There is no such page.\n", 404, media_type="text/plain")
        headers = {"etag": file.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        body = file.body
        if "gzip" in request.headers.get("accept-encoding", "") and len(file.squeezed) < len(body):
            body, headers["content-encoding"] = file.squeezed, "gzip"
        return Response(body, media_type=file.kind, headers=headers)

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        if self.visitors >= self.limits.visitors:
            text = f"{self.limits.visitors} visitors are here, which is all that this machine serves: try again soon"
            try:
                await asyncio.wait_for(socket.send_json({"type": "refused", "text": text}), 2.0)
                await asyncio.wait_for(socket.close(TRY_LATER, "full"), 2.0)
            except (asyncio.TimeoutError, RuntimeError, OSError):
                pass
            return
        self.visitors += 1
        try:
            await Session(self, socket).run()
        finally:
            self.visitors -= 1
