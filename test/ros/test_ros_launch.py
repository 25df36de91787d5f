# SPDX-License-Identifier: Apache-2.0
"""Launch files: every node follows namespace, remappings, log level, respawn and required."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ament_index_python.packages import get_package_share_directory
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from std_msgs.msg import Float64MultiArray

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.msg import DialogueState, FaceMotion
from support.ros_graph import Graph, own_domain, wait_for

LAUNCH_FOLDER = Path(get_package_share_directory("streamingtalker_ros")) / "launch"
COMMON = {
    "namespace",
    "audio",
    "audio_info",
    "face_motion",
    "log_level",
    "respawn",
    "respawn_delay",
    "required",
}
DOMAIN = own_domain()


class Launch:
    """`ros2 launch` of one file of the package, in a session of its own.

    Args:
        folder: Where its output is written.
        file: Name of the launch file without `.launch.py`.
        arguments: Launch arguments.
    """

    def __init__(self, folder: Path, file: str, *arguments: str) -> None:
        self._log = folder / f"{file}.log"
        with open(self._log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["ros2", "launch", "streamingtalker_ros", f"{file}.launch.py", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def pid(self, executable: str) -> int:
        """Return the process of an executable, the newest if it was started again."""
        text = f"/lib/streamingtalker_ros/{executable}"
        found = [
            int(path.name)
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and _is_child(path, self.process.pid, text)
        ]
        return max(found, default=0)

    def end(self, timeout: float = 60.0) -> int:
        """Wait for its end by itself; return the exit code."""
        return self.process.wait(timeout)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def _is_child(path: Path, parent: int, text: str) -> bool:
    try:
        command = (path / "cmdline").read_bytes().decode(errors="replace")
        return text in command and int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
    except (OSError, IndexError, ValueError):
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Launch]]:
    started: list[Launch] = []

    def start(file: str, *arguments: str) -> Launch:
        started.append(Launch(tmp_path, file, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


def endpoints(graph: Graph, namespace: str, name: str) -> tuple[set[str], set[str]]:
    """Return the topics that a node subscribes to and publishes."""
    node = graph.node
    try:
        subscribed = node.get_subscriber_names_and_types_by_node(name, namespace)
        published = node.get_publisher_names_and_types_by_node(name, namespace)
    except Exception:  # the node is not there yet
        return set(), set()
    return {topic for topic, _ in subscribed}, {topic for topic, _ in published}


@pytest.mark.parametrize("file", ["talker", "robot", "demo", "replay", "conversation"])
def test_every_launch_file_has_the_common_arguments(file: str) -> None:
    description = get_launch_description_from_python_launch_file(str(LAUNCH_FOLDER / f"{file}.launch.py"))
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    assert arguments.keys() >= COMMON
    assert all(argument.description for argument in arguments.values())


def test_all_nodes_follow_namespace_remappings_and_log_level(
    graph: Graph, start: Callable[..., Launch]
) -> None:
    launch = start(
        "robot",
        "namespace:=left",
        "audio:=/mic/audio",
        "audio_info:=/mic/info",
        "face_motion:=motion",
        "face_markers:=/rviz/face",
        "markers:=true",
        "log_level:=debug",
        "device:=cpu",
    )
    expected = {
        "talker": ({"/mic/audio"}, {"/left/motion"}),
        "head_driver": ({"/left/motion"}, {"/left/jaw_commands"}),
        "face_markers": ({"/left/motion"}, {"/rviz/face"}),
    }
    for name, (subscribed, published) in expected.items():

        def follows(name: str = name, subscribed: Any = subscribed, published: Any = published) -> bool:
            inputs, outputs = endpoints(graph, "/left", name)
            return inputs >= subscribed and outputs >= published

        assert wait_for(follows, 60), f"{name}: {endpoints(graph, '/left', name)}\n{launch.output}"
    for name in expected:
        debugged = [line for line in launch.output.splitlines() if f"[{name}-" in line and "[DEBUG]" in line]
        assert debugged, f"{name} has no debug output"


def test_in_the_conversation_the_face_follows_a_person_shows_emotions_and_speaks(
    graph: Graph, start: Callable[..., Launch]
) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    frames = graph.subscribe(FaceMotion, "/face_motion")
    commands = graph.subscribe(Float64MultiArray, "/jaw_controller/commands")
    launch = start("conversation", "partner:=none", "device:=cpu", "emotion_period:=1.0", "say_period:=1.0")
    smile, eyes = ARKIT_NAMES.index("mouthSmileLeft"), ARKIT_NAMES.index("eyeLookOutLeft")

    def converses() -> bool:
        return (
            any(frame.speaking for frame in frames)
            and max((frame.weights[smile] for frame in frames), default=0.0) > 0.3
            and max((frame.weights[eyes] for frame in frames), default=0.0) > 0.2
            and bool(commands)
        )

    assert wait_for(converses, 120), launch.output
    assert "Traceback" not in launch.output and "error" not in launch.output.lower(), launch.output


def test_the_face_listens_to_the_partner_of_the_conversation(
    graph: Graph, start: Callable[..., Launch], voice_path: Path
) -> None:
    states = graph.subscribe(DialogueState, "/dialogue_state")
    launch = start("conversation", f"partner:={voice_path}", "device:=cpu", "say_period:=0.0")
    assert wait_for(lambda: any(each.state == DialogueState.LISTENING for each in states), 60), launch.output
    assert all(each.state in (DialogueState.IDLE, DialogueState.LISTENING) for each in states)
    assert "Traceback" not in launch.output, launch.output


def test_the_demo_runs_in_a_namespace_on_other_topics_and_ends(
    graph: Graph, start: Callable[..., Launch], tmp_path: Path
) -> None:
    import soundfile

    from support.ros_graph import voice

    soundfile.write(tmp_path / "voice.wav", voice(1.0), 16000)
    frames = graph.subscribe(FaceMotion, "/x/face_motion")
    launch = start(
        "demo",
        "namespace:=x",
        "audio:=y",
        "audio_info:=z",
        "rviz:=false",
        "device:=cpu",
        f"file:={tmp_path / 'voice.wav'}",
    )
    assert launch.end(90) == 0, launch.output
    assert sum(frame.speaking for frame in frames) > 5, launch.output


def open_jaw(graph: Graph) -> tuple[Any, list[Any]]:
    """Return a function that publishes a FaceMotion with an open jaw, and the commands of the jaw."""
    publisher = graph.node.create_publisher(FaceMotion, "face_motion", 10)
    commands = graph.subscribe(Float64MultiArray, "/jaw_controller/commands")

    def publish() -> bool:
        message = FaceMotion(names=list(ARKIT_NAMES), weights=[0.0] * 52)
        message.weights[ARKIT_NAMES.index("jawOpen")] = 1.0
        message.head.w = 1.0
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
        publisher.publish(message)
        time.sleep(0.02)
        return bool(commands) and commands[-1].data[0] > 0.2

    return publish, commands


def test_required_ends_the_launch_with_an_exit_code_and_the_joints_at_rest(
    graph: Graph, start: Callable[..., Launch]
) -> None:
    launch = start("robot", "required:=true", "autostart:=false")
    publish, commands = open_jaw(graph)
    assert wait_for(publish, 60), launch.output
    os.kill(launch.pid("talker"), signal.SIGKILL)
    assert launch.end() == 1, launch.output
    assert "talker ended with exit code -9: the launch ends" in launch.output
    assert launch.pid("head_driver") == 0
    assert wait_for(lambda: abs(commands[-1].data[0]) < 1e-6, 5), "the head driver moved to rest first"


def test_a_head_driver_that_dies_is_reported_and_the_launch_goes_on(start: Callable[..., Launch]) -> None:
    launch = start("robot", "autostart:=false")
    assert wait_for(lambda: launch.pid("head_driver") and launch.pid("talker"), 60)
    os.kill(launch.pid("head_driver"), signal.SIGKILL)
    sentence = "head_driver ended with exit code -9, and the other nodes go on without it"
    assert wait_for(lambda: sentence in launch.output, 30), launch.output
    assert launch.process.poll() is None and launch.pid("talker")


def test_respawn_starts_a_node_again_and_says_so(start: Callable[..., Launch]) -> None:
    launch = start("robot", "respawn:=true", "respawn_delay:=0.2", "autostart:=false")
    for executable in ("head_driver", "talker"):
        assert wait_for(lambda executable=executable: launch.pid(executable), 60), launch.output
        previous = launch.pid(executable)
        os.kill(previous, signal.SIGKILL)
        assert wait_for(
            lambda executable=executable, previous=previous: launch.pid(executable) not in (0, previous), 30
        ), launch.output
        assert f"{executable} ended with exit code -9 and is started again in 0.2 s" in launch.output


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["respawn:=true", "required:=true"], "respawn and required are both true"),
        (["respawn:=perhaps"], "the launch argument respawn is 'perhaps': give true or false"),
        (["respawn_delay:=soon"], "the launch argument respawn_delay is 'soon': give a number"),
        (["log_level:=loud"], "the launch argument log_level is 'loud': give debug, info"),
        (
            ["params_file:=/there/is/no/such.yaml"],
            "'/there/is/no/such.yaml' of the launch argument params_file",
        ),
    ],
)
def test_an_invalid_argument_ends_the_launch_with_one_sentence(
    start: Callable[..., Launch], arguments: list[str], sentence: str
) -> None:
    launch = start("talker", *arguments)
    assert launch.end(30) == 1
    errors = [line for line in launch.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1 and sentence in errors[0], launch.output
    assert "Traceback" not in launch.output and "process started" not in launch.output


def test_a_player_that_fails_ends_the_demo_with_an_exit_code(
    start: Callable[..., Launch], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    launch = start("demo", "rviz:=false", "autostart:=false", f"file:={tmp_path / 'text.wav'}")
    assert launch.end() == 1, launch.output
    assert "play: error: " in launch.output and "play ended with exit code 2" in launch.output
    assert "Traceback" not in launch.output
