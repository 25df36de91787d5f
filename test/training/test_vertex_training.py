# SPDX-License-Identifier: Apache-2.0
"""Both stages of the published family on a miniature of VOCASET and BIWI: losses fall, resumption is exact, the trained
pair streams and follows the sound; what training computes is what streaming computes; every bad file is named."""

import json
import pickle
import shutil

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
soundfile = pytest.importorskip("soundfile")

from streamingtalker_ros import Talker  # noqa: E402
from streamingtalker_ros.cli.main import main  # noqa: E402
from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.model.vertex import hubert as published_hubert  # noqa: E402
from streamingtalker_ros.model.vertex.network import VertexNetwork  # noqa: E402
from streamingtalker_ros.model.vertex.streaming import VertexTalker  # noqa: E402
from streamingtalker_ros.training import distributed  # noqa: E402
from streamingtalker_ros.training.vertex import stages  # noqa: E402
from streamingtalker_ros.training.vertex.audio_context import Hearing  # noqa: E402
from streamingtalker_ros.training.vertex.conditions import conditions  # noqa: E402
from streamingtalker_ros.training.vertex.dataset import load_clips  # noqa: E402
from streamingtalker_ros.training.vertex.generator import TalkerStage, code  # noqa: E402
from streamingtalker_ros.training.vertex.recipe import Audio, read_recipe  # noqa: E402
from support.vertex_reference import HUBERT  # noqa: E402

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
SIZES = dict(
    vertices=VERTICES,
    codec_width=32,
    codec_layers=1,
    codec_heads=4,
    codec_feedforward=32,
    num_codebooks=4,
    code_dim=8,
    codebook_size=32,
    width=24,
    feedforward=32,
    layers=1,
    context_frames=16,
    num_inference_steps=10,
)
LOOP = dict(warmup=5, log_every=5, momentum=0.99, mixed=False)
RECIPE = {
    "model": SIZES,
    "pieces": {"frames": 30, "restart": 8},
    "windows": {"frames": 24, "lead": 12},
    "audio": {"hubert": {**HUBERT, "layerdrop": 0.0}, "hop": 6, "window": 0.6},
    "learning": {"dropout": 0.05},
    "codec": {**LOOP, "steps": 90, "batch": 4, "rate": 3e-3, "average": 0.0, "save_every": 30},
    "talker": {**LOOP, "steps": 120, "batch": 4, "rate": 3e-3, "average": 0.95, "save_every": 40},
}


def opening(pcm, rate, times):
    """The loudness around each time, 0 … 1: how far the miniature's mouth is open."""
    ends = np.clip((times * rate).astype(int), 0, len(pcm))
    return (
        np.array([np.sqrt(np.mean(pcm[max(end - rate // 40, 0) : end + rate // 40] ** 2)) for end in ends])
        * 4
    )


def write(folder, name, seconds=2.5, rate=22050, seed=0):
    """A data set of noise bursts and faces whose lower half opens with them."""
    rng = np.random.default_rng(seed)
    (folder / "vertices_npy").mkdir(parents=True)
    (folder / "wav").mkdir()
    templates, stored = {}, 60 if name == "vocaset" else 25
    for subject, sentence in SUBJECTS[name]:
        face = templates.setdefault(subject, rng.normal(size=(VERTICES, 3)))
        samples = np.arange(int(seconds * rate)) / rate
        envelope = 0.25 * np.clip(np.sin(2 * np.pi * samples * 1.3 + rng.uniform(0, 6)), 0, 1)
        pcm = (envelope * rng.normal(size=len(samples))).astype(np.float32)
        open_ = opening(pcm, rate, (np.arange(int(seconds * stored)) + 0.5) / stored)
        frames = np.repeat(face[None], len(open_), 0)
        frames[:, :6, 1] -= 0.5 * open_[:, None]
        frames = frames.reshape(len(frames), -1).astype(np.float32)
        np.save(folder / "vertices_npy" / f"{subject}_{sentence}.npy", frames)
        soundfile.write(folder / "wav" / f"{subject}_{sentence}.wav", pcm, rate)
    with open(folder / "templates.pkl", "wb") as file:
        pickle.dump(templates, file, protocol=2)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name) / "data", name) for name in SUBJECTS}


def recipe_of(folder, name="vocaset", **changes):
    path = folder / "recipe.yaml"
    sections = {
        section: {**RECIPE.get(section, {}), **changes.get(section, {})} for section in {*RECIPE, *changes}
    }
    path.write_text(yaml.safe_dump(sections))
    return read_recipe(path, name)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    recipe_of(folder)
    command = [
        "--dataset",
        "vocaset",
        "--data",
        str(data["vocaset"]),
        "--out",
        str(folder),
        "--config",
        str(folder / "recipe.yaml"),
    ]
    assert main(["train", "codec", *command]) == 0
    assert main(["train", "talker", *command]) == 0
    return folder


def column(folder, name):
    head, *rows = [row.split(",") for row in (folder / "log.csv").read_text().splitlines()]
    return [float(row[head.index(name)]) for row in rows]


def test_both_losses_fall(trained) -> None:
    for stage, drop in (("codec", 0.5), ("talker", 0.5)):
        for name in ("loss", "vertices"):
            curve = column(trained / stage, name)
            assert np.mean(curve[-3:]) < drop * np.mean(curve[:2]), (stage, name)
    codec, talker = (
        json.loads((trained / stage / "figures.json").read_text()) for stage in ("codec", "talker")
    )
    assert codec["distance"] < 0.3 * codec["distance_at_rest"] and codec["perplexity"] > 3
    assert (
        talker["distance"] < 0.85 * talker["distance_at_rest"]
    )  # a subject that it never saw, in the neutral style


def test_the_trained_pair_streams_and_follows_the_sound(trained, data) -> None:
    talker = Talker.load(trained / "talker", "cpu", chunk_frames=6, window=0.6, decode_frames=16)
    assert isinstance(talker, VertexTalker)
    assert talker.styles == ("neutral", "FaceTalk_170728_03272_TA", "FaceTalk_170904_00128_TA")
    clip = load_clips("vocaset", data["vocaset"], "train")[0]
    templates = pickle.loads((data["vocaset"] / "templates.pkl").read_bytes())
    assert np.allclose(
        talker.template, np.mean([templates[name] for name in talker.styles[1:]], 0), atol=1e-6
    )
    for identity in (None, clip.subject):
        stream = talker.open_stream(style=identity)
        frames = sum((stream.accept(piece) for piece in np.array_split(clip.pcm, 7)), []) + stream.finish()
        mouth = np.array([frame.vertices[:6, 1].mean() for frame in frames])[: len(clip)]
        truth = np.asarray(clip.motion).reshape(len(clip), VERTICES, 3)[: len(mouth), :6, 1].mean(1)
        assert np.corrcoef(mouth, truth)[0, 1] > 0.7, identity
    with pytest.raises(TalkerError, match="neutral, FaceTalk_170728_03272_TA"):
        talker.open_stream(style="nobody")


class Cut(Exception):
    pass


@pytest.mark.parametrize("stage", ["codec", "talker"])
def test_resume_continues_bit_for_bit(stage, data, trained, tmp_path, monkeypatch) -> None:
    name = "biwi"
    short = {"steps": 14, "save_every": 5, "mixed": True}
    recipe = recipe_of(tmp_path, name, learning={"finetune_decoder": True}, codec=short, talker=short)
    where = (name, data[name])
    train = stages.train_codec if stage == "codec" else stages.train_talker
    for run in ("straight", "cut"):
        if stage == "talker":
            stages.train_codec(*where, tmp_path / run, recipe, device="cpu")
    train(*where, tmp_path / "straight", recipe, device="cpu")

    kind = stages.stage1.CodecStage if stage == "codec" else stages.stage2.TalkerStage
    call = kind.__call__

    def cut(self, step, rng):
        if step == 8:
            raise Cut
        return call(self, step, rng)

    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(kind, "__call__", cut)
        train(*where, tmp_path / "cut", recipe, device="cpu")
    train(*where, tmp_path / "cut", recipe, device="cpu")
    first, second = (
        torch.load(tmp_path / run / stage / "state.pt", weights_only=True) for run in ("straight", "cut")
    )
    for name, tensor in first["parameters"].items():
        assert torch.equal(tensor, second["parameters"][name]), name
    if stage == "talker":  # the decoder learns on, what the latents are made of does not
        codec = {
            name: value
            for name, value in stages._read_codec(
                tmp_path / "cut" / "codec", recipe.config(("F2", "M4"), HUBERT)
            ).items()
        }
        network = Talker.load(
            tmp_path / "cut" / "talker", "cpu", chunk_frames=6, window=0.6
        ).network.codec.state_dict()
        changed = {name.split(".")[0] for name in codec if not torch.equal(codec[name], network[name])}
        assert changed == {"pre", "decoder", "leave"}


@pytest.fixture(scope="module")
def network(data, tmp_path_factory):
    torch.manual_seed(0)
    recipe = recipe_of(tmp_path_factory.mktemp("network"))
    subjects = stages.subjects(load_clips("vocaset", data["vocaset"], "train", False))
    return VertexNetwork(recipe.config(subjects, HUBERT))


def test_conditions_of_a_window_are_those_of_the_ring(network) -> None:
    c, rows = network.config, 40  # more than the ring's 16, and than a period
    torch.manual_seed(1)
    past, audio = torch.randn(2, rows, c.latent_dim), torch.randn(2, rows, c.audio_dim)
    style = torch.tensor([0, 2])
    state, stepped = network.predictor.init_state(2), []
    for n in range(rows):
        stepped.append(network.predictor.step(past[:, n], audio[:, n], style, state))
    stepped = torch.stack(stepped, 1)
    whole = conditions(network.predictor, past, audio, style, torch.zeros(2, dtype=torch.int64))
    assert torch.allclose(whole, stepped, atol=1e-5)
    begun = conditions(network.predictor, past[:, 7:], audio[:, 7:], style, torch.tensor([7, 7]))
    assert torch.allclose(begun[:, 16:], stepped[:, 23:], atol=1e-5)  # mid-speech, one layer: h rows suffice
    assert not torch.allclose(begun[:, :1], stepped[:, 7:8], atol=1e-2)
    dropped = conditions(
        network.predictor, past, audio, style, torch.zeros(2, dtype=torch.int64), dropout=0.2
    )
    assert not torch.allclose(dropped, whole, atol=1e-2)


def test_training_hears_what_a_stream_hears(network, data, monkeypatch) -> None:
    clip = load_clips("vocaset", data["vocaset"], "train")[1]
    model, heard, windows = VertexTalker(network, chunk_frames=6, window=0.6, decode_frames=16), [], []
    listen, encode = model.encode_windows, published_hubert.encode
    monkeypatch.setattr(
        published_hubert, "encode", lambda *given: windows.append(given[1][0]) or encode(*given)
    )
    monkeypatch.setattr(model, "encode_windows", lambda *given: heard.append(listen(*given)) or heard[-1])
    stream = model.open_stream()
    stream.accept(clip.pcm)
    stream.finish()
    streamed = torch.cat(heard, 1)[0]
    hearing = Hearing(network.audio, network.config, Audio(hop=6, window=0.6), CPU)
    for ours, theirs in zip(hearing._stream(clip, 0, len(clip)), windows):  # HuBERT base hides a wrong level
        assert np.allclose(ours.pcm, theirs, atol=1e-5)
    for more in ({}, {"cache": False}, {"freeze": True}):
        settings = Audio(hop=6, window=0.6, **more)
        hearing = Hearing(network.audio, network.config, settings, CPU).train(False)
        with torch.no_grad():
            for first, count in ((0, 20), (13, 31), (len(clip) - 9, 9)):
                features = hearing([clip, clip], [first, 0], count)
                assert torch.allclose(features[0], streamed[first : first + count], atol=2e-4), (more, first)
                assert torch.allclose(features[1], streamed[:count], atol=2e-4)


def test_an_utterance_is_heard_as_published(network, data) -> None:
    clip = load_clips("vocaset", data["vocaset"], "train")[0]
    hearing = Hearing(network.audio, network.config, Audio(hear="utterance"), CPU).train(False)
    with torch.no_grad():
        raw = published_hubert.encode(
            network.audio, published_hubert.normalize(torch.from_numpy(clip.pcm))[None]
        )
        stretched = torch.nn.functional.interpolate(
            raw.transpose(1, 2), len(clip), mode="linear", align_corners=True
        )
        assert torch.allclose(hearing([clip], [11], 30)[0], stretched[0].T[11:41], atol=1e-4)


def test_windows_carry_real_history_of_their_place(network, data, tmp_path) -> None:
    clips = load_clips("vocaset", data["vocaset"], "train")
    recipe = recipe_of(tmp_path, learning={"neutral": 0.3})
    stage = TalkerStage(network, None, clips, recipe, distributed.find("cpu"))
    start, latents = network.codec.start_latent(), code(network.codec, clips, "cpu")
    windows = [stage.draw(np.random.default_rng(seed)) for seed in range(12)]
    for window in windows:
        assert window.past.shape == window.latents.shape == (4, 36, network.config.latent_dim)
        for b, (clip, first) in enumerate(zip(window.clips, window.first.tolist())):
            i = clips.index(clip)
            assert torch.equal(window.past[b], latents[i][first : first + 36])
            assert torch.equal(window.latents[b], latents[i][first + 1 : first + 37])
            truth = np.asarray(clip.motion)[first : first + 36] - clip.template
            assert np.allclose(window.offsets[b], truth, atol=1e-6)
            assert window.learned[b].sum() == (24 if first else 36)
            assert first or torch.equal(window.past[b, 0], start)
            known = network.config.identities[window.style[b]]
            assert known in ("neutral", clip.subject)
    style = torch.cat([window.style for window in windows])
    assert 0.1 < (style == 0).float().mean() < 0.6


def test_the_past_is_disturbed_as_the_recipe_says(network, data, tmp_path) -> None:
    clips = load_clips("vocaset", data["vocaset"], "train")
    quiet = {"drop": 0.0, "cut": 0.0, "blur": 0.0, "own": 0.0, "own_from": 0.5, "frames": 1.0}

    def shown(step=0, **chances):
        stage = TalkerStage(
            network, None, clips, recipe_of(tmp_path, history={**quiet, **chances}), distributed.find("cpu")
        )
        window = stage.draw(np.random.default_rng(5))
        audio = torch.zeros(*window.past.shape[:2], network.config.audio_dim)
        with torch.no_grad():
            return stage, window.past, *stage._history(window, audio, step, np.random.default_rng(0))

    _, true, past, reach = shown()
    assert torch.equal(true, past) and reach is None
    stage, _, past, _ = shown(drop=1.0)
    assert torch.equal(past, network.codec.start_latent().expand_as(past))
    stage, true, past, _ = shown(blur=0.5)
    size = ((past - true) / stage.spread)[..., stage.spread > 0].std()
    assert 0.05 < size < 0.5
    assert 1 <= shown(cut=1.0)[3] <= network.config.context_frames
    _, true, past, _ = shown(own=1.0)
    assert torch.equal(true, past)  # not yet
    _, true, past, _ = shown(step=60, own=1.0)
    assert torch.equal(true[:, 0], past[:, 0]) and not torch.isclose(true[:, 1:], past[:, 1:]).all(-1).any()


def test_stage_2_begins_with_a_checkpoint_and_hubert_of_a_folder(data, trained, tmp_path) -> None:
    where, begun = (
        ("vocaset", data["vocaset"]),
        Talker.load(trained / "talker", "cpu", chunk_frames=6, window=0.6).network,
    )
    hubert = begun.audio
    hubert.save_pretrained(tmp_path / "hubert")
    recipe = recipe_of(
        tmp_path, audio={"hubert": str(tmp_path / "hubert")}, codec={"steps": 0}, talker={"steps": 0}
    )
    stages.train_codec(*where, tmp_path / "run", recipe, trained / "talker", "cpu")
    for start in (None, trained / "talker"):
        folder = stages.train_talker(*where, tmp_path / "run", recipe, start, "cpu")
        made = Talker.load(folder, "cpu", chunk_frames=6, window=0.6).network.state_dict()
        same = {
            name.split(".")[0] for name, value in begun.state_dict().items() if torch.equal(value, made[name])
        }
        assert {"codec", "audio", "template"} <= same and ("head" in same) == bool(start)
    for name, value in begun.state_dict().items():
        assert torch.equal(value, made[name]), name
    (tmp_path / "hubert" / "model.safetensors").unlink()
    with pytest.raises(TalkerError, match="hubert holds no weights"):
        stages.train_talker(*where, tmp_path / "run", recipe, None, "cpu")


def damage(part):
    def decorate(function):
        function.part = part
        return function

    return decorate


@damage("templates.pkl")
def code_in_templates(path) -> None:
    path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")


@damage("templates.pkl")
def cut_templates(path) -> None:
    path.write_bytes(path.read_bytes()[:50])


@damage("templates.pkl")
def face_of_text(path) -> None:
    path.write_bytes(pickle.dumps({"FaceTalk_170728_03272_TA": "a face"}, 2))


@damage("templates.pkl")
def missing(path) -> None:
    path.unlink()


@damage("wav/FaceTalk_170904_00128_TA_sentence40.wav")
def missing_wav(path) -> None:
    path.unlink()


@damage("wav/FaceTalk_170904_00128_TA_sentence40.wav")
def not_sound(path) -> None:
    path.write_text("RIFF?")


@damage("wav/FaceTalk_170904_00128_TA_sentence40.wav")
def too_short(path) -> None:
    soundfile.write(path, np.zeros(4000, np.float32), 16000)


@damage("vertices_npy/FaceTalk_170728_03272_TA_sentence02.npy")
def missing_motion(path) -> None:
    path.unlink()


@damage("vertices_npy/FaceTalk_170728_03272_TA_sentence02.npy")
def pickled_motion(path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


@damage("vertices_npy/FaceTalk_170728_03272_TA_sentence02.npy")
def other_mesh(path) -> None:
    np.save(path, np.zeros((100, 15), np.float32))


@damage("vertices_npy/FaceTalk_170728_03272_TA_sentence02.npy")
def cut_motion(path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@damage("vertices_npy/FaceTalk_170728_03272_TA_sentence02.npy")
def not_finite(path) -> None:
    np.save(path, np.full((150, 3 * VERTICES), np.nan, np.float32))


HARMS = [
    code_in_templates,
    cut_templates,
    face_of_text,
    missing,
    missing_wav,
    not_sound,
    too_short,
    missing_motion,
    pickled_motion,
    other_mesh,
    cut_motion,
    not_finite,
]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_missing_or_malformed_file_is_named(harm, data, tmp_path, capsys) -> None:
    shutil.copytree(data["vocaset"], tmp_path / "data")
    harm(tmp_path / "data" / harm.part)
    recipe_of(tmp_path)
    stage = "talker" if harm.part.startswith("wav") else "codec"
    assert (
        main(
            [
                "train",
                stage,
                "--dataset",
                "vocaset",
                "--data",
                str(tmp_path / "data"),
                "--out",
                str(tmp_path / "run"),
                "--config",
                str(tmp_path / "recipe.yaml"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert harm.part.rpartition("/")[2] in said and said.startswith("streamingtalker: error: ")


def test_an_incomplete_clip_can_be_left_out(data, tmp_path) -> None:
    shutil.copytree(data["vocaset"], tmp_path / "data")
    (tmp_path / "data" / "wav" / "FaceTalk_170904_00128_TA_sentence40.wav").unlink()
    clips = load_clips("vocaset", tmp_path / "data", "train", incomplete=True)
    assert [clip.name[-2:] for clip in clips] == ["01", "02"]


@pytest.mark.parametrize(
    "sections, said",
    [
        ({"talkers": {}}, "unknown sections (talkers)"),
        ({"windows": {"frame": 3}}, "unknown entry 'frame'"),
        ({"windows": {"frames": "many"}}, "frames is 'many'"),
        ({"model": {"hubert": {}}}, "unknown size 'hubert'"),
        ({"audio": {"hear": "all"}}, "stream or utterance"),
        ({"codec": {"schedule": "poly"}}, "schedule 'poly'"),
        ({"codec": {"rate": -1.0}}, "must not be negative"),
        (["model"], "unknown sections"),
    ],
)
def test_a_recipe_that_says_nonsense_is_refused(sections, said, tmp_path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(sections))
    with pytest.raises(TalkerError) as raised:
        read_recipe(tmp_path / "recipe.yaml", "vocaset")
    assert said in str(raised.value)


def test_what_stage_2_needs_is_asked_for(data, tmp_path, capsys) -> None:
    command = [
        "train",
        "talker",
        "--dataset",
        "vocaset",
        "--data",
        str(data["vocaset"]),
        "--out",
        str(tmp_path / "a"),
    ]
    recipe_of(tmp_path)
    assert main(command) == 2 and "needs HuBERT" in capsys.readouterr().err
    assert main([*command, "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert "run `streamingtalker train codec`" in capsys.readouterr().err
    assert main(["train", "codec", "--dataset", "vocaset"]) == 2 and "--data" in capsys.readouterr().err
