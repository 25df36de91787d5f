# SPDX-License-Identifier: Apache-2.0
"""Corpora from animation: times hold at any frame rate, lip contacts close, rejected pairs have one reason
each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.corpus import facegood
from streamingtalker_ros.corpus.animation import (
    Animation,
    close_lip_contacts,
    read_animation,
    resample_animation,
)
from streamingtalker_ros.corpus.storage import load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.rotation import euler_to_quaternion
from support.command_line import run_command

RIG = default_rig()


def jaw_motion(rate: float, seconds: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """(weights (T, 52), jawOpen (T,)) of a jaw that swings between 1 s and 3 s, sampled at the middles of
    frames."""
    t = (np.arange(int(rate * seconds)) + 0.5) / rate
    jaw = 0.4 * np.maximum(0, np.sin(2 * np.pi * 2 * t)) * ((t > 1) & (t < 3))
    weights = np.zeros((len(t), 52))
    weights[:, INDEX["jawOpen"]] = jaw
    return weights, jaw


def noise_in_step(seconds: float = 4.0) -> np.ndarray:
    """Noise whose level follows the jaw of `jaw_motion`."""
    t = np.arange(int(16000 * seconds)) / 16000
    level = np.maximum(0, np.sin(2 * np.pi * 2 * t)) * ((t > 1) & (t < 3))
    return (0.3 * level * np.random.default_rng(0).normal(size=len(t))).clip(-1, 1).astype(np.float32)


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """A CSV of 60 frames/s, an NPZ of 24, and four pairs that cannot be used."""
    weights, _ = jaw_motion(60)
    angle = 0.2 * np.sin(np.arange(len(weights)) / 40)
    head = euler_to_quaternion(np.stack([angle, *np.zeros((2, len(weights)))], axis=1))
    write_livelink_csv(tmp_path / "a.csv", weights, head, 60)
    weights, _ = jaw_motion(24)
    np.savez(tmp_path / "b.npz", weights=weights, frame_rate=24.0)
    (tmp_path / "c.csv").write_text("Timecode,JawOpen\n")
    np.savez(tmp_path / "d.npz", weights=np.zeros((24 * 9, 52)), frame_rate=24.0)
    np.savez(tmp_path / "f.npz", weights=np.zeros((96, 51)), frame_rate=24.0)
    for name in "abcdef":
        soundfile.write(tmp_path / f"{name}.wav", noise_in_step(), 16000)
    return tmp_path


def test_pairs_of_any_frame_rate_become_clips_in_step_with_their_audio(
    takes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = takes / "out"
    options = ("--out", out, "--speaker", "actor", "--hold-out", "none")
    assert run_command("corpus", "from-animation", takes, *options) == 0
    printed = capsys.readouterr().out
    clips = {clip.name: clip for clip in load_corpus(out)}
    assert set(clips) == {"a", "b"}
    _, jaw = jaw_motion(25)
    for clip in clips.values():
        assert (clip.split, clip.style) == ("train", "actor")
        assert len(clip.pcm) == 640 * len(clip.weights) == 64000
        # linear interpolation lowers the peaks by a few per cent, but does not move them
        assert clip.weights[:, INDEX["jawOpen"]] == pytest.approx(jaw, abs=0.05)
        assert clip.phones[0].name == clip.phones[-1].name == "pau"
    index = read_index(out)
    assert abs(index["av_lag_s"]) < 0.01 and index["av_lag_correlation"] > 0.9
    assert set(index["rejected"]) == {"c", "d", "e", "f"}
    for name, reason in (
        ("c", "lacks the column"),
        ("d", "do not belong together"),
        ("e", "no e.csv or e.npz"),
        ("f", "51"),
    ):
        assert reason in index["rejected"][name]
        assert printed.count(f"rejected {name}.wav") == 1


@pytest.mark.parametrize(
    ("choice", "splits"),
    [
        ("last", {"a": "train", "b": "test"}),
        ("all", {"a": "test", "b": "test"}),
        ("none", {"a": "train", "b": "train"}),
    ],
)
def test_hold_out_assigns_the_test_split(takes: Path, choice: str, splits: dict[str, str]) -> None:
    sounds = (takes / "a.wav", takes / "b.wav")
    assert run_command("corpus", "from-animation", *sounds, "--out", takes / "out", "--hold-out", choice) == 0
    assert {clip.name: clip.split for clip in load_corpus(takes / "out")} == splits


def test_an_offset_delays_the_motion() -> None:
    weights, jaw = jaw_motion(25)
    animation = Animation(weights, np.zeros((100, 3)), (np.arange(100) + 0.5) / 25)
    delayed, _ = resample_animation(animation, 100, 0.08)
    assert delayed[2:, INDEX["jawOpen"]] == pytest.approx(jaw[:-2], abs=1e-9)


def test_uncaptured_eyes_get_rule_based_motion(takes: Path) -> None:
    options = ("--out", takes / "out", "--hold-out", "none")
    assert run_command("corpus", "from-animation", takes / "a.wav", *options) == 0
    (clip,) = load_corpus(takes / "out")
    assert clip.weights[:, upper_face.UPPER_FACE_MASK].max() > 0.05
    captured_head = 0.2 * np.sin((np.arange(100) + 0.5) * 60 / 25 / 40 - 0.5 / 40)
    assert clip.head[:, 2] == pytest.approx(captured_head, abs=0.01)
    assert read_index(takes / "out")["captured_parts"] == ["head", "mouth"]


def test_captured_brows_stay(takes: Path) -> None:
    weights, _ = jaw_motion(25)
    weights[:, INDEX["browInnerUp"]] = np.linspace(0, 0.6, 100)
    np.savez(takes / "g.npz", weights=weights, frame_rate=25.0, names=np.array(ARKIT_NAMES))
    soundfile.write(takes / "g.wav", noise_in_step(), 16000)
    options = ("--out", takes / "out", "--hold-out", "none")
    assert run_command("corpus", "from-animation", takes / "g.wav", *options) == 0
    (clip,) = load_corpus(takes / "out")
    assert clip.weights[:, INDEX["browInnerUp"]] == pytest.approx(weights[:, INDEX["browInnerUp"]], abs=1e-3)


def test_lip_contacts_close_on_the_default_rig() -> None:
    weights, jaw = jaw_motion(25)
    weights[:, INDEX["mouthUpperUpLeft"]] = 0.08  # a mouth at rest that gapes by a quarter of a millimetre
    is_quiet = np.ones(100, bool)
    is_quiet[25:75] = False
    assert (RIG.lip_gap(weights) > 1e-4).all()
    closed = close_lip_contacts(weights, RIG, is_quiet)
    assert (RIG.lip_gap(closed)[jaw == 0] <= 0).all()
    is_open = jaw > 0.2
    assert RIG.lip_gap(closed)[is_open] == pytest.approx(RIG.lip_gap(weights)[is_open], abs=2e-4)
    assert RIG.lip_width(closed) == pytest.approx(RIG.lip_width(weights), abs=2e-4)


def test_rolled_in_lips_touch_at_any_jaw_opening() -> None:
    weights, _ = jaw_motion(25)
    weights[40, INDEX["jawOpen"]] = 0.15
    weights[40, [INDEX["mouthRollLower"], INDEX["mouthRollUpper"]]] = 0.3
    is_quiet = np.ones(100, bool)
    is_quiet[25:75] = False
    gap = RIG.lip_gap(close_lip_contacts(weights, RIG, is_quiet))
    assert gap[40] <= 1e-9 and gap[:25].max() <= 0


@pytest.fixture
def facegood_folder(tmp_path: Path) -> tuple[Path, list[str]]:
    """(code/train as FACEGOOD publishes it, names of its shapes)."""
    folder = tmp_path / "train"
    names = sorted(
        {name for sources in facegood.ARKIT_SOURCES.values() for name in sources}
        | {name for gains in facegood.ROUNDED_VOWEL_GAINS.values() for name in gains}
        | {"tongue_u"}
    )
    (folder / "wav").mkdir(parents=True)
    (folder / "bs_value").mkdir()
    np.save(facegood.shape_names_path(folder), np.array(names))
    for take in ("2_01", "3_15"):
        t = np.arange(30 * 4) / 30  # keyframe k stands at k / 30 s
        values = np.zeros((len(t), len(names)))
        swing = 0.4 * np.maximum(0, np.sin(2 * np.pi * 2 * t)) * ((t > 1) & (t < 3))
        values[:, names.index("mouth_stretch_c")] = swing
        values[:, names.index("mouth_pucker_r")] = 0.2
        values[:, names.index("mouth_funnel_ul")] = 0.1
        np.save(folder / "bs_value" / f"bs_value_1114_{take}.npy", values)
        soundfile.write(folder / "wav" / f"1114_{take}.wav", noise_in_step(), 16000)
    soundfile.write(folder / "wav" / "1114_2_06.wav", noise_in_step(), 16000)  # audio without motion
    return folder, names


def test_facegoods_pairs_become_clips_in_step_with_their_audio(
    facegood_folder: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, _ = facegood_folder
    animation = read_animation(folder / "bs_value" / "bs_value_1114_2_01.npy")
    assert animation.weights[:, INDEX["mouthPucker"]] == pytest.approx(0.2)  # the larger of left and right
    assert animation.weights[:, INDEX["mouthFunnel"]] == pytest.approx(0.1)
    assert animation.times[30] == pytest.approx(1.0)
    assert run_command("corpus", "from-animation", folder, "--out", tmp_path / "out") == 0
    clips = {clip.name: clip for clip in load_corpus(tmp_path / "out")}
    assert {name: clip.split for name, clip in clips.items()} == {"1114_2_01": "train", "1114_3_15": "test"}
    _, jaw = jaw_motion(25)
    weights = clips["1114_2_01"].weights
    assert weights[:, INDEX["jawOpen"]] == pytest.approx(jaw[: len(weights)], abs=0.07)


def test_facegoods_rounded_vowels_drive_funnel_and_pucker(
    facegood_folder: tuple[Path, list[str]],
) -> None:
    _, names = facegood_folder
    values = np.zeros((1, len(names)))
    values[0, names.index("mouth_oh_c")] = 1.0
    (weights,) = facegood.to_arkit(values, names)
    assert weights[INDEX["mouthFunnel"]] > 0.3 and weights[INDEX["mouthPucker"]] > 0.1


def test_a_folder_that_is_not_facegoods_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "bs_value").mkdir()
    with pytest.raises(TalkerError, match="code/train"):
        facegood.find_pairs(tmp_path)
