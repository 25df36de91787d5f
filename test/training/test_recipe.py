# SPDX-License-Identifier: Apache-2.0
"""Recipes: the shipped ones load, keys of earlier versions mean the same, mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.training.generator import GeneratorConfig, HistoryConfig
from streamingtalker_ros.training.recipe import read_recipe
from streamingtalker_ros.training.recipe_keys import stage_folder
from streamingtalker_ros.training.trainer import TrainerConfig
from streamingtalker_ros.training.vertex.recipe import read_recipe as read_vertex_recipe

CONFIG = Path(__file__).resolve().parents[2] / "config"
OLD_RECIPE = {
    "corpora": {"film": {"kind": "from-video", "of": "grid"}},
    "model": {"audio_blocks": 2, "slots": 4},
    "mix": {"film": 0.4},
    "windows": {"lead": 8, "lives": 1, "versions": 2, "noisy": 0.6, "hiss": 0.3, "mixing": {"snr": [0, 30]}},
    "codec": {"steps": 7, "batch": 2, "rate": 0.01, "warmup": 3, "clip": 0.5, "average": 0.9},
    "talker": {"listens": False, "draws": 1, "mixed": False, "schedule": "halving", "halve_every": 9},
    "closure": {"momentum": 0.999},
    "history": {"drop": 0.2, "cut": 0.1, "blur": 0.3, "own": 1.0, "own_from": 0.2, "deaf": 0.05},
}
OLD_VERTEX_RECIPE = {
    "data": {"incomplete": True},
    "pieces": {"whole": 0.4, "frames": 30, "cut": 0.3, "restart": 8},
    "windows": {"lead": 12, "at_start": 0.1},
    "audio": {"hear": "utterance", "hop": 6, "freeze": True, "cache": False, "hidden": 0.1},
    "learning": {"neutral": 0.3},
    "talker": {"rate": 0.5},
}


def _write(folder: Path, recipe: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_shipped_recipes_load() -> None:
    recipe = read_recipe(CONFIG / "train.yaml")
    assert sum(recipe["mixture"].values()) == pytest.approx(1.0)
    assert set(recipe["mixture"]) == set(recipe["corpora"])
    assert TrainerConfig(**recipe["codec"]).batch_size == 32
    for dataset in ("vocaset", "biwi"):
        assert read_vertex_recipe(CONFIG / f"train_{dataset}.yaml", dataset).codec.lr == 1e-4


def test_keys_of_earlier_versions_mean_the_same(tmp_path: Path) -> None:
    recipe = read_recipe(_write(tmp_path, OLD_RECIPE))
    assert recipe["corpora"] == {"film": {"kind": "from-video", "sources": "grid"}}
    assert recipe["mixture"] == {"film": 0.4}
    assert recipe["windows"] == {
        "burn_in": 8,
        "motion_variants": 1,
        "audio_variants": 2,
        "augmentation_prob": 0.6,
        "stationary_noise_prob": 0.3,
        "augmentation": {"snr_db": [0, 30]},
    }
    assert TrainerConfig(**recipe["codec"]) == TrainerConfig(
        steps=7, batch_size=2, lr=0.01, warmup_steps=3, max_grad_norm=0.5, ema_decay=0.9
    )
    assert GeneratorConfig(**recipe["generator"]) == GeneratorConfig(
        train_encoder=False,
        noise_draws=1,
        mixed_precision=False,
        lr_schedule="halving",
        lr_halving_steps=9,
    )
    assert TrainerConfig(**recipe["articulation_heads"]).beta2 == 0.999
    assert HistoryConfig(**recipe["history"]) == HistoryConfig(
        dropout_prob=0.2,
        truncation_prob=0.1,
        max_noise=0.3,
        scheduled_sampling_prob=1.0,
        scheduled_sampling_start=0.2,
        audio_dropout=0.05,
    )


def test_keys_of_earlier_versions_mean_the_same_for_the_vertex_family(tmp_path: Path) -> None:
    recipe = read_vertex_recipe(_write(tmp_path, OLD_VERTEX_RECIPE), "biwi")
    assert recipe.data.skip_incomplete
    segments = recipe.segments
    assert (segments.full_clip_prob, segments.max_frames, segments.decoder_crop_prob) == (0.4, 30, 0.3)
    assert segments.restart_interval == 8
    assert (recipe.windows.burn_in, recipe.windows.start_prob) == (12, 0.1)
    audio = recipe.audio
    assert (audio.mode, audio.chunk_frames, audio.mask_prob) == ("utterance", 6, 0.1)
    assert audio.freeze_encoder and not audio.cache_features
    assert recipe.learning.style_dropout == 0.3 and recipe.generator.lr == 0.5


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"codek": {}}, "unknown key 'codek': did you mean 'codec'"),
        ({"codec": {"step": 3}}, "section codec has the unknown key 'step': did you mean 'steps'"),
        ({"windows": {"burnin": 3}}, "did you mean 'burn_in'"),
        ({"windows": {"augmentation": {"snr_bd": 3}}}, "did you mean 'snr_db'"),
        ({"codec": {"rate": 1.0, "lr": 1.0}}, "'lr' is set twice"),
        ({"codec": 3}, "section codec, must be a table"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(TalkerError, match=message):
        read_recipe(_write(tmp_path, recipe))


def test_run_folders_of_earlier_versions_are_found(tmp_path: Path) -> None:
    assert stage_folder(tmp_path, "generator") == tmp_path / "generator"
    (tmp_path / "talker").mkdir()
    assert stage_folder(tmp_path, "generator") == tmp_path / "talker"
    (tmp_path / "generator").mkdir()
    assert stage_folder(tmp_path, "generator") == tmp_path / "generator"


def test_a_copy_of_the_shipped_recipe_behaves_as_the_recipe_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamingtalker_ros.training import stages

    received: list[Any] = []

    def train_codec(*arguments: Any) -> dict[str, Any]:
        received.append(arguments)
        return {}

    monkeypatch.setattr(stages, "train_codec", train_codec)
    text = resources.find("config", "train.yaml").read_text(encoding="utf-8")
    (tmp_path / "copy.yaml").write_text(text)
    (tmp_path / "mine.yaml").write_text(text.replace("  grid: 0.07", "  mine: 0.07"))
    command = ["train", "codec", "--corpus", str(tmp_path / "grid"), "--corpus", str(tmp_path / "other")]
    for options in ([], ["--config", str(tmp_path / "copy.yaml")]):
        assert main([*command, "--out", str(tmp_path / "run"), *options]) == 0
    assert received[0] == received[1] and received[0][2]["mixture"] == {"grid": 0.07}
    assert main([*command, "--out", str(tmp_path / "run"), "--config", str(tmp_path / "mine.yaml")]) == 0
    assert received[2][2]["mixture"] == {
        "mine": 0.07
    }  # which `load_mixture` rejects: no such corpus is given
