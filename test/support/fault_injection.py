# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a live voice: faults of one kind, for over a second in the midst of a voice, and all of them at
random.

A `FaultScenario` holds the packets of a voice and what a perfect listener would make of them: the audio on the grid of the
stream that is on when the trouble ends, from that stream's first sample.
"""

from dataclasses import dataclass, field

import numpy as np

from streamingtalker_ros.audio.packet import AudioFormat
from support.scheduler_harness import MS, S0, voice

RATE, PACKET, PACKETS = 16000, 320, 190  # samples of a packet of 20 ms; 3.8 seconds of them
FIRST, LAST = 50, 110  # the packets in which the trouble is
ONE, TWO = FIRST + 20, FIRST + 40  # a third of it, two
PLAIN = AudioFormat(RATE, 1, "s16")
FORMATS = [
    PLAIN,
    AudioFormat(44100, 2, "s16"),
    AudioFormat(48000, 1, "f32"),
    AudioFormat(8000, 1, "u8"),
    AudioFormat(RATE, 1, "s24"),
]


@dataclass
class FaultScenario:
    """events: (seconds after the start, stamp or None, payload, AudioFormat) of each packet; actions: (seconds, name of
    a method of the performance); stalls: (seconds, how long the machine stands still); grid: (n,) float32 at 16 kHz as
    it should be heard, or None where that is nobody's business; start: stamp of its first sample."""

    events: list = field(default_factory=list)
    actions: list = field(default_factory=list)
    stalls: list = field(default_factory=list)
    grid: np.ndarray = None
    start: int = S0
    ends: float = LAST * 0.02  # seconds after the start
    rejected: int = 0

    def schedule(self, stage):
        """Put it all on a SchedulerHarness, from now on. Returns the stage's time of its start."""
        start = stage.now
        for at, stamp, payload, format in self.events:
            stage.send(None, stamp, start + at, format, payload)
        for at, name in self.actions:
            stage.at(start + at, getattr(stage.session, name))
        for at, seconds in self.stalls:
            stage.at(start + at, lambda seconds=seconds: stage.stall(seconds))
        return start


def _clean(samples):
    """The packets of a voice, (at, stamp, payload, format), each when its last sample has been spoken."""
    return [
        ((k + 1) * 0.02, S0 + k * 20 * MS, samples[k * PACKET : (k + 1) * PACKET].tobytes(), PLAIN)
        for k in range(PACKETS)
    ]


def _parts(seed=0):
    samples = voice(PACKETS * 0.02, seed=seed)
    return samples, _clean(samples), samples.astype(np.float32) / 32768


def _silent(grid, packets) -> None:
    for k in packets:
        grid[k * PACKET : (k + 1) * PACKET] = 0


def loss(random):
    """One packet in ten does not come."""
    _, clean, grid = _parts()
    lost = {k for k in range(FIRST, LAST - 1) if random.random() < 0.1}
    _silent(grid, lost)
    return FaultScenario([event for k, event in enumerate(clean) if k not in lost], grid=grid)


def duplicates(random):
    """One packet in three comes twice."""
    _, clean, grid = _parts()
    twice = [
        (at + 0.003, *rest)
        for k, (at, *rest) in enumerate(clean)
        if FIRST <= k < LAST and random.random() < 0.33
    ]
    return FaultScenario(clean + twice, grid=grid)


def swaps(random):
    """One packet in ten comes after the next one."""
    _, clean, grid = _parts()
    late = [k for k in range(FIRST, LAST - 2, 2) if random.random() < 0.2]
    for k in late:
        clean[k] = (clean[k + 1][0] + 0.002, *clean[k][1:])
    _silent(grid, late)
    return FaultScenario(clean, grid=grid)


def jitter(random):
    """Packets wait in the network, up to 80 ms, and come in bursts."""
    _, clean, grid = _parts()
    at = 0.0
    for k in range(FIRST, LAST):
        at = max(at, clean[k][0] + (random.uniform(0, 0.08) if k < LAST - 5 else 0.0))
        clean[k] = (at, *clean[k][1:])
    return FaultScenario(clean, grid=grid)


def held_back(random):
    """The network holds back 0.7 s of the voice, and then all of it comes at once."""
    _, clean, grid = _parts()
    begin = LAST - 35
    for k in range(begin, LAST):
        clean[k] = (LAST * 0.02, *clean[k][1:])
    return FaultScenario(clean, grid=grid[begin * PACKET :], start=S0 + begin * 20 * MS)


def short_gaps(random):
    """The sender is silent for 60 ms, several times."""
    _, clean, grid = _parts()
    lost = {k + j for k in range(FIRST, LAST - 3, 20) for j in range(3)}
    _silent(grid, lost)
    return FaultScenario([event for k, event in enumerate(clean) if k not in lost], grid=grid)


def long_gap(random):
    """The sender is away for as long as the trouble lasts."""
    _, clean, grid = _parts()
    return FaultScenario(clean[:FIRST] + clean[LAST:], grid=grid[LAST * PACKET :], start=S0 + LAST * 20 * MS)


def restarts(random):
    """The publisher dies and comes back three times, each time after 0.2 s, its clock the machine's."""
    _, clean, grid = _parts()
    lost = {k + j for k in (FIRST, ONE, LAST - 10) for j in range(10)}
    # the mouth was closed meanwhile, by 0.28 s of silence that take the place of what follows
    _silent(grid, {k + j for k in lost for j in range(5)})
    return FaultScenario([event for k, event in enumerate(clean) if k not in lost], grid=grid)


def format_changes(random):
    """Rate, channels and encoding change every 0.3 s; what is told last is the voice's own."""
    samples, clean, grid = _parts()
    events = clean[:FIRST]
    for index, first in enumerate(range(FIRST, LAST, 15)):
        format = FORMATS[1 + index % (len(FORMATS) - 1)]
        for k in range(first, first + 15):
            count = round(0.02 * format.sample_rate)
            events.append((*clean[k][:2], random.bytes(count * format.frame_bytes), format))
    return FaultScenario(events + clean[LAST:], grid=grid[LAST * PACKET :], start=S0 + LAST * 20 * MS)


def told_late(random):
    """The format changes three times, and is told six packets late: as many are read in the format before."""
    _, clean, grid = _parts()
    events, told = clean[:FIRST], PLAIN
    for first, last, format in (
        (FIRST, ONE, FORMATS[1]),
        (ONE, LAST - 6, FORMATS[3]),
        (LAST - 6, PACKETS, PLAIN),
    ):
        for k in range(first, last):
            count = round(0.02 * format.sample_rate)
            payload = clean[k][2] if format is PLAIN else random.bytes(count * format.frame_bytes)
            told = format if k >= first + 6 else told
            events.append((*clean[k][:2], payload, told))
    return FaultScenario(events, grid=grid[LAST * PACKET :], start=S0 + LAST * 20 * MS)


def broken_numbers(random):
    """Every third sample is NaN or infinite."""
    samples, clean, _ = _parts()
    floats = samples.astype(np.float32) / 32768
    format = AudioFormat(RATE, 1, "f32")
    spoiled = floats.copy()
    where = np.zeros(len(floats), bool)
    where[FIRST * PACKET : LAST * PACKET] = random.random((LAST - FIRST) * PACKET) < 0.33
    spoiled[where] = random.choice(np.array([np.nan, np.inf, -np.inf], np.float32), int(where.sum()))
    events = [
        (at, stamp, spoiled[k * PACKET : (k + 1) * PACKET].tobytes(), format)
        for k, (at, stamp, _, _) in enumerate(clean)
    ]
    return FaultScenario(events, grid=np.where(where, 0, floats).astype(np.float32))


def empty_packets(random):
    """Each packet is followed by one without data."""
    _, clean, grid = _parts()
    empty = [(at + 0.001, stamp + 20 * MS, b"", format) for at, stamp, _, format in clean[FIRST:LAST]]
    return FaultScenario(clean + empty, grid=grid, rejected=len(empty))


def huge_packets(random):
    """Five packets of 10 MB, over five minutes of audio each."""
    _, clean, grid = _parts()
    huge = [(clean[k][0] + 0.001, clean[k][1], bytes(10_000_000), PLAIN) for k in range(FIRST, LAST, 20)]
    return FaultScenario(clean + huge, grid=grid, rejected=len(huge))


def cut_packets(random):
    """One packet in twenty lost its last byte."""
    samples, clean, grid = _parts()
    for k in range(FIRST + 5, LAST - 1, 20):
        at, stamp, payload, format = clean[k]
        clean[k] = at, stamp, payload[:-1], format
    return FaultScenario(clean, grid=None)


def clock_set(random):
    """The sender's clock is set: an hour ahead, back again, and a second back."""
    _, clean, grid = _parts()
    for first, last, shift in ((FIRST, ONE, 3600.0), (ONE, TWO, 0.0), (TWO, PACKETS, -1.0)):
        for k in range(first, last):
            clean[k] = (clean[k][0], clean[k][1] + round(shift * 1e9), *clean[k][2:])
    begin = TWO
    return FaultScenario(clean, grid=grid[begin * PACKET :], start=clean[begin][1])


def barge_in(random):
    """The voice is interrupted three times while it speaks."""
    _, clean, grid = _parts()
    actions = [(k * 0.02 + 0.005, "interrupt") for k in (FIRST, ONE, LAST)]
    return FaultScenario(clean, actions, grid=grid[LAST * PACKET :], start=S0 + LAST * 20 * MS)


def resets(random):
    """It is told to start afresh three times."""
    _, clean, grid = _parts()
    actions = [(k * 0.02 + 0.005, "reset") for k in (FIRST, ONE, LAST)]
    return FaultScenario(clean, actions, grid=grid[LAST * PACKET :], start=S0 + LAST * 20 * MS)


def stalls(random):
    """The machine stands still twice, for 0.7 s and for 0.4 s."""
    _, clean, _ = _parts()
    return FaultScenario(clean, stalls=[(FIRST * 0.02, 0.7), (LAST * 0.02 - 0.41, 0.4)], grid=None)


def no_stamps(random):
    """The stamps go missing; those who lack them are placed by their arrival."""
    _, clean, grid = _parts()
    clean = [
        (at, None if FIRST <= k < LAST else stamp, payload, format)
        for k, (at, stamp, payload, format) in enumerate(clean)
    ]
    return FaultScenario(clean, grid=grid[LAST * PACKET :], start=S0 + LAST * 20 * MS)


KINDS = (
    loss,
    duplicates,
    swaps,
    jitter,
    held_back,
    short_gaps,
    long_gap,
    restarts,
    format_changes,
    told_late,
    broken_numbers,
    empty_packets,
    huge_packets,
    cut_packets,
    clock_set,
    barge_in,
    resets,
    stalls,
    no_stamps,
)


def at_random(stage, random, seconds):
    """Schedule a live voice and everything that can go wrong with it. Returns where it ends: (time, stamp)."""
    at, stamp, format = stage.now, S0, FORMATS[0]
    while at < stage.now + seconds:
        samples = round(0.02 * format.sample_rate)
        payload = random.bytes(samples * format.frame_bytes)  # as floats, these hold NaN and infinities
        event = random.random()
        if event < 0.10:
            payload = None  # lost
        elif event < 0.12:
            payload = b""
        elif event < 0.13:
            payload = payload[:-1]  # an odd tail
        elif event < 0.14:
            stage.send(None, stamp, at, format, payload=bytes(10_000_000))
        elif event < 0.15:
            format = FORMATS[random.integers(len(FORMATS))]
            continue
        elif event < 0.16:
            pause = random.uniform(0, 2)
            at, stamp = at + pause, stamp + round(pause * 1e9)
            continue
        elif event < 0.17:
            stamp += int(random.uniform(-3, 3) * 1e9)  # the clock is set
        elif event < 0.175:
            stage.at(at, stage.session.interrupt)
        elif event < 0.18:
            stage.at(at, stage.session.reset)
        elif event < 0.19:
            at += random.uniform(0, 0.4)  # the network holds all of it back
        if payload is not None:
            late = random.uniform(0.02, 0.2) if event > 0.95 else 0.0
            stage.send(None, None if event > 0.995 else stamp, at + 0.02 + late, format, payload=payload)
            if event > 0.9:
                stage.send(None, stamp, at + 0.03 + late, format, payload=payload)
        at, stamp = at + 0.02, stamp + 20 * MS
    return at + 0.5, stamp + 500 * MS
