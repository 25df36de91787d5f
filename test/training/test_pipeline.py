# SPDX-License-Identifier: Apache-2.0
"""The complete recipe: omissions are named, each step runs once, an interrupted run continues."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from streamingtalker_ros import Talker
from streamingtalker_ros.cli import main
from streamingtalker_ros.cli.main import create_parser
from streamingtalker_ros.corpus import storage, synthetic
from streamingtalker_ros.corpus.video import tracking
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.training.generator import GeneratorStage
from streamingtalker_ros.training.pipeline import StepLog, make_plan
from streamingtalker_ros.training.recipe import read_recipe
from support.training_clips import TINY_MODEL

ROOT = Path(__file__).resolve().parents[2]
SHIPPED_RECIPE = ROOT / "config" / "train.yaml"
LOOP = {"steps": 6, "batch_size": 4, "warmup_steps": 2, "log_every": 1, "save_every": 2}
TINY_RECIPE: dict[str, Any] = {
    "corpora": {
        "film": {"kind": "from-video", "sources": "grid"},
        "spoken": {"kind": "synthetic", "minutes": 1},
    },
    "model": {**TINY_MODEL, "lip_measure_weight": 0.5, "styles": ["neutral", "teacher", "nobody"]},
    "mixture": {"film": 0.4, "spoken": 0.6},
    "codec": LOOP,
    "encoder": LOOP,
    "generator": LOOP,
    "articulation_heads": LOOP,
    "windows": {"frames": 24, "burn_in": 8, "motion_variants": 1, "audio_variants": 1},
}


def _sources(**sources: Path) -> dict[str, Path | None]:
    names = ("grid", "people", "facegood", "speechocean", "ljspeech", "voices", "sounds")
    return {**dict.fromkeys(names), **sources}


@pytest.fixture
def no_synthesizers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flite_festival_tts, "available_voices", lambda: [])
    monkeypatch.setattr("streamingtalker_ros.phonetics.espeak_tts.is_available", lambda: False)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """GRID as its mirrors lay it out: data/s1/*.mpg, data/alignments/s1/*.align."""
    for name in ("data/s1/bbaf2n.mpg", "data/alignments/s1/bbaf2n.align", "marks/bbaf2n.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "data"


@pytest.mark.usefixtures("no_synthesizers")
def test_every_omitted_corpus_is_named_with_its_fraction() -> None:
    with pytest.raises(TalkerError) as error:
        make_plan(read_recipe(SHIPPED_RECIPE), _sources(), "run")
    for words in (
        "grid, 7% of the mixture, is left out: give --grid DIR",
        "people, 43% of the heads' mixture, is left out: give --people DIR",
        "grid_voices, 16% of the mixture, is left out: grid is",
        "facegood, 4%",
        "speech, 12% of the mixture, is left out: give --speechocean DIR or --ljspeech DIR",
        "voices, 34% of the mixture, is left out: give --voices DIR",
        "children, 7%",
        "synthetic, 8%",
        "apt install",
        "espeak, 6%",
        "quiet, 6% of the mixture, is left out: give --sounds DIR",
    ):
        assert words in str(error.value)


@pytest.mark.usefixtures("no_synthesizers")
def test_the_shipped_recipe_gives_valid_commands_for_the_sources_that_exist(
    grid: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyworld")
    facegood, people = tmp_path / "fg", tmp_path / "people"
    (facegood / "code" / "train" / "bs_value").mkdir(parents=True)
    people.mkdir()
    (people / "lbbc2a.mpg").touch()
    plan = make_plan(
        read_recipe(SHIPPED_RECIPE),
        _sources(grid=grid, people=people, facegood=facegood),
        tmp_path / "run",
        align=grid / "alignments" / "s1",
        landmarks=grid.parent / "marks",
        jobs=3,
    )
    assert [corpus.name for corpus in plan.corpora] == ["grid", "people", "grid_voices", "facegood"]
    assert plan.recipe["mixture"] == {"people": 0.0, "grid": 0.07, "grid_voices": 0.16, "facegood": 0.04}
    assert set(plan.recipe["head_mixture"]) == set(plan.recipe["mixture"])
    assert plan.recipe["model"]["styles"] == [
        "neutral",
        "grid_s1",
        "facegood",
    ]  # no corpus has the style `teacher`
    film, filmed_people, voiced, animated = (
        create_parser(["corpus"]).parse_args(["corpus", *corpus.arguments]) for corpus in plan.corpora
    )
    assert film.videos == [grid / "s1"] and film.align == str(grid / "alignments" / "s1")
    assert film.landmarks == grid.parent / "marks" and film.speaker == "grid_s1"
    assert film.no_pictures and film.jobs == 3
    assert (voiced.folder, voiced.copies) == (film.out, 2)
    assert filmed_people.people and filmed_people.align == "none"  # `align` has the words of one speaker
    assert animated.sounds == [facegood / "code" / "train"] and animated.hold_out == "last"


def test_a_source_that_cannot_be_used_stops_the_run_at_once(
    grid: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = read_recipe(SHIPPED_RECIPE)
    with pytest.raises(TalkerError, match=r"there is no folder .*nowhere.*--ljspeech"):
        make_plan(recipe, _sources(ljspeech=tmp_path / "nowhere"), tmp_path)
    monkeypatch.setattr(tracking, "is_available", lambda: False)
    with pytest.raises(TalkerError, match=r"tracking needs mediapipe.*--landmarks"):
        make_plan(recipe, _sources(grid=grid), tmp_path)
    with pytest.raises(TalkerError, match="film has kind 'cinema'"):
        make_plan({**recipe, "corpora": {"film": {"kind": "cinema"}}}, _sources(), tmp_path)


@pytest.mark.usefixtures("no_synthesizers")
def test_extra_corpora_bring_their_style(tmp_path: Path) -> None:
    folder = tmp_path / "me"
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps({"clips": [{"style": "me"}, {"style": "me"}]}))
    plan = make_plan(read_recipe(SHIPPED_RECIPE), _sources(), tmp_path / "run", extra_corpora=[folder])
    assert plan.recipe["model"]["styles"] == ["neutral", "me"] and plan.folders == [folder]


def test_a_step_runs_once_and_never_with_other_settings(tmp_path: Path) -> None:
    calls: list[str] = []
    path, settings = tmp_path / "steps.json", {"minutes": 1, "sources": ("x",)}

    def interrupted() -> NoReturn:
        calls.append("interrupted")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StepLog(path).run_once("a", settings, interrupted)
    for _ in range(2):
        StepLog(path).run_once("a", settings, lambda: calls.append("done"))
    assert calls == ["interrupted", "done"]
    with pytest.raises(TalkerError, match="begun with another minutes: give another --out"):
        StepLog(path).run_once("a", {**settings, "minutes": 2}, lambda: None)


def test_steps_of_earlier_versions_count_as_done(tmp_path: Path) -> None:
    old = {
        "model": {"slots": 4},
        "mix": {"a": 1.0},
        "windows": {"lead": 8},
        "listener": {"rate": 0.1},
    }
    row = {"settings": old, "seconds": 3.0, "done": True}
    corpus = {"settings": {"kind": "speech", "of": ["x"]}, "seconds": 1.0, "done": True}
    (tmp_path / "steps.json").write_text(json.dumps({"listener": row, "corpus b": corpus}))
    log = StepLog(tmp_path / "steps.json")
    settings = {
        "model": {"num_codebooks": 4},
        "mixture": {"a": 1.0},
        "windows": {"burn_in": 8},
        "encoder": {"lr": 0.1},
    }
    log.run_once("encoder", settings, lambda: pytest.fail("the step was done"))
    log.run_once("corpus b", {"kind": "speech", "sources": ["x"]}, lambda: pytest.fail("the step was done"))


@pytest.mark.skipif(
    not set(synthetic.VOICE_ROTATION) <= set(flite_festival_tts.available_voices()),
    reason="flite or festival is not installed",
)
def test_one_command_makes_corpus_stages_and_checkpoint_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = tmp_path / "recipe.yaml", tmp_path / "run"
    config.write_text(json.dumps(TINY_RECIPE))
    arguments = ["train", "all", "--config", str(config), "--out", str(run)]
    arguments += ["--threads", "1", "--device", "cpu"]
    call = GeneratorStage.__call__

    def interrupted(stage: GeneratorStage, step: int, rng: Any) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return call(stage, step, rng)

    monkeypatch.setattr(GeneratorStage, "__call__", interrupted)
    assert main(arguments) == 130
    monkeypatch.undo()
    assert "film, 40% of the mixture, is left out: give --grid DIR" in capsys.readouterr().out
    assert not (run / "checkpoint").exists()
    finished = (run / "corpora" / "spoken" / "index.json", run / "encoder" / "weights.safetensors")
    written = {path: path.stat().st_mtime_ns for path in finished}
    monkeypatch.setattr(synthetic, "build_synthetic_corpus", None)  # the corpus is not built again
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == written
    rows = (run / "generator" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6"]
    steps = json.loads((run / "steps.json").read_text())
    stages = ["codec", "encoder", "generator", "articulation_heads"]
    assert list(steps) == ["corpus spoken", *stages, "checkpoint"]
    assert all(row["done"] and row["seconds"] >= 0 for row in steps.values())

    command = capsys.readouterr().out.strip().splitlines()[-1]
    evaluate = create_parser(["evaluate"]).parse_args(shlex.split(command)[1:])
    assert Path(evaluate.corpus[0]) == run / "corpora" / "spoken"
    clip = storage.load_corpus(evaluate.corpus[0], "test")[0]
    talker = Talker.load(evaluate.model, "cpu")
    assert talker.styles == ("neutral", "teacher")
    stream = talker.open_stream()
    assert len(stream.accept(clip.pcm) + stream.finish()) == len(clip.weights)
    low, high = checkpoint.load(evaluate.model).config.bilabial_thresholds
    assert 0.0 < low < high < 1.0

    assert main(arguments) == 0  # nothing is left to do
    assert capsys.readouterr().err.count(": done, in") == len(steps)
    config.write_text(json.dumps({**TINY_RECIPE, "generator": {**LOOP, "steps": 9}}))
    assert main(arguments) == 2 and "generator of" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_train_is_the_same_command() -> None:
    variables = ["GRID=a b/grid", "LJSPEECH=/lj", "VOICES=/v", "RUN=r"]
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "train", *variables],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    start = done.stdout.index(".venv/bin/streamingtalker train all")
    words = shlex.split(done.stdout[start:].replace("\\\n", " "))
    sources = ["--grid", "a b/grid", "--ljspeech", "/lj", "--voices", "/v"]
    assert words == [".venv/bin/streamingtalker", "train", "all", "--out", "r", *sources]
