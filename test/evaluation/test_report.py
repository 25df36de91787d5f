# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker evaluate` from end to end: the shipped model on a small corpus, its report and its JSON."""

import html.parser
import json
import re

import numpy as np
import pytest
from evaluation.test_test_set import spoken_clip, write_corpus

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.evaluation import drift, metrics, non_speech, robustness, sampling
from streamingtalker_ros.evaluation.inference import speak_all
from streamingtalker_ros.evaluation.non_speech import lip_speed
from streamingtalker_ros.evaluation.report.charts import clip as clip_chart
from streamingtalker_ros.evaluation.report.charts import runs
from streamingtalker_ros.evaluation.test_set import load_section
from streamingtalker_ros.face.default_head.assemble import default_rig

pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, speech):
    """Real speech under phones that do not belong to it, lips tracked in one clip of two."""
    clips = [spoken_clip("seen", seed=1), spoken_clip("read", seed=2, tracked=False)]
    for clip, start in zip(clips, (0, 16000)):
        clip.pcm = speech[start : start + 48000].copy()
    sources = {"us": {"licence": "free <for> all"}}
    return write_corpus(tmp_path_factory.mktemp("corpus") / "mixed", clips, sources=sources)


class Page(html.parser.HTMLParser):
    """Tags that close what they open, ids, addresses and words."""

    def __init__(self, text) -> None:
        super().__init__()
        self.open, self.ids, self.links, self.words, self.tags = [], [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "img", "input"):
            self.open.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            if key in ("href", "src", "xlink:href"):
                self.links.append(value)

    def handle_startendtag(self, tag, attributes) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag) -> None:
        if tag not in ("meta", "br", "img", "input"):
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words += data + "\n"


@pytest.fixture(scope="module")
def measured(corpus, tmp_path_factory):
    """Everything that one command measures, the hour a short one; (report's text, JSON)."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path_factory.mktemp("out")
    patch = pytest.MonkeyPatch()
    patch.setattr(non_speech, "SECONDS", 2.0)
    fewer = (*robustness.PROMISED, *runs.SNR)
    conditions = {key: dirty for key, dirty in robustness.CONDITIONS.items() if key[1] in fewer}
    patch.setattr(robustness, "CONDITIONS", conditions)
    patch.setattr(runs, "CONDITIONS", conditions)
    patch.setattr(clip_chart, "MOMENTS", 3)
    arguments = [
        "evaluate",
        "--corpus",
        f"{corpus}:all",
        "--full",
        "--hour",
        "--drift-minutes",
        "0.2",
        "--drift-voices",
        "2",
        "--device",
        "cpu",
        "--report",
        str(out / "r.html"),
        "--json",
        str(out / "r.json"),
    ]
    assert main(arguments) == 0
    patch.undo()
    return (out / "r.html").read_text(), json.loads((out / "r.json").read_text())


def test_the_page_needs_nothing_else(measured) -> None:
    page = Page(measured[0])
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"https?:", measured[0]) and "url(#" in measured[0]
    inside = {link[1:] for link in page.links if link.startswith("#")}
    inside |= set(re.findall(r"url\(#([^)]+)\)", measured[0]))
    assert inside <= set(page.ids)
    assert page.tags.count("svg") >= 7 and page.tags.count("audio") >= 2
    for word in (
        "How default speaks",
        "mixed, all",
        "a jaw driven by loudness",
        "Rest",
        "Seeds",
        "An hour",
        "mean of 8 samples",
        "free <for> all",
    ):
        assert word in page.words, word


def test_every_promised_figure_has_its_row(measured) -> None:
    figures = measured[1]
    rows = {row["what"]: row for row in figures["targets"]}
    for what in (
        "lip opening, median r",
        "lip width, median r",
        "lag, ms",
        "amplitude, made over reference",
        "lip speed without a voice, share of speech's",
        "mouth closed after the last sound",
        "blinks a minute",
        "r falls under pink noise, 10 dB",
        "r falls under telephone",
        "r falls under -30 dBFS",
        "mean lip opening, last over first",
        "brows differ",
        "lids differ",
        "head differ",
        "codes of the codebook in use",
        "a frame, median ms",
        "weights, MB",
    ):
        assert what in rows, what
        value = float(rows[what]["value"].split()[0])
        bound = rows[what]["bound"]
        numbers = [float(n) for n in re.findall(r"[-+]?\d+\.?\d*", bound)]
        wanted = (
            value >= numbers[0]
            if bound[0] == "≥"
            else value <= numbers[0]
            if bound[0] == "≤"
            else numbers[0] <= value <= numbers[1]
        )
        at_edge = any(abs(value - number) < 0.006 * max(1.0, abs(number)) for number in numbers)
        assert rows[what]["passed"] == wanted or at_edge, rows[what]
    assert figures["sections"]["mixed, all"]["the reference itself"]["lip_opening_r_median"] == pytest.approx(
        1.0
    )
    assert figures["hour"]["blocks"]["opening_mean"] and len(figures["hour"]["blocks"]["opening_mean"]) == 12
    assert figures["robustness"]["mixed, all"]["clean"]["r_falls_by"] == 0.0
    assert set(figures["quiet"]["share"]) == set(non_speech.SOUNDS)


def test_a_short_corpus_prints_its_table(corpus, capsys) -> None:
    assert main(["evaluate", "--corpus", str(corpus), "--clips", "1", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert (
        "mixed, test: 1 clips" in out
        and "the teacher on the phones" in out
        and "lip opening, median r" in out
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "nothing to measure on"),
        (["--corpus", "/nowhere"], "holds no corpus"),
        (["--corpus", "{corpus}", "--report", "/nowhere/r.html"], "no folder /nowhere"),
        (["--corpus", "{corpus}", "--hour", "--drift-minutes", "0"], "--drift-minutes"),
        (["--corpus", "{corpus}", "--style", "shouting"], "unknown style"),
        (["--corpus", "{corpus}", "--corpus", "{corpus}", "--clips", "1"], "given twice"),
        (["--generated", "{corpus}"], "holds no motion"),
    ],
)
def test_bad_input_is_one_sentence(corpus, capsys, arguments, words) -> None:
    assert main(["evaluate", *(text.format(corpus=corpus) for text in arguments)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error and error.startswith("streamingtalker: error:")


def test_sounds_without_a_voice_are_what_they_are_called() -> None:
    sounds = non_speech.sounds(4.0)
    assert not sounds["silence"].any()
    for name, (make, level) in non_speech.SOUNDS.items():
        assert (
            sounds[name].dtype == np.float32
            and len(sounds[name]) == 64000
            and np.abs(sounds[name]).max() <= 1.0
        )
        if make:
            rms = 20 * np.log10(np.sqrt(np.mean(np.square(sounds[name], dtype=np.float64))))
            assert abs(rms - level) < 1.0, name


def test_speech_is_cut_in_the_middle_of_sound(speech) -> None:
    for seed in range(5):
        pcm, cut = non_speech.cut_dead(speech, np.random.default_rng(seed))
        at = int(cut * 16000)
        assert not pcm[at:].any() and len(pcm) == at + 16000
        assert len(speech) / 2 / 16000 - 0.02 <= cut <= len(speech) / 16000
        assert augmentation.active_level(pcm[at - 320 : at]) > augmentation.active_level(speech) - 20.0


def test_promised_conditions_are_measured_over_more_clips(talker, corpus, monkeypatch) -> None:
    monkeypatch.setattr(robustness, "CLIPS", 1)
    section = load_section(default_rig(), corpus, "all")
    found = robustness.robustness(talker, default_rig(), section)
    assert list(found) == ["clean", *(name for _, name in robustness.CONDITIONS)]
    for name, figures in found.items():
        promised = name in ("clean", *robustness.PROMISED)
        assert figures["clips"] == (len(section.spoken) if promised else 1), name
    assert found["clean"]["r_falls_by"] == 0.0


def test_conditions_keep_time_and_make_what_they_say(speech) -> None:
    """No condition moves the sound (its reference stays true), and 10 dB are 10 dB."""
    rng = np.random.default_rng(0)
    for (_, name), dirty in robustness.CONDITIONS.items():
        out = dirty(speech, np.random.default_rng(1), [rng.normal(0, 0.1, 32000).astype(np.float32)])
        assert out.shape == speech.shape
        spectrum = np.fft.rfft(out, 131072) * np.conj(np.fft.rfft(speech, 131072))
        lag = np.fft.irfft(spectrum).argmax()
        assert min(lag, 131072 - lag) <= 16, name  # a millisecond
        if name == "white noise, 10 dB":
            noise = np.sqrt(np.mean(np.square(out - speech)))
            assert augmentation.active_level(speech) - 20 * np.log10(noise) == pytest.approx(10.0, abs=0.2)
        if name == "-30 dBFS":
            assert augmentation.active_level(out) == pytest.approx(-30.0, abs=0.1)


def test_an_hours_blocks_hear_the_same(talker, speech) -> None:
    """Blocks repeat the speech to the sample, and pieces of ten seconds change nothing."""
    clip = spoken_clip("a")
    clip.pcm = speech
    block = drift.block_of([clip], 5.5)
    assert len(block) == 88000 and np.array_equal(block[64000:], speech[:24000])
    rig = default_rig()
    figures = drift.hour(talker, rig, [clip], minutes=0.24, voices=2)
    assert np.array(figures["blocks"]["opening_mean"]).shape == (12, 2)
    weights = speak_all(talker, [np.tile(drift.block_of([clip], 1.2), 2)])[0][0]
    second = drift.opening_of(rig, weights[30:58]).mean() / drift.inter_ocular(rig)
    assert figures["blocks"]["opening_mean"][1][0] == pytest.approx(second, rel=0.3)


def test_seeds_count_who_closes(talker, corpus) -> None:
    section = load_section(default_rig(), corpus, "all")
    clip = sampling.richest([section])
    figures, seeds = sampling.seed_spread(talker, default_rig(), clip, seeds=3)
    bilabials = [phone for phone in seeds.phones if phone.name in metrics.BILABIALS]
    assert figures["bilabials"] == len(bilabials) == len(seeds.closures) == 3
    for phone, (frame, share) in zip(bilabials, seeds.closures):
        rows = metrics.frames_within(
            phone.start - metrics.EDGE, phone.end + metrics.EDGE, seeds.openings.shape[1], 25.0
        )
        assert frame in rows and share == np.mean(seeds.openings[:, rows].min(1) < seeds.limit)
    assert figures["closed_by_every_seed"] == sum(share == 1.0 for _, share in seeds.closures)


def test_lip_speed_does_not_hear_the_lids(talker, speech) -> None:
    """A face that blinks with a resting mouth has still lips."""
    weights = speak_all(talker, [np.zeros(48000, np.float32)])[0][0]
    assert lip_speed(default_rig(), weights, 25.0).max() < 1e-3
    assert lip_speed(default_rig(), speak_all(talker, [speech])[0][0], 25.0).max() > 0.02
