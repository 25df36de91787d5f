# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs of a checkpoint folder: whole, of its weights, and rejected with one sentence otherwise."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamingtalker_ros import Talker, TalkerError
from streamingtalker_ros.cli import main
from streamingtalker_ros.model.blendshape import checkpoint, onnx_files
from streamingtalker_ros.model.blendshape.backend import Precision
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.blendshape.onnx_export import GRAPHS
from streamingtalker_ros.model.checkpoint_files import CHECKSUM_FIELD, CONFIG, WEIGHTS
from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT, load_talker
from support.tiny_vertex_talker import tiny_vertex_talker

CONFIG_OF_TESTS = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    column_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=10,
    head_width=32,
    head_blocks=1,
    num_inference_steps=2,
    styles=("neutral", "lively"),
    lip_measure_weight=0.5,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with its graphs, written by the command."""
    folder = tmp_path_factory.mktemp("original") / "model"
    torch.manual_seed(0)
    checkpoint.save(folder, TalkerNetwork(CONFIG_OF_TESTS))
    assert main(["convert", "--onnx", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def frames(talker: Any, pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    stream = talker.open_stream(seed=3)
    return np.stack([np.r_[frame.weights, frame.head] for frame in stream.accept(pcm) + stream.finish()])


def test_the_command_writes_graphs_that_give_the_frames_of_the_weights(
    folder: Path, speech: npt.NDArray[np.float32]
) -> None:
    expected = frames(load_talker(folder, "cpu", "torch"), speech[:32000])
    float32 = load_talker(folder, "cpu", "onnx", "float32")
    np.testing.assert_allclose(frames(float32, speech[:32000]), expected, atol=1e-4)
    assert np.ptp(expected, 0).max() > 0.05
    int8 = load_talker(folder, "cpu", precision="int8")
    assert int8.family == "blendshape" and int8.backend.precision == "int8"
    assert np.abs(frames(int8, speech[:32000]) - expected).mean() < 0.01


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_graphs_hold_no_weights(folder: Path, precision: Precision) -> None:
    for place in (folder, DEFAULT_CHECKPOINT):
        graphs = [place / onnx_files.graph_name(graph, precision) for graph in GRAPHS]
        assert sum(graph.stat().st_size for graph in graphs) < 130_000 < (place / WEIGHTS).stat().st_size


def test_writing_twice_gives_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["convert", "--onnx", str(folder), "--precision", "int8"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_choice_of_backend_and_precision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(**options: Any) -> tuple[str, str]:
        talker = Talker.load(folder, "cpu", **options)
        assert isinstance(talker, Talker)
        return talker.backend.name, talker.backend.precision

    def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, package, None)  # a module that is None cannot be imported

    assert chosen() == chosen(backend="onnx") == chosen(precision="float32") == ("onnx", "float32")
    assert chosen(precision="int8") == chosen(backend="onnx", precision="int8") == ("onnx", "int8")
    assert chosen(backend="torch") == ("torch", "float32")
    with monkeypatch.context() as hidden:
        hide("onnxruntime", hidden)
        assert chosen() == ("torch", "float32")
        with pytest.raises(TalkerError, match="needs onnxruntime"):
            chosen(precision="int8")
    (folder / onnx_files.manifest_name("float32")).unlink()
    assert chosen() == ("torch", "float32")  # graphs in int8 are no reason to run in int8
    assert chosen(precision="int8") == ("onnx", "int8")
    with monkeypatch.context() as hidden:
        hide("torch", hidden)
        assert chosen() == ("onnx", "float32")  # built in memory
        hide("onnx", hidden)
        with pytest.raises(TalkerError, match="no ONNX graphs in float32: run `streamingtalker convert"):
            chosen()
    (folder / onnx_files.manifest_name("int8")).unlink()
    assert chosen(backend="onnx") == ("onnx", "float32")
    assert chosen(precision="int8") == ("onnx", "int8")


@pytest.mark.parametrize(
    "options, text",
    [
        ({"backend": "tensorflow"}, "unknown backend 'tensorflow': choose auto, torch, onnx"),
        ({"backend": None}, "unknown backend"),
        ({"precision": "int4"}, "unknown precision 'int4': choose auto, float32, int8"),
        ({"precision": ["int8"]}, "unknown precision"),
        ({"backend": "torch", "precision": "int8"}, "backend torch has no precision int8"),
    ],
    ids=str,
)
def test_a_wrong_choice_is_one_sentence(folder: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(TalkerError, match=text) as caught:
        Talker.load(folder, "cpu", **options)
    assert "\n" not in str(caught.value)


def test_a_vertex_checkpoint_runs_on_torch_alone(tmp_path: Path) -> None:
    from streamingtalker_ros.model.vertex import checkpoint as vertex_checkpoint

    vertex_checkpoint.save(tmp_path / "vertex", tiny_vertex_talker(4).network)
    for options in ({"backend": "onnx"}, {"precision": "int8"}):
        with pytest.raises(TalkerError, match="vertex checkpoint"):
            load_talker(tmp_path / "vertex", "cpu", **options)
    assert load_talker(tmp_path / "vertex", "cpu", backend="torch").family == "vertex"
    assert main(["convert", "--onnx", str(tmp_path / "vertex")]) == 2


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (_truncate, "is damaged"),
    "a bit flipped": (_flip, "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "missing": (lambda path: path.unlink(), "cannot be read"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_is_rejected_with_one_sentence(folder: Path, graph: str, damage: str) -> None:
    change, text = DAMAGES[damage]
    change(folder / onnx_files.graph_name(graph, "int8"))
    with pytest.raises(TalkerError, match=text) as caught:
        Talker.load(folder, "cpu", precision="int8")
    assert "\n" not in str(caught.value) and "convert --onnx" in str(caught.value)
    load_talker(folder, "cpu")  # another file is whole
    change(folder / onnx_files.graph_name(graph, "float32"))
    with pytest.raises(TalkerError, match=text) as caught:
        Talker.load(folder, "cpu")
    assert "\n" not in str(caught.value) and "choose backend torch" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "{}", '{"format": 1}', '{"format": "one"}', "9" * 5000, "\ud800"]
)
def test_a_damaged_manifest_is_rejected_with_one_sentence(folder: Path, text: str) -> None:
    (folder / onnx_files.manifest_name("float32")).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(TalkerError) as caught:
        Talker.load(folder, "cpu")
    assert "\n" not in str(caught.value) and "convert --onnx" in str(caught.value)


@pytest.mark.parametrize(
    "digests", [None, [], {"encoder.float32.onnx": 5}, {"encoder.float32.onnx": "0" * 64}]
)
def test_a_manifest_of_other_digests_is_rejected(folder: Path, digests: Any) -> None:
    path = folder / onnx_files.manifest_name("float32")
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": digests}))
    with pytest.raises(TalkerError, match="is damaged"):
        Talker.load(folder, "cpu")


def test_graphs_of_other_weights_are_rejected(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    checkpoint.save(tmp_path / "other", TalkerNetwork(CONFIG_OF_TESTS))
    for name in (WEIGHTS, CONFIG):
        shutil.copy(tmp_path / "other" / name, folder / name)
    for precision in ("float32", "int8"):
        with pytest.raises(TalkerError, match="belongs to other weights"):
            Talker.load(folder, "cpu", "onnx", precision)
    assert load_talker(folder, "cpu", "torch").family == "blendshape"


def test_new_weights_in_the_folder_take_its_graphs_out_of_use(folder: Path) -> None:
    torch.manual_seed(2)
    checkpoint.save(folder, TalkerNetwork(CONFIG_OF_TESTS))
    talker = Talker.load(folder, "cpu")
    assert isinstance(talker, Talker) and talker.backend.name == "torch"


@pytest.mark.parametrize(
    "change",
    [{"width": 64}, {"layers": 1}, {"context_frames": 9}, {"audio_blocks": 3}, {"styles": ["a", "b", "c"]}],
)
def test_a_configuration_that_does_not_fit_the_graphs_is_rejected(
    folder: Path, change: dict[str, Any]
) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for precision in ("float32", "int8"):
        with pytest.raises(TalkerError) as caught:
            Talker.load(folder, "cpu", "onnx", precision)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500 + 2 * len(str(folder))


def test_a_checkpoint_whose_weights_do_not_fit_is_not_exported(folder: Path) -> None:
    for manifest in folder.glob("onnx.*.json"):
        manifest.unlink()
    path = folder / CONFIG
    values = json.loads(path.read_text())
    for change in (
        {"width": 64},
        {"layers": 3},
        {"layers": 1},
        {"audio_blocks": 3},
        {"audio_blocks": 1},
        {"head_blocks": 2},
        {"lip_measure_weight": 0.0},
        {"styles": ["one", "two", "three"]},
    ):
        path.write_text(json.dumps({**values, **change}))
        assert main(["convert", "--onnx", str(folder)]) == 2
        assert not list(folder.glob("onnx.*.json"))


def test_an_earlier_checkpoint_without_a_checksum_is_exported(folder: Path) -> None:
    path = folder / CONFIG
    values = json.loads(path.read_text())
    del values[CHECKSUM_FIELD]
    path.write_text(json.dumps(values))
    assert main(["convert", "--onnx", str(folder)]) == 0
    talker = Talker.load(folder, "cpu")
    assert isinstance(talker, Talker) and talker.backend.name == "onnx"


def test_wrong_options_of_the_command_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--onnx", str(folder), "--out", "x"], ["--onnx", "/nowhere"], [], [str(folder)]):
        assert main(["convert", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_frames_are_generated_where_torch_and_onnx_cannot_be_imported(folder: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnxscript')))\n"
        "import numpy as np\n"
        "from streamingtalker_ros import Talker\n"
        "for precision in ('float32', 'int8'):\n"
        "    talker = Talker.load(sys.argv[1], 'cpu', precision=precision)\n"
        "    print(len(talker.open_stream(guidance=2.0).accept(np.zeros(16000, np.float32))), precision)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["23 float32", "23 int8"]


def test_a_folder_without_graphs_is_one_sentence_where_nothing_can_build_them(folder: Path) -> None:
    for manifest in folder.glob("onnx.*.json"):
        manifest.unlink()
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'onnx')))\n"
        "from streamingtalker_ros import Talker\n"
        "Talker.load(sys.argv[1], 'cpu')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no ONNX graphs in float32: run `streamingtalker convert" in done.stderr.splitlines()[-1]


def test_the_package_ships_graphs_of_its_weights_in_both_precisions() -> None:
    for precision in ("float32", "int8"):
        backend = onnx_files.load(DEFAULT_CHECKPOINT, precision)
        assert backend.config == checkpoint.read_config(DEFAULT_CHECKPOINT)
    backend = Talker.load(device="cpu").backend
    assert (backend.name, backend.precision) == ("onnx", "float32")
