# SPDX-License-Identifier: Apache-2.0
"""A long-running command that loses any of its threads ends visibly, with joints at rest."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.supervision import EXIT_THREAD_FAILED, SHUTDOWN_TIMEOUT_S
from support.dds_domain import own_domain
from support.dds_peer import HeadPeer
from support.thread_killer import KillableProcess
from support.waiting import wait_for

COMMANDS = "jaw_controller/commands"
MAIN = "MainThread"


@contextlib.contextmanager
def running_head(domain: int, folder: Path) -> Iterator[tuple[KillableProcess, Callable[[], bool]]]:
    """The head driver with an open jaw; the law is that the jaw is closed at the end."""
    peer = HeadPeer(domain, **{COMMANDS: "std_msgs/msg/Float64MultiArray"})
    commands = peer.received[COMMANDS]
    try:
        with KillableProcess("head", "--config", "jaw", "--domain", domain) as process:
            assert wait_for(lambda: commands and matched_readers(peer.writer))
            assert peer.open_jaw(COMMANDS)
            yield process, lambda: wait_for(lambda: abs(commands[-1].data[0]) < 1e-6)
    finally:
        peer.close()


@contextlib.contextmanager
def running_markers(domain: int, folder: Path) -> Iterator[tuple[KillableProcess, Callable[[], bool]]]:
    with KillableProcess("markers", "--domain", domain) as process:
        assert process.read_line().startswith("face markers ready")
        yield process, lambda: True


@contextlib.contextmanager
def running_talk(domain: int, folder: Path) -> Iterator[tuple[KillableProcess, Callable[[], bool]]]:
    with KillableProcess("talk", "--param", "device=cpu", "--domain", domain) as process:
        assert process.read_line().startswith("talker ready")
        yield process, lambda: True


@contextlib.contextmanager
def running_play(domain: int, folder: Path) -> Iterator[tuple[KillableProcess, Callable[[], bool]]]:
    path = folder / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.zeros(60 * 16000, np.int16).tobytes())
    received: list[Any] = []
    subscriber = DdsNode("subscriber", "", domain)
    try:
        subscriber.create_subscription("audio", "audio_common_msgs/msg/AudioDataStamped", received.append)
        subscriber.create_subscription("audio_info", "audio_common_msgs/msg/AudioInfo", print)
        subscriber.start()
        # packets of 10 s: it sleeps when the thread is killed
        with KillableProcess(
            "play", path, "--domain", domain, "--packet-ms", 10_000, "--pace", 0.1
        ) as process:
            assert wait_for(lambda: len(process.threads()) > 1)
            yield process, lambda: True
    finally:
        subscriber.close()


@contextlib.contextmanager
def running_demo(domain: int, folder: Path) -> Iterator[tuple[KillableProcess, Callable[[], bool]]]:
    """The demo with its talker; the law is that the processes that it started are gone at the end."""
    with KillableProcess("demo", "--domain", domain, "--out-dir", folder, "--device", "cpu") as process:
        pid = process.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        assert wait_for(lambda: children.read_text().split(), 60)
        started = [Path("/proc") / child for child in children.read_text().split()]
        yield process, lambda: wait_for(lambda: not any(child.exists() for child in started))


SCENES = {
    "head": running_head,
    "markers": running_markers,
    "talk": running_talk,
    "play": running_play,
    "demo": running_demo,
}


@pytest.mark.parametrize("command", SCENES)
def test_a_command_that_loses_any_thread_ends_with_an_error_and_joints_at_rest(
    command: str, tmp_path: Path
) -> None:
    killed: set[str] = set()
    names = {MAIN}
    while names - killed:
        with SCENES[command](own_domain(), tmp_path) as (process, law):
            threads = process.threads()
            names.update(threads.values())
            assert "unknown to threading" not in names
            ident, name = next(pair for pair in threads.items() if pair[1] not in killed)
            killed.add(name)
            process.kill_thread(ident)
            code, output, seconds = process.end(SHUTDOWN_TIMEOUT_S + 5)
            assert seconds < SHUTDOWN_TIMEOUT_S, f"{name}: it ended by itself, not by the limit"
            assert output.count("ThreadKilledError") == 1 and output.count("Traceback") == 1, output
            if name == MAIN:
                assert code == 1
            else:
                assert code == EXIT_THREAD_FAILED
                assert f"the thread '{name}' ended by an exception" in output
            assert law(), name
            print(f"{command}, {name}: code {code} after {seconds:.2f} s")
    assert MAIN in killed and len(killed) > 1
