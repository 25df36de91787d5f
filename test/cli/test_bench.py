# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures what it says: real passes, stages that are part of them, both families; bad input refused."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from streamingtalker_ros.cli.bench import lines  # noqa: E402
from streamingtalker_ros.cli.main import main  # noqa: E402
from streamingtalker_ros.evaluation import bench  # noqa: E402
from support.scheduler_harness import small_talker  # noqa: E402

TINY = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    conv_dim=[16] * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=2,
)


def published(hop, window):
    """The paper's network in its own form, every width cut down, random weights."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    from streamingtalker_ros.evaluation.random_vertex_network import random_network
    from streamingtalker_ros.model.vertex.streaming import VertexTalker

    network = random_network(
        vertices=20,
        num_codebooks=4,
        code_dim=8,
        codec_width=32,
        codec_layers=2,
        codec_heads=2,
        codec_feedforward=48,
        width=32,
        audio_dim=32,
        feedforward=48,
        num_inference_steps=5,
        hubert=TINY,
    )
    return VertexTalker(network, chunk_frames=hop, window=window)


@pytest.fixture(scope="module", params=["default", "published, hop 1", "published, hop 12"])
def model(request):
    if request.param == "default":
        return small_talker()
    return published(1, 0.5) if request.param.endswith(" 1") else published(12, 1.0)


def test_a_pass_makes_its_frames_and_no_others(model) -> None:
    feed = bench.Feed(model)
    stream, first = feed.open()
    made = [len(feed.pass_of(stream)(n)[0]) for n in range(10)]
    assert made == [feed.frames] * 10 and first > 0
    assert feed.budget == pytest.approx(1000 * feed.frames / model.frame_rate)


def test_stages_are_parts_of_the_pass_and_leave_the_model_as_it_was(model) -> None:
    owners = [model, *vars(model).values()]
    before = [set(vars(owner)) for owner in owners if hasattr(owner, "__dict__")]
    told = bench.stages(model, count=12)
    assert list(told)[-1] == "the rest" and len(told) >= 4
    assert all(0 < part["p50"] <= part["p95"] <= part["p99"] for part in told.values())
    assert before == [set(vars(owner)) for owner in owners if hasattr(owner, "__dict__")]


def test_a_part_that_sleeps_shows_in_its_stage_and_in_the_total(monkeypatch) -> None:
    import time

    talker = small_talker()
    decoder = talker.fused.decoder
    monkeypatch.setattr(talker.fused, "decoder", lambda *given: time.sleep(0.02) or decoder(*given))
    told = bench.stages(talker, count=8)
    assert told["decoder"]["p50"] >= 20 > told["head"]["p50"]
    assert bench.one_voice(talker, frames=10)["p50"] >= 20


def test_a_cost_that_grows_with_the_stream_is_seen(monkeypatch) -> None:
    """The published code's fault, put back on purpose: a frame costs more the later it is."""
    import time

    talker = small_talker()
    make = talker._to_frame
    monkeypatch.setattr(
        talker,
        "_to_frame",
        lambda stream, motion: time.sleep(0.01 * (stream.hops > 100)) or make(stream, motion),
    )
    assert bench.one_voice(talker, frames=120)["late_over_early"] > 1.5
    monkeypatch.undo()
    assert (
        bench.one_voice(talker, frames=120)["late_over_early"] < 1.4
    )  # a busy machine, and still far from it


def test_the_report_has_every_figure_and_reads_as_text(model) -> None:
    report = json.loads(json.dumps(bench.report(model, frames=30, most=2, passes=8)))
    text = "\n".join(lines(report))
    assert np.isfinite(
        [
            report["one_voice"][name]
            for name in (
                "p50",
                "p99",
                "cpu",
                "first_frame",
                "real_time_factor",
                "late_over_early",
                "memory_mb",
            )
        ]
    ).all()
    assert set(report["voices_ms"]) <= {"1", "2"} and report["voices_ms"]["1"]["p50"] > 0
    assert "one voice, all of it" in text and f"{report['one_voice']['p50']:.2f}" in text
    assert ("at_frames_ms" in report) == (model.family == "vertex")


def test_the_command_measures_the_shipped_model(capsys) -> None:
    assert main(["bench", "--device", "cpu", "--frames", "30", "--streams", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "default" and report["lookahead_ms"] <= 80 and report["budget_ms"] == 40
    assert main(["bench", "--threads", "0"]) == 2
    assert main(["bench", "--hop", "3"]) == 2
    assert "only a vertex checkpoint has such limits" in capsys.readouterr().err
