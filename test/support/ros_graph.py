# SPDX-License-Identifier: Apache-2.0
# rclpy and its messages come with a ROS installation
# pyright: reportMissingImports=false
"""Shared by the ROS tests: a node on a separate ROS domain: subscriptions, service calls, audio."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.msg import FaceMotion
from streamingtalker_ros.ros import audio_input, message_types

SECOND = 1_000_000_000
VARIANT = audio_input.installed_variant()
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.pop("ROS_LOCALHOST_ONLY", None)


def own_domain() -> Any:
    """A ROS domain for one module's tests, a number by chance."""
    return random.SystemRandom().randint(1, 100)


def wait_for(condition: Any, timeout: float = 60.0) -> Any:
    """Wait until condition() is true. Returns its value, false after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def voice(seconds: float, rate: int = 16000) -> Any:
    """The beginning of the demo's voice: (n,) int16 at `rate`, a divisor or a multiple of 16 kHz."""
    from streamingtalker_ros.resources import DEMO_AUDIO

    pcm = to_16k(*read_audio(DEMO_AUDIO))[: int(seconds * 16000)]
    return np.repeat(np.round(pcm * 32767).astype(np.int16), rate // 16000)


class Graph:
    """A node named `test_peer` that spins in a thread.

    Attributes:
        frames: FaceMotion messages so far.
        times: When each arrived, in s.
        diagnostics: DiagnosticArray messages so far.
    """

    def __init__(self, domain: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("test_peer", context=self.context)
        self.frames, self.times, self._clients = [], [], {}
        self.node.create_subscription(FaceMotion, "face_motion", self._on_motion, QoSProfile(depth=1000))
        self.diagnostics = self.subscribe(DiagnosticArray, "/diagnostics")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._closing = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing:
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def subscribe(
        self, message_class: Any, topic: str, received: list[Any] | None = None, qos: Any = None
    ) -> list[Any]:
        """Subscribe; return the list to which the messages are appended."""
        received = [] if received is None else received
        self.node.create_subscription(message_class, topic, received.append, qos or QoSProfile(depth=1000))
        return received

    def call(self, kind: Any, name: str, request: Any = None, timeout: float = 120.0) -> Any:
        """Call a service and return its response."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            assert self._clients[name].wait_for_service(timeout), f"no service {name}"
            time.sleep(0.3)  # a response is lost if the service has not discovered the client yet
        assert self._clients[name].wait_for_service(timeout), f"no service {name}"
        response = self._clients[name].call_async(request or kind.Request())
        assert wait_for(response.done, timeout), f"{name} did not answer"
        return response.result()

    def state(self, talker: Any = "/talker") -> Any:
        """The talker's lifecycle state."""
        return self.call(GetState, f"{talker}/get_state").current_state.label

    def change(self, transition: int, talker: Any = "/talker") -> Any:
        """Request a transition of the talker, by its id. Returns whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, f"{talker}/change_state", request).success

    def set(self, talker: str = "/talker", /, **values: Any) -> Any:
        """Set parameters of the talker. Returns rclpy's result for each."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        )
        return self.call(SetParameters, f"{talker}/set_parameters", request).results

    def measure_response_times(self, kind: Any, name: str, count: int) -> Any:
        """Call a service `count` times. Returns the response time of each call in s."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(30.0), f"no service {name}"
        response_times, responded = [], threading.Event()
        for _ in range(count):
            responded.clear()
            start = time.monotonic()
            client.call_async(kind.Request()).add_done_callback(lambda _: responded.set())
            assert responded.wait(30.0), f"{name} did not answer"
            response_times.append(time.monotonic() - start)
            time.sleep(0.01)
        self.node.destroy_client(client)
        return response_times

    def counts(self) -> Any:
        """The numbers of the talker's next diagnostics, {name: text}."""
        previous = len(self.diagnostics)
        assert wait_for(lambda: len(self.diagnostics) > previous), "no diagnostics"
        return {item.key: item.value for item in self.diagnostics[-1].status[0].values}

    def reset_talker(self) -> None:
        """Wait for the active state, reset the talker and clear the received frames."""
        assert wait_for(lambda: self.state() == "active", 60), "the talker did not reach active"
        assert self.call(Trigger, "/talker/reset").success
        count = None
        while count != len(self.frames):  # a frame may still be on its way
            count = len(self.frames)
            time.sleep(0.3)
        self.frames.clear()
        self.times.clear()

    def _on_motion(self, frame: Any) -> None:
        self.times.append(time.monotonic())
        self.frames.append(frame)

    def publish_audio(
        self,
        samples: npt.NDArray[np.int16],
        start: int,
        rate: int = 16000,
        reliable: bool = True,
        unpaced: bool = False,
        namespace: str = "",
        topic: str = "audio",
    ) -> None:
        """Publish int16 samples with stamps from `start` (ns), in real time or unpaced."""
        name, format = audio_common.PUBLISHED_TYPES[VARIANT], AudioFormat(rate, 1, "s16")
        message_class = message_types.message_class(name)
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        topic, info_topic = f"{namespace}/{topic}", f"{namespace}/{topic}_info"
        publisher = self.node.create_publisher(
            message_class, topic, QoSProfile(depth=100, reliability=reliability)
        )
        assert wait_for(publisher.get_subscription_count), "audio has no subscriber"
        info = None
        if VARIANT == "ros-drivers":
            info_class = message_types.message_class(audio_common.INFO_TYPE)
            info = self.node.create_publisher(info_class, info_topic, 1)
            assert wait_for(info.get_subscription_count), "audio_info has no subscriber"
        time.sleep(0.3)  # until the subscriber has discovered the publishers
        if info is not None:
            info.publish(audio_common.to_audio_info(info_class(), format))
            time.sleep(0.1)
        first = None
        packet, speed = (0.2, 0) if unpaced else (0.02, 1)
        for timestamp, block in paced_packets(samples, rate, packet, speed):
            first = timestamp if first is None else first
            stamp = start + timestamp - first
            publisher.publish(
                audio_common.to_audio_message(message_class(), name, block, format, stamp, "microphone")
            )
        time.sleep(0.1)
        self.node.destroy_publisher(publisher)
        if info is not None:
            self.node.destroy_publisher(info)
