# SPDX-License-Identifier: Apache-2.0
"""The command line: `animate` writes what it promises, errors are one sentence, --help needs no torch."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.cli import COMMANDS, main
from streamingtalker_ros.cli.demo import VOICE


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """0.87 s of speech in two channels at 24 kHz, so that mixing and resampling are on the way."""
    pcm, rate = soundfile.read(VOICE, dtype="float32")
    pcm = np.repeat(pcm[: int(0.87 * rate)], 3)[::2]
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(path, np.stack([pcm, pcm * 0.5], axis=1), 24000)
    return str(path)


def animate(voice, out, *more):
    pytest.importorskip("torch", reason="torch is not installed")
    assert main(["animate", voice, "--out", str(out), "--device", "cpu", *more]) == 0
    return out


def test_csv_and_npz_hold_the_same_motion(voice, tmp_path) -> None:
    with np.load(animate(voice, tmp_path / "a.npz", "--seed", "3")) as file:
        motion = dict(file)
    seconds = soundfile.info(voice).duration
    frames = int(np.ceil(round(seconds * 16000) / 640))
    assert motion["weights"].shape == (frames, 52) and motion["head"].shape == (frames, 4)
    assert tuple(motion["names"]) == ARKIT_NAMES and motion["frame_rate"] == 25
    np.testing.assert_allclose(motion["times"], np.arange(frames) / 25)
    assert motion["weights"].min() >= 0 and motion["weights"].max() <= 1 and motion["speaking"].dtype == bool
    with open(animate(voice, tmp_path / "a.csv", "--seed", "3"), newline="") as file:
        rows = list(csv.DictReader(file))
    jaw = [float(row["JawOpen"]) for row in rows]
    np.testing.assert_allclose(jaw, motion["weights"][:, ARKIT_NAMES.index("jawOpen")], atol=1e-6)


def test_another_seed_is_another_take(voice, tmp_path) -> None:
    takes = []
    for name, seed in (("a.npz", "0"), ("b.npz", "0"), ("c.npz", "1")):
        with np.load(animate(voice, tmp_path / name, "--seed", seed)) as file:
            takes.append(file["head"])
    np.testing.assert_array_equal(takes[0], takes[1])
    assert np.abs(takes[0] - takes[2]).max() > 0


def test_png_and_mp4_show_the_face(voice, tmp_path) -> None:
    for module in ("vtk", "av", "PIL"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    import av
    from PIL import Image

    sheet = np.asarray(Image.open(animate(voice, tmp_path / "a.png")))
    colors = np.unique(sheet.reshape(-1, 3), axis=0)
    assert sheet.shape[1] > 1000 and len(colors) > 1000  # shaded faces, not a blank
    with av.open(str(animate(voice, tmp_path / "a.mp4"))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 22  # 0.87 s
        assert container.streams.audio[0].codec_context.name == "aac"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["animate", "no.wav", "--out", "a.csv"], "no file"),
        (["animate", "VOICE", "--out", "a.doc"], "choose one"),
        (["animate", "VOICE", "--out", "no/such/folder/a.csv"], "make it first"),
        (["animate", "VOICE", "--out", "a.csv", "--device", "gpu"], "auto"),
        (["animate", "VOICE", "--out", "a.csv", "--model", "no/such/folder"], "no/such/folder"),
        (["animate", "VOICE", "--out", "a.csv", "--style", "opera"], "opera"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    voice, arguments, sentence, capsys, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(tmp_path)
    assert main([voice if word == "VOICE" else word for word in arguments]) == 2
    words = capsys.readouterr().err.strip().splitlines()[-1]
    assert words.startswith("streamingtalker: error: ") and sentence in words


def test_every_command_explains_itself() -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from streamingtalker_ros.cli import main\n"
        "try: main(['animate', '--help'])\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_without_torch_one_sentence_tells_how_to_install_it(voice, tmp_path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom streamingtalker_ros.cli import main\n"
        f"sys.exit(main(['animate', {voice!r}, '--out', {str(tmp_path / 'a.csv')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install torch" in done.stderr and "Traceback" not in done.stderr
