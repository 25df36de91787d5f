# SPDX-License-Identifier: Apache-2.0
"""Laws of bounded streaming of published checkpoints: exact for any chunking, causal, of fixed size, near the
exact order where nothing is bounded. On the recorded miniature where it is at hand, and on random networks
everywhere."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.model.ddim import frame_noise  # noqa: E402
from streamingtalker_ros.model.vertex import checkpoint, config, hubert, offline  # noqa: E402
from streamingtalker_ros.model.vertex.chunking import ChunkSchedule  # noqa: E402
from streamingtalker_ros.model.vertex.streaming import VertexTalker  # noqa: E402
from support import vertex_reference as reference  # noqa: E402

RECORDED = Path(__file__).parents[1] / "data" / "reference_parity"  # of the published code, in miniature


@pytest.fixture(scope="module", params=["vocaset", "biwi", "recorded"])
def network(request, tmp_path_factory):
    folder = RECORDED
    if request.param == "recorded":
        if not folder.is_dir():
            pytest.skip(f"no recording of the published code at {folder}")
    else:
        folder = tmp_path_factory.mktemp("made")
        size = reference.VOCASET if request.param == "vocaset" else reference.BIWI
        reference.write_checkpoint(folder, size)
    hubert_json = config.read_hubert_json(folder / "hubert_config.json")
    settings = config.read_yaml(folder / "config.yaml", hubert_json)
    return checkpoint.read_ckpt(folder / "checkpoint.ckpt", settings)


@pytest.fixture(params=[(1, 0.5), (5, 0.8)], ids=["hop 1", "hop 5"])
def model(request, network):
    hop, window = request.param
    return VertexTalker(network, chunk_frames=hop, window=window, decode_frames=20)


def sound(seconds, seed=0):
    """Something speech-like without files: noise under a syllable rhythm, with pauses."""
    t = np.arange(int(seconds * 16000)) / 16000
    swell = np.clip(np.sin(2 * np.pi * 3.1 * t) + np.sin(2 * np.pi * 0.7 * t), 0, None)
    return (0.1 * swell * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def run(stream, pcm, cuts=()):
    frames = []
    for piece in np.split(pcm, list(cuts)):
        frames += stream.accept(piece)
    frames += stream.finish()
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return np.stack([frame.vertices for frame in frames])


def close(a, b, limit=1e-5):
    return a.shape == b.shape and np.abs(a - b).max() <= limit * max(1.0, np.abs(b).max())


def test_any_chunking_gives_the_frames_of_the_whole(model) -> None:
    pcm = sound(2.3)
    whole = run(model.open_stream(seed=4), pcm)
    rng = np.random.default_rng(1)
    for pieces in (3, 40, 700):
        cuts = np.sort(rng.integers(0, len(pcm) + 1, pieces))  # empty pieces included
        assert close(run(model.open_stream(seed=4), pcm, cuts), whole)


def test_frames_are_as_many_as_the_audio_and_timed(model) -> None:
    for samples in (0, 1, 533, 534, 640, 641, 16000, 20011):
        stream = model.open_stream()
        frames = stream.accept(sound(2)[:samples]) + stream.finish()
        assert len(frames) == int(np.ceil(samples * model.frame_rate / 16000 - 1e-9))
        for frame in frames:
            assert frame.time == pytest.approx(frame.index / model.frame_rate)
            assert frame.vertices.shape == (model.network.config.vertices, 3)
            assert frame.vertices.dtype == np.float32


def test_no_frame_depends_on_audio_after_its_lookahead(model) -> None:
    pcm, rate = sound(2.0), model.frame_rate
    before = run(model.open_stream(seed=1), pcm)
    for moment in (0.5, 0.913, 1.4):
        changed = pcm.copy()
        changed[int(moment * 16000) :] = sound(2.0, seed=9)[int(moment * 16000) :] * 3
        after = run(model.open_stream(seed=1), changed)
        safe = [n for n in range(len(before)) if (n + 1) / rate + model.lookahead <= moment]
        assert safe and close(after[safe], before[safe])
        assert not close(after, before)


def test_a_frame_comes_as_soon_as_its_lookahead_is_heard(model) -> None:
    stream, pcm, heard, first = model.open_stream(), sound(2.0), 0, {}
    for piece in np.split(pcm, range(80, len(pcm), 80)):
        heard += len(piece)
        for frame in stream.accept(piece):
            first[frame.index] = heard / 16000
    lateness = [when - (n + 1) / model.frame_rate for n, when in first.items()]
    assert max(lateness) <= model.lookahead + 80 / 16000


def test_reset_is_a_fresh_stream_in_place(model) -> None:
    pcm = sound(1.1)
    stream = model.open_stream(seed=7)
    fresh = run(stream, pcm)
    with pytest.raises(TalkerError, match="reset"):
        stream.accept(pcm)
    stream.reset()
    stream.accept(sound(0.7, seed=3))  # an interrupted stream leaves nothing either
    stream.reset()
    assert np.array_equal(run(stream, pcm), fresh)
    stream.reset(seed=8)
    assert not close(run(stream, pcm), fresh)


def test_streams_do_not_disturb_each_other(model) -> None:
    pcm, other = sound(1.2), sound(1.2, seed=5)
    alone = run(model.open_stream(seed=2), pcm)
    one, two = model.open_stream(seed=2), model.open_stream(seed=3)
    frames = []
    for a, b in zip(np.split(pcm, 12), np.split(other, 12)):
        frames += one.accept(a)
        two.accept(b)
    frames += one.finish()
    assert np.array_equal(np.stack([frame.vertices for frame in frames]), alone)


def test_the_same_frames_whoever_shares_the_batch(model) -> None:
    """Voices that join late, stall, leave and take other numbers of steps change no other's frames."""
    voices = [sound(1.3, seed=i) for i in range(4)]
    names = model.styles
    alone = [
        run(model.open_stream(seed=i, style=names[i], steps=None if i < 3 else 4), pcm)
        for i, pcm in enumerate(voices)
    ]
    streams = [model.open_stream(seed=i, style=names[i], steps=None if i < 3 else 4) for i in range(4)]
    frames, rng, done = [[] for _ in streams], np.random.default_rng(0), [0] * 4
    sizes, one_pass = [], model._compute_chunk
    model._compute_chunk = lambda group: sizes.append(len(group)) or one_pass(group)
    for turn in range(200):
        going = [i for i in range(4) if turn >= i and done[i] < len(voices[i]) and rng.random() < 0.8]
        chunks = [voices[i][done[i] : done[i] + int(rng.integers(0, 4000))] for i in going]
        made = model.accept([streams[i] for i in going], chunks)
        for i, chunk, new in zip(going, chunks, made):
            done[i] += len(chunk)
            frames[i] += new
    assert max(sizes) > 1 and done == [len(pcm) for pcm in voices]
    for i, stream in enumerate(streams):
        together = np.stack([frame.vertices for frame in frames[i] + stream.finish()])
        assert close(together, alone[i], 1e-4)
    with pytest.raises(TalkerError, match="twice"):
        model.accept([streams[0], streams[0]], [voices[0], voices[0]])


def _size(stream):
    state = stream.state
    tensors = state.predictor.keys + state.predictor.values + [state.predictor.rows, state.latents]
    return [state.pcm.nbytes] + [tensor.nbytes for tensor in tensors]


def test_the_state_keeps_its_size_and_its_place(network) -> None:
    model = VertexTalker(network, chunk_frames=5, window=0.6, decode_frames=12)
    stream = model.open_stream()
    size, place = _size(stream), stream.state.latents.data_ptr()
    for _ in range(6):
        stream.accept(sound(1.0))
        assert _size(stream) == size and stream.state.latents.data_ptr() == place


def test_no_buffer_grows_with_the_frame_index(network) -> None:
    """Late passes hear as much audio, decode as many rows and keep as many as any pass after the first
    seconds."""
    model = VertexTalker(network, chunk_frames=5, window=0.6, decode_frames=12)
    schedule = model.schedule
    spans = [schedule.window_span(k) for k in range(20000, 20100)]
    assert {stop - start for start, stop in spans} == {schedule.window_samples}
    for k in (0, 3, 20000, 10**6):
        places = schedule.feature_positions(k)
        start, stop = schedule.window_span(k)
        features = (stop - start - schedule.receptive_field) // schedule.feature_stride + 1
        assert places[0] >= 0 and np.ceil(places[-1]) <= features - 1


def test_equals_the_exact_order_where_nothing_is_bounded(network) -> None:
    """Given the exact features, hop 1, a long history and a long decoder window reproduce the published
    order."""
    c, seconds = network.config, 1.6
    model = VertexTalker(network, chunk_frames=1, window=4.0, decode_frames=200)
    audio = hubert.normalize(torch.from_numpy(sound(seconds)))
    count = hubert.frame_count((int(seconds * 16000) - 400) // 320 + 1, c.audio_fps, c.frame_rate)
    assert count <= c.context_frames
    noise = torch.from_numpy(np.stack([frame_noise(0, n, (c.latent_dim,)) for n in range(count)]))
    ran = offline.generate(network, audio, 0, noise)
    state, head, who = model.init_state(), model.sampler(c.num_inference_steps), torch.tensor([0])
    with torch.inference_mode():
        for n in range(count):
            feature, white = ran.audio_features[None, n : n + 1], noise[None, n : n + 1]
            offsets = model.generate_chunk(feature, [state], who, white, head)
            frame = offsets.view(-1, 3) + network.template
            assert (frame - ran.frames[n]).abs().max() <= 2e-5 * ran.frames.abs().max()


def test_identities_change_the_motion_and_unknown_ones_are_refused(network) -> None:
    model = VertexTalker(network, chunk_frames=5, window=0.8)
    pcm = sound(0.8)
    first, second = (run(model.open_stream(style=name), pcm) for name in model.styles[:2])
    assert not close(first, second) and np.array_equal(run(model.open_stream(), pcm), first)
    with pytest.raises(TalkerError, match="Nobody.*knows " + ", ".join(model.styles)):
        model.open_stream(style="Nobody")


def test_the_number_of_steps_is_a_choice_at_run_time(network) -> None:
    model = VertexTalker(network, chunk_frames=5, window=0.8)
    pcm = sound(0.8)
    few, many = run(model.open_stream(steps=2), pcm), run(model.open_stream(), pcm)
    assert not close(few, many) and np.array_equal(run(model.open_stream(steps=model.steps), pcm), many)
    with pytest.raises(TalkerError, match="1001 diffusion steps"):
        model.open_stream(steps=1001)


def test_level_of_the_audio_matters_little(network) -> None:
    """The running normalisation takes the level out, but for the assumed second of speech at the
    beginning."""
    model = VertexTalker(network, chunk_frames=5, window=0.8)
    pcm = np.tile(sound(2.0), 6)
    soft, loud = (run(model.open_stream(), level * pcm)[-30:] for level in (0.5, 2.0))
    moved = run(model.open_stream(), np.tile(sound(2.0, seed=6), 6))[-30:]
    assert np.abs(soft - loud).mean() < 0.5 * np.abs(soft - moved).mean()


def test_normalizer_counts_each_accepted_sample_once(model) -> None:
    stream, pcm = model.open_stream(), sound(2.0)
    passes = len(stream.accept(pcm)) // model.schedule.chunk_frames
    heard = pcm[: model.schedule.samples_needed(passes - 1)].astype(np.float64)
    normalizer = stream.state.normalizer
    assert normalizer.count == len(heard)
    assert (normalizer.total, normalizer.squares) == pytest.approx((heard.sum(), (heard**2).sum()))


def test_what_is_not_finite_counts_as_silence(model) -> None:
    pcm = sound(0.9)
    broken, silent = pcm.copy(), pcm.copy()
    broken[3000:3100], silent[3000:3100] = np.nan, 0.0
    assert np.array_equal(run(model.open_stream(), broken), run(model.open_stream(), silent))


@pytest.mark.parametrize(
    "bounds, says",
    [
        (dict(chunk_frames=0), "chunk of 0"),
        (dict(chunk_frames=1.5), "chunk of 1.5"),
        (dict(chunk_frames=12, window=0.3), "window of 0.3"),
        (dict(chunk_frames=12, decode_frames=5), "decoding 5"),
        (dict(context=-0.1), "context of -0.1"),
        (dict(window=float("nan")), "window"),
    ],
)
def test_bounds_that_cannot_be_had_are_refused(network, bounds, says) -> None:
    with pytest.raises(TalkerError, match=says):
        VertexTalker(network, **bounds)


@pytest.mark.parametrize("wrong", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16)])
def test_audio_of_another_kind_is_refused(network, wrong) -> None:
    with pytest.raises(TalkerError, match="given: pass"):
        VertexTalker(network).open_stream().accept(wrong)


@pytest.mark.parametrize("rate", [25, 30, 29.97, 60])
@pytest.mark.parametrize("hop", [1, 7])
def test_the_grid_hears_everything_a_frame_needs_and_nothing_after_its_lookahead(rate, hop) -> None:
    schedule = ChunkSchedule.create(rate, 50, 320, 400, hop, 0.8, 0.03)
    for k in list(range(60)) + [12345]:
        end, (start, stop) = schedule.samples_needed(k), schedule.window_span(k)
        assert start % 320 == 0 and start < stop <= end < stop + 320 and stop - start <= 0.8 * 16000
        last = start // 320 + int(np.ceil(schedule.feature_positions(k)[-1] - 1e-9))
        assert last * 320 + 400 <= stop
        first_frame = k * hop
        assert end / 16000 <= (first_frame + 1) / rate + schedule.lookahead + 1e-4


def test_on_cuda_as_on_the_cpu(network) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    import copy

    pcm = sound(1.5)
    here = run(VertexTalker(network, chunk_frames=5, window=0.8).open_stream(), pcm)
    there = run(VertexTalker(copy.deepcopy(network), "cuda", chunk_frames=5, window=0.8).open_stream(), pcm)
    assert close(there, here, 2e-3)  # other kernels sum in another order, and motion feeds on motion
