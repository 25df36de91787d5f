# SPDX-License-Identifier: Apache-2.0
"""The rclpy node, launched as a user launches it: lifecycle, the laws of its frames, services, parameters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import launch_pytest
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.parameter import Parameter as RosParameter
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceModel
from streamingtalker_ros.ros import message_types, qos
from streamingtalker_ros.runtime.parameters import PARAMETERS
from support.ros_graph import VARIANT, Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker

START = 1_700_000_000_123_456_789  # ns; unlike the current time
FRAME = 40_000_000  # ns
MOUTH = [index for index, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth", "tongue"))]
DOMAIN = own_domain()


@launch_pytest.fixture(scope="module")
def talker_launch() -> Any:
    return launch_talker(DOMAIN)


@pytest.fixture(scope="module")
def graph(talker_launch: Any) -> Iterator[Any]:
    graph = Graph(DOMAIN)
    # a loaded machine must not skip frames, except in the test of overload
    assert graph.set(overload_after=10.0)[0].successful
    yield graph
    graph.close()


launched = pytest.mark.launch(fixture=talker_launch)


def check(frames: Any, start: int) -> None:
    """Frames number 0, 1, 2, …, and each stamp is the time of that frame's first sample."""
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    stamps = np.array([stamp_to_ns(frame.header.stamp) for frame in frames])
    assert np.abs(stamps - (start + FRAME * np.arange(len(frames)))).max() <= 1000


def opening(frame: Any) -> Any:
    """The largest weight of the mouth's shapes."""
    return max(frame.weights[index] for index in MOUTH)


def open_mouth(graph: Graph) -> None:
    """Leave the talker during speech, with the remaining audio queued."""
    graph.publish_audio(voice(4.0), START, unpaced=True)
    assert wait_for(lambda: graph.frames and opening(graph.frames[-1]) > 0.05), "the mouth did not open"


@launched
def test_the_launch_file_alone_reaches_active(graph: Graph) -> None:
    assert wait_for(lambda: graph.state() == "active", 60)


@launched
def test_frames_carry_the_times_of_the_audio(graph: Graph) -> None:
    graph.reset_talker()
    graph.publish_audio(voice(1.2), START)
    assert wait_for(lambda: len(graph.frames) > 40)  # 30 of audio, the rest of idling
    frames = list(graph.frames)
    check(frames, START)
    assert all(list(frame.names) == list(ARKIT_NAMES) for frame in frames)
    weights = np.array([frame.weights for frame in frames])
    assert weights.shape[1] == 52 and weights.min() >= 0 and weights.max() <= 1
    heads = np.array([[frame.head.x, frame.head.y, frame.head.z, frame.head.w] for frame in frames])
    np.testing.assert_allclose(np.linalg.norm(heads, axis=1), 1, atol=1e-5)
    assert all(frame.header.frame_id == "head" for frame in frames)
    assert any(frame.speaking for frame in frames[:30]) and not frames[40].speaking
    assert opening(frames[40]) == 0, "the mouth rests within 200 ms after the audio"


@launched
def test_best_effort_publishers_are_received(graph: Graph) -> None:
    graph.reset_talker()
    graph.publish_audio(voice(0.6), START, reliable=False)
    assert wait_for(lambda: len(graph.frames) >= 15)
    check(list(graph.frames), START)


@launched
@pytest.mark.parametrize("durability", [DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL])
@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_a_publisher_of_any_qos_is_matched_without_a_warning(
    graph: Graph, reliability: Any, durability: Any
) -> None:
    """rclpy's publishers warn of each subscription that they cannot serve, by this event."""
    incompatible: list[Any] = []
    profile = QoSProfile(depth=10, reliability=reliability, durability=durability)
    events = PublisherEventCallbacks(incompatible_qos=incompatible.append)
    kinds = {"audio": audio_common.PUBLISHED_TYPES[VARIANT], "audio_info": audio_common.INFO_TYPE}
    if VARIANT != "ros-drivers":
        del kinds["audio_info"]
    assert wait_for(lambda: graph.state() == "active", 60)

    def reliabilities() -> set[Any]:
        ends = [end for topic in kinds for end in graph.node.get_subscriptions_info_by_topic(f"/{topic}")]
        return {end.qos_profile.reliability for end in ends}

    assert wait_for(lambda: reliabilities() == {ReliabilityPolicy.BEST_EFFORT}), "without a publisher"
    publishers = [
        graph.node.create_publisher(message_types.message_class(name), topic, profile, event_callbacks=events)
        for topic, name in kinds.items()
    ]
    try:
        assert wait_for(lambda: all(publisher.get_subscription_count() for publisher in publishers))
        assert wait_for(lambda: reliabilities() == {reliability}), "and the subscription is as reliable"
        assert not incompatible
    finally:
        for publisher in publishers:
            graph.node.destroy_publisher(publisher)


@launched
def test_the_format_comes_with_the_audio(graph: Graph) -> None:
    """48 kHz, announced by audio_info (ros-drivers) or by each message (mgonzs13): stamps stay exact."""
    graph.reset_talker()
    before = int(graph.counts()["frames"])
    graph.publish_audio(voice(0.8, 48000), START, rate=48000)
    assert wait_for(lambda: len(graph.frames) >= 26)
    check(list(graph.frames), START)
    assert int(graph.counts()["frames"]) - before == 20, "0.8 s of voice, whatever its rate"


@launched
def test_a_long_pause_begins_a_new_stream(graph: Graph) -> None:
    graph.reset_talker()
    graph.publish_audio(voice(0.4), START)
    graph.publish_audio(voice(0.4), START + 60 * 10**9)
    assert wait_for(lambda: stamp_to_ns(graph.frames[-1].header.stamp) >= START + 60 * 10**9)
    again = [frame for frame in graph.frames if stamp_to_ns(frame.header.stamp) >= START + 60 * 10**9]
    check(again, START + 60 * 10**9)


@launched
def test_the_face_at_rest_is_latched(graph: Graph) -> None:
    received = graph.subscribe(FaceModel, "face_model", qos=qos.LATCHED)
    assert wait_for(lambda: received)
    face = received[0]
    assert face.frame_rate == 25 and list(face.shape_names) == list(ARKIT_NAMES)
    assert len(face.vertices) % 3 == 0 and max(face.triangles) == len(face.vertices) // 3 - 1


@launched
def test_diagnostics_count_the_frames(graph: Graph) -> None:
    graph.reset_talker()
    before = graph.counts()
    graph.publish_audio(voice(0.4), START)
    assert wait_for(lambda: len(graph.frames) >= 12)
    after = graph.counts()
    assert int(after["frames"]) - int(before["frames"]) == 10
    assert int(after["idle_frames"]) > int(before["idle_frames"])
    assert after["state"] == "idle" and after["rejected"] == after["errors"] == "0"


@launched
def test_interruption_closes_the_mouth(graph: Graph) -> None:
    graph.reset_talker()
    open_mouth(graph)
    assert graph.call(Trigger, "/talker/interrupt").success
    previous_count = len(graph.frames)
    assert wait_for(lambda: len(graph.frames) > previous_count + 20)
    frames = list(graph.frames)
    assert all(opening(frame) == 0 for frame in frames[previous_count + 4 :]), (
        "closed within four frames, and stays closed"
    )
    assert not any(frame.speaking for frame in frames[previous_count + 4 :])
    check(frames, START)


@launched
def test_every_parameter_is_described_and_the_live_ones_are_writable(graph: Graph) -> None:
    request = DescribeParameters.Request(names=list(PARAMETERS))
    described = {
        d.name: d for d in graph.call(DescribeParameters, "/talker/describe_parameters", request).descriptors
    }
    values = graph.call(
        GetParameters, "/talker/get_parameters", GetParameters.Request(names=list(PARAMETERS))
    ).values
    for (name, parameter), value in zip(PARAMETERS.items(), values, strict=True):
        meta, descriptor = parameter.metadata, described[name]
        assert descriptor.description == meta["description"] and descriptor.read_only == (not meta["dynamic"])
        for described_range in (*descriptor.floating_point_range, *descriptor.integer_range):
            assert (described_range.from_value, described_range.to_value) == meta["range"]
        assert bool(meta["range"]) == bool(descriptor.floating_point_range or descriptor.integer_range)
        now = parameter_value_to_python(value)
        assert graph.set(**{name: now})[0].successful == meta["dynamic"], name


@launched
def test_live_parameters_change_without_a_gap_in_the_motion(graph: Graph) -> None:
    smile = ARKIT_NAMES.index("mouthSmileLeft")
    graph.reset_talker()
    publisher_thread = threading.Thread(target=graph.publish_audio, args=(voice(2.4), START))
    publisher_thread.start()
    assert wait_for(lambda: len(graph.frames) >= 15)
    assert graph.set(expression=["mouthSmileLeft:0.6"], seed=7, steps=3)
    publisher_thread.join()
    assert wait_for(lambda: len(graph.frames) > 60)
    frames = list(graph.frames)
    check(frames, START)
    assert max(frame.weights[smile] for frame in frames[:10]) < 0.4 < frames[55].weights[smile]
    assert all(result.successful for result in graph.set(expression=[""], seed=0, steps=0))


@launched
@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("idle_after", 99.0, ""),
        ("steps", -1, ""),
        ("style", "no such style", "no such style"),
        ("pacing", "sometimes", "audio, none"),
        ("expression", ["mouthSmiles:0.4"], "mouthSmiles"),
        ("expression", [1, 2], ""),
        ("mouth_expressiveness", 3, ""),
        ("mouth_expressiveness", float("nan"), ""),
        ("idle_after", True, ""),
        ("seed", "one", ""),
    ],
)
def test_an_invalid_value_is_rejected_with_the_reason(
    graph: Graph, name: str, value: Any, reason: str
) -> None:
    before = graph.call(GetParameters, "/talker/get_parameters", GetParameters.Request(names=[name])).values[
        0
    ]
    result = graph.set(**{name: value})[0]
    assert not result.successful and result.reason and reason in result.reason
    after = graph.call(GetParameters, "/talker/get_parameters", GetParameters.Request(names=[name])).values[0]
    assert after == before


@launched
def test_whole_numbers_and_empty_lists_are_accepted(graph: Graph) -> None:
    """What `ros2 param set /talker guidance 2` and `… expression []` send: an integer, an array of bools."""
    assert all(result.successful for result in graph.set(expression=["mouthSmileLeft:0.6"], guidance=2))
    request = SetParameters.Request()
    request.parameters = [RosParameter("expression", RosParameter.Type.BOOL_ARRAY, []).to_parameter_msg()]
    assert graph.call(SetParameters, "/talker/set_parameters", request).results[0].successful
    names = GetParameters.Request(names=["guidance", "expression"])
    values = graph.call(GetParameters, "/talker/get_parameters", names).values
    assert [parameter_value_to_python(value) for value in values] == [2.0, []]
    assert [value.type for value in values] == [
        ParameterType.PARAMETER_DOUBLE,
        ParameterType.PARAMETER_STRING_ARRAY,
    ]
    assert all(result.successful for result in graph.set(guidance=1, expression=[""]))


@launched
def test_frames_of_unpaced_audio_are_published_at_the_pace_of_the_audio(graph: Graph) -> None:
    graph.reset_talker()
    start = time.monotonic()
    graph.publish_audio(voice(2.0), START, unpaced=True)
    assert wait_for(lambda: len(graph.frames) >= 50)
    check(list(graph.frames)[:50], START)
    # the last two wait in any case: more audio may arrive until their look-ahead is complete
    assert graph.times[47] - start > 1.88, "47 frames last 1.88 s"


@launched
def test_overload_skips_to_the_newest_audio_and_services_answer(graph: Graph) -> None:
    """A thousand diffusion steps are more than any machine does in a frame's time."""
    graph.reset_talker()
    before = graph.counts()
    assert graph.set(steps=1000, overload_after=0.3)
    try:
        publisher_thread = threading.Thread(target=graph.publish_audio, args=(voice(4.0), START))
        publisher_thread.start()
        assert wait_for(lambda: graph.frames)
        response_times = sorted(graph.measure_response_times(GetState, "/talker/get_state", 40))
        publisher_thread.join()
        counts = graph.counts()
    finally:
        assert graph.set(steps=0, overload_after=10.0)
    # an executor that waited for the model would answer once a frame; the median, since one call may be late
    seconds_per_frame = np.median(np.diff(graph.times))
    assert response_times[len(response_times) // 2] <= seconds_per_frame / 2, (
        f"responses took {response_times[len(response_times) // 2]:.3f} s, at most "
        f"{response_times[-1]:.3f} s, a frame {seconds_per_frame:.3f} s"
    )
    assert int(counts["dropped"]) > int(before["dropped"]) and float(counts["queued_seconds"]) < 2.0
    status = graph.diagnostics[-1].status[0]
    assert status.level in (b"\1", b"\2") and "skipped" in status.message
    stamps = [stamp_to_ns(frame.header.stamp) for frame in graph.frames]
    for frame, stamp in zip(graph.frames, stamps, strict=False):
        assert abs(stamp - START - frame.frame * FRAME) <= 1000, "numbers and stamps skip together"


@launched
def test_deactivation_closes_the_mouth_and_unsubscribes(graph: Graph) -> None:
    graph.reset_talker()
    open_mouth(graph)
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    previous_count = len(graph.frames)
    assert opening(graph.frames[-1]) == 0, "the last frame has a closed mouth"
    assert not graph.node.get_subscriptions_info_by_topic("/audio"), "an inactive talker has no subscription"
    assert graph.change(Transition.TRANSITION_CLEANUP) and graph.state() == "unconfigured"
    assert graph.change(Transition.TRANSITION_CONFIGURE) and graph.change(Transition.TRANSITION_ACTIVATE)
    assert len(graph.frames) == previous_count, "nothing is published before the next audio"
    graph.frames.clear()
    graph.publish_audio(voice(0.4), START + 10**9)
    assert wait_for(lambda: len(graph.frames) >= 10)
    check(list(graph.frames), START + 10**9)
