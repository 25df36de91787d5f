# SPDX-License-Identifier: Apache-2.0
"""Laws of streaming, of the shipped model on each backend: exact, causal, resettable, bounded."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker, TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.streaming.parted_rest import END_S, REST_GAP_M
from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT
from support.backends import VARIANTS, Variant


@pytest.fixture(scope="module")
def speech(speech: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Three seconds of a real voice, (48000,)."""
    return speech[:48_000]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def talker(request: pytest.FixtureRequest, variant_talkers: dict[Variant, Talker]) -> Talker:
    """The default model on each backend."""
    return variant_talkers[request.param]


def split_randomly(
    pcm: npt.NDArray[np.float32], rng: np.random.Generator, max_length: int = 4000
) -> Iterator[np.ndarray]:
    """pcm cut at random places, empty pieces included."""
    while len(pcm):
        n = int(rng.integers(0, max_length))
        yield pcm[:n]
        pcm = pcm[n:]


def run(stream: Stream, pieces: Iterable[np.ndarray]) -> list[BlendshapeFrame]:
    frames = [frame for piece in pieces for frame in stream.accept(piece)]
    return frames + stream.finish()


def assert_equal(a: Sequence[BlendshapeFrame], b: Sequence[BlendshapeFrame], tolerance: float = 1e-5) -> None:
    assert [f.index for f in a] == [f.index for f in b]
    for x, y in zip(a, b, strict=True):
        assert np.abs(x.weights - y.weights).max() <= tolerance
        assert np.abs(x.head - y.head).max() <= tolerance
        assert x.speaking == y.speaking


@pytest.fixture(scope="module")
def whole(talker: Talker, speech: npt.NDArray[np.float32]) -> list[BlendshapeFrame]:
    """The frames of the voice in one piece."""
    return run(talker.open_stream(seed=5), [speech])


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_chunked_equals_whole(
    talker: Talker, speech: npt.NDArray[np.float32], whole: list[BlendshapeFrame], cut: int
) -> None:
    expected = whole
    pieces = split_randomly(speech, np.random.default_rng(cut), max_length=300 * 10 ** (cut - 1))
    assert_equal(run(talker.open_stream(seed=5), pieces), expected)
    assert (
        np.ptp([f.weights for f in expected], 0).max() > 0.1
    )  # the face moves, so that the equality is meaningful


def test_frames_are_numbered_timed_and_bounded(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    frames = run(talker.open_stream(), [speech])
    assert len(frames) == -(-len(speech) // talker.hop)
    for n, frame in enumerate(frames):
        assert frame.index == n and frame.time == n / talker.frame_rate
        assert frame.weights.shape == (52,) and frame.weights.dtype == np.float32
        assert frame.weights.min() >= 0.0 and frame.weights.max() <= 1.0
        assert frame.head.shape == (4,) and abs(np.linalg.norm(frame.head) - 1.0) < 1e-5


@pytest.mark.parametrize("n", [0, 1, 20, 61])
def test_future_audio_cannot_change_a_frame(
    talker: Talker, speech: npt.NDArray[np.float32], whole: list[BlendshapeFrame], n: int
) -> None:
    num_samples = (n + 1) * talker.hop + round(talker.lookahead * 16000)
    other = speech.copy()
    other[num_samples:] = np.random.default_rng(n).uniform(-1, 1, len(speech) - num_samples)
    true, changed = whole, run(talker.open_stream(seed=5), [other])
    assert_equal(true[: n + 1], changed[: n + 1], tolerance=0.0)
    assert any(
        np.abs(a.weights - b.weights).max() > 1e-3
        for a, b in zip(true[n + 1 :], changed[n + 1 :], strict=True)
    )


def test_a_frame_is_returned_with_its_last_sample_and_not_before(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    stream, need = talker.open_stream(), talker.hop + round(talker.lookahead * 16000)
    assert stream.accept(speech[: need - 1]) == []
    assert [f.index for f in stream.accept(speech[need - 1 : need])] == [0]
    assert talker.lookahead <= 0.080


def test_reset_is_a_fresh_stream(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    stream = talker.open_stream(seed=2)
    stream.accept(speech[::-1].copy())
    stream.reset()
    assert_equal(run(stream, [speech]), run(talker.open_stream(seed=2), [speech]), tolerance=0.0)
    stream.reset(seed=9)
    assert_equal(run(stream, [speech]), run(talker.open_stream(seed=9), [speech]), tolerance=0.0)


def test_finish_pads_once_and_closes(talker: Talker) -> None:
    stream = talker.open_stream()
    stream.accept(np.zeros(talker.hop + 1, np.float32))
    assert [f.index for f in stream.finish()] == [0, 1]
    assert stream.finish() == []
    with pytest.raises(TalkerError, match="reset"):
        stream.accept(np.zeros(10, np.float32))
    stream.reset()
    assert stream.finish() == []  # without audio no frames are pending


def test_streams_are_independent(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    expected = run(talker.open_stream(seed=1), [speech])
    a, b = talker.open_stream(seed=1), talker.open_stream(seed=2)
    frames = []
    for piece in np.array_split(speech, 37):
        frames += a.accept(piece)
        b.accept(piece[::-1].copy())
    assert_equal(frames + a.finish(), expected, tolerance=0.0)


def test_the_noise_depends_on_the_seed_alone(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    one, same, other = (run(talker.open_stream(seed=s), [speech]) for s in (3, 3, 4))
    assert_equal(one, same, tolerance=0.0)
    assert any(np.abs(x.weights - y.weights).max() > 1e-3 for x, y in zip(one, other, strict=True))


def test_frames_own_their_arrays(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    frames = talker.open_stream().accept(speech)
    before = frames[1].weights.copy()
    frames[0].weights[:] = 7.0
    assert np.array_equal(frames[1].weights, before)


def test_the_state_of_a_stream_has_a_fixed_size_and_address(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    stream = talker.open_stream()
    stream.accept(speech[:6400])
    before = talker.backend.state_layout()
    stream.accept(speech)
    assert len(before) > 10
    assert talker.backend.state_layout() == before


def test_values_that_are_not_finite_count_as_silence(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    holes, zeros = speech.copy(), speech.copy()
    holes[8000:8200], zeros[8000:8200] = np.nan, 0.0
    holes[9000], zeros[9000] = np.inf, 0.0
    assert_equal(run(talker.open_stream(), [holes]), run(talker.open_stream(), [zeros]), tolerance=0.0)


def test_invalid_input_is_rejected(talker: Talker) -> None:
    with pytest.raises(TalkerError, match="one channel"):
        talker.open_stream().accept(np.zeros((10, 2), np.float32))
    with pytest.raises(TalkerError, match="floats"):
        talker.open_stream().accept(np.zeros(10, np.int16))
    with pytest.raises(TalkerError, match="style"):
        talker.open_stream(style="opera")
    with pytest.raises(TalkerError, match="steps"):
        talker.open_stream(steps=2000)
    with pytest.raises(TalkerError, match="context_frames"):
        talker.open_stream(context_frames=1000)
    with pytest.raises(TalkerError, match="device"):
        Talker.load(device="tpu")
    with pytest.raises(TalkerError, match="no checkpoint"):
        Talker.load("/nowhere")


def test_steps_can_change_while_it_runs(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    stream = talker.open_stream(steps=2)
    first = stream.accept(speech[:16000])
    stream.steps = 8
    second = stream.accept(speech[16000:]) + stream.finish()
    two, eight = run(talker.open_stream(steps=2), [speech]), run(talker.open_stream(steps=8), [speech])
    assert_equal(first, two[: len(first)], tolerance=0.0)
    assert (
        max(np.abs(a.weights - b.weights).max() for a, b in zip(second, two[len(first) :], strict=True)) > 0
    )
    assert max(np.abs(a.weights - b.weights).max() for a, b in zip(two, eight, strict=True)) > 0


def test_the_mouth_closes_in_silence_and_after_speech(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    silence = np.zeros(32000, np.float32)
    frames = run(talker.open_stream(), [speech, silence])
    gap = np.maximum(default_rig().lip_gap(np.stack([f.weights for f in frames])), 0.0)
    voiced = np.flatnonzero(np.abs(speech) > 0.02)[-1]
    rest, shut = (int(np.ceil((voiced / 16000 + pause) * talker.frame_rate)) for pause in (0.2, END_S + 0.08))
    assert gap.max() > 0.003  # metres: the mouth moved
    assert gap[rest:].max() < REST_GAP_M + 1e-6 and gap[shut:].max() == 0.0
    assert not any(f.speaking for f in frames[rest:])
    assert any(f.speaking for f in frames)


def test_streams_that_join_leave_and_stall_change_no_other_stream(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    """Up to five streams batched in ragged chunks equal single streams (1e-4: another batch size)."""
    rng = np.random.default_rng(0)
    audio = [np.roll(speech, 7919 * k)[:32000] * (1.0 - 0.15 * k) for k in range(5)]
    expected = [run(talker.open_stream(seed=k), [pcm]) for k, pcm in enumerate(audio)]
    streams, positions, got, waiting = {}, [0] * 5, [[] for _ in range(5)], list(range(5))
    while streams or waiting:
        if waiting and rng.random() < 0.2:
            k = waiting.pop(0)
            streams[k] = talker.open_stream(seed=k)  # joins
        now = [k for k in streams if rng.random() < 0.7]  # the others stall
        chunks = [audio[k][positions[k] : positions[k] + rng.integers(0, 3000)] for k in now]
        for k, chunk, frames in zip(
            now, chunks, talker.accept([streams[k] for k in now], chunks), strict=True
        ):
            positions[k] += len(chunk)
            got[k] += frames
            if positions[k] >= len(audio[k]):
                got[k] += streams.pop(k).finish()  # leaves
    for k in range(5):
        assert_equal(got[k], expected[k], tolerance=1e-4)


def test_a_dropped_stream_frees_its_row(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    rows = set()
    for seed in range(20):
        stream = talker.open_stream(seed=seed)
        stream.accept(speech[:6400])
        rows.add(stream.row)
        del stream
        gc.collect(1)
    assert len(rows) <= 2


def test_static_buffers_of_cuda_graphs_change_no_frame(
    torch_talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    """The static buffers of CUDA graphs on the CPU: streams join and leave, other steps, guidance, growth."""
    graphed = Talker(torch_talker.network, "cpu", use_cuda_graph=True)

    def run_scenario(model: Talker) -> list[list[BlendshapeFrame]]:
        a, b, c = model.open_stream(seed=1), model.open_stream(seed=2, steps=2), None
        frames = [a.accept(speech[:16000])]
        frames += model.accept([a, b], [speech[16000:32000], speech[:16000]])
        c = model.open_stream(seed=3, guidance=2.0)
        frames += model.accept([b, c], [speech[16000:32000], speech[:16000]])
        frames += model.accept([a, b, c], [speech[32000:48000]] * 3)
        a.reset()
        return [*frames, a.accept(speech[:8000])]

    count = 0
    for mine, theirs in zip(run_scenario(graphed), run_scenario(torch_talker), strict=True):
        assert_equal(mine, theirs, tolerance=1e-6)
        count += len(mine)
    assert count > 150 and graphed.torch_backend.num_graphs > 5


@pytest.mark.gpu
def test_cuda_graphs_change_no_frame(torch_talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    plain, graph = (
        Talker(copy.deepcopy(torch_talker.network), "cuda", use_cuda_graph=record) for record in (False, True)
    )
    assert_equal(run(graph.open_stream(), [speech]), run(plain.open_stream(), [speech]), tolerance=1e-4)


def test_temperature_scales_the_difference_between_seeds(speech: npt.NDArray[np.float32]) -> None:
    network, spread = checkpoint.load(DEFAULT_CHECKPOINT), {}
    for temperature in (0.0, 0.5, 1.0):
        network.config = replace(network.config, temperature=temperature)
        talker = Talker(network, "cpu")
        first, second = (
            run(talker.open_stream(seed=seed, eye_motion=False, asymmetry=0.0), [speech[:24000]])
            for seed in (1, 2)
        )
        spread[temperature] = np.mean(
            [np.abs(a.weights - b.weights).mean() for a, b in zip(first, second, strict=True)]
        )
    assert spread[0.0] == 0.0 and 0.0 < spread[0.5] < spread[1.0]
