# SPDX-License-Identifier: Apache-2.0
"""ASGI middleware that validates the Host and Origin headers and the access token.

On a loopback address requests for any other Host name are rejected, which prevents DNS rebinding; on another
address an access token is required, in the query string once and in a cookie from then on. A WebSocket must
come from a page of this server, or of an origin that the operator has named; such pages may also read the
faces and scripts of this server (CORS) and give the token in each query string. `OPEN_PATHS` need no token.

A browser does not tell a page why its WebSocket was rejected. `GET /socket` answers that question in a
sentence, to every page.

Nothing is stored between connections: servers with equal tokens accept each other's cookies.

Starlette's TrustedHostMiddleware is not used, since it cannot parse IPv6 literals such as `[::1]:8080`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import URL, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web.trusted_proxies import is_forwarded

OPEN_PATHS = ("/healthz", "/readyz")
"""Paths without a token: load balancers cannot send one, and the answers say nothing about visitors."""

METRICS_PATH = "/metrics"

COOKIE_MAX_AGE_S = 30 * 24 * 3600
POLICY_VIOLATION = 1008  # close code of RFC 6455
_LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "[::1]"}
_WRONG_HOST = "This server is reached under the address that it printed, not under this name."
_SOCKET_PATH = "/socket"
_PAGE_PATHS = ("/", "/index.html")
_MAX_ORIGIN_LENGTH = 100  # characters, in messages
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_TOKEN = (
    "This address needs a token: open the whole address that `streamingtalker web` printed, "
    "?token=… included."
)
_NO_ORIGIN = (
    "A WebSocket comes from a page of this server only: send the header Origin, with the address that the "
    "server printed or one that `streamingtalker web --allow-origin` names."
)
_WEBSOCKET_ONLY = "This address takes a WebSocket, and this page may open it."
_NOT_THROUGH_PROXY = (
    "Without a token the metrics are for this machine only, not for those behind a proxy: set --token."
)
_SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' blob: data:; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}
# Scripts of workers alone may compile WebAssembly: three.js's decoders of compressed avatars.
_DECODER_PATHS = frozenset({"/meshopt-worker.js", "/draco-worker.js", "/basis-worker.js"})
_DECODER_POLICY = "default-src 'none'; script-src 'wasm-unsafe-eval'"


class AccessControlMiddleware:
    """Rejects requests without authorization, and adds the security headers to every response.

    Args:
        app: the application to protect.
        token: access token; None on a loopback address.
        port: of the server. Older versions named the cookie by it.
        origins: further origins whose pages may open a WebSocket and read responses, such as that of a
            reverse proxy or of a page with a `<talking-face>`; their host names are accepted in the Host
            header.
        on_refusal: called with the reason of each rejection: "host", "token" or "origin".

    Raises:
        TalkerError: if an origin is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None = None,
        port: int = 0,
        origins: Iterable[str] = (),
        on_refusal: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._app = app
        self._token = token
        self._origins = {check_origin(origin) for origin in origins}
        self._origin_hosts = {urlsplit(origin).netloc for origin in self._origins}
        self._on_refusal = on_refusal
        # a digest, because a cookie cannot hold every character of a token
        self._cookie = None if token is None else hashlib.sha256(token.encode()).hexdigest()
        # by the token: the ports of a host share its cookies, and servers behind one load balancer have
        # different ports and one token
        name = hashlib.sha256(b"cookie name " + (token or "").encode()).hexdigest()
        self._cookie_name = f"talker_{name[:12]}"
        self._cookie_names = (self._cookie_name, f"talker_{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        connection = HTTPConnection(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_SECURITY_HEADERS)
                if scope["path"] in _DECODER_PATHS:
                    headers["content-security-policy"] = _DECODER_POLICY
                    if scope["path"] == "/basis-worker.js":  # its bindings are made by `new Function`
                        headers["content-security-policy"] += " 'unsafe-eval'"
                self._add_cors_headers(headers, connection)
            await send(message)

        rejection = self._rejection(connection)
        if rejection is not None:
            reason, status, message = rejection
            self._on_refusal(reason)
            await _reject(scope, receive, send_with_headers, status, message)
        elif scope["type"] == "http" and scope["path"] == _SOCKET_PATH:
            _, status, message = self._origin_rejection(connection) or ("", 426, _WEBSOCKET_ONLY)
            await _reject(scope, receive, send_with_headers, status, message)
        elif self._cookie and connection.query_params.get("token") and _is_page(scope):
            # move the token from the address bar into a cookie
            response = RedirectResponse("/", status_code=303)
            response.set_cookie(
                self._cookie_name, self._cookie, max_age=COOKIE_MAX_AGE_S, httponly=True, samesite="strict"
            )
            await response(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send if scope["type"] == "websocket" else send_with_headers)

    def _rejection(self, connection: HTTPConnection) -> tuple[str, int, str] | None:
        """(reason, HTTP status, message), or None if the connection is allowed."""
        host = connection.headers.get("host", "").lower()
        is_http, path = connection.scope["type"] == "http", connection.scope["path"]
        if self._token is None:
            is_loopback = host in _LOOPBACK_HOSTS or host.rpartition(":")[0] in _LOOPBACK_HOSTS
            if not is_loopback and host not in self._origin_hosts:
                return "host", 403, _WRONG_HOST
            if path == METRICS_PATH and is_forwarded(connection.scope["headers"]):
                return "token", 403, _NOT_THROUGH_PROXY
        elif not (is_http and path in OPEN_PATHS) and not self._is_authorized(
            connection, self._token.encode()
        ):
            return "token", 401, _NO_TOKEN
        if connection.scope["type"] == "websocket":
            return self._origin_rejection(connection)
        return None

    def _origin_rejection(self, connection: HTTPConnection) -> tuple[str, int, str] | None:
        """(reason, HTTP status, message), or None if a WebSocket from this origin is allowed."""
        host = connection.headers.get("host", "").lower()
        origin = connection.headers.get("origin", "")
        own_origins = (f"http://{host}", f"https://{host}") if host else ()  # https behind a reverse proxy
        if origin in self._origins or origin.lower() in own_origins:
            return None
        if not origin:
            return "origin", 403, _NO_ORIGIN
        name = origin[:_MAX_ORIGIN_LENGTH] if origin.isprintable() else "?"
        return (
            "origin",
            403,
            f"A page of {name} may not use this server: start it with `streamingtalker web --allow-origin "
            f"{name}`.",
        )

    def _add_cors_headers(self, headers: MutableHeaders, connection: HTTPConnection) -> None:
        """Let pages of the allowed origins read the response; every page that of `GET /socket`."""
        headers.add_vary_header("origin")
        origin = connection.headers.get("origin", "")
        if connection.scope["path"] == _SOCKET_PATH:
            headers["access-control-allow-origin"] = "*"
        elif origin in self._origins:
            headers["access-control-allow-origin"] = origin
        else:
            return
        headers["cross-origin-resource-policy"] = "cross-origin"

    def _is_authorized(self, connection: HTTPConnection, token: bytes) -> bool:
        cookies = [connection.cookies.get(name, "") for name in self._cookie_names]
        tokens = (
            connection.query_params.get("token", "").encode(errors="replace"),
            connection.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1", "replace"),
            *(cookie.encode(errors="replace") for cookie in cookies),
        )
        if any(hmac.compare_digest(candidate, token) for candidate in tokens):
            return True
        digest = (self._cookie or "").encode()
        return any(hmac.compare_digest(cookie.encode(errors="replace"), digest) for cookie in cookies)


def check_origin(origin: str) -> str:
    """Return an origin as a browser writes it: scheme, host and port, in lower case, without a default port.

    Args:
        origin: As a user writes it; a slash at its end is dropped.

    Raises:
        TalkerError: if it is no origin.
    """
    text = origin.strip().removesuffix("/").lower()
    try:
        url = URL(text)
        is_origin = url.scheme in _DEFAULT_PORTS and bool(url.hostname) and "@" not in text
        if not is_origin or url.path or url.query or url.fragment or not text.isprintable() or " " in text:
            raise ValueError
        is_default = url.port == _DEFAULT_PORTS[url.scheme]
    except ValueError:
        raise TalkerError(
            f"{origin[:_MAX_ORIGIN_LENGTH]!r} is no origin: give scheme, host and port of the page, such as "
            "https://www.example or http://localhost:3000"
        ) from None
    return text.rpartition(":")[0] if is_default else text


def check_token(token: str) -> str:
    """Return an access token that a user has chosen.

    Args:
        token: any text that can be sent in an address.

    Raises:
        TalkerError: if it holds bytes that are not text, or characters that no address holds.
    """
    if not token.isprintable():  # so are half surrogates, for bytes of the command line that are not UTF-8
        raise TalkerError("the token holds characters that cannot be printed: choose letters and digits")
    return token


def _is_page(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] in _PAGE_PATHS


async def _reject(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # "websocket.connect"; a close in its place makes the server answer 403
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": message[:100]})
    else:
        await PlainTextResponse(f"{message}\n", status)(scope, receive, send)
