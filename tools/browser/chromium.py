# SPDX-License-Identifier: Apache-2.0
"""Drives an installed Chromium over the DevTools protocol.

For tests, measurements and screenshots of the page. Nothing is downloaded; without a browser, TalkerError is
raised:

    with Chromium(microphone="voice.wav") as browser:
        page = browser.open("http://127.0.0.1:8080/")
        page.wait("app.serverInfo")
        page.click("#speak")
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from streamingtalker_ros.errors import TalkerError, require

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--mute-audio",
    "--hide-scrollbars",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-compositing",  # composing the page through SwiftShader as well would double the work
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 30.0


def find() -> str | None:
    """Path of a Chromium: $CHROMIUM, else one on the PATH; None if there is none."""
    path = os.environ.get("CHROMIUM")
    names = (path,) if path else ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


class Chromium:
    """A headless browser. A context manager: its processes end with the block.

    Args:
        microphone: WAV file that the fake microphone plays in a loop.
        size: of the window, in pixels.
        flags: further command-line flags.

    Attributes:
        pages: open tabs by DevTools session.

    Raises:
        TalkerError: if no Chromium is installed, or it does not start.
    """

    def __init__(
        self,
        microphone: str | Path | None = None,
        size: tuple[int, int] = (1280, 800),
        flags: Sequence[str] = (),
    ) -> None:
        executable = find()
        if executable is None:
            raise TalkerError(
                "no Chromium is installed here: `apt install chromium`, or name one with CHROMIUM=…"
            )
        connect = require("websockets.sync.client", "driving a browser").connect
        self.pages: dict[str, Page] = {}
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._next_id = 0
        self._responses: dict[int, dict[str, Any]] = {}
        self._condition = threading.Condition()
        self._process = subprocess.Popen(
            [
                executable,
                *FLAGS,
                *([f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []),
                *flags,
                f"--window-size={size[0]},{size[1]}",
                f"--user-data-dir={self._profile}",
                "--remote-debugging-port=0",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._exit_stack = contextlib.ExitStack()
            self._socket: Any = self._exit_stack.enter_context(
                connect(self._debugger_url(), max_size=None, open_timeout=20)
            )
        except Exception:
            self.close()
            raise
        threading.Thread(target=self._receive, daemon=True).start()

    def _debugger_url(self) -> str:
        port_file = Path(self._profile) / "DevToolsActivePort"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not port_file.exists() or len(port_file.read_text().split()) < 2:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise TalkerError("Chromium does not start here: run it by itself to see why")
            time.sleep(0.05)
        port, path = port_file.read_text().split()[:2]
        return f"ws://127.0.0.1:{port}{path}"

    def _receive(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                with self._condition:
                    if "id" in message:
                        self._responses[message["id"]] = message
                        self._condition.notify_all()
                page = self.pages.get(message.get("sessionId"))
                if page is not None and "method" in message:
                    page.on_event(message["method"], message["params"])
        except Exception:  # the connection is closed: the browser has ended
            with self._condition:
                self._socket = None
                self._condition.notify_all()

    def call(
        self, method: str, session: str | None = None, timeout: float = COMMAND_TIMEOUT_S, **parameters: Any
    ) -> dict[str, Any]:
        """Execute one command of the DevTools protocol.

        Args:
            method: of the protocol.
            session: that it is for; None: the browser.
            timeout: seconds.
            parameters: of the method.

        Returns:
            Its result.

        Raises:
            TalkerError: if it fails.
        """
        with self._condition:
            if self._socket is None:
                raise TalkerError("Chromium has ended")
            self._next_id += 1
            number = self._next_id
            message = {"id": number, "method": method, "params": parameters}
            self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
            if not self._condition.wait_for(
                lambda: number in self._responses or self._socket is None, timeout
            ):
                raise TalkerError(f"Chromium did not answer {method} within {timeout:g} s")
            response = self._responses.pop(number, {"error": {"message": "Chromium has ended"}})
        if "error" in response:
            raise TalkerError(f"Chromium: {method}: {response['error']['message']}")
        return response["result"]

    def open(self, address: str, size: tuple[int, int] | None = None, mobile: bool = False) -> Page:
        """Open a tab.

        Args:
            address: URL.
            size: of the page, in pixels.
            mobile: whether to emulate a phone.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        if size:
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=size[0],
                height=size[1],
                mobile=mobile,
                deviceScaleFactor=2 if mobile else 1,
            )
        page.call("Page.navigate", url=address)
        return page

    def close(self) -> None:
        """End the browser with all its processes, and remove its profile."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Page:
    """A tab.

    Attributes:
        errors: errors of its console, and uncaught exceptions.
        fetched: URLs that it requested.
    """

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self.errors: list[str] = []
        self.fetched: list[str] = []
        self._browser = browser
        self._session = session
        self._target = target

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        """Record an event of the DevTools protocol."""
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(
                " ".join(str(value.get("value", value.get("description"))) for value in params["args"])
            )
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.fetched.append(params["request"]["url"])

    def call(self, method: str, timeout: float = COMMAND_TIMEOUT_S, **parameters: Any) -> dict[str, Any]:
        """Execute one command of the DevTools protocol in this tab; see `Chromium.call`."""
        return self._browser.call(method, self._session, timeout, **parameters)

    def run(self, script: str, timeout: float = COMMAND_TIMEOUT_S) -> Any:
        """Evaluate a JavaScript expression.

        Returns:
            Its value; of a promise, the value that it resolves to.

        Raises:
            TalkerError: if it throws.
        """
        result = self.call(
            "Runtime.evaluate",
            timeout,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise TalkerError(
                f"{script[:80]}: {details.get('exception', {}).get('description') or details['text']}"
            )
        return result["result"].get("value")

    def wait(self, condition: str, timeout: float = 20.0, interval: float = 0.05) -> Any:
        """Evaluate an expression until it is true.

        Args:
            condition: JavaScript expression; an exception counts as false.
            timeout: seconds.
            interval: seconds between two evaluations.

        Returns:
            Its value.

        Raises:
            TalkerError: after `timeout`.
        """
        deadline = time.monotonic() + timeout
        guarded = f"(() => {{ try {{ return {condition}; }} catch {{ return null; }} }})()"
        while not (value := self.run(guarded)):
            if time.monotonic() > deadline:
                raise TalkerError(
                    f"the page did not come to {condition!r} within {timeout:g} s; errors: {self.errors}"
                )
            time.sleep(interval)
        return value

    def click(self, selector: str) -> None:
        """Click the centre of an element with the mouse, with the <details> around it open."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " for (let d = e; (d = d.parentElement?.closest('details')); ) d.open = true;"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: str | Path) -> None:
        """Choose a file in an <input type=file>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: str | Path | None = None) -> bytes:
        """Picture of the visible page: PNG, or WebP if the path ends with it.

        Args:
            path: file that it is also written to.
        """
        is_webp = path is not None and Path(path).suffix == ".webp"
        options = {"format": "webp", "quality": 85} if is_webp else {"format": "png"}
        data = base64.b64decode(self.call("Page.captureScreenshot", 60.0, **options)["data"])
        if path is not None:
            Path(path).write_bytes(data)
        return data

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.pages.pop(self._session, None)
