# SPDX-License-Identifier: Apache-2.0
"""Fuzzes running nodes from outside: raw samples on every subscribed topic, packets at their ports.

The nodes are the commands `talk`, `head` and `markers` in a domain of their own on the loopback interface.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclonedds.core import DDSException
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.topic import Topic

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.head_node import JOINT_STATE_TYPE
from streamingtalker_ros.dds.markers_node import TF_TYPE
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.messaging import audio_common, face_messages
from streamingtalker_ros.messaging.audio_common import INFO_TYPE
from streamingtalker_ros.messaging.speech_messages import SAY_ACTION, TEXT_TYPE
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.resources import find
from streamingtalker_ros.runtime import expression_input
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE
from support.dds_domain import own_domain
from support.dds_peer import HeadPeer, call_trigger
from support.fuzz_audio import PCM
from support.fuzz_messages import TRIGGER, cdr_seeds, message_class, mutate_cdr
from support.fuzzing import mutate_bytes
from support.scheduler_harness import small_network
from support.soak_length import memory
from support.tts_command import command
from support.waiting import wait_for

JAW_COMMANDS: Final = "jaw_controller/commands"
_COMMAND_TYPE: Final = "std_msgs/msg/Float64MultiArray"
_SECOND_NS: Final = 1_000_000_000
TOPICS: Final = (
    ("rt/audio", "audio_common_msgs/msg/AudioData"),
    ("rt/audio", "audio_common_msgs/msg/AudioDataStamped"),
    ("rt/audio", "audio_common_msgs/msg/AudioStamped"),
    ("rt/audio_info", INFO_TYPE),
    ("rt/face_motion", face_messages.MOTION_TYPE),
    ("rt/face_model", face_messages.MODEL_TYPE),
    ("rt/face_vertices", face_messages.VERTICES_TYPE),
    ("rt/joint_states", JOINT_STATE_TYPE),
    ("rq/talker/resetRequest", TRIGGER),
    ("rq/talker/interruptRequest", TRIGGER),
    ("rt/partner_audio", "audio_common_msgs/msg/AudioDataStamped"),
    ("rt/gaze_target", GAZE_TYPE),
    ("rt/expression", expression_input.EXPRESSION_TYPE),
    ("rt/expression", expression_input.HRI_EXPRESSION_TYPE),
    ("rt/gesture", expression_input.GESTURE_TYPE),
    ("rq/talker/set_expressionRequest", f"{expression_input.SET_EXPRESSION_SERVICE}_Request"),
    ("rq/talker/gestureRequest", f"{expression_input.MAKE_GESTURE_SERVICE}_Request"),
    ("rt/say", TEXT_TYPE),
    ("rq/say/_action/send_goalRequest", f"{SAY_ACTION}_SendGoal_Request"),
    ("rq/say/_action/get_resultRequest", f"{SAY_ACTION}_GetResult_Request"),
    ("rq/say/_action/cancel_goalRequest", "action_msgs/srv/CancelGoal_Request"),
)
"""Each topic that a node reads, by its name on the wire, and its type."""

_SPEECH: Final = np.tile(np.frombuffer(PCM, "<i2"), 3)  # 0.6 s
_MAX_OUTPUT_LINES: Final = 40  # of one node, whatever arrives: frames and texts are named each
_MAX_LINE: Final = 700  # characters
_MAX_GROWTH_MB: Final = 50.0
_FAKE_PREFIXES: Final = 16  # participants that the packets claim to be
_PROBED_INDEX: Final = 29  # participant index whose port this process occupies, to receive announcements
_SUBMESSAGES: Final = (
    0x01,
    0x06,
    0x07,
    0x08,
    0x09,
    0x0C,
    0x0D,
    0x0E,
    0x0F,
    0x12,
    0x13,
    0x15,
    0x16,
    0x30,
    0x80,
)


@contextlib.contextmanager
def localhost_only() -> Iterator[None]:
    """Restrict DDS to the loopback interface, in this process and its children."""
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    before = os.environ.get(name)
    os.environ[name] = "LOCALHOST"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _raw_class(type_name: str) -> Any:
    base = message_class(type_name)

    class Raw(base):
        def __init__(self, data: bytes) -> None:
            self.data_on_the_wire = data

        def serialize(self, *_: Any, **__: Any) -> bytes:
            return self.data_on_the_wire

    return Raw


class FuzzedNodes:
    """Starts the nodes and attacks them; a context manager.

    Args:
        folder: For the model and the output of the nodes.

    Attributes:
        samples: Raw samples sent so far.
        packets: UDP packets sent so far.
        resets: Samples among them that may be requests of ~/reset.
    """

    def __init__(self, folder: Path) -> None:
        self.samples = self.packets = self.resets = 0
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._sizes: dict[str, float] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> FuzzedNodes:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for node in self._nodes.values():
            node.kill()
            node.wait()
        self._stack.close()

    def _start(self) -> None:
        self._stack.enter_context(localhost_only())
        self._domain: int = own_domain()
        checkpoint.save(self._folder / "model", small_network())
        head = self._folder / "jaw.yaml"
        head.write_text(find("config", "heads/jaw.yaml").read_text() + "\nfeedback: joint_states\n")
        model, voice = self._folder / "model", command("silent")
        commands = {
            "talk": ["talk", "--param", f"model={model}", "--param", "device=cpu", "--tts", voice],
            "head": ["head", "--config", str(head)],
            "markers": ["markers"],
        }
        for name, arguments in commands.items():
            output = self._stack.enter_context((self._folder / f"{name}.out").open("wb"))
            self._nodes[name] = subprocess.Popen(
                [sys.executable, "-m", "streamingtalker_ros", *arguments, "--domain", str(self._domain)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._peer = HeadPeer(
            self._domain,
            **{JAW_COMMANDS: _COMMAND_TYPE, "/tf": TF_TYPE, "talker_motion": face_messages.MOTION_TYPE},
        )
        self._stack.callback(self._peer.close)
        self._motion: list[Any] = []
        node = self._peer.dds_node
        node.create_subscription(
            "face_motion", face_messages.MOTION_TYPE, self._motion.append, node.qos(depth=500)
        )
        self._audio = node.create_publisher("audio", audio_common.PUBLISHED_TYPES["ros-drivers"])
        self._info = node.create_publisher("audio_info", INFO_TYPE)
        self._writers = [(_open_raw(node, topic, name), name, topic) for topic, name in TOPICS]
        self._seeds = {name: cdr_seeds(name) for _, name in TOPICS}
        assert wait_for(lambda: matched_readers(self._audio) and matched_readers(self._info), 90), (
            self.output()
        )
        assert wait_for(lambda: matched_readers(self._peer.writer) >= 2, 90), self.output()
        self._udp = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._packet_seeds = [*self._capture_announcements(), *_packets()]
        self.check_good_input()
        self._sizes = {name: memory(process.pid) for name, process in self._nodes.items()}

    def output(self) -> str:
        """Return what the nodes have printed."""
        return "\n".join(
            f"--- {name}: {(self._folder / f'{name}.out').read_text(errors='replace')[-4000:]}"
            for name in self._nodes
        )

    def attack(self, random: np.random.Generator, count: int) -> None:
        """Send samples and packets, then require that each node still works.

        Args:
            random: Decides.
            count: Number of samples and packets.
        """
        start = {name: _cpu_seconds(node.pid) for name, node in self._nodes.items()}
        for _ in range(count):
            if random.random() < 0.5:
                self._send_sample(random)
            else:
                self._send_packet(random)
            if random.random() < 0.05:
                time.sleep(0.005)
        self.check_good_input()
        for name, node in self._nodes.items():
            used = _cpu_seconds(node.pid) - start[name]
            assert used < 10 + 0.02 * count, f"{name} used {used:.1f} s of processor time"

    def check_good_input(self) -> None:
        """Require that audio gives motion, motion moves the jaw, and the face is shown."""
        for name, node in self._nodes.items():
            assert node.poll() is None, f"{name} ended with {node.returncode}\n{self.output()}"
        self._info.write(
            audio_common.to_audio_info(message_types.message_class(INFO_TYPE)(), AudioFormat(16000, 1, "s16"))
        )
        call_trigger(self._peer.dds_node, "/talker/reset")
        assert wait_for(self._voice_gives_motion, 60), f"no motion\n{self.output()}"
        jaw, transforms = self._peer.received[JAW_COMMANDS], self._peer.received["/tf"]
        jaw.clear()
        transforms.clear()

        def jaw_opens() -> bool:
            self._peer.publish_jaw(1.0, 0.4)
            return any(message.data and message.data[0] > 0.2 for message in jaw)

        assert wait_for(jaw_opens, 60), f"the jaw does not move\n{self.output()}"
        assert wait_for(lambda: transforms, 60), f"no transform\n{self.output()}"
        assert all(np.isfinite(message.data).all() for message in jaw)

    def _voice_gives_motion(self) -> bool:
        self._motion.clear()
        message, stamp = (
            message_types.message_class(audio_common.PUBLISHED_TYPES["ros-drivers"]),
            time.time_ns(),
        )
        for index, block in enumerate(_SPEECH.reshape(-1, 320)):
            packet = audio_common.to_audio_message(
                message(),
                audio_common.PUBLISHED_TYPES["ros-drivers"],
                block,
                AudioFormat(16000, 1, "s16"),
                stamp + index * _SECOND_NS // 50,
                "microphone",
            )
            self._audio.write(packet)
            time.sleep(0.02)
        return any(
            stamp <= frame.header.stamp.sec * _SECOND_NS + frame.header.stamp.nanosec
            for frame in list(self._motion)
        )

    def check_bounds(self) -> dict[str, float]:
        """Require bounded output and memory, and an orderly end; return the growth of each node in MB."""
        growth = {name: memory(node.pid) - self._sizes[name] for name, node in self._nodes.items()}
        for node in self._nodes.values():
            node.terminate()
        for name, node in self._nodes.items():
            assert node.wait(30) == 0, f"{name} ended with {node.returncode}\n{self.output()}"
            text = (self._folder / f"{name}.out").read_text(errors="replace")
            assert "Traceback" not in text, text[-6000:]
            lines = text.splitlines()
            # each kind of fault is logged once until ~/reset
            assert len(lines) < _MAX_OUTPUT_LINES * (1 + self.resets), text[-6000:]
            assert max(map(len, lines), default=0) < _MAX_LINE, text[-6000:]
        assert max(growth.values()) < _MAX_GROWTH_MB, growth
        return growth

    def _send_sample(self, random: np.random.Generator) -> None:
        writer, name, topic = self._writers[int(random.integers(len(self._writers)))]
        seeds = self._seeds[name]
        data = mutate_cdr(seeds[int(random.integers(len(seeds)))], seeds, random)
        data = data.ljust(4, b"\0")
        with contextlib.suppress(DDSException):  # the writer itself rejects an unknown encapsulation
            writer.write(_RAW[name](data + bytes(-len(data) % 4)))
            self.samples += 1
            self.resets += "reset" in topic

    def _send_packet(self, random: np.random.Generator) -> None:
        index = int(random.integers(0, 6))
        port = 7400 + 250 * self._domain + (10 + 2 * index + int(random.integers(2)))
        seed = self._packet_seeds[int(random.integers(len(self._packet_seeds)))]
        data = seed[:20] + mutate_bytes(seed[20:], [each[20:] for each in self._packet_seeds], random)
        if random.random() < 0.1:
            data = mutate_bytes(seed, self._packet_seeds, random)
        data = data[:8] + b"fuzz" + bytes([int(random.integers(_FAKE_PREFIXES))]) + data[13:]
        with contextlib.suppress(OSError):
            self._udp.sendto(data[:60_000], ("127.0.0.1", port))
            self.packets += 1

    def _capture_announcements(self) -> list[bytes]:
        """Return packets that the nodes send to announce themselves."""
        port = 7400 + 250 * self._domain + 10 + 2 * _PROBED_INDEX
        received: list[bytes] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", port))
            listener.settimeout(0.5)
            end = time.monotonic() + 2.0
            while len(received) < 20 and time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    received.append(listener.recv(65536))
        return received


_RAW: Final = {name: _raw_class(name) for _, name in TOPICS}


def _open_raw(node: DdsNode, topic: str, type_name: str) -> Any:
    qos = Qos(
        Policy.History.KeepLast(10),
        Policy.Reliability.Reliable(_SECOND_NS),
        Policy.Durability.TransientLocal if topic == "rt/face_model" else Policy.Durability.Volatile,
    )
    return DataWriter(node.participant, Topic(node.participant, topic, message_class(type_name)), qos=qos)


def _packets() -> list[bytes]:
    """Return RTPS messages with each kind of submessage (DDSI-RTPS 2.3, section 9.4.5)."""
    random = np.random.default_rng(3)
    packets = []
    for kind in _SUBMESSAGES:
        body = bytes(4) + b"\0\1\0\xc2\0\1\0\xc7" + (1).to_bytes(8, "little") + random.bytes(40)
        header = b"RTPS\2\3\1\x10" + random.bytes(12)
        packets.append(header + bytes([kind, 5]) + len(body).to_bytes(2, "little") + body)
    return packets


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
