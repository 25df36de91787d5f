# SPDX-License-Identifier: Apache-2.0
"""A call of a talker that raises TalkerError changes nothing: no stream, no row of the pool."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from streamingtalker_ros import TalkerError
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.blendshape.numpy_features import HopFeatures
from streamingtalker_ros.model.devices import choose_device
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from support.backends import VARIANTS
from support.backends import make_talker as make_blendshape_talker
from support.tiny_vertex_talker import tiny_vertex_talker

CONFIG = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=10,
    head_width=32,
    head_blocks=1,
    styles=("neutral", "lively"),
)
SECOND = np.random.default_rng(0).normal(0.0, 0.1, 16000).astype(np.float32)


KINDS = {**{str(variant): variant for variant in VARIANTS}, "vertex": None}
"""Name -> backend of a blendshape talker; None for a vertex talker."""


def make_talker(kind: str) -> Any:
    torch.manual_seed(0)
    variant = KINDS[kind]
    return (
        tiny_vertex_talker(4) if variant is None else make_blendshape_talker(TalkerNetwork(CONFIG), variant)
    )


def kind_of(talker: Any) -> str:
    if talker.family == "vertex":
        return "vertex"
    return f"{talker.backend.name}-{talker.backend.precision}"


@pytest.fixture(scope="module", params=KINDS)
def talker(request: pytest.FixtureRequest) -> Any:
    return make_talker(request.param)


def values(frames: Any) -> list[Any]:
    return [
        np.asarray(frame.vertices if hasattr(frame, "vertices") else np.r_[frame.weights, frame.head])
        for frame in frames
    ]


def assert_equal_frames(one: Any, two: Any) -> None:
    assert [frame.index for frame in one] == [frame.index for frame in two] and len(one) > 0
    assert all(np.array_equal(a, b) for a, b in zip(values(one), values(two), strict=True))


class Hostile:
    """An object whose conversions raise what nobody expects."""

    def __repr__(self) -> str:  # tests are named by it, alike in each process
        return "Hostile()"

    def __int__(self) -> int:
        raise ZeroDivisionError

    def __float__(self) -> float:
        raise ZeroDivisionError

    def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise ZeroDivisionError


WRONG_OPTIONS: list[dict[str, Any]] = [
    {"seed": None},
    {"seed": "first"},
    {"seed": float("nan")},
    {"seed": float("inf")},
    {"seed": [1]},
    {"seed": Hostile()},
    {"style": "nobody"},
    {"style": ["neutral"]},
    {"style": np.zeros(3)},
    {"style": 3.5},
    {"steps": 0},
    {"steps": -1},
    {"steps": 1.5},
    {"steps": 10**9},
    {"steps": "four"},
    {"steps": float("nan")},
    {"steps": float("inf")},
    {"steps": [4]},
    {"steps": Hostile()},
    {"wings": 2},
]
WRONG_BLENDSHAPE_OPTIONS: list[dict[str, Any]] = [
    {"context_frames": -1},
    {"context_frames": 11},
    {"context_frames": 2.5},
    {"context_frames": "all"},
    {"context_frames": True},
    {"guidance": float("nan")},
    {"guidance": 5},
    {"guidance": 10**5000},
    {"guidance": Hostile()},
    {"mouth_expressiveness": None},
    {"parted_rest": "yes"},
    {"expression": 5},
    {"expression": "noSuchShape:1"},
    {"expression": {"jawOpen": 3}},
    {"expression": [5, 6]},
    {"expression": np.zeros(3)},
    {"expression": np.full(52, np.nan)},
    {"expression": np.full(52, 7.0)},
    {"expression": np.zeros(52, complex)},
]


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_a_stream_with_a_wrong_option_is_rejected_with_one_sentence(
    talker: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(TalkerError) as caught:
        talker.open_stream(**options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["torch-float32", "onnx-int8"])
def test_ten_thousand_failed_openings_take_no_row_of_the_pool(kind: str) -> None:
    talker = make_talker(kind)
    stream = talker.open_stream()
    expected = talker.open_stream(seed=5).accept(SECOND)
    gc.collect()
    sizes = [shape for _, shape in talker.backend.state_layout()]
    choices = WRONG_OPTIONS + WRONG_BLENDSHAPE_OPTIONS
    for number in range(10_000):
        with pytest.raises(TalkerError):
            talker.open_stream(**choices[number % len(choices)])
    assert [shape for _, shape in talker.backend.state_layout()] == sizes
    assert_equal_frames(talker.open_stream(seed=5).accept(SECOND), expected)
    del stream


@pytest.mark.parametrize("kind", ["torch-float32", "onnx-int8"])
def test_a_stream_that_runs_out_of_memory_takes_no_row(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    talker = make_talker(kind)
    first = talker.open_stream(guidance=2.0)  # the pool is full: the next stream lets it grow
    sizes = [shape for _, shape in talker.backend.state_layout()]

    def exhausted(*_args: Any) -> Any:
        raise MemoryError

    owner = talker.network.encoder if kind == "torch-float32" else HopFeatures
    for target, name in ((owner, "init_state"), (talker, "open_uncond")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, exhausted)
            for _ in range(20):
                with pytest.raises(MemoryError):
                    talker.open_stream(guidance=2.0)
            gc.collect()
    second = talker.open_stream(guidance=2.0)
    grown = [shape[0] for _, shape in talker.backend.state_layout()]
    assert grown == [2 * shape[0] for shape in sizes]
    assert first.row != second.row


# -- batches -------------------------------------------------------------------------------------------------


def wrong_batches(talker: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Batches of streams that cannot be stepped: (name, streams, chunks, the streams that may not change)."""
    good = [talker.open_stream(seed=1), talker.open_stream(seed=2)]
    finished = talker.open_stream(seed=3)
    finished.accept(SECOND[:2000])
    finished.finish()
    other = make_talker(kind_of(talker)).open_stream()
    pair = [SECOND, SECOND]
    yield "a chunk is missing", good, pair[:1], good
    yield "a stream is missing", good[:1], pair, good
    yield "twice", [good[0], good[1], good[0]], [*pair, SECOND], good
    yield "of another talker", [good[0], other], pair, [*good, other]
    yield "finished", [good[0], finished], pair, good
    yield "no streams", [good[0], None], pair, good
    yield "no list of streams", 5, pair, good
    yield "no list of chunks", good, 5, good
    yield "nothing", None, None, good
    for name, chunk in (
        ("two channels", np.zeros((2, 800), np.float32)),
        ("a number", np.float32(1.0)),
        ("whole numbers", np.zeros(800, np.int16)),
        ("complex", np.zeros(800, np.complex64)),
        ("truth values", np.zeros(800, bool)),
        ("texts", ["a", "b"]),
        ("unequal lists", [[0.0], [0.0, 1.0]]),
        ("None", None),
        ("objects", np.array([object()])),
        ("bytes", b"\0" * 800),
        ("hostile", Hostile()),
        ("a mapping", {"pcm": SECOND}),
    ):
        yield name, good, [SECOND, chunk], good


def test_a_wrong_batch_changes_no_stream(talker: Any) -> None:
    for name, streams, chunks, unchanged in wrong_batches(talker):
        references = [stream.talker.open_stream(seed=stream.seed) for stream in unchanged]
        for stream in unchanged:
            stream.reset()
        for stream in (*unchanged, *references):
            stream.accept(SECOND[:5001])
        with pytest.raises(TalkerError) as caught:
            talker.accept(streams, chunks)
        assert "\n" not in str(caught.value), name
        for stream, reference in zip(unchanged, references, strict=True):
            assert_equal_frames(stream.accept(SECOND[:8000]), reference.accept(SECOND[:8000]))


def test_samples_that_are_no_audio_are_silence(talker: Any) -> None:
    bad = SECOND.copy()
    bad[100:200], bad[300:400], bad[500] = np.nan, np.inf, 1e20
    mended = SECOND.copy()
    mended[100:200] = mended[300:400] = mended[500] = 0.0
    one, two = (talker.open_stream().accept(samples) for samples in (bad, mended))
    assert_equal_frames(one, two)
    assert all(np.isfinite(value).all() for value in values(one))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.longdouble])
def test_any_float_is_audio(talker: Any, dtype: Any) -> None:
    samples = SECOND.astype(np.float16)
    strided = np.repeat(samples.astype(dtype), 2)[::2]
    expected = talker.open_stream().accept(samples.astype(np.float32))
    assert_equal_frames(talker.open_stream().accept(strided), expected)


@pytest.mark.parametrize(
    "name, value",
    [("seed", "x"), ("seed", None), ("steps", "x"), ("steps", 0), ("style", "nobody"), ("style", [])],
)
def test_an_option_that_cannot_be_set_stays_as_it_was(talker: Any, name: str, value: Any) -> None:
    stream, reference = talker.open_stream(seed=4), talker.open_stream(seed=4)
    for each in (stream, reference):
        each.accept(SECOND)
    with pytest.raises(TalkerError):
        setattr(stream, name, value)
    with pytest.raises(TalkerError):
        stream.reset(seed="x")
    assert_equal_frames(stream.accept(SECOND), reference.accept(SECOND))


# -- a failure of the model ----------------------------------------------------------------------------------


def test_after_a_failure_of_the_model_a_stream_accepts_audio_once_it_is_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in KINDS:
        talker = make_talker(kind)
        stream, other = talker.open_stream(seed=1), talker.open_stream(seed=2)
        expected = stream.accept(SECOND)
        stream.reset()

        def failing(*_args: Any, **_kwargs: Any) -> Any:
            raise RuntimeError("out of memory")

        with monkeypatch.context() as patch:
            if kind == "vertex":
                patch.setattr(talker, "generate_chunk", failing)
            elif kind == "torch-float32":
                patch.setattr(talker.torch_backend.fused, "generate_frame", failing)
            else:
                patch.setattr(talker.backend, "run_sampler", failing)
            with pytest.raises(RuntimeError):
                stream.accept(SECOND)
        with pytest.raises(TalkerError, match="reset"):
            stream.accept(SECOND)
        other.accept(SECOND)  # of another call, it goes on
        stream.reset()
        assert_equal_frames(stream.accept(SECOND), expected)


# -- copies and threads --------------------------------------------------------------------------------------


def test_streams_and_talkers_cannot_be_copied_or_pickled(talker: Any) -> None:
    stream = talker.open_stream()
    for subject in (stream, talker):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TalkerError, match="cannot be copied"):
                duplicate(subject)
    with pytest.raises(TalkerError):
        copy.deepcopy({"streams": [stream]})


def test_streams_of_several_threads_give_the_frames_of_one(talker: Any) -> None:
    expected = [talker.open_stream(seed=seed).accept(SECOND) for seed in range(4)]
    results: dict[int, Any] = {}
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            for _ in range(3):
                with pytest.raises(TalkerError):
                    talker.open_stream(style="nobody")
                stream = talker.open_stream(seed=seed)
                results[seed] = [frame for chunk in np.split(SECOND, 10) for frame in stream.accept(chunk)]
                stream.reset()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for seed in range(4):
        for one, two in zip(values(results[seed]), values(expected[seed]), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)


# -- devices and limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device", [None, 5, "gpu", "", "cuda:x", "cuda:²", "cuda:-1", "cuda:" + "9" * 5000, "cpu:\n", b"cpu"]
)
def test_an_unknown_device_is_one_sentence(device: Any) -> None:
    with pytest.raises(TalkerError) as caught:
        choose_device(device)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_device_may_be_torchs_own() -> None:
    assert choose_device(torch.device("cpu")) == "cpu"  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "limits",
    [
        {"chunk_frames": float("nan")},
        {"chunk_frames": float("-inf")},
        {"chunk_frames": "12"},
        {"chunk_frames": 10**9},
        {"window": float("inf")},
        {"window": 1e12},
        {"window": None},
        {"context": float("nan")},
        {"context": -1.0},
        {"decode_frames": 10**12},
        {"decode_frames": "all"},
    ],
    ids=str,
)
def test_a_wrong_limit_of_a_vertex_talker_is_one_sentence(limits: dict[str, Any]) -> None:
    network = make_talker("vertex").network
    with pytest.raises(TalkerError) as caught:
        VertexTalker(network, **{"chunk_frames": 4, **limits})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_many_numbers_of_steps_keep_memory_bounded(talker: Any) -> None:
    if talker.family == "vertex":
        get = talker.sampler
    elif talker.backend.name == "torch":
        get = talker.torch_backend.sampler
    else:
        get = talker.backend.get_tables
    kept = {steps: get(steps) for steps in range(1, 40)}
    assert get(39) is kept[39]
    alive = sum(get(steps) is kept[steps] for steps in (39, 38, 37, 1))
    assert alive == 3  # the first was dropped
