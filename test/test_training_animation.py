"""ARKit motion as CSV or NPZ beside WAV, through the commands: a corpus, the stages of the default family, a stream."""
import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("scipy")
soundfile = pytest.importorskip("soundfile")

from streamingtalker_ros import Talker  # noqa: E402
from streamingtalker_ros.cli.main import main  # noqa: E402
from streamingtalker_ros.face.arkit import INDEX  # noqa: E402
from streamingtalker_ros.face.livelink import write_livelink_csv  # noqa: E402

TINY = dict(audio_width=32, audio_blocks=2, codec_width=32, width=32, feedforward=64, history=12, head_width=32,
            head_blocks=2, slots=4, codes=32, code_dim=8)


def test_animation_and_its_sound_train_a_talker(tmp_path):
    takes, rng = tmp_path / "takes", np.random.default_rng(0)
    takes.mkdir()
    for name, rate in (("a", 60), ("b", 24)):
        times = (np.arange(4 * rate) + 0.5) / rate
        weights = np.zeros((len(times), 52))
        weights[:, INDEX["jawOpen"]] = 0.4 * np.clip(np.sin(4 * np.pi * times), 0, 1) * (np.abs(times - 2) < 1)
        if name == "a":
            write_livelink_csv(takes / "a.csv", weights, np.tile([0.0, 0.0, 0.0, 1.0], (len(times), 1)), rate)
        else:
            np.savez(takes / "b.npz", weights=weights, frame_rate=float(rate))
        loud = np.interp(np.arange(64000) / 16000, times, weights[:, INDEX["jawOpen"]])
        soundfile.write(takes / f"{name}.wav", loud * rng.normal(size=64000).clip(-2, 2), 16000)
    assert main(["corpus", "from-animation", str(takes), "--out", str(tmp_path / "corpus")]) == 0
    recipe = {"model": TINY, "windows": {"frames": 24, "lead": 8, "lives": 1},
              **{stage: {"steps": 3, "batch": 2} for stage in ("codec", "listener", "talker")}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for stage in ("codec", "listener", "talker"):
        assert main(["train", stage, "--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "run"), "--config",
                     str(tmp_path / "recipe.yaml")]) == 0
    stream = Talker.load(tmp_path / "run" / "talker", "cpu").open_stream()
    assert len(stream.accept(np.zeros(16000, np.float32)) + stream.finish()) == 25
