# SPDX-License-Identifier: Apache-2.0
"""Cyclone DDS settings of a node, with rclpy and without: buffers, discovery range, sockets and log."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
from collections.abc import Callable, Generator
from typing import Any, Final, Literal

DiscoveryRange = Literal["SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT"]
"""Which peers a node discovers and is discovered by, as in ROS 2."""

_RANGES: Final[dict[str, DiscoveryRange]] = {
    "SUBNET": "SUBNET",
    "LOCALHOST": "LOCALHOST",
    "OFF": "OFF",
    "SYSTEM_DEFAULT": "SYSTEM_DEFAULT",
}
_LOOPBACK_DEVICE: Final = b"lo"
_FATAL: Final = 1  # Cyclone DDS's log category of faults that end the process
_FDS: Final = "/proc/self/fd"

# A packet of megabytes arrives in thousands of fragments. With Linux' default buffer some are lost, and by
# default they are requested again only after 100 ms, while all later audio waits. Larger samples than 128 MiB
# are never put together, and of each writer two at a time instead of 16: their fragments stay in memory.
RECEIVE_BUFFER_XML: Final = (
    '<Internal><SocketReceiveBufferSize min="default" max="20MB"/><NackDelay>5 ms</NackDelay>'
    "<MaxSampleSize>128 MiB</MaxSampleSize><DefragReliableMaxSamples>2</DefragReliableMaxSamples>"
    "<DefragUnreliableMaxSamples>2</DefragUnreliableMaxSamples></Internal>"
)


def to_cyclonedds_uri(domain_xml: str) -> str:
    """Return a value for CYCLONEDDS_URI: our settings first, then the user's, which override them.

    Args:
        domain_xml: the content of the `<Domain>` element.
    """
    settings = f"<CycloneDDS><Domain>{domain_xml}</Domain></CycloneDDS>"
    return ",".join(filter(None, [settings, os.environ.get("CYCLONEDDS_URI")]))


def set_receive_buffer() -> None:
    """Enlarge the receive buffer of rmw_cyclonedds by setting CYCLONEDDS_URI, once.

    Call it before the process creates its first node, which is when rmw_cyclonedds reads the variable. Other
    middlewares ignore it.
    """
    if RECEIVE_BUFFER_XML not in os.environ.get("CYCLONEDDS_URI", ""):
        os.environ["CYCLONEDDS_URI"] = to_cyclonedds_uri(RECEIVE_BUFFER_XML)


def discovery_range(warn: Callable[[str], Any]) -> DiscoveryRange:
    """Return the discovery range of ROS_AUTOMATIC_DISCOVERY_RANGE and ROS_LOCALHOST_ONLY.

    Args:
        warn: Receives a message about a value that ROS does not know; it counts as LOCALHOST.
    """
    if os.environ.get("ROS_LOCALHOST_ONLY") == "1":
        return "LOCALHOST"
    value = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    if value.upper() not in _RANGES:
        warn(
            f"ROS_AUTOMATIC_DISCOVERY_RANGE is {value[:40]!r}, which is taken for LOCALHOST: set it to "
            f"{', '.join(_RANGES)}"
        )
    return _RANGES.get(value.upper(), "LOCALHOST")


def discovery_xml(range_: DiscoveryRange) -> str:
    """Return the settings of rmw_cyclonedds for a discovery range, which peers on this machine expect.

    Args:
        range_: With LOCALHOST and OFF the loopback interface alone is used.
    """
    if range_ == "SYSTEM_DEFAULT":
        return ""
    local = (
        "<General><AllowMulticast>false</AllowMulticast>"
        '<Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces></General>'
    )
    if range_ == "OFF":
        tag = f"ros_discovery_off_{os.getpid()}"
        return f"{local}<Discovery><ParticipantIndex>none</ParticipantIndex><Tag>{tag}</Tag></Discovery>"
    discovery = (
        "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
        "<MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
        '<Peers><Peer address="localhost"/></Peers></Discovery>'
    )
    return (local if range_ == "LOCALHOST" else "") + discovery


@contextlib.contextmanager
def loopback_sockets(range_: DiscoveryRange, warn: Callable[[str], Any]) -> Generator[None, None, None]:
    """Restrict the UDP sockets that Cyclone DDS opens in the block to the loopback interface, if asked to.

    Cyclone DDS binds its receiving sockets to all addresses, whichever interfaces it is told to use. Each is
    therefore bound to the loopback device: the kernel then drops what arrives from other machines.

    Args:
        range_: Nothing is done unless it is LOCALHOST or OFF, or if CYCLONEDDS_URI chooses interfaces.
        warn: Receives a message if the kernel does not permit it.
    """
    if range_ not in ("LOCALHOST", "OFF") or "Interface" in os.environ.get("CYCLONEDDS_URI", ""):
        yield
        return
    before = _socket_links()
    yield
    try:
        for fd, link in _socket_links().items():
            if before.get(fd) != link:
                _bind_to_loopback(fd)
    except (OSError, AttributeError) as error:
        warn(
            "the sockets of DDS cannot be restricted to this machine "
            f"({getattr(error, 'strerror', None) or error}): they receive from the network, too; close UDP "
            "ports 7400 and above in the firewall"
        )


def mute_packet_warnings() -> None:
    """Switch off Cyclone DDS's log of packets, once a domain has been created.

    It writes two lines to stderr for each malformed packet, without limit, and blocks if nobody reads them.
    What is enabled with `Tracing` in CYCLONEDDS_URI is still written. Does nothing if the library is not
    loaded.
    """
    with contextlib.suppress(OSError, AttributeError):
        for path in _loaded_libraries("libddsc"):
            ctypes.CDLL(path).dds_set_log_mask(ctypes.c_uint32(_FATAL))


def _socket_links() -> dict[int, str]:
    """Return the open sockets of this process: their names in /proc by file descriptor."""
    links: dict[int, str] = {}
    with contextlib.suppress(OSError):  # no /proc
        for name in os.listdir(_FDS):
            with contextlib.suppress(OSError):
                link = os.readlink(f"{_FDS}/{name}")
                if link.startswith("socket:"):
                    links[int(name)] = link
    return links


def _bind_to_loopback(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as duplicate:
        if duplicate.type == socket.SOCK_DGRAM and duplicate.family in (socket.AF_INET, socket.AF_INET6):
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _LOOPBACK_DEVICE)


def _loaded_libraries(name: str) -> set[str]:
    """Return the paths of the loaded shared libraries whose file names begin with `name`."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        return set(re.findall(rf"\s(/\S*/{re.escape(name)}[^/\s]*)$", maps.read(), re.MULTILINE))
