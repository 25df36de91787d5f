# SPDX-License-Identifier: Apache-2.0
"""Who may come in: an ASGI layer that looks at Host, Origin and token before anything else is done.

On the loopback every Host but this machine's is refused, so that no foreign name can be pointed here; on another
address a token is asked for, in the address once and in a cookie from then on. A WebSocket must come from a page of
this very server.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_NO_HOST = "This server is reached under the address that it printed, not under this name."
_NO_TOKEN = "This address needs a token: open the whole address that `streamingtalker web` printed, ?token=… included."
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        b"img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' blob: data:; font-src 'self'; "
        b"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"microphone=(self), camera=(), geolocation=()"),
]


class Door:
    """app: the ASGI application behind it; token: None on the loopback; port: part of the cookie's name, since
    cookies of one host are shared by its ports; origins: further origins, such as a proxy's."""

    def __init__(self, app, token=None, port=0, origins=()) -> None:
        self._app, self._token, self._origins = app, token, set(origins)
        self._cookie = f"talker_{port}"

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        refusal = self._refusal(scope, headers, given)
        if refusal is not None:
            return await _refuse(scope, receive, send, *refusal)
        if scope["type"] == "http" and self._token and given:  # out of the address bar, into a cookie
            cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"
            return await _answer(send, 303, b"", [(b"location", b"/"), (b"set-cookie", cookie.encode())])

        async def dressed(message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, dressed)

    def _refusal(self, scope, headers, given):
        """(status, sentence), or None for a visitor who may come in."""
        host = headers.get("host", "")
        if (
            self._token is None
            and host.rpartition(":")[0].lower() not in _LOOPBACK
            and host.lower() not in _LOOPBACK
        ):
            return 403, _NO_HOST
        if self._token is not None and not self._knows(headers, given):
            return 401, _NO_TOKEN
        if scope["type"] == "websocket":
            origin = headers.get("origin", "")
            own = (f"http://{host}".lower(), f"https://{host}".lower())  # the latter behind a proxy
            if origin not in self._origins and (not host or origin.lower() not in own):
                return 403, "A WebSocket comes from a page of this server only."
        return None

    def _knows(self, headers, given):
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            pass
        shown = [given, headers.get("authorization", "").removeprefix("Bearer ")]
        shown += [cookie[self._cookie].value] if self._cookie in cookie else []
        return any(hmac.compare_digest(text.encode(), self._token.encode()) for text in shown)


async def _refuse(scope, receive, send, status, sentence):
    if scope["type"] == "websocket":
        await receive()
        return await send({"type": "websocket.close", "code": 1008, "reason": sentence[:100]})
    await _answer(send, status, f"{sentence}\n".encode(), [(b"content-type", b"text/plain; charset=utf-8")])


async def _answer(send, status, body, headers) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", str(len(body)).encode()), *headers, *_HEADERS],
        }
    )
    await send({"type": "http.response.body", "body": body})
