# SPDX-License-Identifier: Apache-2.0
"""Addresses of live outputs: `SCHEME://HOST[:PORT][?OPTION=VALUE&…]`.

`parse_address("livelink://render-pc?subject=Anna")` returns an `OutputAddress`; every address that is none
raises one TalkerError that says what to write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from streamingtalker_ros.config_files import describe, shorten
from streamingtalker_ros.errors import TalkerError

MAX_RATE: Final = 240
"""Most poses per second that an output sends."""

DEFAULT_RATE: Final = 60
"""Poses per second of an address without `rate`."""

_MAX_ADDRESS_CHARS: Final = 1000
_MAX_TEXT_CHARS: Final = 80
_MAX_PORT: Final = 65535
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")  # a name or an IPv4 address
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")
_OSC_PATH: Final = re.compile(r"(/[^\s#*,/?\[\]{}]*)*")  # characters that OSC 1.0 reserves are left out


def _parse_rate(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_RATE:
        raise ValueError(f"a whole number from 1 to {MAX_RATE}")
    return int(text)


def _parse_text(text: str) -> str:
    if not text or not text.isprintable() or len(text) > _MAX_TEXT_CHARS:
        raise ValueError(f"1 to {_MAX_TEXT_CHARS} printable characters")
    return text


def _parse_prefix(text: str) -> str:
    path = text.rstrip("/")
    is_text = text.isascii() and (text.isprintable() or not text)
    if not is_text or len(text) > _MAX_TEXT_CHARS or not _OSC_PATH.fullmatch(path):
        raise ValueError("the beginning of an OSC address, such as /face")
    return path


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            near = difflib.get_close_matches(text.lower()[:_MAX_TEXT_CHARS], choices, 1)
            raise ValueError(f"one of {', '.join(choices)}" + (f" (did you mean {near[0]}?)" if near else ""))
        return text

    return parse


@dataclass(frozen=True)
class _Scheme:
    """What an address of a scheme may hold.

    Attributes:
        port: Default port.
        options: Parser of each option's text; it raises ValueError with what is allowed.
        defaults: Value of each option that is not given.
    """

    port: int
    options: Mapping[str, Callable[[str], str | int]]
    defaults: Mapping[str, str | int]


SCHEMES: Final[Mapping[str, _Scheme]] = {
    "livelink": _Scheme(
        11111,
        {"rate": _parse_rate, "subject": _parse_text, "device": _parse_text},
        {"rate": DEFAULT_RATE, "subject": "StreamingTalker", "device": ""},
    ),
    "vmc": _Scheme(
        39539,
        {"rate": _parse_rate, "clips": _choice("both", "perfect-sync", "vrm")},
        {"rate": DEFAULT_RATE, "clips": "both"},
    ),
    "osc": _Scheme(
        9000,
        {"rate": _parse_rate, "preset": _choice("arkit", "facecap", "vrchat"), "prefix": _parse_prefix},
        {"rate": DEFAULT_RATE, "preset": "arkit", "prefix": ""},
    ),
}
"""Schemes of the addresses."""


@dataclass(frozen=True)
class OutputAddress:
    """Where a live output sends, and what.

    Attributes:
        url: The address as it was written.
        scheme: A key of `SCHEMES`.
        host: Name or IP address of the receiver.
        port: UDP port of the receiver.
        options: Value of each of the scheme's options.
    """

    url: str
    scheme: str
    host: str
    port: int
    options: Mapping[str, str | int]

    @property
    def rate(self) -> int:
        """Poses per second that are sent."""
        return int(self.options["rate"])

    def text(self, option: str) -> str:
        """Return the text of an option.

        Args:
            option: Name of an option of the scheme.
        """
        return str(self.options[option])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(url: str) -> OutputAddress:
    """Parse the address of a live output.

    Args:
        url: Such as `livelink://192.168.0.7:11111?subject=Anna&rate=60`. Values may be percent-encoded.

    Returns:
        Its parts.

    Raises:
        TalkerError: If it is not an address of a live output.
    """
    if not isinstance(url, str):
        raise TalkerError(f"{describe(url)} is no address of an output: write {_usage('livelink')}")
    text = url.strip()
    name, separator, rest = text.partition("://")
    scheme = name.lower()
    if not separator or scheme not in SCHEMES:
        word = re.split("[:/?]", text)[0].lower()[:_MAX_TEXT_CHARS]
        near = difflib.get_close_matches(word, SCHEMES, 1)
        hint = f"did you mean {_usage(near[0])}?" if near else f"write {' or '.join(map(_usage, SCHEMES))}"
        raise TalkerError(f"{shorten(text)!r} is no address of an output: {hint}")
    if len(text) > _MAX_ADDRESS_CHARS or not text.isprintable():
        raise TalkerError(
            f"the address of an output {shorten(text)!r} is too long or not printable: write "
            f"{_usage(scheme)}, at most {_MAX_ADDRESS_CHARS} characters"
        )
    place, _, query = rest.partition("?")
    host, port = _parse_place(text, scheme, place.removesuffix("/"))
    return OutputAddress(text, scheme, host, port, _parse_options(text, scheme, query))


def _usage(scheme: str) -> str:
    return f"{scheme}://HOST[:{SCHEMES[scheme].port}]"


def _parse_place(url: str, scheme: str, place: str) -> tuple[str, int]:
    """Return host and port of `HOST[:PORT]`; an IPv6 address stands in brackets."""
    where = f"the address of an output {shorten(url)!r}"
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        colon, number = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":") or not _IPV6.fullmatch(host):
            raise TalkerError(f"{where} has no valid IPv6 address: write {scheme}://[::1]:PORT")
    else:
        host, colon, number = place.partition(":")
        if not host:
            raise TalkerError(f"{where} names no host: write {_usage(scheme)}, such as {scheme}://127.0.0.1")
        if ":" in number:
            raise TalkerError(f"{where} has too many colons: write an IPv6 address as {scheme}://[::1]:PORT")
        if not _HOST.fullmatch(host) or ".." in host or len(host) > 253:
            raise TalkerError(f"{where} has the invalid host {shorten(host)!r}: write {_usage(scheme)}")
    if not colon:
        return host, SCHEMES[scheme].port
    if not re.fullmatch("[0-9]{1,5}", number) or not 1 <= int(number) <= _MAX_PORT:
        raise TalkerError(f"{where} has the invalid port {shorten(number)!r}: give 1 to {_MAX_PORT}")
    return host, int(number)


def _parse_options(url: str, scheme: str, query: str) -> dict[str, str | int]:
    where = f"the address of an output {shorten(url)!r}"
    parsers = SCHEMES[scheme].options
    values: dict[str, str | int] = {}
    for part in query.split("&") if query else ():
        name, equals, encoded = part.partition("=")
        if name not in parsers:
            near = difflib.get_close_matches(name.lower()[:_MAX_TEXT_CHARS], parsers, 1)
            hint = f"did you mean {near[0]}?" if near else f"{scheme}:// has {', '.join(parsers)}"
            raise TalkerError(f"{where} has the unknown option {shorten(name)!r}: {hint}")
        if name in values:
            raise TalkerError(f"{where} sets {name} twice: keep one of them")
        try:
            value = unquote(encoded, errors="strict")
            values[name] = parsers[name](value if equals else "")
        except UnicodeDecodeError:
            raise TalkerError(f"{where} has a damaged percent-encoding in {name}: use UTF-8") from None
        except ValueError as error:
            raise TalkerError(f"{where} has {name}={shorten(encoded)!r}: give {error}") from None
    return {**SCHEMES[scheme].defaults, **values}
