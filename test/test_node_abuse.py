"""Random abuse: whatever packets do, the node lives, keeps order, and speaks again when the trouble ends."""
import numpy as np
import pytest
from node_stage import FRAME, MS, S0, Stage, small_talker, voice

from streamingtalker_ros.audio.payload import AudioFormat

FORMATS = [AudioFormat(16000, 1, "s16"), AudioFormat(44100, 2, "s16"), AudioFormat(48000, 1, "f32"),
           AudioFormat(8000, 1, "u8"), AudioFormat(16000, 1, "s24")]


@pytest.fixture(scope="module")
def talker():
    return small_talker()


def abuse(stage, random, seconds):
    """Schedule a live voice and everything that can go wrong with it. Returns where it ends: (time,
    stamp)."""
    at, stamp, format = stage.now, S0, FORMATS[0]
    while at < stage.now + seconds:
        samples = round(0.02 * format.sample_rate)
        payload = random.bytes(samples * format.frame_bytes)    # as floats, these hold NaN and infinities
        event = random.random()
        if event < 0.10:
            payload = None                                      # lost
        elif event < 0.12:
            payload = b""
        elif event < 0.13:
            payload = payload[:-1]                              # an odd tail
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
            stamp += int(random.uniform(-3, 3) * 1e9)           # the clock is set
        elif event < 0.175:
            stage.at(at, stage.performance.interrupt)
        elif event < 0.18:
            stage.at(at, stage.performance.reset)
        elif event < 0.19:
            at += random.uniform(0, 0.4)                        # the network holds all of it back
        if payload is not None:
            late = random.uniform(0.02, 0.2) if event > 0.95 else 0.0
            stage.send(None, None if event > 0.995 else stamp, at + 0.02 + late, format, payload=payload)
            if event > 0.9:
                stage.send(None, stamp, at + 0.03 + late, format, payload=payload)
        at, stamp = at + 0.02, stamp + 20 * MS
    return at + 0.5, stamp + 500 * MS


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pacing", ["audio", "none"])
def test_random_abuse_breaks_nothing(talker, seed, pacing):
    stage = Stage(talker, pacing=pacing, queue_seconds=5.0)
    end, stamp = abuse(stage, np.random.default_rng(seed), 12.0)
    stage.run(end - stage.now)
    assert stage.statistics.errors == 0
    for (_, before), (_, after) in zip(stage.frames, stage.frames[1:]):
        assert after.stamp > before.stamp or after.index <= before.index    # only a new stream may go back
        assert np.isfinite(after.weights).all() and np.isfinite(after.head).all()
        assert 0 <= after.weights.min() and after.weights.max() <= 1
    assert stage.performance.queued < 6
    assert stage.statistics.frames > 50 and stage.statistics.packets > 300

    stage.run(3.0)                                              # whatever was queued is spoken
    count = len(stage.frames)
    again = S0 + 3600_000 * MS                                  # then a clean voice
    stage.live(voice(1.0), again)
    stage.run(0.2)
    first = stage.faces[count:]
    assert any(again <= frame.stamp < again + FRAME for frame in first)
    stage.run(2.0)
    heard = [frame for frame in stage.faces[count:] if again <= frame.stamp and not frame.idle]
    assert [frame.stamp for frame in heard] == [again + index * FRAME for index in range(25)]
    assert stage.statistics.errors == 0
