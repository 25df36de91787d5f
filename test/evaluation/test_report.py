# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker evaluate` end to end: the default checkpoint on a small corpus, report and JSON."""

from __future__ import annotations

import functools
import html.parser
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.evaluation import drift, metrics, model_stats, non_speech, robustness, sampling
from streamingtalker_ros.evaluation.inference import inter_ocular_distance, lip_aperture, synthesize_batch
from streamingtalker_ros.evaluation.non_speech import lip_speed
from streamingtalker_ros.evaluation.report.charts import clip as clip_chart
from streamingtalker_ros.evaluation.report.charts import runs
from streamingtalker_ros.evaluation.sampling import measure_seed_spread
from streamingtalker_ros.evaluation.test_set import load_test_set
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.streaming import Talker
from support.evaluation_corpus import synthetic_clip, write_corpus

Speech = npt.NDArray[np.float32]
VOID_TAGS = ("meta", "br", "img", "input")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """Two clips of real speech under unrelated phones; the lips of one are tracked."""
    clips = [synthetic_clip("tracked", seed=1), synthetic_clip("untracked", seed=2, tracked=False)]
    for clip, start in zip(clips, (0, 16000), strict=True):
        clip.pcm = speech[start : start + 48000].copy()
    sources = {"us": {"licence": "free <for> all"}}
    return write_corpus(tmp_path_factory.mktemp("corpus") / "mixed", clips, sources=sources)


class Page(html.parser.HTMLParser):
    """Open tags, ids, links and text of a page; asserts that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.links += [value or "" for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open_tags or self.open_tags[-1] not in ("style", "script"):
            self.text += data + "\n"


def few_seeds(talker: Talker, rig: Rig, clip: Clip, seeds: int, **options: Any) -> Any:
    return measure_seed_spread(talker, rig, clip, seeds=min(seeds, 6), **options)


@pytest.fixture(scope="module")
def evaluation(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """HTML and JSON of one command with every measurement, shortened where it takes long."""
    folder = tmp_path_factory.mktemp("out")
    report, scores = folder / "report.html", folder / "scores.json"
    names = (*robustness.ACCEPTANCE_CONDITIONS, *runs.PINK_NOISE_CONDITIONS)
    conditions = {key: degrade for key, degrade in robustness.CONDITIONS.items() if key[1] in names}
    options = ["--full", "--hour", "--drift-minutes", "0.2", "--drift-voices", "2", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(non_speech, "SOUND_SECONDS", 2.0)
        patch.setattr(robustness, "CONDITIONS", conditions)
        patch.setattr(runs, "CONDITIONS", conditions)
        patch.setattr(clip_chart, "MOUTH_VIEW", clip_chart.MOUTH_VIEW._replace(count=3))
        patch.setattr(model_stats, "frame_cost", functools.partial(model_stats.frame_cost, frames=60))
        patch.setattr(sampling, "score_sampling", functools.partial(sampling.score_sampling, samples=2))
        patch.setattr(sampling, "measure_seed_spread", few_seeds)
        arguments = ["--corpus", f"{corpus}:all", *options, "--report", str(report), "--json", str(scores)]
        assert main(["evaluate", *arguments]) == 0
    return report.read_text(), json.loads(scores.read_text())


def test_the_page_is_valid_and_self_contained(evaluation: tuple[str, dict[str, Any]]) -> None:
    text, _ = evaluation
    page = Page(text)
    assert page.open_tags == [] and len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"https?:", text) and "url(#" in text
    references = {link[1:] for link in page.links if link.startswith("#")}
    references |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert references <= set(page.ids)
    assert page.tags.count("svg") >= 7 and page.tags.count("audio") >= 2


def test_the_page_shows_every_measurement(evaluation: tuple[str, dict[str, Any]]) -> None:
    page = Page(evaluation[0])
    for text in (
        "Evaluation of default",
        "mixed, all",
        "loudness-driven jaw",
        "Speakers",
        "all, reference",
        "Shapes that never move",
        "Robustness",
        "Rest",
        "Seeds",
        "Drift",
        "mean of 2 samples",
        "free <for> all",
    ):
        assert text in page.text, text


def test_every_measurement_has_its_criterion(evaluation: tuple[str, dict[str, Any]]) -> None:
    criteria = {criterion["name"]: criterion for criterion in evaluation[1]["criteria"]}
    for name in (
        "lip opening, median r",
        "lip width, median r",
        "lag, ms",
        "amplitude ratio",
        "lip speed without speech, of that in speech",
        "mouth closed after truncated speech",
        "blinks per minute",
        "loss of r, pink noise, 10 dB",
        "loss of r, telephone",
        "loss of r, -30 dBFS",
        "mean lip opening, last over first",
        "variation of brows",
        "variation of eyelids",
        "variation of head",
        "codebook entries in use",
        "frame time, median ms",
        "weights, MB",
    ):
        assert name in criteria, name


def test_a_criterion_passes_if_its_value_is_within_its_bound(evaluation: tuple[str, dict[str, Any]]) -> None:
    for criterion in evaluation[1]["criteria"]:
        value = float(criterion["value"].split()[0])
        bounds = [float(number) for number in re.findall(r"[-+]?\d+\.?\d*", criterion["bound"])]
        if criterion["bound"][0] == "≥":
            expected = value >= bounds[0]
        elif criterion["bound"][0] == "≤":
            expected = value <= bounds[0]
        else:
            expected = bounds[0] <= value <= bounds[1]
        is_rounded_to_bound = any(abs(value - bound) < 0.006 * max(1.0, abs(bound)) for bound in bounds)
        assert criterion["passed"] == expected or is_rounded_to_bound, criterion


def test_the_json_holds_every_score(evaluation: tuple[str, dict[str, Any]]) -> None:
    results = evaluation[1]
    reference = results["test_sets"]["mixed, all"]["reference"]
    assert reference["lip_opening_r_median"] == pytest.approx(1.0)
    assert len(results["drift"]["blocks"]["opening_mean"]) == drift.NUM_BLOCKS
    assert results["robustness"]["mixed, all"]["clean"]["r_loss"] == 0.0
    assert set(results["non_speech"]["lip_speed_ratio"]) == set(non_speech.SOUNDS)


def test_the_command_prints_scores_and_criteria(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--corpus", str(corpus), "--clips", "1", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    for text in ("mixed, test: 1 clips", "coarticulation model", "lip opening, median r"):
        assert text in output, text


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "nothing to measure on"),
        (["--corpus", "/nowhere"], "holds no corpus"),
        (["--corpus", "{corpus}", "--report", "/nowhere/r.html"], "no folder /nowhere"),
        (["--corpus", "{corpus}", "--hour", "--drift-minutes", "0"], "--drift-minutes"),
        (["--corpus", "{corpus}", "--style", "shouting"], "unknown style"),
        (["--corpus", "{corpus}", "--corpus", "{corpus}", "--clips", "1"], "given twice"),
        (["--generated", "{corpus}"], "holds no motion"),
        (["--corpus", "{corpus}", "--sync", "{corpus}"], "no training clip with tracked lips"),
    ],
)
def test_invalid_input_is_reported_in_one_line(
    corpus: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["evaluate", *(text.format(corpus=corpus) for text in arguments)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error and error.startswith("streamingtalker: error:")


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_a_report_without_its_packages_names_the_extra(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["evaluate", "--corpus", str(corpus), "--report", str(tmp_path / "report.html")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and module in error and "streamingtalker_ros[report]" in error


def test_sounds_without_speech_have_their_level() -> None:
    sounds = non_speech.synthesize_sounds(4.0)
    assert not sounds["silence"].any()
    for name, (generator, level) in non_speech.SOUNDS.items():
        sound = sounds[name]
        assert sound.dtype == np.float32 and len(sound) == 4 * SAMPLE_RATE and np.abs(sound).max() <= 1.0
        if generator:
            rms = 20 * np.log10(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
            assert abs(rms - level) < 1.0, name


def test_speech_is_truncated_in_a_loud_moment(speech: Speech) -> None:
    for seed in range(5):
        pcm, cut_seconds = non_speech.truncate_speech(speech, np.random.default_rng(seed))
        cut = int(cut_seconds * SAMPLE_RATE)
        assert not pcm[cut:].any() and len(pcm) == cut + SAMPLE_RATE
        assert len(speech) / 2 / SAMPLE_RATE - 0.02 <= cut_seconds <= len(speech) / SAMPLE_RATE
        assert augmentation.active_level(pcm[cut - 320 : cut]) > augmentation.active_level(speech) - 20.0


def test_conditions_with_a_criterion_are_measured_over_more_clips(
    talker: Talker, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "NUM_CLIPS", 1)
    test_set = load_test_set(default_rig(), corpus, "all")
    conditions = robustness.score_conditions(talker, default_rig(), test_set)
    assert list(conditions) == ["clean", *(name for _, name in robustness.CONDITIONS)]
    for name, scores in conditions.items():
        has_criterion = name in ("clean", *robustness.ACCEPTANCE_CONDITIONS)
        assert scores["clips"] == (len(test_set.moving_clips) if has_criterion else 1), name
    assert conditions["clean"]["r_loss"] == 0.0


def test_conditions_do_not_shift_the_audio_and_have_their_level(speech: Speech) -> None:
    rng = np.random.default_rng(0)
    for (_, name), degrade in robustness.CONDITIONS.items():
        degraded = degrade(speech, np.random.default_rng(1), [rng.normal(0, 0.1, 32000).astype(np.float32)])
        assert degraded.shape == speech.shape
        spectrum = np.fft.rfft(degraded, 131072) * np.conj(np.fft.rfft(speech, 131072))
        lag = np.fft.irfft(spectrum).argmax()
        assert min(lag, 131072 - lag) <= 16, name  # a millisecond
        if name == "white noise, 10 dB":
            noise = np.sqrt(np.mean(np.square(degraded - speech)))
            snr = augmentation.active_level(speech) - 20 * np.log10(noise)
            assert snr == pytest.approx(10.0, abs=0.2)
        if name == "-30 dBFS":
            assert augmentation.active_level(degraded) == pytest.approx(-30.0, abs=0.1)


def test_blocks_of_the_long_stream_repeat_the_speech(talker: Talker, speech: Speech) -> None:
    clip = synthetic_clip("a")
    clip.pcm = speech
    block = drift.speech_block([clip], 5.5)
    assert len(block) == 88000 and np.array_equal(block[64000:], speech[:24000])
    rig = default_rig()
    results = drift.measure_drift(talker, rig, [clip], minutes=0.24, voices=2)
    opening_means = np.array(results["blocks"]["opening_mean"])
    assert opening_means.shape == (drift.NUM_BLOCKS, 2)
    weights, _, _ = synthesize_batch(talker, [np.tile(drift.speech_block([clip], 1.2), 2)])[0]
    second_block = lip_aperture(rig, weights[30:58]).mean() / inter_ocular_distance(rig)
    assert opening_means[1, 0] == pytest.approx(second_block, rel=0.3)


def test_seed_spread_counts_the_seeds_that_close_each_bilabial(talker: Talker, corpus: Path) -> None:
    test_set = load_test_set(default_rig(), corpus, "all")
    clip = sampling.clip_with_most_bilabials([test_set])
    scores, spread = sampling.measure_seed_spread(talker, default_rig(), clip, seeds=3)
    bilabials = [phone for phone in spread.phones if phone.name in metrics.BILABIALS]
    assert scores["bilabials"] == len(bilabials) == len(spread.closures) == 3
    for phone, (frame, fraction) in zip(bilabials, spread.closures, strict=True):
        rows = metrics.frames_within(
            phone.start - metrics.PHONE_MARGIN_S,
            phone.end + metrics.PHONE_MARGIN_S,
            spread.openings.shape[1],
            FRAME_RATE,
        )
        assert frame in rows
        assert fraction == np.mean(spread.openings[:, rows].min(1) < spread.limit)
    assert scores["closed_by_every_seed"] == sum(fraction == 1.0 for _, fraction in spread.closures)


def test_lip_speed_does_not_depend_on_blinks(talker: Talker, speech: Speech) -> None:
    still, _, _ = synthesize_batch(talker, [np.zeros(48000, np.float32)])[0]
    assert lip_speed(default_rig(), still, FRAME_RATE).max() < 1e-3
    speaking, _, _ = synthesize_batch(talker, [speech])[0]
    assert lip_speed(default_rig(), speaking, FRAME_RATE).max() > 0.02
