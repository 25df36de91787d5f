# SPDX-License-Identifier: Apache-2.0
"""Laws of vertex streaming: exact for any chunking, causal, of fixed size, near the published order.

On the recorded miniature of the published code and on random networks of both data sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.ddim import frame_noise
from streamingtalker_ros.model.protocol import VertexFrame
from streamingtalker_ros.model.vertex import checkpoint, config, hubert, offline
from streamingtalker_ros.model.vertex.chunking import ChunkSchedule
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.model.vertex.streaming import VertexStream, VertexStreamState, VertexTalker
from support import vertex_reference as reference

RECORDED = Path(__file__).parents[1] / "data" / "reference_parity"  # of the published code, in miniature


CHUNKS = {"vocaset": (1, 0.5), "biwi": (5, 0.8), "recorded": (3, 0.6)}
"""Frames of a chunk and seconds of a window, for each network."""


@pytest.fixture(scope="module", params=CHUNKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(name: str, tmp_path_factory: pytest.TempPathFactory) -> VertexNetwork:
    folder = RECORDED
    if name != "recorded":
        folder = tmp_path_factory.mktemp("published")
        size = reference.VOCASET if name == "vocaset" else reference.BIWI
        reference.write_checkpoint(folder, size)
    hubert_json = config.read_hubert_json(folder / "hubert_config.json")
    settings = config.read_yaml(folder / "config.yaml", hubert_json)
    return checkpoint.read_ckpt(folder / "checkpoint.ckpt", settings)


@pytest.fixture
def model(name: str, network: VertexNetwork) -> VertexTalker:
    hop, window = CHUNKS[name]
    return VertexTalker(network, chunk_frames=hop, window=window, decode_frames=20)


def synthetic_speech(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return noise with a syllable rhythm and pauses, float32 at 16 kHz."""
    t = np.arange(int(seconds * 16000)) / 16000
    swell = np.clip(np.sin(2 * np.pi * 3.1 * t) + np.sin(2 * np.pi * 0.7 * t), 0, None)
    return (0.1 * swell * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def run(
    stream: VertexStream, pcm: npt.NDArray[np.float32], cuts: Iterable[int] = ()
) -> npt.NDArray[np.float32]:
    frames = []
    for piece in np.split(pcm, list(cuts)):
        frames += stream.accept(piece)
    frames += stream.finish()
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return np.stack([frame.vertices for frame in frames])


def close(a: np.ndarray, b: np.ndarray, limit: float = 1e-5) -> bool:
    return a.shape == b.shape and np.abs(a - b).max() <= limit * max(1.0, np.abs(b).max())


def test_any_chunking_gives_the_frames_of_the_complete_clip(model: VertexTalker) -> None:
    pcm = synthetic_speech(2.3)
    expected = run(model.open_stream(seed=4), pcm)
    rng = np.random.default_rng(1)
    for pieces in (3, 40, 700):
        cuts = np.sort(rng.integers(0, len(pcm) + 1, pieces))  # empty pieces included
        assert close(run(model.open_stream(seed=4), pcm, cuts), expected)


def test_frames_are_as_many_as_the_audio_and_timed(model: VertexTalker) -> None:
    for samples in (0, 1, 533, 534, 640, 641, 16000, 20011):
        stream = model.open_stream()
        frames = stream.accept(synthetic_speech(2)[:samples]) + stream.finish()
        assert len(frames) == int(np.ceil(samples * model.frame_rate / 16000 - 1e-9))
        for frame in frames:
            assert frame.time == pytest.approx(frame.index / model.frame_rate)
            assert frame.vertices.shape == (model.network.config.vertices, 3)
            assert frame.vertices.dtype == np.float32


def test_no_frame_depends_on_audio_after_its_lookahead(model: VertexTalker) -> None:
    pcm, rate = synthetic_speech(2.0), model.frame_rate
    before = run(model.open_stream(seed=1), pcm)
    for moment in (0.5, 0.913, 1.4):
        changed = pcm.copy()
        changed[int(moment * 16000) :] = synthetic_speech(2.0, seed=9)[int(moment * 16000) :] * 3
        after = run(model.open_stream(seed=1), changed)
        safe = [n for n in range(len(before)) if (n + 1) / rate + model.lookahead <= moment]
        assert safe and close(after[safe], before[safe])
        assert not close(after, before)


def test_a_frame_is_returned_as_soon_as_its_lookahead_is_complete(model: VertexTalker) -> None:
    stream, pcm, num_samples, first = model.open_stream(), synthetic_speech(2.0), 0, {}
    for piece in np.split(pcm, range(80, len(pcm), 80)):
        num_samples += len(piece)
        for frame in stream.accept(piece):
            first[frame.index] = num_samples / 16000
    lateness = [when - (n + 1) / model.frame_rate for n, when in first.items()]
    assert max(lateness) <= model.lookahead + 80 / 16000


def test_reset_is_a_fresh_stream_in_place(model: VertexTalker) -> None:
    pcm = synthetic_speech(1.1)
    stream = model.open_stream(seed=7)
    fresh = run(stream, pcm)
    with pytest.raises(TalkerError, match="reset"):
        stream.accept(pcm)
    stream.reset()
    stream.accept(synthetic_speech(0.7, seed=3))  # an interrupted stream leaves no state either
    stream.reset()
    assert np.array_equal(run(stream, pcm), fresh)
    stream.reset(seed=8)
    assert not close(run(stream, pcm), fresh)


def test_streams_are_independent(model: VertexTalker) -> None:
    pcm, other = synthetic_speech(1.2), synthetic_speech(1.2, seed=5)
    expected = run(model.open_stream(seed=2), pcm)
    one, two = model.open_stream(seed=2), model.open_stream(seed=3)
    frames = []
    for a, b in zip(np.split(pcm, 12), np.split(other, 12), strict=True):
        frames += one.accept(a)
        two.accept(b)
    frames += one.finish()
    assert np.array_equal(np.stack([frame.vertices for frame in frames]), expected)


def test_sharing_a_batch_changes_no_frame(model: VertexTalker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Voices that join late, stall, leave and take other numbers of steps change no other's frames."""
    voices = [synthetic_speech(1.3, seed=i) for i in range(4)]
    styles = model.styles
    expected = [
        run(model.open_stream(seed=i, style=styles[i], steps=None if i < 3 else 4), pcm)
        for i, pcm in enumerate(voices)
    ]
    streams = [model.open_stream(seed=i, style=styles[i], steps=None if i < 3 else 4) for i in range(4)]
    frames: list[list[VertexFrame]] = [[] for _ in streams]
    rng, done = np.random.default_rng(0), [0] * 4
    batch_sizes: list[int] = []
    encode_windows = model.encode_windows

    def record_batch_size(chunks: Sequence[int], states: Sequence[VertexStreamState]) -> torch.Tensor:
        batch_sizes.append(len(chunks))
        return encode_windows(chunks, states)

    monkeypatch.setattr(model, "encode_windows", record_batch_size)
    for turn in range(200):
        going = [i for i in range(4) if turn >= i and done[i] < len(voices[i]) and rng.random() < 0.8]
        chunks = [voices[i][done[i] : done[i] + int(rng.integers(0, 4000))] for i in going]
        results = model.accept([streams[i] for i in going], chunks)
        for i, chunk, new in zip(going, chunks, results, strict=True):
            done[i] += len(chunk)
            frames[i] += new
    assert max(batch_sizes) > 1 and done == [len(pcm) for pcm in voices]
    for i, stream in enumerate(streams):
        together = np.stack([frame.vertices for frame in frames[i] + stream.finish()])
        assert close(together, expected[i], 1e-4)
    with pytest.raises(TalkerError, match="twice"):
        model.accept([streams[0], streams[0]], [voices[0], voices[0]])


def state_layout(stream: VertexStream) -> list[int]:
    state = stream.state
    tensors = state.predictor.keys + state.predictor.values + [state.predictor.rows, state.latents]
    return [state.pcm.nbytes] + [tensor.nbytes for tensor in tensors]


def test_the_state_keeps_its_size_and_its_address(network: VertexNetwork) -> None:
    model = VertexTalker(network, chunk_frames=5, window=0.6, decode_frames=12)
    stream = model.open_stream()
    size, address = state_layout(stream), stream.state.latents.data_ptr()
    for _ in range(6):
        stream.accept(synthetic_speech(1.0))
        assert state_layout(stream) == size and stream.state.latents.data_ptr() == address


def test_no_buffer_grows_with_the_frame_index(network: VertexNetwork) -> None:
    """Late chunks use as many samples and rows as any chunk after the first seconds."""
    model = VertexTalker(network, chunk_frames=5, window=0.6, decode_frames=12)
    schedule = model.schedule
    spans = [schedule.window_span(k) for k in range(20000, 20100)]
    assert {stop - start for start, stop in spans} == {schedule.window_samples}
    for k in (0, 3, 20000, 10**6):
        positions = schedule.feature_positions(k)
        start, stop = schedule.window_span(k)
        features = (stop - start - schedule.receptive_field) // schedule.feature_stride + 1
        assert positions[0] >= 0 and np.ceil(positions[-1]) <= features - 1


def test_without_limits_streaming_equals_the_published_order(network: VertexNetwork) -> None:
    """Given the exact features, hop 1, a long history and a long decoder window reproduce the published
    order."""
    c, seconds = network.config, 1.6
    model = VertexTalker(network, chunk_frames=1, window=4.0, decode_frames=200)
    audio = hubert.normalize(torch.from_numpy(synthetic_speech(seconds)))
    count = hubert.frame_count((int(seconds * 16000) - 400) // 320 + 1, c.audio_fps, c.frame_rate)
    assert count <= c.context_frames
    noise = torch.from_numpy(np.stack([frame_noise(0, n, (c.latent_dim,)) for n in range(count)]))
    ran = offline.generate(network, audio, 0, noise)
    state, head, identity = model.init_state(), model.sampler(c.num_inference_steps), torch.tensor([0])
    with torch.inference_mode():
        for n in range(count):
            feature, white = ran.audio_features[None, n : n + 1], noise[None, n : n + 1]
            offsets = model.generate_chunk(feature, [state], identity, white, head)
            frame = offsets.view(-1, 3) + network.template
            assert (frame - ran.frames[n]).abs().max() <= 2e-5 * ran.frames.abs().max()


def test_identities_change_the_motion_and_unknown_ones_are_rejected(network: VertexNetwork) -> None:
    model = VertexTalker(network, chunk_frames=5, window=0.8)
    pcm = synthetic_speech(0.8)
    first, second = (run(model.open_stream(style=name), pcm) for name in model.styles[:2])
    assert not close(first, second) and np.array_equal(run(model.open_stream(), pcm), first)
    with pytest.raises(TalkerError, match="Nobody.*choose one of " + ", ".join(model.styles)):
        model.open_stream(style="Nobody")


def test_the_number_of_steps_is_chosen_per_stream(network: VertexNetwork) -> None:
    model = VertexTalker(network, chunk_frames=5, window=0.8)
    pcm = synthetic_speech(0.8)
    few, many = run(model.open_stream(steps=2), pcm), run(model.open_stream(), pcm)
    assert not close(few, many) and np.array_equal(run(model.open_stream(steps=model.steps), pcm), many)
    with pytest.raises(TalkerError, match="1001 diffusion steps"):
        model.open_stream(steps=1001)


def test_the_audio_level_hardly_changes_the_motion(
    network: VertexNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running normalisation removes the level, except for the assumed second of speech at the
    beginning."""
    model = VertexTalker(network, chunk_frames=5, window=0.8)
    pcm = np.tile(synthetic_speech(2.0), 3)
    levels: list[float] = []  # of the windows that HuBERT receives, some of which hide their level
    encode = hubert.encode

    def record_level(audio_model: torch.nn.Module, audio: torch.Tensor) -> torch.Tensor:
        levels.append(float(audio.std()))
        return encode(audio_model, audio)

    monkeypatch.setattr(hubert, "encode", record_level)
    soft, loud = (run(model.open_stream(), level * pcm)[-30:] for level in (0.5, 2.0))
    moved = run(model.open_stream(), np.tile(synthetic_speech(2.0, seed=6), 3))[-30:]
    assert np.abs(soft - loud).mean() < 0.5 * np.abs(soft - moved).mean()
    count = len(levels) // 3
    np.testing.assert_allclose(levels[count - 5 : count], levels[2 * count - 5 : 2 * count], rtol=0.3)


def test_normalizer_counts_each_accepted_sample_once(model: VertexTalker) -> None:
    stream, pcm = model.open_stream(), synthetic_speech(2.0)
    passes = len(stream.accept(pcm)) // model.schedule.chunk_frames
    received = pcm[: model.schedule.samples_needed(passes - 1)].astype(np.float64)
    normalizer = stream.state.normalizer
    assert normalizer.count == len(received)
    assert (normalizer.total, normalizer.squares) == pytest.approx((received.sum(), (received**2).sum()))


def test_values_that_are_not_finite_count_as_silence(model: VertexTalker) -> None:
    pcm = synthetic_speech(0.9)
    broken, silent = pcm.copy(), pcm.copy()
    broken[3000:3100], silent[3000:3100] = np.nan, 0.0
    assert np.array_equal(run(model.open_stream(), broken), run(model.open_stream(), silent))


@pytest.mark.parametrize(
    "limits, message",
    [
        (dict(chunk_frames=0), "chunk of 0"),
        (dict(chunk_frames=1.5), "chunk of 1.5"),
        (dict(chunk_frames=12, window=0.3), "window of 0.3"),
        (dict(chunk_frames=12, decode_frames=5), "decoding 5"),
        (dict(context=-0.1), "context of -0.1"),
        (dict(window=float("nan")), "window"),
    ],
)
def test_impossible_limits_are_rejected(network: VertexNetwork, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(TalkerError, match=message):
        VertexTalker(network, **limits)


@pytest.mark.parametrize("wrong", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16)])
def test_audio_of_another_shape_or_type_is_rejected(network: VertexNetwork, wrong: np.ndarray) -> None:
    with pytest.raises(TalkerError, match="given: pass"):
        VertexTalker(network).open_stream().accept(wrong)


@pytest.mark.parametrize("rate", [25, 30, 29.97, 60])
@pytest.mark.parametrize("hop", [1, 7])
def test_windows_hold_the_features_of_their_frames_and_end_within_the_lookahead(
    rate: float, hop: int
) -> None:
    schedule = ChunkSchedule.create(rate, 50, 320, 400, hop, 0.8, 0.03)
    for k in [*range(60), 12345]:
        end, (start, stop) = schedule.samples_needed(k), schedule.window_span(k)
        assert start % 320 == 0 and start < stop <= end < stop + 320 and stop - start <= 0.8 * 16000
        last = start // 320 + int(np.ceil(schedule.feature_positions(k)[-1] - 1e-9))
        assert last * 320 + 400 <= stop
        first_frame = k * hop
        assert end / 16000 <= (first_frame + 1) / rate + schedule.lookahead + 1e-4


@pytest.mark.gpu
def test_frames_on_cuda_equal_those_on_the_cpu(network: VertexNetwork) -> None:
    import copy

    pcm = synthetic_speech(1.5)
    here = run(VertexTalker(network, chunk_frames=5, window=0.8).open_stream(), pcm)
    there = run(VertexTalker(copy.deepcopy(network), "cuda", chunk_frames=5, window=0.8).open_stream(), pcm)
    assert close(there, here, 2e-3)  # other kernels sum in another order, and errors accumulate
