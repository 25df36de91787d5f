# SPDX-License-Identifier: Apache-2.0
"""Addresses of live outputs are read, and every other text is rejected in one sentence with the cure."""

from __future__ import annotations

from typing import Any

import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.outputs import OutputGroup, parse_address


@pytest.mark.parametrize(
    "url, scheme, host, port",
    [
        ("livelink://127.0.0.1", "livelink", "127.0.0.1", 11111),
        ("vmc://render-pc.local", "vmc", "render-pc.local", 39539),
        ("osc://localhost/", "osc", "localhost", 9000),
        ("LiveLink://host:1234", "livelink", "host", 1234),
        ("osc://[::1]", "osc", "::1", 9000),
        ("osc://[fe80::1%eth0]:9001", "osc", "fe80::1%eth0", 9001),
        ("  vmc://10.0.0.255:65535  ", "vmc", "10.0.0.255", 65535),
    ],
)
def test_an_address_names_scheme_host_and_port_or_has_the_protocols_port(
    url: str, scheme: str, host: str, port: int
) -> None:
    address = parse_address(url)
    assert (address.scheme, address.host, address.port, address.rate) == (scheme, host, port, 60)


def test_options_are_decoded_and_have_defaults() -> None:
    address = parse_address("livelink://host?subject=Anna%20%26%20B%C3%A9la&rate=30")
    assert address.text("subject") == "Anna & Béla" and address.rate == 30
    assert parse_address("osc://host?prefix=/face/").text("prefix") == "/face"
    assert parse_address("osc://host?preset=vrchat").text("preset") == "vrchat"
    assert parse_address("vmc://host").text("clips") == "both"


@pytest.mark.parametrize(
    "url, message",
    [
        ("", "livelink://HOST"),
        ("livelnk://host", "did you mean livelink://HOST"),
        ("livelink:host:11111", "livelink://HOST"),
        ("livelink:/host", "livelink://HOST"),
        ("192.168.0.7:11111", "livelink://HOST"),
        ("http://host", "livelink://HOST"),
        ("livelink://", "names no host"),
        ("livelink://:11111", "names no host"),
        ("osc://host:0", "give 1 to 65535"),
        ("osc://host:65536", "give 1 to 65535"),
        ("osc://host:", "give 1 to 65535"),
        ("osc://host:٣", "give 1 to 65535"),
        ("osc://host:9000:1", "IPv6"),
        ("osc://::1", "names no host|IPv6"),
        ("osc://[::1", "IPv6"),
        ("osc://[::1]x", "IPv6"),
        ("osc://[hello]", "IPv6"),
        ("osc://user@host", "invalid host"),
        ("osc://ho st", "invalid host"),
        ("osc://host/path", "invalid host"),
        ("osc://host#top", "invalid host"),
        ("osc://-host", "invalid host"),
        ("osc://a..b", "invalid host"),
        ("osc://hôst", "invalid host"),
        ("livelink://host?rat=60", "did you mean rate"),
        ("livelink://host?preset=vrchat", "has rate, subject, device"),
        ("livelink://host?rate=0", "from 1 to 240"),
        ("livelink://host?rate=241", "from 1 to 240"),
        ("livelink://host?rate=-1", "from 1 to 240"),
        ("livelink://host?rate=29.97", "from 1 to 240"),
        ("livelink://host?rate=nan", "from 1 to 240"),
        ("livelink://host?rate=" + "9" * 5000, "too long"),
        ("livelink://host?rate", "from 1 to 240"),
        ("livelink://host?rate=60&rate=30", "twice"),
        ("livelink://host?rate=60&", "unknown option ''"),
        ("livelink://host?subject=", "printable characters"),
        ("livelink://host?subject=%0A", "printable characters"),
        ("livelink://host?subject=%FF", "UTF-8"),
        ("livelink://host?subject=" + "a" * 81, "printable characters"),
        ("osc://host?preset=vrcat", "did you mean vrchat"),
        ("osc://host?prefix=face", "such as /face"),
        ("osc://host?prefix=/a%20b", "such as /face"),
        ("osc://host?prefix=/a%00b", "such as /face"),
        ("vmc://host?clips=all", "both, perfect-sync, vrm"),
        ("osc://host\n?rate=60", "not printable"),
    ],
)
def test_a_text_that_is_no_address_is_rejected_in_one_sentence(url: str, message: str) -> None:
    with pytest.raises(TalkerError, match=message) as error:
        parse_address(url)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400 and ": " in text


@pytest.mark.parametrize("value", [None, 3, b"osc://host", ["osc://host"]])
def test_a_value_that_is_no_text_is_rejected_in_one_sentence(value: Any) -> None:
    with pytest.raises(TalkerError, match="livelink://HOST"):
        parse_address(value)


def test_a_group_ignores_empty_addresses_and_rejects_a_bad_one() -> None:
    assert OutputGroup(["", ""]).outputs == []
    with pytest.raises(TalkerError, match="did you mean osc"):
        OutputGroup(["vmc://host", "ocs://host"])
