# SPDX-License-Identifier: Apache-2.0
"""Laws of motion from animation: times kept at any rate, closures that close, FACEGOOD's names, one reason each."""

import json

import numpy as np
import pytest

pytest.importorskip("scipy")
import soundfile

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.corpus import facegood
from streamingtalker_ros.corpus.animation import Animation, on_grid, read_animation, shut
from streamingtalker_ros.corpus.storage import load_corpus
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.rotation import euler_to_quaternion

RIG = default_rig()


def performance(rate, seconds=4.0):
    """(weights (T, 52), opening in 0..1 (T,)) of a jaw that swings between 1 s and 3 s, sampled mid-frame."""
    t = (np.arange(int(rate * seconds)) + 0.5) / rate
    jaw = 0.4 * np.maximum(0, np.sin(2 * np.pi * 2 * t)) * ((t > 1) & (t < 3))
    weights = np.zeros((len(t), 52))
    weights[:, INDEX["jawOpen"]] = jaw
    return weights, jaw


def voice(seconds=4.0):
    t = np.arange(int(16000 * seconds)) / 16000
    loud = np.maximum(0, np.sin(2 * np.pi * 2 * t)) * ((t > 1) & (t < 3))
    return (0.3 * loud * np.random.default_rng(0).normal(size=len(t))).clip(-1, 1).astype(np.float32)


@pytest.fixture()
def takes(tmp_path):
    """A CSV of 60 frames/s, an NPZ of 24, and four pairs that cannot be used."""
    weights, _ = performance(60)
    head = euler_to_quaternion(
        np.stack([0.2 * np.sin(np.arange(len(weights)) / 40), *np.zeros((2, len(weights)))], axis=1)
    )
    write_livelink_csv(tmp_path / "a.csv", weights, head, 60)
    weights, _ = performance(24)
    np.savez(tmp_path / "b.npz", weights=weights, frame_rate=24.0)
    (tmp_path / "c.csv").write_text("Timecode,JawOpen\n")
    np.savez(tmp_path / "d.npz", weights=np.zeros((24 * 9, 52)), frame_rate=24.0)
    np.savez(tmp_path / "f.npz", weights=np.zeros((96, 51)), frame_rate=24.0)
    for name in "abcdef":
        soundfile.write(tmp_path / f"{name}.wav", voice(), 16000)
    return tmp_path


def test_pairs_of_any_rate_become_clips_in_step_with_their_sound(takes, capsys) -> None:
    out = takes / "out"
    assert (
        main(
            [
                "corpus",
                "from-animation",
                str(takes),
                "--out",
                str(out),
                "--speaker",
                "actor",
                "--hold-out",
                "none",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    clips = {clip.name: clip for clip in load_corpus(out)}
    assert set(clips) == {"a", "b"}
    _, wanted = performance(25)
    for clip in clips.values():
        assert (
            clip.split == "train"
            and clip.style == "actor"
            and len(clip.pcm) == 640 * len(clip.weights) == 64000
        )
        # a straight line between keys cuts a swing's top by a few per cent, it does not move it
        assert clip.weights[:, INDEX["jawOpen"]] == pytest.approx(wanted, abs=0.05)
        assert [phone.name for phone in clip.phones][:: len(clip.phones) - 1] == ["pau", "pau"]
    index = json.loads((out / "index.json").read_text())
    assert abs(index["lag"]) < 0.01 and index["lag_correlation"] > 0.9
    assert set(index["rejected"]) == {"c", "d", "e", "f"}
    for name, reason in (
        ("c", "lacks the column"),
        ("d", "do not belong together"),
        ("e", "no e.csv or e.npz"),
        ("f", "51"),
    ):
        assert reason in index["rejected"][name] and said.count(f"rejected {name}.wav") == 1


def test_hold_out_marks_the_last_or_all_for_test(takes) -> None:
    for choice, splits in (("last", {"a": "train", "b": "test"}), ("all", {"a": "test", "b": "test"})):
        out = takes / choice
        assert (
            main(
                [
                    "corpus",
                    "from-animation",
                    str(takes / "a.wav"),
                    str(takes / "b.wav"),
                    "--out",
                    str(out),
                    "--hold-out",
                    choice,
                ]
            )
            == 0
        )
        assert {clip.name: clip.split for clip in load_corpus(out)} == splits


def test_an_offset_moves_the_motion_later() -> None:
    weights, jaw = performance(25)
    animation = Animation(weights, np.zeros((100, 3)), (np.arange(100) + 0.5) / 25)
    moved, _ = on_grid(animation, 100, 0.08)
    assert moved[2:, INDEX["jawOpen"]] == pytest.approx(jaw[:-2], abs=1e-9)


def test_eyes_that_nobody_captured_live_and_captured_ones_stay(takes) -> None:
    assert (
        main(
            [
                "corpus",
                "from-animation",
                str(takes / "a.wav"),
                "--out",
                str(takes / "dead"),
                "--hold-out",
                "none",
            ]
        )
        == 0
    )
    (clip,) = load_corpus(takes / "dead")
    assert clip.weights[:, upper_face.UPPER_FACE_MASK].max() > 0.05  # rule-made
    assert clip.head[:, 2] == pytest.approx(
        0.2 * np.sin((np.arange(100) + 0.5) * 60 / 25 / 40 - 0.5 / 40), abs=0.01
    )
    assert json.loads((takes / "dead" / "index.json").read_text())["captured"] == ["head", "mouth"]
    weights, _ = performance(25)
    weights[:, INDEX["browInnerUp"]] = np.linspace(0, 0.6, 100)
    np.savez(takes / "g.npz", weights=weights, frame_rate=25.0, names=np.array(ARKIT_NAMES))
    soundfile.write(takes / "g.wav", voice(), 16000)
    assert (
        main(
            [
                "corpus",
                "from-animation",
                str(takes / "g.wav"),
                "--out",
                str(takes / "live"),
                "--hold-out",
                "none",
            ]
        )
        == 0
    )
    (clip,) = load_corpus(takes / "live")
    assert clip.weights[:, INDEX["browInnerUp"]] == pytest.approx(weights[:, INDEX["browInnerUp"]], abs=1e-3)


def test_closures_close_on_the_default_rig() -> None:
    weights, jaw = performance(25)
    weights[:, INDEX["mouthUpperUpLeft"]] = 0.08  # a rest that gapes by a quarter of a millimetre
    quiet = np.ones(100, bool)
    quiet[25:75] = False
    assert (RIG.lip_gap(weights) > 1e-4).all()
    settled = shut(weights, RIG, quiet)
    assert (RIG.lip_gap(settled)[jaw == 0] <= 0).all()
    wide = jaw > 0.2
    assert RIG.lip_gap(settled)[wide] == pytest.approx(RIG.lip_gap(weights)[wide], abs=2e-4)
    assert RIG.lip_width(settled) == pytest.approx(RIG.lip_width(weights), abs=2e-4)
    # lips that are rolled in have met, however low the jaw hangs
    weights[40, INDEX["jawOpen"]] = 0.15
    weights[40, [INDEX["mouthRollLower"], INDEX["mouthRollUpper"]]] = 0.3
    assert RIG.lip_gap(shut(weights, RIG, quiet))[40] <= 1e-9
    assert RIG.lip_gap(shut(weights, RIG, quiet))[:25].max() <= 0


def facegood_folder(folder):
    names = sorted(
        {name for sources in facegood.SOURCES.values() for name in sources}
        | {name for shares in facegood.ROUND.values() for name in shares}
        | {"tongue_u"}
    )
    (folder / "wav").mkdir(parents=True)
    (folder / "bs_value").mkdir()
    np.save(facegood.names_file(folder), np.array(names))
    for take, length in (("2_01", 4.0), ("3_15", 4.0)):
        t = np.arange(int(30 * length)) / 30  # a key stands at its time
        values = np.zeros((len(t), len(names)))
        values[:, names.index("mouth_stretch_c")] = (
            0.4 * np.maximum(0, np.sin(2 * np.pi * 2 * t)) * ((t > 1) & (t < 3))
        )
        values[:, names.index("mouth_pucker_r")] = 0.2
        values[:, names.index("mouth_funnel_ul")] = 0.1
        np.save(folder / "bs_value" / f"bs_value_1114_{take}.npy", values)
        soundfile.write(folder / "wav" / f"1114_{take}.wav", voice(length), 16000)
    soundfile.write(
        folder / "wav" / "1114_2_06.wav", voice(), 16000
    )  # sound without motion is none of theirs
    return folder, names


def test_facegoods_pairs_are_found_named_and_timed(tmp_path) -> None:
    folder, names = facegood_folder(tmp_path / "train")
    animation = read_animation(folder / "bs_value" / "bs_value_1114_2_01.npy")
    assert animation.weights[:, INDEX["mouthPucker"]] == pytest.approx(0.2)  # the larger of left and right
    assert animation.weights[:, INDEX["mouthFunnel"]] == pytest.approx(0.1)
    assert animation.times[30] == pytest.approx(1.0)
    assert main(["corpus", "from-animation", str(folder), "--out", str(tmp_path / "out")]) == 0
    clips = {clip.name: clip for clip in load_corpus(tmp_path / "out")}
    assert {name: clip.split for name, clip in clips.items()} == {"1114_2_01": "train", "1114_3_15": "test"}
    _, wanted = performance(25)
    assert clips["1114_2_01"].weights[:, INDEX["jawOpen"]] == pytest.approx(
        wanted[: len(clips["1114_2_01"].weights)], abs=0.07
    )
    values = np.zeros((1, len(names)))
    values[0, names.index("mouth_oh_c")] = 1.0
    round_mouth = facegood.to_arkit(values, names)[0]
    assert round_mouth[INDEX["mouthFunnel"]] > 0.3 and round_mouth[INDEX["mouthPucker"]] > 0.1
    (tmp_path / "empty" / "bs_value").mkdir(parents=True)
    with pytest.raises(TalkerError, match="code/train"):
        facegood.pairs(tmp_path / "empty")
