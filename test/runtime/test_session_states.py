# SPDX-License-Identifier: Apache-2.0
"""The transition table: complete, equal to docs/node.md, and followed by a real session in every state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.runtime.session import WEB_POLICY
from streamingtalker_ros.runtime.states import (
    TRANSITIONS,
    SessionAction,
    SessionEvent,
    StreamState,
    transition_table,
)
from streamingtalker_ros.streaming import Talker
from support.backends import VARIANTS
from support.scheduler_harness import FORMAT, FRAME, MS, S0, SchedulerHarness, small_talker, voice

DOCUMENT = Path(__file__).parents[2] / "docs" / "node.md"
BEGIN, END = "<!-- states: begin -->\n", "\n<!-- states: end -->"
LATER = S0 + 60_000 * MS  # a stamp far behind all audio of a test


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def talker(request: pytest.FixtureRequest) -> Talker:
    return small_talker(request.param)


def test_the_table_has_an_entry_for_every_state_and_event() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in StreamState for event in SessionEvent}
    for (state, _), transition in TRANSITIONS.items():
        if transition.action is SessionAction.IGNORE:
            assert transition.state is state


def test_the_document_holds_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == transition_table()


def waiting(harness: SchedulerHarness) -> None:
    harness.run(0.1)


def speaking(harness: SchedulerHarness) -> None:
    harness.send_realtime(voice(0.6))
    harness.run(0.61)


def closing(harness: SchedulerHarness) -> None:
    # the harness runs silence as fast as it may: one hop of it leaves the session in this state
    speaking(harness)
    harness.stall(0.1)
    harness.session.next_hop(harness.now)


def interrupted(harness: SchedulerHarness) -> None:
    speaking(harness)
    harness.session.interrupt()
    harness.session.next_hop(harness.now)


def idle(harness: SchedulerHarness) -> None:
    speaking(harness)
    harness.run(1.0)


SETUPS: dict[StreamState, Callable[[SchedulerHarness], None]] = {
    StreamState.WAITING: waiting,
    StreamState.SPEAKING: speaking,
    StreamState.CLOSING: closing,
    StreamState.INTERRUPTED: interrupted,
    StreamState.IDLE: idle,
}


def send_new_stream(harness: SchedulerHarness) -> None:
    harness.send(voice(0.02), LATER)


def send_next_packet(harness: SchedulerHarness) -> None:
    # the stamp that follows the audio before: the current stream, in every state that has one
    harness.send(voice(0.1, seed=3), S0 + 600 * MS)


def send_duplicate(harness: SchedulerHarness) -> None:
    harness.send(voice(0.6)[-320:], S0 + 580 * MS)


def fail_model(harness: SchedulerHarness) -> None:
    harness.session.post(lambda: harness.session.on_model_error(RuntimeError("out of memory")))


def send_partner(harness: SchedulerHarness) -> None:
    packet = AudioPacket(voice(0.02).tobytes(), FORMAT, LATER, harness.now)
    harness.session.partner.push(packet)


# public calls that raise each event
TRIGGERS: dict[SessionEvent, Callable[[SchedulerHarness], object]] = {
    SessionEvent.STREAM_START: send_new_stream,
    SessionEvent.AUDIO: send_next_packet,
    SessionEvent.LATE_AUDIO: send_duplicate,
    SessionEvent.AUDIO_TIMEOUT: lambda harness: harness.stall(0.2),
    SessionEvent.END_OF_AUDIO: lambda harness: harness.session.end_audio(),
    SessionEvent.MOUTH_CLOSED: lambda harness: harness.run(0.5),
    SessionEvent.INTERRUPT: lambda harness: harness.session.interrupt(),
    SessionEvent.SUSPEND: lambda harness: harness.session.suspend(),
    SessionEvent.RESET: lambda harness: harness.session.reset(),
    SessionEvent.MODEL_ERROR: fail_model,
    SessionEvent.PARTNER_AUDIO: send_partner,
}
# a packet begins a new stream where the session has none, or was interrupted; a duplicate is new audio there
NO_STREAM = (StreamState.WAITING, StreamState.INTERRUPTED)


def effective_event(state: StreamState, event: SessionEvent) -> SessionEvent:
    """The event that a trigger raises in a state."""
    if state in NO_STREAM and event in (SessionEvent.AUDIO, SessionEvent.LATE_AUDIO):
        return SessionEvent.STREAM_START
    if state is StreamState.SPEAKING and event is SessionEvent.MOUTH_CLOSED:
        return SessionEvent.AUDIO_TIMEOUT  # time that passes ends the audio first
    if state in (StreamState.CLOSING, StreamState.INTERRUPTED) and event is SessionEvent.AUDIO_TIMEOUT:
        return SessionEvent.MOUTH_CLOSED  # time that passes closes the mouth
    return event


@pytest.mark.parametrize("event", SessionEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", StreamState, ids=lambda state: state.name)
def test_every_event_in_every_state_leads_where_the_table_says(
    talker: Talker, state: StreamState, event: SessionEvent
) -> None:
    harness = SchedulerHarness(talker)
    SETUPS[state](harness)
    assert harness.session.state is state
    TRIGGERS[event](harness)
    for _ in range(12):  # a new stream begins when the one before has been flushed
        harness.run(0.0)
    expected = TRANSITIONS[state, effective_event(state, event)].state
    reached = {expected}
    if expected in (StreamState.CLOSING, StreamState.INTERRUPTED):
        reached.add(StreamState.IDLE)  # the mouth closes without waiting for the clock
    assert harness.session.state in reached


@pytest.mark.parametrize("state", StreamState, ids=lambda state: state.name)
def test_from_every_state_a_new_stream_is_published_from_frame_0_with_its_stamps(
    talker: Talker, state: StreamState
) -> None:
    harness = SchedulerHarness(talker)
    SETUPS[state](harness)
    harness.run(0.0)
    harness.send_realtime(voice(0.4, seed=5), LATER)
    harness.run(1.0)
    new = [frame for frame in harness.audio if frame.stamp >= LATER]
    assert [(frame.index, frame.stamp) for frame in new] == [
        (index, LATER + index * FRAME) for index in range(10)
    ]


@pytest.mark.parametrize("state", StreamState, ids=lambda state: state.name)
def test_from_every_state_reset_publishes_nothing_and_suspend_keeps_the_last_pose(
    talker: Talker, state: StreamState
) -> None:
    jumps = []
    for command in ("reset", "suspend"):
        harness = SchedulerHarness(talker)
        SETUPS[state](harness)
        getattr(harness.session, command)()
        harness.run(0.0)
        count = len(harness.frames)
        harness.run(1.0)
        assert len(harness.frames) == count and harness.session.state is StreamState.WAITING
        assert harness.session.is_at_rest
        harness.send_realtime(voice(0.2, seed=5), LATER)
        harness.run(0.5)
        if count:
            jumps.append(np.abs(harness.faces[count].weights - harness.faces[count - 1].weights).max())
    assert state is StreamState.WAITING or jumps[1] < 0.5 * jumps[0]


def test_dropped_packets_do_not_delay_the_audio_behind_them(talker: Talker) -> None:
    harness, pcm = SchedulerHarness(talker), voice(0.6)
    harness.send_realtime(pcm[:-640])
    harness.run(0.57)
    for packet in (20, 21, 22, 28, 29):  # three duplicates, then the two that follow
        harness.send(pcm[320 * packet : 320 * (packet + 1)], S0 + 20 * packet * MS)
    count = len(harness.frames)
    harness.run(0.0)
    assert harness.statistics.duplicates == 3 and len(harness.frames) == count + 1


def test_a_sender_that_announces_the_end_gets_idle_frames_only_then(talker: Talker) -> None:
    harness = SchedulerHarness(talker, policy=WEB_POLICY, pacing="none")
    harness.send_realtime(voice(0.6), 0)
    harness.run(3.0)
    assert (
        harness.session.state is StreamState.SPEAKING and len(harness.frames) == 13
    )  # two wait for look-ahead
    harness.session.end_audio(epoch=7)
    harness.run(2.0)
    after = [(at, frame) for at, frame in harness.frames if frame.epoch == 7]
    times = [(frame.stamp - frame.epoch_stamp) / 1e9 for _, frame in after]
    np.testing.assert_allclose(
        times, np.arange(-2, len(after) - 2) / 25, atol=1e-9
    )  # 0 is the end of the audio
    np.testing.assert_allclose(
        np.diff([at for at, _ in after]), 0.04, atol=1e-6
    )  # paced by the clock at once
    assert len(after) == 51 and all(np.abs(frame.weights[MOUTH_MASK]).max() == 0 for _, frame in after[6:])


def test_a_session_of_any_sender_may_be_reset(talker: Talker) -> None:
    harness = SchedulerHarness(talker, policy=WEB_POLICY, pacing="none")
    harness.send_realtime(voice(1.0), 0)
    harness.run(0.3)
    harness.session.reset()
    count = len(harness.frames)
    harness.run(1.0)
    assert harness.statistics.streams == 2 and harness.faces[count].index == 0


def test_a_sender_may_begin_with_idle_frames(talker: Talker) -> None:
    harness = SchedulerHarness(talker, policy=WEB_POLICY, pacing="none")
    harness.session.end_audio(epoch=3)
    harness.run(1.0)
    assert harness.session.state is StreamState.IDLE and harness.session.is_at_rest
    assert [(frame.index, frame.stamp, frame.epoch) for frame in harness.faces] == [
        (index, index * FRAME, 3) for index in range(len(harness.faces))
    ]
    assert len(harness.faces) == 24


def test_a_suspended_session_starts_a_new_epoch_with_its_seed(talker: Talker) -> None:
    harness = SchedulerHarness(talker, policy=WEB_POLICY, pacing="none")
    harness.session.end_audio(epoch=1)
    harness.run(0.5)
    harness.session.suspend(epoch=2, seed=9)
    harness.run(0.5)
    count = len(harness.frames)
    harness.send_realtime(voice(0.6), 0)
    harness.run(1.0)
    new = harness.faces[count:]
    assert [(frame.epoch, frame.stamp, frame.idle) for frame in new] == [
        (2, index * FRAME, False) for index in range(13)
    ]
