# SPDX-License-Identifier: Apache-2.0
"""Laws of listening: nods by the rule and its rate, none without a voice, a mouth that does not move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import ARKIT_NAMES, Talker, TalkerError
from streamingtalker_ros.conversation.backchannel import (
    MIN_FEEDBACK_INTERVAL_S,
    REFRACTORY_S,
    Cue,
    CueDetector,
    CueKind,
)
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Modulation
from streamingtalker_ros.conversation.listening import ANALYSIS_FRAMES, MAX_BUFFERED_S, PartnerListener
from streamingtalker_ros.conversation.prosody import ProsodyTracker
from streamingtalker_ros.conversation.turn_taking import INTERRUPTION_S
from support.two_party import RATE, SYNTHETIC_VOICES, read_voice, sounds_without_voice, synthesize, to_level
from support.two_party import with_pauses as with_pauses_of

FRAME_RATE = 25.0
HOP = 640
MOUTH = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth", "tongue", "cheekPuff"))]
Voice = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory, voice_path: Path) -> Callable[[str], Voice]:
    """Return a function from the name of a voice to a minute of it, with pauses."""
    known: dict[str, Voice] = {}

    def of_name(name: str) -> Voice:
        if name not in known:
            is_real = name == "recorded"
            voice = read_voice(voice_path) if is_real else synthesize(name, tmp_path_factory.mktemp(name))
            known[name] = with_pauses_of(voice, 60.0)
        return known[name]

    return of_name


@dataclass
class Heard:
    """What a listener did.

    Attributes:
        nods: s of the partner's audio at which nods began.
        blinks: Likewise of blinks.
        voice: (T,) `partner_voice_s` of each frame.
        rotation: (T, 3) rotation of the head in rad.
        weights: (T, 52) weights.
    """

    nods: list[float] = field(default_factory=list)
    blinks: list[float] = field(default_factory=list)
    voice: list[float] = field(default_factory=list)
    rotation: list[npt.NDArray[np.float32]] = field(default_factory=list)
    weights: list[npt.NDArray[np.float32]] = field(default_factory=list)


def listen(
    partner: Voice, seed: int = 0, own: Voice | None = None, listener: PartnerListener | None = None
) -> Heard:
    """Let a listener hear a partner while the face says `own`, default nothing."""
    listener, heard = listener or PartnerListener(), Heard()
    silence = np.zeros(HOP, np.float32)
    for n in range(len(partner) // HOP):
        listener.hear(partner[n * HOP : (n + 1) * HOP])
        hop = silence if own is None else own[n * HOP : (n + 1) * HOP]
        nods = listener.nods
        modulation = Modulation()
        context = FrameContext(n, FRAME_RATE, seed, bool(np.abs(hop).max() > 0.01), hop, modulation)
        pose = FramePose(np.zeros(52, np.float32), np.zeros(3, np.float32))
        listener.step(context, pose)
        if listener.nods > nods:
            heard.nods.append(listener.nod_time_s)
        if modulation.blink_requested:
            heard.blinks.append((n + 1) / FRAME_RATE)
        heard.voice.append(listener.partner_voice_s)
        heard.rotation.append(pose.rotation)
        heard.weights.append(pose.weights)
    return heard


def find_cues(partner: Voice) -> list[Cue]:
    """Return the cues of a partner's speech."""
    return CueDetector().update(ProsodyTracker().update(partner[: len(partner) // HOP * HOP]))


VOICES = ["recorded", *SYNTHETIC_VOICES]


@pytest.mark.parametrize("name", VOICES)
def test_nods_answer_cues_in_the_rules_window_four_to_twelve_times_a_minute(
    partner: Callable[[str], Voice], name: str
) -> None:
    pcm = partner(name)
    due = np.array([cue.feedback_s for cue in find_cues(pcm)])
    window_s = (ANALYSIS_FRAMES + 1) / FRAME_RATE
    for seed in range(3):
        nods = np.array(listen(pcm, seed).nods)
        assert 4 <= len(nods) <= 12
        late = nods[:, None] - due[None, :]
        assert ((late >= -1e-9) & (late <= window_s)).any(axis=1).all()
        assert np.diff(nods).min() >= REFRACTORY_S - window_s


def test_low_pitch_after_speech_is_answered_700_ms_later() -> None:
    time = np.arange(round(12.0 * RATE)) / RATE
    # a voice that glides about 150 Hz, and falls to 95 Hz for 0.3 s now and then
    is_low = (time % 3.0) > 2.7
    glide = np.sin(2 * np.pi * 4.0 * time)
    pitch = np.where(is_low, 95.0 - 4.0 * glide, 150.0 + 25.0 * glide)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    syllables = (time % 0.5 > 0.05) | is_low
    voice = to_level(syllables * np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0), -25.0)
    low = [cue for cue in find_cues(voice) if cue.kind is CueKind.LOW_PITCH]
    assert len(low) >= 3
    for cue in low:
        begin = np.floor(cue.time_s / 3.0) * 3.0 + 2.7
        # the glide before may be low already, and the window of the pitch delays it a little
        assert 0.06 <= cue.time_s - begin <= 0.2
        assert cue.feedback_s == pytest.approx(cue.time_s + 0.7)


@pytest.mark.parametrize("db", [-60.0, -40.0, -20.0, -8.0])
def test_no_sound_without_a_voice_is_heard_as_one(db: float) -> None:
    for name, sound in sounds_without_voice(12.0).items():
        heard = listen(to_level(sound, db))
        assert not heard.nods and not heard.blinks and not any(heard.voice), name
        assert not np.any(heard.rotation) and not np.any(heard.weights), name


def test_the_murmur_of_many_voices_is_no_partner(partner: Callable[[str], Voice]) -> None:
    rng, murmur = np.random.default_rng(0), np.zeros(20 * RATE)
    for k in range(24):
        voice = partner(VOICES[k % len(VOICES)])
        murmur += np.roll(voice, int(rng.integers(len(voice))))[: len(murmur)]
    for db in (-20.0, -35.0):
        heard = listen(to_level(murmur, db))
        assert not heard.nods and not any(heard.voice)


def test_silence_moves_nothing() -> None:
    heard = listen(np.zeros(10 * RATE, np.float32))
    assert not heard.nods and not np.any(heard.rotation) and not np.any(heard.weights)


def test_only_head_and_brows_move_and_return(partner: Callable[[str], Voice]) -> None:
    listener = PartnerListener()
    heard = listen(partner("recorded"), 0, None, listener)
    moved = {ARKIT_NAMES[i] for i in np.flatnonzero(np.any(heard.weights, axis=0))}
    assert moved == {"browInnerUp", "browOuterUpLeft", "browOuterUpRight"}
    pitch = np.degrees(np.array(heard.rotation)[:, 1])
    assert 4.0 < pitch.max() < 12.0
    after = listen(np.zeros(20 * RATE, np.float32), 0, None, listener)
    assert not np.any(after.rotation[-1]) and not np.any(after.weights[-1]) and not listener.is_active


def test_the_mouth_is_the_same_with_and_without_a_partner(
    talker: Talker, partner: Callable[[str], Voice], speech: Voice
) -> None:
    pcm = partner("recorded")[: 12 * RATE]
    own = np.concatenate([speech[: 3 * RATE], np.zeros(9 * RATE, np.float32)])
    alone = talker.open_stream(seed=3, parted_rest=False).accept(own)  # which ends when the partner speaks
    stream = talker.open_stream(seed=3, parted_rest=False)
    stream.hear_partner(pcm)
    attending = stream.accept(own)
    assert stream.conversation.listening.nods > 0
    before = np.stack([frame.weights for frame in alone])
    after = np.stack([frame.weights for frame in attending])
    np.testing.assert_array_equal(after[:, MOUTH], before[:, MOUTH])
    assert np.any(after != before)


def test_chunks_of_any_length_give_the_frames_of_the_whole(
    talker: Talker, partner: Callable[[str], Voice], speech: Voice
) -> None:
    pcm, own = partner("recorded")[: 4 * RATE], speech[: 4 * RATE]
    whole = talker.open_stream(seed=1)
    whole.hear_partner(pcm)
    expected = whole.accept(own)
    stream, frames, start, rng = talker.open_stream(seed=1), [], 0, np.random.default_rng(2)
    while start < len(own):
        length = int(rng.integers(1, 3000))
        stream.hear_partner(pcm[start : start + length])
        frames += stream.accept(own[start : start + length])
        start += length
    assert len(frames) == len(expected)
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_allclose(frame.weights, other.weights, atol=1e-5)
        np.testing.assert_allclose(frame.head, other.head, atol=1e-5)


def test_reset_forgets_the_partner(talker: Talker, partner: Callable[[str], Voice], speech: Voice) -> None:
    fresh = [frame.head for frame in talker.open_stream().accept(speech)]
    stream = talker.open_stream()
    stream.hear_partner(partner("recorded")[: 4 * RATE])
    stream.accept(speech)
    stream.reset()
    np.testing.assert_array_equal([frame.head for frame in stream.accept(speech)], fresh)


def test_who_speaks_gives_no_feedback(partner: Callable[[str], Voice], speech: Voice) -> None:
    pcm = partner("recorded")[: 30 * RATE]
    own = np.resize(to_level(speech, -20.0), len(pcm))
    own[15 * RATE :] = 0.0
    nods = listen(pcm, 0, own).nods
    assert nods and min(nods) >= 15.0 + MIN_FEEDBACK_INTERVAL_S


def test_blinks_follow_the_ends_of_phrases(partner: Callable[[str], Voice]) -> None:
    pcm = partner("recorded")
    heard = listen(pcm)
    voice = np.array(heard.voice) > 0.0
    ends = (np.flatnonzero(voice[:-1] & ~voice[1:]) + 1) / FRAME_RATE
    since = np.array(heard.blinks)[:, None] - ends[None, :]
    assert len(heard.blinks) >= 3
    assert ((since >= 0.0) & (since <= 0.5)).any(axis=1).all()


@pytest.mark.parametrize("delay_s, gain_db", [(0.0, 0.0), (0.15, -12.0), (0.3, -20.0)])
def test_the_echo_of_the_own_voice_is_no_partner(
    partner: Callable[[str], Voice], delay_s: float, gain_db: float
) -> None:
    own = partner("recorded")[: 20 * RATE]
    rng = np.random.default_rng(0)
    decay = np.arange(RATE // 4) / RATE
    room = 0.06 * rng.standard_normal(len(decay)) * 10 ** (-3 * decay / decay[-1])
    room[0] = 1.0
    echo = np.convolve(own, room)[: len(own)] * 10 ** (gain_db / 20)
    delay = round(delay_s * RATE)
    microphone = np.concatenate([np.zeros(delay), echo])[: len(own)]
    microphone += 10 ** (-70 / 20) * rng.standard_normal(len(own))
    voice = np.array(listen(np.asarray(microphone, np.float32), 0, own).voice)
    assert voice.max() < INTERRUPTION_S


@pytest.mark.parametrize("name", ["espeak_german", "flite_rms", "flite_awb"])
def test_another_voice_is_heard_while_the_face_speaks(partner: Callable[[str], Voice], name: str) -> None:
    own = partner("recorded")[: 20 * RATE]
    voice = np.array(listen(partner(name)[: 20 * RATE], 0, own).voice)
    assert np.argmax(voice >= INTERRUPTION_S) / FRAME_RATE < 4.0 and voice.max() >= INTERRUPTION_S


def test_ten_minutes_of_waiting_audio_are_refused(talker: Talker) -> None:
    stream = talker.open_stream()
    stream.hear_partner(np.zeros(round(MAX_BUFFERED_S * RATE), np.float32))
    with pytest.raises(TalkerError, match="partner's audio"):
        stream.hear_partner(np.zeros(1, np.float32))


def test_the_gaze_goes_to_the_partner_and_is_released(
    talker: Talker, partner: Callable[[str], Voice]
) -> None:
    stream = talker.open_stream()
    pcm = np.concatenate([partner("recorded")[: 4 * RATE], np.zeros(12 * RATE, np.float32)])
    targets = []
    for n in range(len(pcm) // HOP):
        stream.hear_partner(pcm[n * HOP : (n + 1) * HOP])
        stream.accept(np.zeros(HOP, np.float32))
        targets.append(stream.conversation.gaze.has_target)
    assert not any(targets[: round(FRAME_RATE)]) and all(targets[round(2.5 * FRAME_RATE) : 100])
    assert not any(targets[-round(2 * FRAME_RATE) :])


def test_a_target_of_the_gaze_is_kept_while_the_partner_speaks(
    talker: Talker, partner: Callable[[str], Voice]
) -> None:
    stream = talker.open_stream()
    stream.look_at((1.0, 0.5, 0.0))
    stream.hear_partner(partner("recorded")[: 4 * RATE])
    frame = stream.accept(np.zeros(4 * RATE, np.float32))[-1]
    look = dict(zip(ARKIT_NAMES, frame.weights, strict=True))
    assert look["eyeLookOutLeft"] > 0.1 or frame.head[2] > 0.1  # to the person's left
