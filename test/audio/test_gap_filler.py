# SPDX-License-Identifier: Apache-2.0
"""Audio stays at its time stamps behind a gap: in films, in files of sound alone, at any size of a gap."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.file_decoder import decode_blocks, decode_file
from streamingtalker_ros.audio.gap_filler import MAX_SILENCE_VALUES, GapFiller
from streamingtalker_ros.corpus.video import tracking
from streamingtalker_ros.errors import TalkerError

RATE = 1000
MARKS = (0.5, 1.5, 2.5, 3.5)  # seconds of the clicks


def placed(*frames: tuple[float | None, int], rate: int = RATE) -> npt.NDArray[np.float32]:
    """Place frames of (stamp, samples); sample k of all frames has the value k + 1, silence is 0."""
    filler, blocks, count = GapFiller(rate), [], 0
    for time, size in frames:
        samples = np.arange(count + 1, count + size + 1, dtype=np.float32)[:, None]
        blocks += filler.place(samples, time)
        count += size
    return np.concatenate(blocks)[:, 0]


def test_frames_that_follow_each_other_are_not_changed() -> None:
    jitter = np.random.default_rng(0).uniform(-0.015, 0.015, 100)
    frames = [(7.0 + 0.1 * k + float(jitter[k]), 100) for k in range(100)]
    np.testing.assert_array_equal(placed((7.0, 100), *frames[1:]), np.arange(1, 10_001))


@pytest.mark.parametrize("gap", [0.03, 0.5, 1.0, 2.25, 600.0])
def test_a_gap_is_silence_of_its_length(gap: float) -> None:
    result = placed((3.0, 100), (3.1 + gap, 100), (3.2 + gap, 50))
    missing = round(gap * RATE)
    np.testing.assert_array_equal(result[:100], np.arange(1, 101))
    assert not result[100 : 100 + missing].any()
    np.testing.assert_array_equal(result[100 + missing :], np.arange(101, 251))


def test_samples_that_were_there_already_are_dropped() -> None:
    np.testing.assert_array_equal(placed((0.0, 100), (0.05, 100)), [*range(1, 101), *range(151, 201)])
    np.testing.assert_array_equal(
        placed((0.0, 100), (0.0, 100), (0.1, 10)), [*range(1, 101), *range(201, 211)]
    )


def test_stamps_that_begin_anew_or_are_missing_leave_no_gap() -> None:
    np.testing.assert_array_equal(placed((90.0, 2000), (0.0, 100), (0.1, 100)), np.arange(1, 2201))
    np.testing.assert_array_equal(placed((None, 100), (None, 100), (5.0, 10)), np.arange(1, 211))


def test_stamps_that_jump_too_far_are_rejected_before_memory_is_filled() -> None:
    jump = 2 * MAX_SILENCE_VALUES / RATE
    with pytest.raises(TalkerError, match=f"jump ahead by {jump:.0f} s"):
        placed((0.0, 100), (0.1 + jump, 100))
    with pytest.raises(TalkerError, match="jump ahead"):  # in many steps
        placed(*((k * jump / 50, 100) for k in range(100)))
    with pytest.raises(TalkerError, match="jump ahead"):  # in many channels
        list(GapFiller(RATE).place(np.ones((10, 60), np.float32), 0.0))
        filler = GapFiller(RATE)
        list(filler.place(np.ones((10, 60), np.float32), 0.0))
        list(filler.place(np.ones((10, 60), np.float32), jump / 30))


def test_a_recorder_that_leaves_out_its_pauses_is_read_however_long_they_are() -> None:
    frames = [(0.4 * k, 20) for k in range(100_000)]  # 11 hours, a packet of 20 ms in 400
    assert len(placed(*frames)) == 400 * 100_000 - 380


def write_clicks(path: Path, gap: tuple[float, float], codec: str, rate: int = 48_000) -> None:
    """Write 4.5 s with clicks of 20 ms at `MARKS`, without the packets from gap[0] to gap[1] seconds."""
    pcm = np.zeros(round(4.5 * rate), np.float32)
    for mark in MARKS:
        pcm[round(mark * rate) :][:960] = 0.8 * np.sin(np.arange(960) * 0.13)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        size, kind = stream.codec_context.frame_size or 960, stream.codec_context.format.name
        values = (pcm * 32767).astype(np.int16) if kind == "s16" else pcm
        for first in range(0, len(values) - size, size):
            if gap[0] <= first / rate < gap[1]:
                continue
            frame = av.AudioFrame.from_ndarray(values[None, first : first + size].copy(), kind, "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def click_times(pcm: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(pcm) > 0.2) / rate
    return loud[np.r_[True, np.diff(loud) > 0.3]]


@pytest.mark.parametrize("gap", [(9.0, 9.0), (1.0, 1.4), (0.7, 3.3)], ids=["none", "0.4 s", "two clicks"])
@pytest.mark.parametrize(
    "ending, codec", [("mp4", "aac"), ("m4a", "aac"), ("webm", "libopus"), ("mka", "flac")]
)
def test_clicks_keep_their_times_behind_a_gap(
    tmp_path: Path, ending: str, codec: str, gap: tuple[float, float]
) -> None:
    path = tmp_path / f"clicks.{ending}"
    write_clicks(path, gap, codec)
    expected = [mark for mark in MARKS if not gap[0] <= mark < gap[1]]
    film, start = tracking.read_sound(path)
    np.testing.assert_allclose(click_times(film, 16_000) + start, expected, atol=0.025)
    for pcm, rate in (
        decode_file(str(path), path.name),
        decode_file(path.read_bytes(), path.name),
        (np.concatenate([block for block, _ in decode_blocks(str(path), path.name)]), 48_000),
    ):
        np.testing.assert_allclose(click_times(pcm[:, 0], rate), expected, atol=0.05)
