# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker animate` with a vertex checkpoint: arrays, a video of its mesh, no other output."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from streamingtalker_ros.cli import main
from support import vertex_reference as reference

SECONDS = 0.87
NUM_VERTICES = int(reference.VOCASET["vertices"] or 0)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("audio") / "voice.wav"
    pcm = 0.1 * np.random.default_rng(0).standard_normal(int(SECONDS * 16000)).astype(np.float32)
    soundfile.write(path, pcm, 16000)
    return str(path)


def write_template(path: Path, num_vertices: int) -> Path:
    """A strip of triangles as PLY, as wide as a face in millimetres."""
    lines = ["ply", "format ascii 1.0", f"element vertex {num_vertices}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {num_vertices - 2}", "property list uchar int vertex_indices", "end_header"]
    lines += [f"{10 * (k // 2)} {100 * (k % 2)} {k % 5}" for k in range(num_vertices)]
    lines += [f"3 {k} {k + 1} {k + 2}" for k in range(num_vertices - 2)]
    path.write_text("\n".join(lines) + "\n")
    return path


def convert(folder: Path, out: Path, *options: str) -> Path:
    files = ("--config", str(folder / "config.yaml"), "--hubert-config", str(folder / "hubert_config.json"))
    command = [
        "convert",
        str(folder / "checkpoint.ckpt"),
        *files,
        "--out",
        str(out),
        "--unit",
        "mm",
        *options,
    ]
    assert main(command) == 0
    return out


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A converted checkpoint with a template that has triangles, and one without a template."""
    folder = tmp_path_factory.mktemp("vertex")
    reference.write_checkpoint(folder, reference.VOCASET)
    template = write_template(folder / "template.ply", NUM_VERTICES)
    with_mesh = convert(folder, folder / "mesh", "--template", str(template))
    return with_mesh, convert(folder, folder / "offsets")


def animate(audio: str, model: Path, out: Path, *options: str) -> int:
    return main(["animate", audio, "--model", str(model), "--device", "cpu", "--out", str(out), *options])


def test_npz_of_a_vertex_checkpoint_holds_vertices_template_and_triangles(
    audio: str, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    assert animate(audio, checkpoints[0], tmp_path / "a.npz") == 0
    with np.load(tmp_path / "a.npz") as file:
        clip = dict(file)
    frames = int(np.ceil(SECONDS * float(clip["frame_rate"])))
    assert abs(len(clip["times"]) - frames) <= 1 and clip["vertices"].shape == (
        len(clip["times"]),
        NUM_VERTICES,
        3,
    )
    assert clip["template"].shape == (NUM_VERTICES, 3) and clip["triangles"].shape == (NUM_VERTICES - 2, 3)
    # the file's y is up, which is z here; millimetres become metres
    assert np.ptp(clip["template"][:, 2]) == pytest.approx(0.1, rel=1e-5)


def test_mp4_of_a_vertex_checkpoint_shows_its_mesh(
    audio: str, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    assert animate(audio, checkpoints[0], tmp_path / "a.mp4") == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) >= 20 and len(np.unique(images[0].reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("kind", [".csv", ".png"])
def test_outputs_of_arkit_weights_are_rejected_for_a_vertex_checkpoint(
    kind: str,
    audio: str,
    checkpoints: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert animate(audio, checkpoints[0], tmp_path / f"a{kind}") == 2
    error = capsys.readouterr().err
    assert "choose .npz or .mp4" in error and error.count("\n") == 1
    assert not (tmp_path / f"a{kind}").exists()


def test_a_checkpoint_without_triangles_gives_arrays_and_no_video(
    audio: str, checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert animate(audio, checkpoints[1], tmp_path / "a.npz") == 0
    assert animate(audio, checkpoints[1], tmp_path / "a.mp4") == 2
    assert "no triangles" in capsys.readouterr().err


def test_a_control_that_a_vertex_checkpoint_lacks_is_named(
    audio: str, checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert animate(audio, checkpoints[0], tmp_path / "a.npz", "--guidance", "2") == 2
    assert "guidance" in capsys.readouterr().err
