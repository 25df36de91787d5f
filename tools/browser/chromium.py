# SPDX-License-Identifier: Apache-2.0
"""A Chromium that is installed here, driven over its DevTools protocol: for tests, measurements and screenshots of the
page. Nothing is downloaded; without one, TalkerError says so.

    with Chromium(microphone="voice.wav") as browser:
        page = browser.open("http://127.0.0.1:8080/")
        page.wait("talk.hello")
        page.click("#microphone")
"""

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
from pathlib import Path

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


def find():
    """The path of a Chromium: $CHROMIUM, else Debian's or another on the PATH; None where there is none."""
    given = os.environ.get("CHROMIUM")
    names = (given,) if given else ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


class Chromium:
    """microphone: WAV file that the fake microphone plays, over and over; size: of the window, in pixels.

    A context manager; whatever happens in the block, its processes end with it.
    """

    def __init__(self, microphone=None, size=(1280, 800), flags=()) -> None:
        path = find()
        if path is None:
            raise TalkerError(
                "no Chromium is installed here: `apt install chromium`, or name one with CHROMIUM=…"
            )
        connect = require("websockets.sync.client", "driving a browser").connect
        self._home = tempfile.mkdtemp(prefix="chromium-")
        given = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
        command = [
            path,
            *FLAGS,
            *given,
            *flags,
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={self._home}",
            "--remote-debugging-port=0",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._leave = contextlib.ExitStack()
            self._socket = self._leave.enter_context(connect(self._address(), max_size=None, open_timeout=20))
        except Exception:
            self.close()
            raise
        self._number, self._answers, self.pages = 0, {}, {}
        self._come = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _address(self) -> str:
        told, deadline = Path(self._home) / "DevToolsActivePort", time.monotonic() + 60
        while not told.exists() or len(told.read_text().split()) < 2:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise TalkerError("Chromium does not start here: run it by itself to see why")
            time.sleep(0.05)
        port, path = told.read_text().split()[:2]
        return f"ws://127.0.0.1:{port}{path}"

    def _listen(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                with self._come:
                    if "id" in message:
                        self._answers[message["id"]] = message
                        self._come.notify_all()
                page = self.pages.get(message.get("sessionId"))
                if page is not None and "method" in message:
                    page._on_event(message["method"], message["params"])
        except Exception:  # the browser has gone
            with self._come:
                self._socket = None
                self._come.notify_all()

    def call(self, method, session=None, timeout=30.0, **parameters):
        """One command of the protocol -> its result (dict). Raises TalkerError when it fails."""
        with self._come:
            if self._socket is None:
                raise TalkerError("Chromium has gone")
            self._number += 1
            number = self._number
            message = {"id": number, "method": method, "params": parameters}
            self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
            if not self._come.wait_for(lambda: number in self._answers or self._socket is None, timeout):
                raise TalkerError(f"Chromium did not answer {method} within {timeout:g} s")
            answer = self._answers.pop(number, {"error": {"message": "Chromium has gone"}})
        if "error" in answer:
            raise TalkerError(f"Chromium: {method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, address, size=None, mobile=False):
        """A new tab -> Page. size: of the page in pixels, mobile: as on a telephone."""
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
        """End the browser and all its processes, and remove its folder."""
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Page:
    """A tab. `errors`: what its console called an error, and exceptions that nothing caught; `fetched`: addresses."""

    def __init__(self, browser, session, target) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.errors, self.fetched = [], []

    def _on_event(self, method, params) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(
                " ".join(str(each.get("value", each.get("description"))) for each in params["args"])
            )
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.fetched.append(params["request"]["url"])

    def call(self, method, timeout=30.0, **parameters):
        return self._browser.call(method, self._session, timeout, **parameters)

    def run(self, script, timeout=30.0):
        """The value of a JavaScript expression, awaited where it is a promise. Raises TalkerError where it throws."""
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

    def wait(self, condition, timeout=20.0, every=0.05):
        """Until an expression is true; returns its value. Raises TalkerError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        guarded = f"(() => {{ try {{ return {condition}; }} catch {{ return null; }} }})()"
        while not (value := self.run(guarded)):
            if time.monotonic() > deadline:
                raise TalkerError(
                    f"the page did not come to {condition!r} within {timeout:g} s; errors: {self.errors}"
                )
            time.sleep(every)
        return value

    def click(self, selector) -> None:
        """As a person does, with the mouse, in the element's middle."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def choose_file(self, selector, path) -> None:
        """Give a file to an <input type=file>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path=None, clip=None):
        """PNG bytes of what is seen; also written to `path`. clip: (x, y, width, height)."""
        given = {} if clip is None else {"clip": dict(zip(("x", "y", "width", "height"), clip), scale=1)}
        data = base64.b64decode(self.call("Page.captureScreenshot", 60.0, format="png", **given)["data"])
        if path is not None:
            Path(path).write_bytes(data)
        return data

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.pages.pop(self._session, None)
