# SPDX-License-Identifier: Apache-2.0
"""Laws of the partner's audio in a session: its time, the state of the dialogue, interruption."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import ARKIT_NAMES, Stream, Talker
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.conversation.turn_taking import DialogueState
from streamingtalker_ros.runtime.partner_input import MARGIN_S
from support.scheduler_harness import FORMAT, FRAME, MS, S0, START, SchedulerHarness, weights
from support.two_party import RATE, read_voice, to_level

MOUTH = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth", "tongue", "cheekPuff"))]
Samples = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def partner_voice(voice_path: Path) -> Samples:
    """One second of silence, six of a voice, three of silence, at 16 kHz."""
    voice = to_level(read_voice(voice_path)[: 6 * RATE], -22.0)
    padded = np.concatenate([np.zeros(RATE), voice, np.zeros(3 * RATE)])
    return (32767 * padded).astype(np.int16)


@pytest.fixture(scope="module")
def own_voice(voice_path: Path) -> Samples:
    """Three seconds of another stretch of the voice."""
    voice = read_voice(voice_path)
    return (32767 * to_level(voice[-3 * RATE :], -22.0)).astype(np.int16)


def send_partner(
    harness: SchedulerHarness,
    samples: Samples,
    stamp: int | None = S0,
    packet: float = 0.02,
    delay: float = 0.0,
    jitter: Any = None,
) -> None:
    """Send a partner's packets, each when its last sample has been recorded."""
    size, begin = round(packet * RATE), harness.now
    at = begin
    for first in range(0, len(samples), size):
        chunk = samples[first : first + size]
        late = delay if jitter is None else 0.06 * float(jitter.random())
        at = max(at, begin + (first + len(chunk)) / RATE + late)  # in order
        packet_of_chunk = AudioPacket(
            chunk.tobytes(),
            FORMAT,
            None if stamp is None else stamp + round(first * 1e9 / RATE),
            at,
            S0 + round((at - START) * 1e9),
        )
        harness.at(at, lambda sent=packet_of_chunk: harness.session.partner.push(sent))


def listening(harness: SchedulerHarness) -> Any:
    return cast(Stream, harness.session.stream).conversation.listening


def test_a_partner_alone_starts_idle_frames_at_its_stamp(talker: Talker, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker)
    harness.run(0.5)
    assert not harness.frames
    send_partner(harness, partner_voice)
    harness.run(11.0)
    stamps = np.array([frame.stamp for frame in harness.faces])
    assert stamps[0] == S0 and (np.diff(stamps) == FRAME).all() and len(stamps) >= 245
    assert all(frame.idle and not frame.speaking for frame in harness.faces)
    assert not weights(harness.faces)[:, MOUTH].any()
    assert listening(harness).nods > 0 and not harness.warnings


def test_without_idle_frames_a_partner_starts_none(talker: Talker, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker, idle=False)
    send_partner(harness, partner_voice)
    harness.run(11.0)
    assert not harness.frames and not harness.warnings


def run_pair(talker: Talker, own: Samples, partner: Samples, **options: Any) -> list[Any]:
    """Frames of a face that speaks, pauses, and hears a partner."""
    harness = SchedulerHarness(talker)
    harness.send_realtime(own)
    send_partner(harness, partner, **options)
    harness.run(11.0)
    assert not harness.warnings
    return harness.faces


def test_the_face_does_the_same_however_the_partners_packets_are_delayed(
    talker: Talker, own_voice: Samples, partner_voice: Samples
) -> None:
    expected = run_pair(talker, own_voice, partner_voice)
    jitter = np.random.default_rng(0)
    for options in ({"delay": 0.05}, {"jitter": jitter}):
        frames = run_pair(talker, own_voice, partner_voice, **options)
        assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
        np.testing.assert_array_equal(weights(frames), weights(expected))
        np.testing.assert_array_equal([f.head for f in frames], [f.head for f in expected])


def test_the_mouth_is_that_of_a_face_without_a_partner(
    talker: Talker, own_voice: Samples, partner_voice: Samples
) -> None:
    attending = run_pair(talker, own_voice, partner_voice)
    alone = run_pair(talker, own_voice, partner_voice[:0])
    assert len(attending) == len(alone)
    np.testing.assert_array_equal(weights(attending)[:, MOUTH], weights(alone)[:, MOUTH])
    assert (weights(attending) != weights(alone)).any()


@pytest.mark.parametrize("packet", [0.01, 0.1, 0.5])
def test_a_frame_hears_what_ends_a_packet_and_a_margin_before_it(
    talker: Talker, partner_voice: Samples, packet: float
) -> None:
    harness = SchedulerHarness(talker)
    send_partner(harness, partner_voice, packet=packet)
    harness.run(12.0)
    stamp, state, _ = harness.dialogue[0]
    assert state is DialogueState.LISTENING
    onset = (stamp - S0) / 1e9 - 1.0 - packet - MARGIN_S
    assert 0.0 <= onset <= 0.6  # the recording begins with a breath
    assert harness.dialogue[-1][1] is DialogueState.IDLE


def test_the_dialogue_has_four_states(talker: Talker, own_voice: Samples, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker)
    send_partner(harness, partner_voice)
    # the face begins while the partner still speaks, and goes on after it
    harness.send_realtime(np.tile(own_voice, 2), S0 + 5000 * MS, harness.now + 5.0)
    harness.run(14.0)
    states = [state for _, state, _ in harness.dialogue]
    assert states[:1] == [DialogueState.LISTENING] and states[-1] is DialogueState.IDLE
    assert DialogueState.OVERLAP in states and DialogueState.SPEAKING in states
    assert all(a is not b for a, b in itertools.pairwise(states))


@pytest.mark.parametrize("interrupts", [True, False])
@pytest.mark.parametrize("live", [True, False], ids=["live", "one message"])
def test_a_partner_interrupts_the_face_if_it_may(
    talker: Talker, own_voice: Samples, partner_voice: Samples, interrupts: bool, live: bool
) -> None:
    harness = SchedulerHarness(talker, interrupt_on_partner=interrupts)
    (harness.send_realtime if live else harness.send)(np.tile(own_voice, 2), S0)
    send_partner(harness, partner_voice)
    harness.run(8.0)
    assert harness.statistics.interrupts == interrupts
    spoken = [frame for frame in harness.faces if frame.speaking]
    seconds = (spoken[-1].stamp - S0) / 1e9
    if interrupts:
        (stamp,) = [stamp for stamp, _, interrupted in harness.dialogue if interrupted]
        assert 1.2 <= (stamp - S0) / 1e9 <= 4.0 and seconds <= (stamp - S0) / 1e9 + 0.1
    else:
        assert seconds > 5.0 and not any(interrupted for _, _, interrupted in harness.dialogue)


def test_interrupted_audio_that_goes_on_is_dropped_until_the_partner_has_finished(
    talker: Talker, own_voice: Samples, partner_voice: Samples
) -> None:
    harness = SchedulerHarness(talker, interrupt_on_partner=True)
    harness.send_realtime(np.tile(own_voice, 4), S0)  # twelve seconds; the partner speaks until 7 s
    send_partner(harness, partner_voice)
    harness.run(14.0)
    spoken = np.array([frame.stamp - S0 for frame in harness.faces if frame.speaking]) / 1e9
    assert harness.statistics.interrupts == 1 and spoken[-1] > 11.0
    assert not ((spoken > 4.0) & (spoken < 7.5)).any() and ((spoken > 8.0) & (spoken < 9.5)).any()


def test_new_words_are_not_taken_for_those_that_were_interrupted(
    talker: Talker, own_voice: Samples, partner_voice: Samples
) -> None:
    harness = SchedulerHarness(talker, interrupt_on_partner=True)
    harness.send_realtime(own_voice, S0)
    send_partner(harness, partner_voice)
    harness.at(harness.now + 5.0, lambda: harness.send(own_voice, S0 + 5000 * MS))
    harness.run(9.0)
    assert harness.statistics.interrupts == 2 and harness.statistics.streams >= 2


def test_damaged_packets_are_rejected_with_one_sentence_each(talker: Talker, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker)
    session = harness.session
    assert not session.partner.push(AudioPacket(b"", FORMAT, S0, harness.now))
    too_long = np.zeros(round((session.parameters.queue_seconds + 1) * RATE), np.int16)
    assert not session.partner.push(AudioPacket(too_long.tobytes(), FORMAT, S0, harness.now))
    assert len(harness.warnings) == 2 and all("partner_audio" in text for text in harness.warnings)
    send_partner(harness, partner_voice)
    harness.run(3.0)
    assert harness.faces and session.partner.statistics.rejected == 2


@pytest.mark.parametrize("seconds", [-3600.0, -5.0, -1.0, -0.3, 5.0, 3600.0])
def test_a_partner_of_another_clock_is_heard_with_one_warning(
    talker: Talker, own_voice: Samples, partner_voice: Samples, seconds: float
) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(own_voice)
    harness.run(1.0)
    send_partner(harness, partner_voice, stamp=S0 + round((1.0 + seconds) * 1e9))
    harness.run(11.0)
    (warning,) = harness.warnings
    named = re.search(r"it is ([0-9.]+) s too (early|late) for .* same clock", warning)
    assert named and float(named[1]) == pytest.approx(abs(seconds), abs=0.3)
    assert named[2] == ("early" if seconds > 0 else "late")
    spans = [stamp for stamp, state, _ in harness.dialogue if state is DialogueState.LISTENING]
    assert listening(harness).nods > 0 and S0 + 3000 * MS < spans[-1] < S0 + 9500 * MS


def test_audio_of_a_time_without_frames_is_not_heard_later(talker: Talker, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker, idle=False)
    send_partner(harness, partner_voice)
    harness.run(5.0)
    harness.session.set_parameters(harness.session.parameters.replace(idle=True))
    harness.run(2.0)
    assert harness.faces[0].stamp >= S0 + 4960 * MS and not harness.warnings


@pytest.mark.parametrize("packet", [0.02, 0.2])
def test_the_loudspeaker_in_the_partners_microphone_is_no_partner(
    talker: Talker, partner_voice: Samples, packet: float
) -> None:
    harness = SchedulerHarness(talker, interrupt_on_partner=True)
    own = partner_voice[RATE : 7 * RATE]
    harness.send_realtime(own)
    heard = np.concatenate([np.zeros(round(0.25 * RATE)), 0.3 * own, np.zeros(RATE)]).astype(np.int16)
    send_partner(harness, heard, packet=packet)
    harness.run(9.0)
    states = {state for _, state, _ in harness.dialogue}
    assert states == {DialogueState.IDLE, DialogueState.SPEAKING} and harness.statistics.interrupts == 0


def test_unstamped_audio_is_heard(talker: Talker, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker)
    send_partner(harness, partner_voice, stamp=None)
    harness.run(11.0)
    assert listening(harness).nods > 0 and not harness.warnings


def test_a_reset_session_waits_for_audio_again(talker: Talker, partner_voice: Samples) -> None:
    harness = SchedulerHarness(talker)
    send_partner(harness, partner_voice[: 4 * RATE])
    harness.run(5.0)
    harness.session.reset()
    harness.run(0.2)
    count = len(harness.frames)
    harness.run(2.0)
    assert len(harness.frames) == count
