# SPDX-License-Identifier: Apache-2.0
"""Faults of a live voice: each kind for over a second in the middle of a voice, and all kinds at random.

A `FaultScenario` holds the packets of a voice, and the audio on the grid of the stream that is running when
the fault ends, from that stream's first sample: what the model should receive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.runtime.transition import CROSSFADE_FRAMES
from streamingtalker_ros.streaming import Talker
from support.scheduler_harness import FRAME, MS, S0, SchedulerHarness, floats, offline, voice

PACKET_SAMPLES: Final = 320  # 20 ms
PACKET_COUNT: Final = 190  # 3.8 s
FIRST, LAST = 50, 110  # the packets with the fault
FIRST_THIRD, SECOND_THIRD = FIRST + 20, FIRST + 40
FORMAT: Final = AudioFormat(SAMPLE_RATE, 1, "s16")
FORMATS: Final = (
    FORMAT,
    AudioFormat(44100, 2, "s16"),
    AudioFormat(48000, 1, "f32"),
    AudioFormat(8000, 1, "u8"),
    AudioFormat(SAMPLE_RATE, 1, "s24"),
)
# s from a frame's first sample to its publication: its 40 ms, 80 ms of look-ahead, a packet of 20 ms
LIVE_LATENCY_S: Final = 0.14
RECOVERY_S: Final = 0.2  # after the end of a fault

_Event: TypeAlias = tuple[float, int | None, bytes, AudioFormat]


@dataclass
class FaultScenario:
    """A live voice with a fault.

    Attributes:
        events: (s after the start, stamp or None, payload, format) of each packet.
        actions: (s after the start, name of a command of the session).
        stalls: (s after the start, s in which nothing runs).
        grid: (n,) float32 at 16 kHz, the audio of the stream after the fault; None if it is not defined.
        start: Stamp of the first sample of `grid`.
        ends: s after the start.
        rejected: Packets that the session has to reject.
    """

    events: list[_Event] = field(default_factory=list)
    actions: list[tuple[float, str]] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)
    grid: npt.NDArray[np.float32] | None = None
    start: int = S0
    ends: float = LAST * 0.02
    rejected: int = 0

    def schedule(self, harness: SchedulerHarness) -> float:
        """Schedule everything from now on; returns the harness's time of the start."""
        start = harness.now
        for at, stamp, payload, audio_format in self.events:
            harness.send(None, stamp, start + at, audio_format, payload)
        for at, name in self.actions:
            harness.at(start + at, getattr(harness.session, name))
        for at, seconds in self.stalls:
            harness.at(start + at, lambda seconds=seconds: harness.stall(seconds))
        return start


def _stamp(packet: int) -> int:
    return S0 + packet * 20 * MS


def _clean_packets(samples: npt.NDArray[np.int16]) -> list[_Event]:
    """The packets of a voice, each sent when its last sample has been recorded."""
    return [
        (
            (k + 1) * 0.02,
            _stamp(k),
            samples[k * PACKET_SAMPLES : (k + 1) * PACKET_SAMPLES].tobytes(),
            FORMAT,
        )
        for k in range(PACKET_COUNT)
    ]


def _clean_voice(seed: int = 0) -> tuple[npt.NDArray[np.int16], list[_Event], npt.NDArray[np.float32]]:
    samples = voice(PACKET_COUNT * 0.02, seed=seed)
    return samples, _clean_packets(samples), floats(samples)


def _silence(grid: npt.NDArray[np.float32], packets: Iterable[int]) -> None:
    for k in packets:
        grid[k * PACKET_SAMPLES : (k + 1) * PACKET_SAMPLES] = 0


def packet_loss(random: np.random.Generator) -> FaultScenario:
    """One packet in ten is lost."""
    _, clean, grid = _clean_voice()
    lost = {k for k in range(FIRST, LAST - 1) if random.random() < 0.1}
    _silence(grid, lost)
    return FaultScenario([event for k, event in enumerate(clean) if k not in lost], grid=grid)


def duplicates(random: np.random.Generator) -> FaultScenario:
    """One packet in three arrives twice."""
    _, clean, grid = _clean_voice()
    twice = [
        (at + 0.003, stamp, payload, audio_format)
        for k, (at, stamp, payload, audio_format) in enumerate(clean)
        if FIRST <= k < LAST and random.random() < 0.33
    ]
    return FaultScenario(clean + twice, grid=grid)


def swaps(random: np.random.Generator) -> FaultScenario:
    """One packet in ten arrives after the next one."""
    _, clean, grid = _clean_voice()
    late = [k for k in range(FIRST, LAST - 2, 2) if random.random() < 0.2]
    for k in late:
        clean[k] = (clean[k + 1][0] + 0.002, *clean[k][1:])
    _silence(grid, late)
    return FaultScenario(clean, grid=grid)


def jitter(random: np.random.Generator) -> FaultScenario:
    """The network delays packets by up to 80 ms, and they arrive in bursts."""
    _, clean, grid = _clean_voice()
    at = 0.0
    for k in range(FIRST, LAST):
        at = max(at, clean[k][0] + (random.uniform(0, 0.08) if k < LAST - 5 else 0.0))
        clean[k] = (at, *clean[k][1:])
    return FaultScenario(clean, grid=grid)


def network_delay(random: np.random.Generator) -> FaultScenario:
    """The network delays 0.7 s of the voice, which then arrive at once."""
    _, clean, grid = _clean_voice()
    begin = LAST - 35
    for k in range(begin, LAST):
        clean[k] = (LAST * 0.02, *clean[k][1:])
    return FaultScenario(clean, grid=grid[begin * PACKET_SAMPLES :], start=S0 + begin * 20 * MS)


def short_gaps(random: np.random.Generator) -> FaultScenario:
    """Three packets in a row are lost, several times."""
    _, clean, grid = _clean_voice()
    lost = {k + j for k in range(FIRST, LAST - 3, 20) for j in range(3)}
    _silence(grid, lost)
    return FaultScenario([event for k, event in enumerate(clean) if k not in lost], grid=grid)


def long_gap(random: np.random.Generator) -> FaultScenario:
    """All packets are lost."""
    _, clean, grid = _clean_voice()
    return FaultScenario(
        clean[:FIRST] + clean[LAST:], grid=grid[LAST * PACKET_SAMPLES :], start=S0 + LAST * 20 * MS
    )


def restarts(random: np.random.Generator) -> FaultScenario:
    """The publisher restarts three times, each time after 0.2 s, with the same clock."""
    _, clean, grid = _clean_voice()
    lost = {k + j for k in (FIRST, FIRST_THIRD, LAST - 10) for j in range(10)}
    # meanwhile 0.28 s of silence closed the mouth, and replace what follows
    _silence(grid, {k + j for k in lost for j in range(5)})
    return FaultScenario([event for k, event in enumerate(clean) if k not in lost], grid=grid)


def format_changes(random: np.random.Generator) -> FaultScenario:
    """Rate, channels and encoding change every 0.3 s, at last to those of the voice."""
    _, clean, grid = _clean_voice()
    events = clean[:FIRST]
    for index, first in enumerate(range(FIRST, LAST, 15)):
        audio_format = FORMATS[1 + index % (len(FORMATS) - 1)]
        for k in range(first, first + 15):
            count = round(0.02 * audio_format.sample_rate)
            events.append((*clean[k][:2], random.bytes(count * audio_format.frame_bytes), audio_format))
    return FaultScenario(events + clean[LAST:], grid=grid[LAST * PACKET_SAMPLES :], start=S0 + LAST * 20 * MS)


def format_announced_late(random: np.random.Generator) -> FaultScenario:
    """The format changes three times, announced six packets late: those are decoded in the old format."""
    _, clean, grid = _clean_voice()
    events, announced = clean[:FIRST], FORMAT
    for first, last, audio_format in (
        (FIRST, FIRST_THIRD, FORMATS[1]),
        (FIRST_THIRD, LAST - 6, FORMATS[3]),
        (LAST - 6, PACKET_COUNT, FORMAT),
    ):
        for k in range(first, last):
            count = round(0.02 * audio_format.sample_rate)
            payload = (
                clean[k][2] if audio_format is FORMAT else random.bytes(count * audio_format.frame_bytes)
            )
            announced = audio_format if k >= first + 6 else announced
            events.append((*clean[k][:2], payload, announced))
    return FaultScenario(events, grid=grid[LAST * PACKET_SAMPLES :], start=S0 + LAST * 20 * MS)


def nonfinite_samples(random: np.random.Generator) -> FaultScenario:
    """Every third sample is NaN or infinite."""
    samples, clean, _ = _clean_voice()
    floats = samples.astype(np.float32) / 32768
    audio_format = AudioFormat(SAMPLE_RATE, 1, "f32")
    spoiled = floats.copy()
    where = np.zeros(len(floats), bool)
    where[FIRST * PACKET_SAMPLES : LAST * PACKET_SAMPLES] = (
        random.random((LAST - FIRST) * PACKET_SAMPLES) < 0.33
    )
    spoiled[where] = random.choice(np.array([np.nan, np.inf, -np.inf], np.float32), int(where.sum()))
    events = [
        (at, stamp, spoiled[k * PACKET_SAMPLES : (k + 1) * PACKET_SAMPLES].tobytes(), audio_format)
        for k, (at, stamp, _, _) in enumerate(clean)
    ]
    return FaultScenario(events, grid=np.where(where, 0, floats).astype(np.float32))


def empty_packets(random: np.random.Generator) -> FaultScenario:
    """Each packet is followed by one without data."""
    _, clean, grid = _clean_voice()
    empty = [
        (at + 0.001, _stamp(k + 1), b"", audio_format)
        for k, (at, _, _, audio_format) in enumerate(clean[FIRST:LAST], FIRST)
    ]
    return FaultScenario(clean + empty, grid=grid, rejected=len(empty))


def huge_packets(random: np.random.Generator) -> FaultScenario:
    """Five packets of 10 MB, over five minutes of audio each."""
    _, clean, grid = _clean_voice()
    huge = [(clean[k][0] + 0.001, clean[k][1], bytes(10_000_000), FORMAT) for k in range(FIRST, LAST, 20)]
    return FaultScenario(clean + huge, grid=grid, rejected=len(huge))


def truncated_packets(random: np.random.Generator) -> FaultScenario:
    """One packet in twenty is truncated by a byte."""
    _, clean, _ = _clean_voice()
    for k in range(FIRST + 5, LAST - 1, 20):
        at, stamp, payload, audio_format = clean[k]
        clean[k] = at, stamp, payload[:-1], audio_format
    return FaultScenario(clean, grid=None)


def clock_jumps(random: np.random.Generator) -> FaultScenario:
    """The sender's clock jumps an hour ahead, back again, and a second back."""
    _, clean, grid = _clean_voice()
    for first, last, shift in (
        (FIRST, FIRST_THIRD, 3600.0),
        (FIRST_THIRD, SECOND_THIRD, 0.0),
        (SECOND_THIRD, PACKET_COUNT, -1.0),
    ):
        for k in range(first, last):
            clean[k] = (clean[k][0], _stamp(k) + round(shift * 1e9), *clean[k][2:])
    begin = SECOND_THIRD
    return FaultScenario(clean, grid=grid[begin * PACKET_SAMPLES :], start=_stamp(begin) - round(1e9))


def barge_in(random: np.random.Generator) -> FaultScenario:
    """The voice is interrupted three times during speech."""
    _, clean, grid = _clean_voice()
    actions = [(k * 0.02 + 0.005, "interrupt") for k in (FIRST, FIRST_THIRD, LAST)]
    return FaultScenario(clean, actions, grid=grid[LAST * PACKET_SAMPLES :], start=S0 + LAST * 20 * MS)


def resets(random: np.random.Generator) -> FaultScenario:
    """The session is reset three times."""
    _, clean, grid = _clean_voice()
    actions = [(k * 0.02 + 0.005, "reset") for k in (FIRST, FIRST_THIRD, LAST)]
    return FaultScenario(clean, actions, grid=grid[LAST * PACKET_SAMPLES :], start=S0 + LAST * 20 * MS)


def stalls(random: np.random.Generator) -> FaultScenario:
    """Nothing runs for 0.7 s, and again for 0.4 s."""
    _, clean, _ = _clean_voice()
    return FaultScenario(clean, stalls=[(FIRST * 0.02, 0.7), (LAST * 0.02 - 0.41, 0.4)], grid=None)


def missing_stamps(random: np.random.Generator) -> FaultScenario:
    """Packets have no stamps, and are placed by their arrival."""
    _, clean, grid = _clean_voice()
    clean = [
        (at, None if FIRST <= k < LAST else stamp, payload, audio_format)
        for k, (at, stamp, payload, audio_format) in enumerate(clean)
    ]
    return FaultScenario(clean, grid=grid[LAST * PACKET_SAMPLES :], start=S0 + LAST * 20 * MS)


KINDS: Final[tuple[Callable[[np.random.Generator], FaultScenario], ...]] = (
    packet_loss,
    duplicates,
    swaps,
    jitter,
    network_delay,
    short_gaps,
    long_gap,
    restarts,
    format_changes,
    format_announced_late,
    nonfinite_samples,
    empty_packets,
    huge_packets,
    truncated_packets,
    clock_jumps,
    barge_in,
    resets,
    stalls,
    missing_stamps,
)


def schedule_random_faults(
    harness: SchedulerHarness, random: np.random.Generator, seconds: float
) -> tuple[float, int]:
    """Schedule a live voice with faults of all kinds; returns the time and the stamp of its end."""
    at, stamp, audio_format = harness.now, S0, FORMATS[0]
    while at < harness.now + seconds:
        samples = round(0.02 * audio_format.sample_rate)
        payload: bytes | None = random.bytes(
            samples * audio_format.frame_bytes
        )  # as floats, these include NaN and infinities
        event = random.random()
        if event < 0.10:
            payload = None  # lost
        elif event < 0.12:
            payload = b""
        elif event < 0.13:
            payload = payload[:-1]  # truncated
        elif event < 0.14:
            harness.send(None, stamp, at, audio_format, payload=bytes(10_000_000))
        elif event < 0.15:
            audio_format = FORMATS[random.integers(len(FORMATS))]
            continue
        elif event < 0.16:
            pause = random.uniform(0, 2)
            at, stamp = at + pause, stamp + round(pause * 1e9)
            continue
        elif event < 0.17:
            stamp += int(random.uniform(-3, 3) * 1e9)  # the clock jumps
        elif event < 0.175:
            harness.at(at, harness.session.interrupt)
        elif event < 0.18:
            harness.at(at, harness.session.reset)
        elif event < 0.19:
            at += random.uniform(0, 0.4)  # the network delays everything
        if payload is not None:
            late = random.uniform(0.02, 0.2) if event > 0.95 else 0.0
            harness.send(
                None, None if event > 0.995 else stamp, at + 0.02 + late, audio_format, payload=payload
            )
            if event > 0.9:
                harness.send(None, stamp, at + 0.03 + late, audio_format, payload=payload)
        at, stamp = at + 0.02, stamp + 20 * MS
    return at + 0.5, stamp + 500 * MS


def check_recovery(
    talker: Talker, kind: Callable[[np.random.Generator], FaultScenario], seed: int = 0
) -> None:
    """Check that frames are in time and equal to the offline pass, from `RECOVERY_S` after a fault on."""
    scenario = kind(np.random.default_rng(seed))
    harness = SchedulerHarness(talker)
    start = scenario.schedule(harness)
    harness.run(PACKET_COUNT * 0.02 + 0.02)
    assert harness.statistics.errors == 0 and harness.statistics.rejected == scenario.rejected
    assert len(set(harness.warnings)) <= 1  # the worker reports each kind once
    recovered = start + scenario.ends + RECOVERY_S
    frames = [(at, frame) for at, frame in harness.frames if at >= recovered]
    # no frame of audio is missing, none is later than the look-ahead requires
    stamps = [frame.stamp for _, frame in frames]
    assert np.all(np.diff(stamps) == FRAME)
    stamps_jump = kind is clock_jumps
    first_stamp = S0 + (scenario.start - S0 if stamps_jump else 0)
    first_time = start + (SECOND_THIRD * 0.02 if stamps_jump else 0.0)
    for at, frame in frames:
        recorded = (frame.stamp - first_stamp) / 1e9 + first_time
        assert 0 < at - recorded <= LIVE_LATENCY_S + 0.02 and not frame.idle
    missing = RECOVERY_S + LIVE_LATENCY_S
    assert len(frames) >= 25 * (PACKET_COUNT * 0.02 - scenario.ends - missing) - 2
    if scenario.grid is None:
        return
    first = frames[0][1]
    assert abs(first.stamp - first.index * FRAME - scenario.start) <= 15 * MS
    expected = offline(talker, scenario.grid)
    for at, frame in frames:
        is_fading = frame.index <= CROSSFADE_FRAMES and scenario.start != S0
        if is_fading or at < recovered + 0.1:  # the mouth opens again
            continue
        np.testing.assert_allclose(frame.weights, expected[frame.index].weights, atol=1e-5)
        np.testing.assert_allclose(frame.head, expected[frame.index].head, atol=1e-5)


def check_after_random_faults(harness: SchedulerHarness) -> None:
    """Check what holds of all published frames, and that a clean voice is processed at once."""
    assert harness.statistics.errors == 0
    for (_, before), (_, after) in pairwise(harness.frames):
        assert after.stamp > before.stamp or after.index <= before.index  # only a new stream may go back
        assert np.isfinite(after.weights).all() and np.isfinite(after.head).all()
        assert after.weights.min() >= 0 and after.weights.max() <= 1
    assert harness.session.queued_seconds < 6

    harness.run(3.0)  # processes what is queued
    count = len(harness.frames)
    begin = S0 + 3600_000 * MS
    harness.send_realtime(voice(1.0), begin)
    harness.run(0.2)
    assert any(begin <= frame.stamp < begin + FRAME for frame in harness.faces[count:])
    harness.run(2.0)
    clean = [frame for frame in harness.faces[count:] if begin <= frame.stamp and not frame.idle]
    assert [frame.stamp for frame in clean] == [begin + index * FRAME for index in range(25)]
    assert harness.statistics.errors == 0
