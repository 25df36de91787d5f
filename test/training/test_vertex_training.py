# SPDX-License-Identifier: Apache-2.0
"""Both stages of the vertex family on miniature data sets: losses fall, runs resume, the result streams.

What training computes is what streaming computes, and every malformed file is named.
"""

from __future__ import annotations

import itertools
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import yaml

from streamingtalker_ros import Talker
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex import hubert as vertex_hubert
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.training import distributed
from streamingtalker_ros.training.vertex import stages
from streamingtalker_ros.training.vertex.audio_context import AudioContextEncoder
from streamingtalker_ros.training.vertex.codec import CodecStage
from streamingtalker_ros.training.vertex.conditions import teacher_forced_conditions
from streamingtalker_ros.training.vertex.dataset import load_clips
from streamingtalker_ros.training.vertex.generator import GeneratorStage, encode_latents
from streamingtalker_ros.training.vertex.recipe import AudioConfig, Recipe, read_recipe
from support.vertex_reference import HUBERT

CPU = torch.device("cpu")
VERTICES = 12
SUBJECTS = {
    "vocaset": (
        ("FaceTalk_170728_03272_TA", "sentence01"),
        ("FaceTalk_170728_03272_TA", "sentence02"),
        ("FaceTalk_170904_00128_TA", "sentence40"),
        ("FaceTalk_170811_03275_TA", "sentence21"),
    ),
    "biwi": (("F2", "e01"), ("M4", "e32"), ("F2", "e33")),
}
SIZES = {
    "vertices": VERTICES,
    "codec_width": 32,
    "codec_layers": 1,
    "codec_heads": 4,
    "codec_feedforward": 32,
    "num_codebooks": 4,
    "code_dim": 8,
    "codebook_size": 32,
    "width": 24,
    "feedforward": 32,
    "layers": 1,
    "context_frames": 16,
    "num_inference_steps": 10,
}
LOOP = {"warmup_steps": 5, "log_every": 5, "beta2": 0.99, "mixed_precision": False}
RECIPE: dict[str, dict[str, Any]] = {
    "model": SIZES,
    "segments": {"max_frames": 30, "restart_interval": 8},
    "windows": {"frames": 24, "burn_in": 12},
    "audio": {"hubert": {**HUBERT, "layerdrop": 0.0}, "chunk_frames": 6, "window": 0.6},
    "learning": {"dropout": 0.05},
    "codec": {**LOOP, "steps": 90, "batch_size": 4, "lr": 3e-3, "ema_decay": 0.0, "save_every": 30},
    "generator": {**LOOP, "steps": 120, "batch_size": 4, "lr": 3e-3, "ema_decay": 0.95, "save_every": 40},
}
BOUNDS: dict[str, Any] = {"chunk_frames": 6, "window": 0.6}


def _mouth_opening(
    pcm: npt.NDArray[np.float32], rate: int, times: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Loudness around each time, 0 … 1: how far the miniature's mouth is open."""
    centers = np.clip((times * rate).astype(int), 0, len(pcm))
    half = rate // 40
    rms = [np.sqrt(np.mean(pcm[max(center - half, 0) : center + half] ** 2)) for center in centers]
    return 4 * np.array(rms)


def _write_dataset(folder: Path, name: str, seconds: float = 2.5, rate: int = 22050) -> Path:
    """A data set of noise bursts and faces whose lower half opens with them."""
    rng = np.random.default_rng(0)
    (folder / "vertices_npy").mkdir(parents=True)
    (folder / "wav").mkdir()
    templates: dict[str, npt.NDArray[np.float64]] = {}
    file_rate = 60 if name == "vocaset" else 25
    for subject, sentence in SUBJECTS[name]:
        face = templates.setdefault(subject, rng.normal(size=(VERTICES, 3)))
        times = np.arange(int(seconds * rate)) / rate
        envelope = 0.25 * np.clip(np.sin(2 * np.pi * times * 1.3 + rng.uniform(0, 6)), 0, 1)
        pcm = (envelope * rng.normal(size=len(times))).astype(np.float32)
        opening = _mouth_opening(pcm, rate, (np.arange(int(seconds * file_rate)) + 0.5) / file_rate)
        frames = np.repeat(face[None], len(opening), 0)
        frames[:, :6, 1] -= 0.5 * opening[:, None]
        frames = frames.reshape(len(frames), -1).astype(np.float32)
        np.save(folder / "vertices_npy" / f"{subject}_{sentence}.npy", frames)
        soundfile.write(folder / "wav" / f"{subject}_{sentence}.wav", pcm, rate)
    with open(folder / "templates.pkl", "wb") as file:
        pickle.dump(templates, file, protocol=2)
    return folder


Data = dict[str, Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return {name: _write_dataset(tmp_path_factory.mktemp(name) / "data", name) for name in SUBJECTS}


def _recipe(folder: Path, name: str = "vocaset", **changes: dict[str, Any]) -> Recipe:
    path = folder / "recipe.yaml"
    names = {*RECIPE, *changes}
    sections = {section: {**RECIPE.get(section, {}), **changes.get(section, {})} for section in names}
    path.write_text(yaml.safe_dump(sections))
    return read_recipe(path, name)


def _train_command(stage: str, data: Path, run: Path, config: Path | None = None) -> list[str]:
    command = ["train", stage, "--dataset", "vocaset", "--data", str(data), "--out", str(run)]
    return command + (["--config", str(config)] if config else [])


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    _recipe(folder)
    for stage in ("codec", "generator"):
        assert main(_train_command(stage, data["vocaset"], folder, folder / "recipe.yaml")) == 0
    return folder


def _log_column(folder: Path, name: str) -> list[float]:
    head, *rows = [row.split(",") for row in (folder / "log.csv").read_text().splitlines()]
    return [float(row[head.index(name)]) for row in rows]


def test_losses_of_both_stages_fall(trained: Path) -> None:
    for stage in ("codec", "generator"):
        for name in ("loss", "vertices"):
            values = _log_column(trained / stage, name)
            assert np.mean(values[-3:]) < 0.5 * np.mean(values[:2]), (stage, name)
    codec, generator = (
        json.loads((trained / stage / "figures.json").read_text()) for stage in ("codec", "generator")
    )
    assert codec["distance"] < 0.3 * codec["distance_at_rest"] and codec["perplexity"] > 3
    # of an unseen subject, in the neutral style
    assert generator["distance"] < 0.85 * generator["distance_at_rest"]


def test_the_trained_network_streams_and_follows_the_audio(trained: Path, data: Data) -> None:
    talker = Talker.load(trained / "generator", "cpu", **BOUNDS, decode_frames=16)
    assert isinstance(talker, VertexTalker)
    assert talker.styles == ("neutral", "FaceTalk_170728_03272_TA", "FaceTalk_170904_00128_TA")
    clip = load_clips("vocaset", data["vocaset"], "train")[0]
    templates = pickle.loads((data["vocaset"] / "templates.pkl").read_bytes())
    mean_face = np.mean([templates[name] for name in talker.styles[1:]], 0)
    assert np.allclose(talker.template, mean_face, atol=1e-6)
    for style in (None, clip.subject):
        stream = talker.open_stream(style=style)
        frames = list(
            itertools.chain.from_iterable(stream.accept(piece) for piece in np.array_split(clip.pcm, 7))
        )
        frames += stream.finish()
        mouth = np.array([frame.vertices[:6, 1].mean() for frame in frames])[: len(clip)]
        target = np.asarray(clip.motion).reshape(len(clip), VERTICES, 3)[: len(mouth), :6, 1].mean(1)
        assert np.corrcoef(mouth, target)[0, 1] > 0.7, style
    with pytest.raises(TalkerError, match="neutral, FaceTalk_170728_03272_TA"):
        talker.open_stream(style="nobody")


class InterruptedRunError(Exception):
    """Raised in the middle of a run."""


@pytest.mark.parametrize("stage", ["codec", "generator"])
def test_an_interrupted_run_resumes_bit_for_bit(
    stage: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"steps": 7, "save_every": 3, "mixed_precision": True}
    recipe = _recipe(tmp_path, "biwi", learning={"finetune_decoder": True}, codec=short, generator=short)
    where = ("biwi", data["biwi"])
    train = stages.train_codec if stage == "codec" else stages.train_generator
    if stage == "generator":
        stages.train_codec(*where, tmp_path / "straight", recipe, device="cpu")
        shutil.copytree(tmp_path / "straight", tmp_path / "cut")
    train(*where, tmp_path / "straight", recipe, device="cpu")
    stage_type: Any = CodecStage if stage == "codec" else GeneratorStage
    call = stage_type.__call__

    def interrupted(self: Any, step: int, rng: Any) -> Any:
        if step == 5:
            raise InterruptedRunError
        return call(self, step, rng)

    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(stage_type, "__call__", interrupted)
        train(*where, tmp_path / "cut", recipe, device="cpu")
    train(*where, tmp_path / "cut", recipe, device="cpu")
    first, second = (
        torch.load(tmp_path / run / stage / "state.pt", weights_only=True) for run in ("straight", "cut")
    )
    for name, tensor in first["parameters"].items():
        assert torch.equal(tensor, second["parameters"][name]), name
    if stage == "generator":  # the decoder is trained further; encoder and codes are frozen
        codec = stages.read_codec_weights(tmp_path / "cut" / "codec", recipe.config(("F2", "M4"), HUBERT))
        talker = Talker.load(tmp_path / "cut" / "generator", "cpu", **BOUNDS)
        assert isinstance(talker, VertexTalker)
        final = talker.network.codec.state_dict()
        changed = {name.split(".")[0] for name in codec if not torch.equal(codec[name], final[name])}
        assert changed == {"pre", "decoder", "leave"}


@pytest.fixture(scope="module")
def network(data: Data, tmp_path_factory: pytest.TempPathFactory) -> VertexNetwork:
    torch.manual_seed(0)
    recipe = _recipe(tmp_path_factory.mktemp("network"))
    subjects = stages.ordered_subjects(load_clips("vocaset", data["vocaset"], "train", False))
    return VertexNetwork(recipe.config(subjects, HUBERT))


def test_conditions_of_a_window_equal_those_of_the_ring_buffer(network: VertexNetwork) -> None:
    c, rows = network.config, 40  # more than the ring's 16, and than a period
    torch.manual_seed(1)
    past, audio = torch.randn(2, rows, c.latent_dim), torch.randn(2, rows, c.audio_dim)
    style, zero = torch.tensor([0, 2]), torch.zeros(2, dtype=torch.int64)
    state = network.predictor.init_state(2)
    stepped = torch.stack(
        [network.predictor.step(past[:, n], audio[:, n], style, state) for n in range(rows)], 1
    )
    expected = teacher_forced_conditions(network.predictor, past, audio, style, zero)
    assert torch.allclose(expected, stepped, atol=1e-5)
    mid_speech = teacher_forced_conditions(
        network.predictor, past[:, 7:], audio[:, 7:], style, torch.tensor([7, 7])
    )
    assert torch.allclose(mid_speech[:, 16:], stepped[:, 23:], atol=1e-5)  # one layer: h rows suffice
    assert not torch.allclose(mid_speech[:, :1], stepped[:, 7:8], atol=1e-2)
    dropped = teacher_forced_conditions(network.predictor, past, audio, style, zero, dropout=0.2)
    assert not torch.allclose(dropped, expected, atol=1e-2)


def test_training_features_equal_those_of_a_stream(
    network: VertexNetwork, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = load_clips("vocaset", data["vocaset"], "train")[1]
    talker = VertexTalker(network, **BOUNDS, decode_frames=16)
    features: list[torch.Tensor] = []
    windows: list[Any] = []
    encode_windows, encode = talker.encode_windows, vertex_hubert.encode

    def record_window(model: Any, audio: Any) -> torch.Tensor:
        windows.append(audio[0])
        return encode(model, audio)

    def record_features(*arguments: Any) -> torch.Tensor:
        features.append(encode_windows(*arguments))
        return features[-1]

    monkeypatch.setattr(vertex_hubert, "encode", record_window)
    monkeypatch.setattr(talker, "encode_windows", record_features)
    stream = talker.open_stream()
    stream.accept(clip.pcm)
    stream.finish()
    streamed = torch.cat(features, 1)[0]
    encoder = AudioContextEncoder(network.audio, network.config, AudioConfig(**BOUNDS), CPU)
    # compared before HuBERT, whose base model hides a wrong level
    for run, window in zip(encoder.plan_stream(clip, 0, len(clip)), windows, strict=False):
        assert np.allclose(run.pcm, window, atol=1e-5)
    variants: list[dict[str, Any]] = [{}, {"cache_features": False}, {"freeze_encoder": True}]
    for changes in variants:
        config = AudioConfig(**BOUNDS, **changes)
        encoder = AudioContextEncoder(network.audio, network.config, config, CPU).train(False)
        with torch.no_grad():
            for first, count in ((0, 20), (13, 31), (len(clip) - 9, 9)):
                trained = encoder([clip, clip], [first, 0], count)
                assert torch.allclose(trained[0], streamed[first : first + count], atol=2e-4), changes
                assert torch.allclose(trained[1], streamed[:count], atol=2e-4)


def test_utterance_features_are_those_of_the_published_training(network: VertexNetwork, data: Data) -> None:
    clip = load_clips("vocaset", data["vocaset"], "train")[0]
    config = AudioConfig(mode="utterance")
    encoder = AudioContextEncoder(network.audio, network.config, config, CPU).train(False)
    with torch.no_grad():
        pcm = vertex_hubert.normalize(torch.from_numpy(clip.pcm))
        raw = vertex_hubert.encode(network.audio, pcm[None])
        stretched = torch.nn.functional.interpolate(
            raw.transpose(1, 2), len(clip), mode="linear", align_corners=True
        )
        assert torch.allclose(encoder([clip], [11], 30)[0], stretched[0].T[11:41], atol=1e-4)


def test_windows_carry_the_real_history_of_their_place(
    network: VertexNetwork, data: Data, tmp_path: Path
) -> None:
    clips = load_clips("vocaset", data["vocaset"], "train")
    recipe = _recipe(tmp_path, learning={"style_dropout": 0.3})
    stage = GeneratorStage(network, None, clips, recipe, distributed.get_process("cpu"))
    start, latents = network.codec.start_latent(), encode_latents(network.codec, clips, "cpu")
    windows = [stage.sample(np.random.default_rng(seed)) for seed in range(12)]
    for window in windows:
        assert window.past.shape == window.latents.shape == (4, 36, network.config.latent_dim)
        for b, (clip, first) in enumerate(zip(window.clips, window.first.tolist(), strict=True)):
            i = clips.index(clip)
            assert torch.equal(window.past[b], latents[i][first : first + 36])
            assert torch.equal(window.latents[b], latents[i][first + 1 : first + 37])
            target = np.asarray(clip.motion)[first : first + 36] - clip.template
            assert np.allclose(window.offsets[b], target, atol=1e-6)
            assert window.loss_mask[b].sum() == (24 if first else 36)
            assert first or torch.equal(window.past[b, 0], start)
            assert network.config.identities[int(window.style[b])] in ("neutral", clip.subject)
    style = torch.cat([window.style for window in windows])
    assert 0.1 < (style == 0).float().mean() < 0.6


def test_the_history_is_augmented_as_in_the_recipe(
    network: VertexNetwork, data: Data, tmp_path: Path
) -> None:
    clips = load_clips("vocaset", data["vocaset"], "train")
    unchanged = {
        "dropout_prob": 0.0,
        "truncation_prob": 0.0,
        "max_noise": 0.0,
        "scheduled_sampling_prob": 0.0,
        "scheduled_sampling_start": 0.5,
        "scheduled_sampling_ratio": 1.0,
    }

    def change(
        step: int = 0, **changes: float
    ) -> tuple[GeneratorStage, torch.Tensor, torch.Tensor, int | None]:
        recipe = _recipe(tmp_path, history={**unchanged, **changes})
        stage = GeneratorStage(network, None, clips, recipe, distributed.get_process("cpu"))
        window = stage.sample(np.random.default_rng(5))
        audio = torch.zeros(*window.past.shape[:2], network.config.audio_dim)
        with torch.no_grad():
            past, reach = stage.change_history(window, audio, step, np.random.default_rng(0))
        return stage, window.past, past, reach

    _, before, after, reach = change()
    assert torch.equal(before, after) and reach is None
    _, _, after, _ = change(dropout_prob=1.0)
    assert torch.equal(after, network.codec.start_latent().expand_as(after))
    stage, before, after, _ = change(max_noise=0.5)
    noise = ((after - before) / stage.latent_std)[..., stage.latent_std > 0].std()
    assert 0.05 < noise < 0.5
    reach = change(truncation_prob=1.0)[3]
    assert reach is not None and 1 <= reach <= network.config.context_frames
    _, before, after, _ = change(scheduled_sampling_prob=1.0)
    assert torch.equal(before, after)  # not yet
    _, before, after, _ = change(step=60, scheduled_sampling_prob=1.0)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.isclose(before[:, 1:], after[:, 1:]).all(-1).any()


def test_stage_2_begins_with_a_checkpoint_and_hubert_of_a_folder(
    data: Data, trained: Path, tmp_path: Path
) -> None:
    where = ("vocaset", data["vocaset"])

    def load(folder: Path) -> VertexNetwork:
        talker = Talker.load(folder, "cpu", **BOUNDS)
        assert isinstance(talker, VertexTalker)
        return talker.network

    initial = load(trained / "generator")
    initial_hubert: Any = initial.audio
    initial_hubert.save_pretrained(tmp_path / "hubert")
    hubert = {"hubert": str(tmp_path / "hubert")}
    recipe = _recipe(tmp_path, audio=hubert, codec={"steps": 0}, generator={"steps": 0})
    run = tmp_path / "run"
    stages.train_codec(*where, run, recipe, trained / "generator", "cpu")
    for start in (None, trained / "generator"):
        result = load(stages.train_generator(*where, run, recipe, start, "cpu")).state_dict()
        equal = {name for name, value in initial.state_dict().items() if torch.equal(value, result[name])}
        same = {name.split(".")[0] for name in equal}
        assert {"codec", "audio", "template"} <= same and ("head" in same) == bool(start)
        assert not start or equal == set(initial.state_dict())
    (tmp_path / "hubert" / "model.safetensors").unlink()
    with pytest.raises(TalkerError, match="hubert holds no weights"):
        stages.train_generator(*where, run, recipe, None, "cpu")


TEMPLATES = "templates.pkl"
WAV = "wav/FaceTalk_170904_00128_TA_sentence40.wav"
MOTION = "vertices_npy/FaceTalk_170728_03272_TA_sentence02.npy"
DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "code in templates": (TEMPLATES, lambda path: path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")),
    "cut templates": (TEMPLATES, lambda path: path.write_bytes(path.read_bytes()[:50])),
    "a face of text": (
        TEMPLATES,
        lambda path: path.write_bytes(pickle.dumps({"FaceTalk_170728_03272_TA": "a face"}, 2)),
    ),
    "missing templates": (TEMPLATES, Path.unlink),
    "missing audio": (WAV, Path.unlink),
    "no audio": (WAV, lambda path: path.write_text("RIFF?")),
    "short audio": (WAV, lambda path: soundfile.write(path, np.zeros(4000, np.float32), 16000)),
    "missing motion": (MOTION, Path.unlink),
    "pickled motion": (MOTION, lambda path: np.save(path, np.array([{}], object), allow_pickle=True)),
    "another mesh": (MOTION, lambda path: np.save(path, np.zeros((100, 15), np.float32))),
    "cut motion": (MOTION, lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "motion not finite": (
        MOTION,
        lambda path: np.save(path, np.full((150, 3 * VERTICES), np.nan, np.float32)),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_missing_or_malformed_file_is_named(
    damage: str, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, apply = DAMAGES[damage]
    shutil.copytree(data["vocaset"], tmp_path / "data")
    apply(tmp_path / "data" / file)
    _recipe(tmp_path)
    stage = "generator" if file == WAV else "codec"
    command = _train_command(stage, tmp_path / "data", tmp_path / "run", tmp_path / "recipe.yaml")
    assert main(command) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert Path(file).name in message and message.startswith("streamingtalker: error: ")


def test_an_incomplete_clip_can_be_left_out(data: Data, tmp_path: Path) -> None:
    shutil.copytree(data["vocaset"], tmp_path / "data")
    (tmp_path / "data" / WAV).unlink()
    clips = load_clips("vocaset", tmp_path / "data", "train", skip_incomplete=True)
    assert [clip.name[-2:] for clip in clips] == ["01", "02"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"generators": {}}, "unknown key 'generators': did you mean 'generator'"),
        ({"windows": {"frame": 3}}, "unknown key 'frame'"),
        ({"windows": {"frames": "many"}}, "frames is 'many'"),
        ({"model": {"hubert": {}}}, "unknown key 'hubert'"),
        ({"audio": {"mode": "all"}}, "stream or utterance"),
        ({"codec": {"lr_schedule": "poly"}}, "schedule 'poly'"),
        ({"codec": {"lr": -1.0}}, "must not be negative"),
        (["model"], "must be a table"),
    ],
)
def test_mistakes_in_a_recipe_are_named(sections: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(sections))
    with pytest.raises(TalkerError) as error:
        read_recipe(tmp_path / "recipe.yaml", "vocaset")
    assert message in str(error.value)


def test_missing_inputs_of_stage_2_are_named(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _recipe(tmp_path)
    command = _train_command("talker", data["vocaset"], tmp_path / "a")  # the stage's earlier name
    assert main(command) == 2 and "needs HuBERT" in capsys.readouterr().err
    assert main([*command, "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert "run `streamingtalker train codec`" in capsys.readouterr().err
    assert main(["train", "codec", "--dataset", "vocaset"]) == 2 and "--data" in capsys.readouterr().err
