# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker animate` writes the format of the output's extension, for both families of checkpoints."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.gltf_document import GltfDocument
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv
from streamingtalker_ros.face.interpolation import resample_motion
from streamingtalker_ros.face.visemes import OCULUS_VISEMES, PRESTON_BLAIR_VISEMES
from streamingtalker_ros.resources import DEMO_AUDIO
from support import vertex_reference as reference
from support.command_line import run_command
from support.face_files import mouth_patch, write_test_glb
from support.udp_receiver import UdpReceiver

SECONDS = 0.63
NUM_FRAMES = int(np.ceil(SECONDS * FRAME_RATE))
PUBLISHED = Path(__file__).parents[1] / "data" / "reference_parity"  # recording of the published code
NUM_VERTICES = int(reference.VOCASET["vertices"] or 0)
PUBLISHED_VERTICES = 24


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech in two channels at 24 kHz, so that it has to be mixed and resampled."""
    pcm, rate = soundfile.read(DEMO_AUDIO, dtype="float32")
    pcm = np.repeat(pcm[: int(SECONDS * rate)], 3)[::2]
    path = tmp_path_factory.mktemp("audio") / "voice.wav"
    soundfile.write(path, np.stack([pcm, pcm * 0.5], axis=1), 24000)
    return path


def animate(audio: Path, out: Path, *options: object) -> int:
    return run_command("animate", audio, "--out", out, "--device", "cpu", *options)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)


# -- the default checkpoint ----------------------------------------------------------------------------------


def test_csv_and_npz_hold_the_same_motion(audio: Path, tmp_path: Path) -> None:
    assert animate(audio, tmp_path / "a.npz", "--seed", 3) == 0
    assert animate(audio, tmp_path / "a.csv", "--seed", 3) == 0
    motion = read_npz(tmp_path / "a.npz")
    samples = round(soundfile.info(audio).duration * SAMPLE_RATE)
    frames = -(-samples // HOP_LENGTH)
    assert motion["weights"].shape == (frames, 52) and motion["head"].shape == (frames, 4)
    assert tuple(motion["names"]) == ARKIT_NAMES and motion["frame_rate"] == FRAME_RATE
    np.testing.assert_allclose(motion["times"], np.arange(frames) / FRAME_RATE)
    assert motion["weights"].min() >= 0 and motion["weights"].max() <= 1 and motion["speaking"].dtype == bool
    with open(tmp_path / "a.csv", newline="") as file:
        jaw = [float(row["JawOpen"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(jaw, motion["weights"][:, INDEX["jawOpen"]], atol=1e-6)


def test_motion_is_a_function_of_audio_and_seed(audio: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert animate(audio, tmp_path / f"{name}.npz", "--seed", seed) == 0
    first, same, other = (read_npz(tmp_path / f"{name}.npz")["head"] for name in "abc")
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_csv_of_sixty_rows_a_second_begins_at_its_timecode_and_is_read_back(
    audio: Path, tmp_path: Path
) -> None:
    assert animate(audio, tmp_path / "a.npz", "--seed", 3) == 0
    options = ("--seed", 3, "--fps", 60, "--start-timecode", "23:59:59:30")
    assert animate(audio, tmp_path / "a.csv", *options) == 0
    motion = read_npz(tmp_path / "a.npz")
    weights, head, times = resample_motion(motion["weights"], motion["head"], motion["times"], 60.0)
    clip = read_livelink_csv(tmp_path / "a.csv")
    assert clip.frame_rate == 60 and len(clip.weights) == len(weights)
    np.testing.assert_allclose(clip.times, times, atol=2e-5)
    np.testing.assert_allclose(clip.weights, weights, atol=1e-6)
    assert np.abs((clip.head * head).sum(axis=1)).min() > 1 - 1e-6
    with open(tmp_path / "a.csv", newline="") as file:
        codes = [row["Timecode"] for row in csv.DictReader(file)]
    assert codes[0] == "23:59:59:30.000" and codes[30] == "00:00:00:00.000"


def test_json_holds_tracks_of_every_shape_and_the_times_of_visemes(audio: Path, tmp_path: Path) -> None:
    assert animate(audio, tmp_path / "a.npz", "--seed", 3) == 0
    assert animate(audio, tmp_path / "a.json", "--seed", 3) == 0
    assert animate(audio, tmp_path / "a.vtt", "--seed", 3, "--visemes", "preston-blair") == 0
    motion = read_npz(tmp_path / "a.npz")
    clip = json.loads((tmp_path / "a.json").read_text())
    tracks = {track["name"]: track for track in clip["tracks"]}
    for name, column in zip(ARKIT_NAMES, motion["weights"].T, strict=True):
        track = tracks[f".morphTargetInfluences[{name}]"]
        np.testing.assert_allclose(track["times"], motion["times"], atol=1e-6)
        np.testing.assert_allclose(track["values"], column, atol=1e-6)
    assert len(tracks["Head.quaternion"]["values"]) == 4 * len(motion["times"])
    starts, durations = np.array(clip["vtimes"]), np.array(clip["vdurations"])
    np.testing.assert_allclose(starts[1:], (starts + durations)[:-1], atol=0.01)  # without a gap
    assert (starts + durations)[-1] == pytest.approx(1000 * clip["duration"], abs=0.01)
    assert set(clip["visemes"]) <= set(OCULUS_VISEMES) and len(set(clip["visemes"])) > 3
    cues = (tmp_path / "a.vtt").read_text().split("\n\n")
    assert cues[0] == "WEBVTT" and cues[1].startswith("00:00:00.000 --> ")
    assert {cue.splitlines()[1] for cue in cues[1:]} <= set(PRESTON_BLAIR_VISEMES.values())


def test_a_glb_animates_the_default_head_and_an_avatar(audio: Path, tmp_path: Path) -> None:
    face = write_test_glb(tmp_path / "face.glb", *mouth_patch())
    assert animate(audio, tmp_path / "a.npz", "--seed", 3) == 0
    assert animate(audio, tmp_path / "a.glb", "--seed", 3) == 0
    assert animate(audio, tmp_path / "b.glb", "--seed", 3, "--face", face, "--fps", 60) == 0
    motion = read_npz(tmp_path / "a.npz")

    def values(name: str) -> npt.NDArray[Any]:
        document = GltfDocument(tmp_path / name)
        output = document.tree["animations"][0]["samplers"][0]["output"]
        shapes = len(document.tree["meshes"][0]["extras"]["targetNames"])
        return document.accessor(output).reshape(-1, shapes)

    np.testing.assert_array_equal(values("a.glb"), motion["weights"])
    expected, _, _ = resample_motion(motion["weights"], motion["head"], motion["times"], 60.0)
    np.testing.assert_allclose(values("b.glb")[:, 0], expected[:, INDEX["jawOpen"]], atol=1e-6)


def test_all_frames_of_a_file_arrive_at_a_live_output_in_real_time(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with UdpReceiver() as receiver:
        url = f"livelink://127.0.0.1:{receiver.port}?rate=25"
        assert run_command("animate", audio, "--output", url, "--device", "cpu", "--seed", 3) == 0
        assert animate(audio, tmp_path / "a.npz", "--seed", 3) == 0
    expected = read_npz(tmp_path / "a.npz")["weights"]
    sent = np.array([np.frombuffer(datagram[-244:], ">f4")[:52] for datagram in receiver.datagrams])
    np.testing.assert_allclose(sent[: len(expected)], expected, atol=1e-6)
    assert not sent[-1].any()  # at rest
    assert receiver.times[len(expected) - 1] - receiver.times[0] > 0.7 * SECONDS
    assert f"{len(sent)} poses sent, 0 not received" in capsys.readouterr().err


def test_png_shows_shaded_faces(audio: Path, tmp_path: Path) -> None:
    assert animate(audio, tmp_path / "a.png") == 0
    with Image.open(tmp_path / "a.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape[1] > 1000 and len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000


def test_mp4_has_a_picture_per_frame_and_the_audio(audio: Path, tmp_path: Path) -> None:
    assert animate(audio, tmp_path / "a.mp4", "--size", "96x128") == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == NUM_FRAMES
        assert container.streams.audio[0].codec_context.name == "aac"


def test_a_video_has_the_size_rate_and_colour_that_are_asked_for(audio: Path, tmp_path: Path) -> None:
    options = ("--size", "96x128", "--fps", 30, "--background", "#00b140")
    assert animate(audio, tmp_path / "a.mp4", *options) == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 30
    assert len(images) == 1 + int((NUM_FRAMES - 1) / FRAME_RATE * 30 + 1e-6)
    assert images[0].shape == (128, 96, 3)
    corners = images[0][[0, -1], 0].astype(int)  # of H.264, which keeps colours to some steps
    assert np.abs(corners - [0x00, 0xB1, 0x40]).max() < 12


@pytest.mark.parametrize("ending", [".webm", ".mov", ".png"])
def test_a_transparent_background_has_no_alpha_and_the_face_all(
    ending: str, audio: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    assert animate(audio, path, "--size", "96x128", "--background", "transparent") == 0
    if ending == ".png":
        with Image.open(path) as image:
            alpha = np.asarray(image.getchannel("A"))[:160, :110]  # the first picture of the sheet
    else:
        with av.open(str(path)) as container:
            codec = "libvpx-vp9" if ending == ".webm" else "prores"  # FFmpeg's own VP9 decoder skips alpha
            decoder = av.CodecContext.create(codec, "r")
            decoder.extradata = container.streams.video[0].codec_context.extradata
            packet = next(container.demux(video=0))
            frame = [*decoder.decode(packet), *decoder.decode(None)][0]
            alpha = frame.to_ndarray(format="rgba")[..., 3]
            assert container.streams.audio
    middle = alpha[alpha.shape[0] // 2, alpha.shape[1] // 2]
    assert middle > 250 and alpha[2, 2] < 5


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["no.wav", "--out", "a.csv"], "no file"),
        (["AUDIO", "--out", "a.doc"], "choose one"),
        (["AUDIO", "--out", "no/such/folder/a.csv"], "make it first"),
        (["AUDIO", "--out", "a.csv", "--device", "gpu"], "auto"),
        (["AUDIO", "--out", "a.csv", "--model", "no/such/folder"], "no/such/folder"),
        (["AUDIO", "--out", "a.csv", "--style", "opera"], "opera"),
        (["AUDIO", "--out", "a.png", "--fps", "30"], "--fps has no effect here: it is for --out .csv"),
        (["AUDIO", "--out", "a.csv", "--size", "64x64"], "--size has no effect here: it is for --out .mp4"),
        (["AUDIO", "--out", "a.mp4", "--size", "1280"], "WIDTHxHEIGHT"),
        (["AUDIO", "--out", "a.webm", "--size", "65x64"], "make both sizes even"),
        (["AUDIO", "--out", "a.mp4", "--background", "blurple"], "no colour"),
        (["AUDIO", "--out", "a.mp4", "--background", "transparent"], "choose .webm, .mov or .png"),
        (["AUDIO", "--out", "a.npz", "--start-timecode", "01:00:00:00"], "it is for --out .csv"),
        (["AUDIO", "--out", "a.csv", "--visemes", "oculus"], "it is for --out .json, .vtt"),
        (["AUDIO", "--out", "a.csv", "--face", "a.glb"], "it is for --out .glb"),
        (["AUDIO", "--out", "a.glb", "--face", "none.glb"], "none.glb is not a file"),
        (["AUDIO"], "give --out FILE.csv or --output livelink://HOST"),
        (["AUDIO", "--output", "livelnk://host"], "did you mean livelink"),
        (["AUDIO", "--out", "a.csv", "--output", "osc://host:0"], "give 1 to 65535"),
    ],
)
def test_invalid_input_is_reported_in_one_line_and_exits_with_2(
    audio: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command("animate", *(audio if word == "AUDIO" else word for word in arguments)) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("streamingtalker: error: ") and message in last


# -- vertex checkpoints --------------------------------------------------------------------------------------


def write_template(path: Path, num_vertices: int) -> Path:
    """A strip of triangles as PLY, as wide as a face in millimetres."""
    lines = ["ply", "format ascii 1.0", f"element vertex {num_vertices}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {num_vertices - 2}", "property list uchar int vertex_indices", "end_header"]
    lines += [f"{10 * (k // 2)} {100 * (k % 2)} {k % 5}" for k in range(num_vertices)]
    lines += [f"3 {k} {k + 1} {k + 2}" for k in range(num_vertices - 2)]
    path.write_text("\n".join(lines) + "\n")
    return path


def convert(folder: Path, out: Path, *options: object) -> Path:
    files = ("--config", folder / "config.yaml", "--hubert-config", folder / "hubert_config.json")
    command = ("convert", folder / "checkpoint.ckpt", *files, "--out", out, "--unit", "mm", *options)
    assert run_command(*command) == 0
    return out


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A converted checkpoint with a template that has triangles, and one without a template."""
    folder = tmp_path_factory.mktemp("vertex")
    reference.write_checkpoint(folder, reference.VOCASET)
    template = write_template(folder / "template.ply", NUM_VERTICES)
    with_mesh = convert(folder, folder / "mesh", "--template", template)
    return with_mesh, convert(folder, folder / "offsets")


def check_video(path: Path) -> None:
    """Assert that a video shows something for about the duration of the audio."""
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) >= SECONDS * FRAME_RATE and len(np.unique(images[0].reshape(-1, 3), axis=0)) > 100


def test_npz_of_a_vertex_checkpoint_holds_vertices_template_and_triangles(
    audio: Path, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    assert animate(audio, tmp_path / "a.npz", "--model", checkpoints[0]) == 0
    clip = read_npz(tmp_path / "a.npz")
    frames = len(clip["times"])
    assert abs(frames - int(np.ceil(SECONDS * float(clip["frame_rate"])))) <= 1
    assert clip["vertices"].shape == (frames, NUM_VERTICES, 3)
    assert clip["template"].shape == (NUM_VERTICES, 3) and clip["triangles"].shape == (NUM_VERTICES - 2, 3)
    # the file's y is up, which is z here; millimetres become metres
    assert np.ptp(clip["template"][:, 2]) == pytest.approx(0.1, rel=1e-5)


def test_mp4_of_a_vertex_checkpoint_shows_its_mesh(
    audio: Path, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    assert animate(audio, tmp_path / "a.mp4", "--model", checkpoints[0], "--size", "96x128") == 0
    check_video(tmp_path / "a.mp4")


def test_the_published_miniature_is_converted_and_animated(audio: Path, tmp_path: Path) -> None:
    template = write_template(tmp_path / "template.ply", PUBLISHED_VERTICES)
    model = convert(PUBLISHED, tmp_path / "model", "--template", template)
    assert animate(audio, tmp_path / "a.npz", "--model", model) == 0
    vertices = read_npz(tmp_path / "a.npz")["vertices"]
    assert vertices.shape[1:] == (PUBLISHED_VERTICES, 3) and np.isfinite(vertices).all()
    assert np.ptp(vertices, axis=0).max() > 0
    assert animate(audio, tmp_path / "a.mp4", "--model", model, "--size", "96x128") == 0
    check_video(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", [".csv", ".png"])
def test_outputs_of_arkit_weights_are_rejected_for_a_vertex_checkpoint(
    kind: str,
    audio: Path,
    checkpoints: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert animate(audio, tmp_path / f"a{kind}", "--model", checkpoints[0]) == 2
    error = capsys.readouterr().err
    assert "choose .npz or .mp4" in error and error.count("\n") == 1
    assert not (tmp_path / f"a{kind}").exists()


def test_a_checkpoint_without_triangles_gives_arrays_and_no_video(
    audio: Path, checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert animate(audio, tmp_path / "a.npz", "--model", checkpoints[1]) == 0
    assert animate(audio, tmp_path / "a.mp4", "--model", checkpoints[1]) == 2
    assert "no triangles" in capsys.readouterr().err


def test_a_control_that_a_vertex_checkpoint_lacks_is_named(
    audio: Path, checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert animate(audio, tmp_path / "a.npz", "--model", checkpoints[0], "--guidance", 2) == 2
    assert "guidance" in capsys.readouterr().err
