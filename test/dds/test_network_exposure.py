# SPDX-License-Identifier: Apache-2.0
"""Discovery ranges: who can reach a node's sockets; packets that are no DDS cost no output and no command."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.dds_domain import own_domain
from support.dds_peer import HeadPeer
from support.waiting import wait_for

RANGES = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "CYCLONEDDS_URI")
INTERFACE = (
    "<CycloneDDS><Domain><General><Interfaces><NetworkInterface {}/></Interfaces></General></Domain>"
    "</CycloneDDS>"
)
# prints (address, device) of each UDP socket of a node
SOCKETS = """
import json, os, socket, sys
from streamingtalker_ros.dds.node import DdsNode
warnings = []
node = DdsNode("x", "", int(sys.argv[1]), warnings.append)
found = []
for name in os.listdir("/proc/self/fd"):
    if os.path.islink(f"/proc/self/fd/{name}"):
        if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
            with socket.socket(fileno=os.dup(int(name))) as each:
                if each.type == socket.SOCK_DGRAM:
                    device = each.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
                    found.append((each.getsockname()[0], device.decode().rstrip("\\0")))
print(json.dumps([found, warnings]))
node.close()
"""
# waits for a message, or for the publisher of one
PEER = """
import sys, time
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.dds import message_types
name, domain = sys.argv[1], int(sys.argv[2])
node, received = DdsNode(name, "", domain), []
writer = node.create_publisher(f"from_{name}", "std_msgs/msg/String")
other = {"a": "b", "b": "a"}[name]
node.create_subscription(f"from_{other}", "std_msgs/msg/String", received.append)
node.start()
deadline = time.monotonic() + float(sys.argv[3])
while not received and time.monotonic() < deadline:
    writer.write(message_types.message_class("std_msgs/msg/String")(data=name))
    time.sleep(0.02)
for _ in range(10):
    writer.write(message_types.message_class("std_msgs/msg/String")(data=name))
    time.sleep(0.02)
print(len(received) > 0)
node.close()
"""


def environment(values: dict[str, str]) -> dict[str, str]:
    return {**{name: text for name, text in os.environ.items() if name not in RANGES}, **values}


def udp_sockets(values: dict[str, str]) -> tuple[list[Any], list[str]]:
    command = [sys.executable, "-c", SOCKETS, str(own_domain())]
    done = subprocess.run(command, env=environment(values), capture_output=True, text=True, check=True)
    sockets, warnings = json.loads(done.stdout)
    assert sockets
    return sockets, warnings


def is_local(address: str, device: str) -> bool:
    return address == "127.0.0.1" or device == "lo"


@pytest.mark.parametrize(
    "values",
    [
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"},
        {"ROS_LOCALHOST_ONLY": "1"},
        {"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "CYCLONEDDS_URI": "<CycloneDDS/>"},
    ],
)
def test_no_socket_receives_from_other_machines_if_the_user_asked_for_localhost(
    values: dict[str, str],
) -> None:
    sockets, warnings = udp_sockets(values)
    assert all(is_local(*each) for each in sockets), sockets
    assert not warnings


def test_an_unknown_range_counts_as_localhost_and_is_named() -> None:
    sockets, warnings = udp_sockets({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOTS"})
    assert all(is_local(*each) for each in sockets)
    assert len(warnings) == 1 and "'LOCALHOTS'" in warnings[0]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
        {"ROS_LOCALHOST_ONLY": "0"},
        {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "CYCLONEDDS_URI": INTERFACE.format('autodetermine="true"'),
        },
    ],
)
def test_sockets_are_open_where_the_user_asked_for_the_network(values: dict[str, str]) -> None:
    sockets, warnings = udp_sockets(values)
    assert not all(is_local(*each) for each in sockets) and not warnings


def test_nodes_of_one_machine_meet_unless_discovery_is_off() -> None:
    """Three pairs at once: they mostly wait."""
    pairs = {("LOCALHOST", "LOCALHOST"): True, ("OFF", "OFF"): False, ("OFF", "LOCALHOST"): False}
    processes = {}
    for ranges, meet in pairs.items():
        domain, seconds = str(own_domain()), 60 if meet else 6
        processes[ranges] = [
            subprocess.Popen(
                [sys.executable, "-c", PEER, name, domain, str(seconds)],
                env=environment({"ROS_AUTOMATIC_DISCOVERY_RANGE": value}),
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, value in zip("ab", ranges, strict=True)
        ]
    for ranges, meet in pairs.items():
        answers = [process.communicate(timeout=120)[0].strip() for process in processes[ranges]]
        assert answers == [str(meet)] * 2, ranges


def ports_of(pid: int) -> list[int]:
    """The UDP ports of a process."""
    links = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        links.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [int(row[1].split(":")[1], 16) for row in rows if f"socket:[{row[9]}]" in links]


def malformed_packet(source: random.Random) -> bytes:
    """An RTPS header, then submessages whose lengths and contents are random."""
    packet = b"RTPS\x02\x05\x01\x10" + source.randbytes(12)
    for _ in range(3):
        kind, size = (
            source.choice([0x06, 0x07, 0x08, 0x09, 0x0C, 0x0E, 0x12, 0x15, 0x16]),
            source.randrange(60),
        )
        stated = size if source.random() < 0.7 else source.randrange(65536)
        packet += bytes([kind, source.randrange(256)]) + stated.to_bytes(2, "little") + source.randbytes(size)
    return packet


def test_malformed_packets_neither_fill_the_log_nor_stop_the_commands() -> None:
    domain, source = own_domain(), random.Random(4)
    peer = HeadPeer(domain, **{"jaw_controller/commands": "std_msgs/msg/Float64MultiArray"})
    commands = peer.received["jaw_controller/commands"]
    command = [
        sys.executable,
        "-m",
        "streamingtalker_ros",
        "head",
        "--config",
        "jaw",
        "--domain",
        str(domain),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as node:
        try:
            assert wait_for(lambda: commands)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                ports, sent, end = ports_of(node.pid), 0, time.monotonic() + 1.0
                assert ports
                while time.monotonic() < end:
                    for port in ports:
                        sender.sendto(malformed_packet(source), ("127.0.0.1", port))
                        sent += 1
                    if sent % 50 == 0:
                        time.sleep(0.001)
            count = len(commands)
            assert sent > 1000 and wait_for(lambda: len(commands) > count + 20)
        finally:
            node.terminate()
            _, error = node.communicate(timeout=60)
            peer.close()
        assert error.count(b"\n") <= 5, error[-500:]
