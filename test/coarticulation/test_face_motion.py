# SPDX-License-Identifier: Apache-2.0
"""ARKit motion as CSV or NPZ beside WAV, through the commands: a corpus, the stages of the default family, a stream.
Every stage, cut between two saves, goes on bit for bit."""

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
soundfile = pytest.importorskip("soundfile")

from streamingtalker_ros import Talker  # noqa: E402
from streamingtalker_ros.cli.main import main  # noqa: E402
from streamingtalker_ros.face.arkit import INDEX  # noqa: E402
from streamingtalker_ros.face.formats.livelink import write_livelink_csv  # noqa: E402
from streamingtalker_ros.model.blendshape import checkpoint  # noqa: E402
from streamingtalker_ros.training import stages  # noqa: E402

TINY = dict(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=12,
    head_width=32,
    head_blocks=2,
    num_codebooks=4,
    codebook_size=32,
    code_dim=8,
)
STAGES = {"codec": stages.CodecStage, "listener": stages.ListenerStage, "talker": stages.TalkerStage}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("animation"), np.random.default_rng(0)
    (folder / "takes").mkdir()
    for name, rate in (("a", 60), ("b", 24)):
        times = (np.arange(4 * rate) + 0.5) / rate
        weights = np.zeros((len(times), 52))
        weights[:, INDEX["jawOpen"]] = (
            0.4 * np.clip(np.sin(4 * np.pi * times), 0, 1) * (np.abs(times - 2) < 1)
        )
        if name == "a":
            level = np.tile([0.0, 0.0, 0.0, 1.0], (len(times), 1))
            write_livelink_csv(folder / "takes" / "a.csv", weights, level, rate)
        else:
            np.savez(folder / "takes" / "b.npz", weights=weights, frame_rate=float(rate))
        loud = np.interp(np.arange(64000) / 16000, times, weights[:, INDEX["jawOpen"]])
        soundfile.write(folder / "takes" / f"{name}.wav", loud * rng.normal(size=64000).clip(-2, 2), 16000)
    assert main(["corpus", "from-animation", str(folder / "takes"), "--out", str(folder / "corpus")]) == 0
    return folder / "corpus"


def test_animation_and_its_sound_train_a_talker_that_resumes_bit_for_bit(
    corpus, tmp_path, monkeypatch
) -> None:
    steps = {"steps": 7, "batch": 2, "save_every": 3, "warmup": 2}
    recipe = {
        "model": TINY,
        "windows": {"frames": 24, "lead": 8, "lives": 1},
        **{stage: steps for stage in STAGES},
        "history": {"own_from": 0.2, "own": 1.0},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def train(stage, run):
        return main(
            [
                "train",
                stage,
                "--corpus",
                str(corpus),
                "--out",
                str(tmp_path / run),
                "--config",
                str(tmp_path / "recipe.yaml"),
            ]
        )

    for stage, kind in STAGES.items():
        assert train(stage, "straight") == 0
        call = kind.__call__

        def cut(self, step, rng):
            if step == 5:
                raise KeyboardInterrupt
            return call(self, step, rng)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "__call__", cut)
            assert train(stage, "cut") == 130
        assert train(stage, "cut") == 0
        first, second = (
            torch.load(tmp_path / run / stage / "state.pt", weights_only=True) for run in ("straight", "cut")
        )
        assert first["step"] == second["step"] == 7
        for part in ("parameters", "average"):
            for name, tensor in first[part].items():
                assert torch.equal(tensor, second[part][name]), (stage, part, name)
    stream = Talker.load(tmp_path / "cut" / "talker", "cpu").open_stream()
    assert len(stream.accept(np.zeros(16000, np.float32)) + stream.finish()) == 25


def test_a_listener_may_keep_a_share_of_the_weights_it_began_with(corpus, tmp_path) -> None:
    def learned(keep):
        steps = {"steps": 4, "batch": 2, "save_every": 4, "warmup": 2}
        recipe = {
            "model": TINY,
            "windows": {"frames": 24, "lead": 8, "lives": 1},
            "codec": steps,
            "listener": {**steps, "keep": keep, "rate": 0.01},
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        for stage in ("codec", "listener"):
            assert (
                main(
                    [
                        "train",
                        stage,
                        "--corpus",
                        str(corpus),
                        "--out",
                        str(tmp_path / str(keep)),
                        "--config",
                        str(tmp_path / "recipe.yaml"),
                    ]
                )
                == 0
            )
        return {
            name: tensor
            for name, tensor in checkpoint.load(tmp_path / str(keep) / "listener").state_dict().items()
            if name.startswith("encoder.")
        }

    free, half, begun = learned(0.0), learned(0.5), learned(1.0)
    assert any((free[name] - begun[name]).abs().max() > 0.01 for name in free)
    for name in free:
        assert torch.allclose(half[name], 0.5 * (free[name] + begun[name]), atol=1e-6), name
