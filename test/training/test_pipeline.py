# SPDX-License-Identifier: Apache-2.0
"""The whole recipe: what is left out is named, every step is done once, an interrupted run goes on to a checkpoint."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from typing import NoReturn

from streamingtalker_ros import Talker  # noqa: E402
from streamingtalker_ros.cli import main  # noqa: E402
from streamingtalker_ros.cli.main import _parser  # noqa: E402
from streamingtalker_ros.corpus import storage, synthetic
from streamingtalker_ros.corpus.video import tracking  # noqa: E402
from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.face.arkit import INDEX  # noqa: E402
from streamingtalker_ros.model.blendshape import checkpoint  # noqa: E402
from streamingtalker_ros.phonetics import flite_festival_tts  # noqa: E402
from streamingtalker_ros.training import curves, generator, stages
from streamingtalker_ros.training import pipeline as recipes  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "config" / "train.yaml"
SMALL = dict(
    audio_width=16,
    audio_blocks=1,
    codec_width=16,
    width=16,
    feedforward=32,
    context_frames=8,
    head_width=16,
    head_blocks=1,
    num_codebooks=4,
    codebook_size=32,
    code_dim=8,
    lip_aperture_weight=0.5,
    styles=["neutral", "teacher", "nobody"],
)
LOOP = {"steps": 6, "batch": 4, "warmup": 2, "log_every": 1, "save_every": 2}
MINIATURE = {
    "corpora": {"film": {"kind": "from-video", "of": "grid"}, "said": {"kind": "synthetic", "minutes": 1}},
    "model": SMALL,
    "mix": {"film": 0.4, "said": 0.6},
    "codec": LOOP,
    "listener": LOOP,
    "talker": LOOP,
    "closure": LOOP,
    "gains": {"mouth": 1.25, "lids": 2.0},
    "windows": {"frames": 24, "lead": 8, "lives": 1, "versions": 1},
}


def sources(**given):
    return {**dict.fromkeys(("grid", "facegood", "speechocean", "ljspeech", "voices", "sounds")), **given}


@pytest.fixture
def voiceless(monkeypatch) -> None:
    """A machine without synthesisers."""
    monkeypatch.setattr(flite_festival_tts, "available_voices", lambda: [])
    monkeypatch.setattr("streamingtalker_ros.phonetics.espeak_tts.is_available", lambda: False)


@pytest.fixture
def grid(tmp_path):
    """GRID as its mirrors lay it out: data/s1/*.mpg, data/alignments/s1/*.align."""
    for name in ("data/s1/bbaf2n.mpg", "data/alignments/s1/bbaf2n.align", "marks/bbaf2n.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "data"


def test_without_sources_or_voices_every_corpus_is_named_with_its_share(voiceless) -> None:
    with pytest.raises(TalkerError) as told:
        recipes.plan(stages.read_recipe(SHIPPED), sources(), "run")
    for words in (
        "grid, 8% of the mix, is left out: give --grid DIR",
        "grid_voices, 16% of the mix, is left out: grid is",
        "facegood, 4%",
        "speech, 9% of the mix, is left out: give --speechocean DIR or --ljspeech DIR",
        "speech_sizes, 8% of the mix, is left out: speech is",
        "voices, 28% of the mix, is left out: give --voices DIR",
        "children, 3%",
        "children_sizes, 3%",
        "synthetic, 6%",
        "apt install",
        "espeak, 3%",
        "quiet, 6% of the mix, is left out: give --sounds DIR",
    ):
        assert words in str(told.value)


def test_the_shipped_recipe_gives_commands_that_parse_and_keeps_what_is_there(
    voiceless, grid, tmp_path
) -> None:
    pytest.importorskip("pyworld")
    (tmp_path / "fg" / "code" / "train" / "bs_value").mkdir(parents=True)
    where = sources(grid=grid, facegood=tmp_path / "fg")
    made = recipes.plan(
        stages.read_recipe(SHIPPED), where, tmp_path / "run", landmarks=grid.parent / "marks", jobs=3
    )
    assert [corpus.name for corpus in made.corpora] == ["grid", "grid_voices", "facegood"]
    assert made.recipe["mix"] == {"grid": 0.08, "grid_voices": 0.16, "facegood": 0.04}
    assert made.recipe["model"]["styles"] == ["neutral", "grid_s1", "facegood"]  # nobody taught `teacher`
    film, voiced, animated = (
        _parser("corpus").parse_args(["corpus", *corpus.arguments]) for corpus in made.corpora
    )
    assert film.videos == [grid / "s1"] and film.align == str(grid / "alignments" / "s1")
    assert (
        film.landmarks == grid.parent / "marks"
        and film.speaker == "grid_s1"
        and film.no_pictures
        and film.jobs == 3
    )
    assert (voiced.folder, voiced.copies) == (film.out, 5)
    assert animated.sounds == [tmp_path / "fg" / "code" / "train"] and animated.hold_out == "last"


def test_a_source_that_was_given_and_cannot_be_used_stops_at_once(grid, monkeypatch, tmp_path) -> None:
    recipe = stages.read_recipe(SHIPPED)
    with pytest.raises(TalkerError, match="there is no folder .*nowhere.*--ljspeech"):
        recipes.plan(recipe, sources(ljspeech=tmp_path / "nowhere"), tmp_path)
    monkeypatch.setattr(tracking, "is_available", lambda: False)
    with pytest.raises(TalkerError, match="tracking needs mediapipe.*--landmarks"):
        recipes.plan(recipe, sources(grid=grid), tmp_path)
    with pytest.raises(TalkerError, match="film has kind 'cinema'"):
        recipes.plan({**recipe, "corpora": {"film": {"kind": "cinema"}}}, sources(), tmp_path)


def test_own_corpora_bring_their_style(voiceless, tmp_path) -> None:
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "index.json").write_text(json.dumps({"clips": [{"style": "me"}, {"style": "me"}]}))
    made = recipes.plan(stages.read_recipe(SHIPPED), sources(), tmp_path / "run", more=[tmp_path / "me"])
    assert made.recipe["model"]["styles"] == ["neutral", "me"] and made.folders == [tmp_path / "me"]


def test_a_step_is_done_once_and_never_with_other_settings(tmp_path) -> None:
    calls = []

    def cut() -> NoReturn:
        calls.append("cut")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipes.Steps(tmp_path / "steps.json").once("a", {"minutes": 1, "of": ("x",)}, cut)
    for _ in range(2):
        recipes.Steps(tmp_path / "steps.json").once(
            "a", {"minutes": 1, "of": ("x",)}, lambda: calls.append("a")
        )
    assert calls == ["cut", "a"]
    with pytest.raises(TalkerError, match="begun with another minutes: give another --out"):
        recipes.Steps(tmp_path / "steps.json").once("a", {"minutes": 2, "of": ("x",)}, lambda: None)


@pytest.mark.skipif(
    not set(synthetic.VOICE_ROTATION) <= set(flite_festival_tts.available_voices()),
    reason="flite or festival is not installed",
)
def test_one_command_makes_corpus_stages_and_checkpoint_and_goes_on_where_it_was_cut(
    tmp_path, capsys, monkeypatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(MINIATURE))
    arguments = [
        "train",
        "all",
        "--config",
        str(tmp_path / "recipe.yaml"),
        "--out",
        str(tmp_path / "run"),
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    whole = generator.TalkerStage.__call__

    def cut(stage, step, rng):
        if step == 3:
            raise KeyboardInterrupt
        return whole(stage, step, rng)

    monkeypatch.setattr(generator.TalkerStage, "__call__", cut)
    assert main(arguments) == 130
    monkeypatch.undo()
    assert "film, 40% of the mix, is left out: give --grid DIR" in capsys.readouterr().out
    assert not (tmp_path / "run" / "checkpoint").exists()
    kept = {
        path: path.stat().st_mtime_ns
        for path in (
            tmp_path / "run" / "corpora" / "said" / "index.json",
            tmp_path / "run" / "listener" / "weights.safetensors",
        )
    }
    monkeypatch.setattr(synthetic, "build_synthetic_corpus", None)  # the corpus is not asked for again
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    rows = (tmp_path / "run" / "talker" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6"]
    steps = json.loads((tmp_path / "run" / "steps.json").read_text())
    assert list(steps) == ["corpus said", "codec", "listener", "talker", "closure", "checkpoint"]
    assert all(row["done"] and row["seconds"] >= 0 for row in steps.values())

    said = capsys.readouterr().out.strip().splitlines()
    evaluate = _parser("evaluate").parse_args(shlex.split(said[-1])[1:])
    assert Path(evaluate.corpus[0]) == tmp_path / "run" / "corpora" / "said"
    clip = storage.load_corpus(evaluate.corpus[0], "test")[0]
    model = Talker.load(evaluate.model, "cpu")
    assert model.styles == ("neutral", "teacher")
    low, high = json.loads((Path(evaluate.model) / "config.json").read_text())["closure"]
    assert 0.0 < low < high < 1.0
    stream = model.open_stream()
    assert len(stream.accept(clip.pcm) + stream.finish()) == len(clip.weights)
    trained, livened = (
        checkpoint.load(folder).codec for folder in (tmp_path / "run" / "closure", evaluate.model)
    )
    motions = [
        codec.decode(torch.ones(1, 5, trained.latent_mean.shape[0]))[0] for codec in (trained, livened)
    ]
    trained, livened = (
        checkpoint.load(folder).encoder for folder in (tmp_path / "run" / "closure", evaluate.model)
    )
    assert torch.allclose(livened.opening.weight, 1.25 * trained.opening.weight)
    for name, gain in (("jawOpen", 1.25), ("eyeBlinkLeft", 2.0), ("browInnerUp", 1.0)):
        assert torch.allclose(motions[1][:, INDEX[name]], gain * motions[0][:, INDEX[name]], atol=1e-6)

    assert main(arguments) == 0  # nothing is left to do
    assert capsys.readouterr().out.count(": done, in") == len(steps)
    (tmp_path / "recipe.yaml").write_text(json.dumps({**MINIATURE, "talker": {**LOOP, "steps": 9}}))
    assert main(arguments) == 2 and "talker of" in capsys.readouterr().err


def test_a_log_is_thinned_to_means_and_drawn(tmp_path, capsys) -> None:
    (tmp_path / "run").mkdir()
    rows = [f"{step},{1000 + 6 * step},{1 / step},{step / 500}" for step in range(1, 501)]
    (tmp_path / "run" / "log.csv").write_text("\n".join(["step,time,loss,phones_right", *rows]) + "\n")
    assert curves.main([f"ear={tmp_path / 'run'}", "--out", str(tmp_path / "kept")]) == 0
    names, kept = curves.read_log(tmp_path / "kept" / "ear.csv")
    assert names == ["step", "minutes", "loss", "phones_right"] and len(kept) == 100
    assert kept[-1].tolist() == pytest.approx([500, 49.9, (1 / np.arange(496, 501)).mean(), 0.996], rel=1e-3)
    assert curves.main([f"x={tmp_path}", "--out", str(tmp_path / "kept")]) == 2
    assert "is no log of a training" in capsys.readouterr().err
    pytest.importorskip("matplotlib")
    curves.main(["--out", str(tmp_path / "kept"), "--picture", str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "gains, told",
    [
        ({"ears": 1.1}, "mouth, brows, lids"),
        ({"mouth": 0}, "gain of mouth is 0"),
        ({"lids": "much"}, "above 0"),
    ],
)
def test_gains_that_cannot_be_are_refused_when_the_recipe_is_read(tmp_path, gains, told) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps({"gains": gains}))
    with pytest.raises(TalkerError, match=told):
        stages.read_recipe(tmp_path / "recipe.yaml")


def test_commands_that_do_not_fit_are_one_sentence(tmp_path, capsys) -> None:
    for words, told in (
        (["codec", "--grid", "x"], "--grid is for `train all`"),
        (["all", "--dataset", "biwi", "--data", "x"], "the default family's"),
        (["all", "--jobs", "-1"], "at least 1"),
    ):
        assert main(["train", *words, "--out", str(tmp_path)]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_train_is_the_same_command() -> None:
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "-n",
            "train",
            "GRID=a b/grid",
            "LJSPEECH=/lj",
            "VOICES=/v",
            "RUN=r",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    at = done.stdout.index(".venv/bin/streamingtalker train all")
    words = shlex.split(done.stdout[at:].replace("\\\n", " "))
    assert words == [
        ".venv/bin/streamingtalker",
        "train",
        "all",
        "--out",
        "r",
        "--grid",
        "a b/grid",
        "--ljspeech",
        "/lj",
        "--voices",
        "/v",
    ]
