# SPDX-License-Identifier: Apache-2.0
"""Laws of the scores on a test set of synthetic clips with known answers, and of the baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import baselines, dynamics, external_motion, vertex_metrics
from streamingtalker_ros.evaluation.inference import inter_ocular_distance
from streamingtalker_ros.evaluation.motion_curves import MotionCurves, reference_curves, resample_frames
from streamingtalker_ros.evaluation.test_set import Scores, load_test_set, score
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.phonetics.phones import Phone
from support.evaluation_corpus import synthetic_clip, write_corpus

NO_ROTATION = np.array([0, 0, 0, 1], np.float32)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return default_rig()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test clips and a training clip of a voice, a clip at rest, a clip of a voice without training."""
    clips = [
        synthetic_clip("a", seed=1),
        synthetic_clip("b", seed=2),
        synthetic_clip("c", "train", seed=3),
        synthetic_clip("d", "validation", "bert", seed=4),
    ]
    still = synthetic_clip("rest", seed=5)
    still.pcm[:], still.weights[:] = 0.0, 0.0
    still.lip_opening, still.phones = np.zeros(len(still.weights)), [Phone("pau", 0.0, 3.0)]
    return write_corpus(tmp_path_factory.mktemp("corpus") / "tracked", [*clips, still])


def test_the_reference_scores_perfectly_against_itself(rig: Rig, corpus: Path) -> None:
    test_set = load_test_set(rig, corpus)
    scores, clips = score(rig, test_set, test_set.reference)
    assert scores["clips"] == 3 and scores["clips_that_move"] == 2 == len(clips["lip_opening_r"])
    for name, expected in (
        ("lip_opening_r_median", 1),
        ("lip_width_r_median", 1),
        ("lag_ms", 0),
        ("amplitude_ratio", 1),
        ("jerk_ratio", 1),
        ("lve_mm2", 0),
        ("fdd_mm2", 0),
        ("mod_mm", 0),
        ("closure_recall", 1),
        ("false_closures", 0),
        ("lip_opening_error_mm", 0),
    ):
        assert scores[name] == pytest.approx(expected, abs=1e-3), name
    assert (scores["bilabials"], scores["open_vowels"]) == (6, 4)
    assert scores["pause_lip_speed_share"] < 0.3


def test_shift_scale_and_offset_each_change_one_score(rig: Rig, corpus: Path) -> None:
    """A shift is a lag, a scale is an amplitude, an offset is missed closures."""
    test_set = load_test_set(rig, corpus)

    def score_changed(change: Callable[[np.ndarray], np.ndarray]) -> Scores:
        curves = [MotionCurves(change(curve.opening), curve.width) for curve in test_set.reference]
        return score(rig, test_set, curves)[0]

    late = score_changed(lambda opening: np.r_[0.0, opening[:-1]])
    assert late["lag_ms"] == pytest.approx(40.0, abs=6.0) and late["lag_within_one_frame"] == 1.0
    assert late["amplitude_ratio"] == pytest.approx(1.0, abs=0.02) and np.isnan(late["lve_mm2"])
    small = score_changed(lambda opening: 0.5 * opening)
    assert small["amplitude_ratio"] == pytest.approx(0.5)
    assert small["lip_opening_r_median"] == pytest.approx(1.0)
    assert small["closure_recall"] == 1.0  # closed is relative to the open vowels of the same system
    ajar = score_changed(lambda opening: opening + 0.05)
    assert ajar["closure_recall"] == 0.0 and ajar["lip_opening_r_median"] == pytest.approx(1.0)
    shut = score_changed(np.zeros_like)
    assert shut["lip_opening_r_median"] == 0.0 and shut["amplitude_ratio"] == 0.0


def test_untracked_frames_are_interpolated_and_overlapping_lips_are_closed(rig: Rig) -> None:
    clip = synthetic_clip("a")
    assert clip.lip_opening is not None
    opening = clip.lip_opening.copy()
    opening[10:12], opening[20] = np.nan, -0.01
    clip.lip_opening = opening
    curves = reference_curves(rig, clip)
    assert np.isfinite(curves.opening).all() and curves.opening[20] == 0.0


def test_a_voice_is_known_if_the_corpus_has_training_clips_of_it(rig: Rig, corpus: Path) -> None:
    assert load_test_set(rig, corpus).is_known_voice and load_test_set(rig, corpus).is_tracked
    assert not load_test_set(rig, corpus, unseen=True).is_known_voice
    assert not load_test_set(rig, corpus, "validation").is_known_voice
    assert not load_test_set(rig, corpus, "all").is_known_voice


def test_split_and_limit_select_clips(rig: Rig, corpus: Path) -> None:
    assert len(load_test_set(rig, corpus, "all").clips) == 5
    assert load_test_set(rig, f"{corpus}:validation").clips[0].name == "d"
    assert len(load_test_set(rig, f"{corpus}:all", limit=2).clips) == 2
    with pytest.raises(TalkerError, match="no corpus"):
        load_test_set(rig, corpus.parent / "nowhere")


def test_an_empty_split_is_rejected_with_the_counts_of_all(rig: Rig, tmp_path: Path) -> None:
    write_corpus(tmp_path, [synthetic_clip("a", "train")])
    message = "no test clips .it has 1 train, 0 validation, 0 test.: choose another"
    with pytest.raises(TalkerError, match=message):
        load_test_set(rig, tmp_path)


def test_baselines_follow_loudness_phones_and_reference(rig: Rig, corpus: Path) -> None:
    test_set = load_test_set(rig, corpus)
    loudness = baselines.loudness_driven_jaw(rig, test_set)
    weights = loudness[0].weights
    assert weights is not None and not np.delete(weights, INDEX["jawOpen"], axis=1).any()
    assert loudness[0].opening.max() > 0.05
    assert score(rig, test_set, loudness)[0]["loudness_r_median"] > 0.6
    coarticulation = baselines.coarticulation_model(rig, test_set)
    assert coarticulation is not None
    assert score(rig, test_set, coarticulation)[0]["lip_opening_r_median"] > 0.99
    reference = baselines.reference_weights(rig, test_set)
    assert reference is not None
    assert score(rig, test_set, reference)[0]["lip_opening_r_median"] > 0.999


def test_the_loudness_driven_jaw_looks_one_frame_ahead() -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, HOP_LENGTH * 40).astype(np.float32)
    full, half = baselines.loudness_to_weights(pcm), baselines.loudness_to_weights(pcm[: HOP_LENGTH * 20])
    assert np.array_equal(full[:19], half[:19])


def test_upper_face_deviation_covers_brows_and_not_lips(rig: Rig) -> None:
    vertices, t = vertex_metrics.mesh_regions(rig).upper_face, np.sin(np.arange(50))

    def motion(**shapes: float) -> np.ndarray:
        weights = np.zeros((50, 52))
        for name, size in shapes.items():
            weights[:, INDEX[name]] = size * (0.5 + 0.5 * t)
        return vertex_metrics.vertex_positions(rig, weights, vertices)

    deviation = vertex_metrics.upper_face_deviation
    still, brows, template = motion(), motion(browInnerUp=0.5), rig.vertices[vertices]
    assert deviation(brows, brows, template) == 0.0
    assert deviation(still, brows, template) == -deviation(brows, still, template) > 0
    speaking = abs(deviation(motion(jawOpen=0.5, mouthPucker=0.5), still, template))
    assert speaking < 0.05 * deviation(still, brows, template)


def test_upper_face_deviation_of_one_vertex_is_the_deviation_of_its_squared_distance() -> None:
    points = np.zeros((3, 1, 3))
    points[:, 0, 1] = [1.0, 3.0, 2.0]
    expected = (np.array([1.0, 3.0, 2.0]) ** 2).std()
    result = vertex_metrics.upper_face_deviation(np.zeros((3, 1, 3)), points, np.zeros((1, 3)))
    assert result == pytest.approx(expected)


def test_mouth_opening_difference_is_the_mean_change_of_the_lip_pairs(rig: Rig) -> None:
    regions = vertex_metrics.mesh_regions(rig)
    assert len(regions.upper_lip) == vertex_metrics.LIP_PAIRS == len(regions.lower_lip)

    def lips(jaw_open: float) -> list[np.ndarray]:
        weights = np.zeros((4, 52))
        weights[:, INDEX["jawOpen"]] = jaw_open
        sides = (regions.upper_lip, regions.lower_lip)
        return [vertex_metrics.vertex_positions(rig, weights, side) for side in sides]

    opened, closed = lips(0.5), lips(0.0)
    distances = [np.linalg.norm(upper[0] - lower[0], axis=-1) for upper, lower in (opened, closed)]
    change = distances[0] - distances[1]
    result = vertex_metrics.mouth_opening_difference(opened, closed)
    assert result == pytest.approx(np.abs(change).mean()) and change.max() > 0.005


def test_a_blink_needs_both_lids_to_close_past_the_onset() -> None:
    lids = np.zeros((100, 52))
    for start, depth in ((10, 1.0), (40, 0.7), (70, 0.4)):
        lids[start : start + 3, dynamics.EYELIDS] = depth
    lids[11, dynamics.EYELIDS] = 0.45  # a tremble within one blink
    assert dynamics.blink_onsets(lids).tolist() == [10, 40]
    lids[:, dynamics.EYELIDS[0]] = 0.0
    assert not len(dynamics.blink_onsets(0.9 * lids))


def test_the_power_spectrum_integrates_to_the_variance() -> None:
    rng, t = np.random.default_rng(0), np.arange(2000) / 25.0
    curve = 2.0 * np.sin(2 * np.pi * 3.9 * t) + rng.normal(0, 0.3, 2000)
    frequencies, power = dynamics.power_spectrum([curve[:900], curve[900:], curve[:30]], 25.0)
    assert power.sum() * (frequencies[1] - frequencies[0]) == pytest.approx(curve.var(), rel=0.05)
    assert abs(frequencies[power.argmax()] - 3.9) < 0.2
    assert np.isnan(dynamics.power_spectrum([curve[:30]], 25.0)[1]).all()


def test_the_jerk_of_a_cubic_is_its_third_derivative() -> None:
    t = np.arange(400) / 25.0
    assert dynamics.rms_jerk(t**3, 25.0) == pytest.approx(6.0)
    assert np.isnan(dynamics.rms_jerk(t[:3], 25.0))


def test_resampled_frames_keep_their_time() -> None:
    middles = (np.arange(180) + 0.5) / 60.0
    wave = np.sin(2 * np.pi * middles)[:, None] * np.ones(3)
    resampled = resample_frames(wave, 60.0, 75)
    assert resampled.shape == (75, 3)
    assert np.abs(resampled[:, 0] - np.sin(2 * np.pi * (np.arange(75) + 0.5) / 25.0)).max() < 0.01
    assert np.array_equal(resample_frames(wave, 25.0, 70), wave[:70])


def test_csv_and_npz_of_external_motion_are_read_alike(rig: Rig, corpus: Path, tmp_path: Path) -> None:
    test_set = load_test_set(rig, corpus)
    weights, head = test_set.clips[0].weights, np.tile(NO_ROTATION, (75, 1))
    write_livelink_csv(tmp_path / "a.csv", weights, head, 25.0)
    names = np.array(ARKIT_NAMES[::-1])  # matched by name, in any order
    np.savez_compressed(tmp_path / "b.npz", weights=weights[:, ::-1], names=names, head=head, frame_rate=25.0)
    curves = external_motion.read_motion_folder(rig, tmp_path)
    assert np.abs(curves["a"].opening - curves["b"].opening).max() < 1e-6
    subset, paired = external_motion.pair_with_clips(test_set, curves)
    assert [clip.name for clip in subset.clips] == ["a", "b"]
    _, clips = score(rig, subset, paired)
    assert clips["lip_opening_r"][0] > 0.999 and clips["lip_opening_r"][1] < 0.9


def test_external_motion_without_a_corpus_is_scored_against_its_sound(rig: Rig, tmp_path: Path) -> None:
    clip = synthetic_clip("a", seed=1)
    write_livelink_csv(tmp_path / "a.csv", clip.weights, np.tile(NO_ROTATION, (75, 1)), 25.0)
    soundfile.write(tmp_path / "a.wav", clip.pcm, 16000)
    curves = external_motion.read_motion_folder(rig, tmp_path)
    test_set, paired = external_motion.folder_to_test_set(tmp_path, curves)
    scores, _ = score(rig, test_set, paired)
    assert scores["clips"] == 1 and np.isnan(scores["lip_opening_r_median"])
    assert scores["loudness_r_median"] > 0.3
    assert paired[0].opening == pytest.approx(curves["a"].opening)


@pytest.mark.parametrize(
    "write_file, message",
    [
        (lambda path: None, "holds no motion"),
        (lambda path: np.savez(path / "a.npz", weights=np.zeros((3, 5))), "lacks head, frame_rate"),
        (
            lambda path: np.savez(
                path / "a.npz", weights=np.zeros((3, 51)), head=np.zeros((3, 4)), frame_rate=25
            ),
            "52 ARKit",
        ),
        (lambda path: (path / "a.csv").write_text("Timecode\n"), "lacks the column"),
    ],
)
def test_invalid_motion_files_are_rejected_in_one_line(
    rig: Rig, tmp_path: Path, write_file: Callable[[Path], object], message: str
) -> None:
    write_file(tmp_path)
    with pytest.raises(TalkerError, match=message):
        external_motion.read_motion_folder(rig, tmp_path)


def test_raise_and_drop_of_the_lips_add_up_to_their_gap(rig: Rig) -> None:
    weights = np.random.default_rng(0).uniform(0, 0.3, (20, 52))
    curves = MotionCurves.from_weights(rig, weights)
    assert curves.upper_lip_raise is not None and curves.lower_lip_drop is not None
    above_rest = (rig.lip_gap(weights) - rig.lip_gap(np.zeros(52))) / inter_ocular_distance(rig)
    assert curves.upper_lip_raise + curves.lower_lip_drop == pytest.approx(above_rest, abs=1e-5)


def test_curves_are_in_inter_ocular_distances(rig: Rig) -> None:
    assert 0.05 < inter_ocular_distance(rig) < 0.08
    weights = np.zeros((1, 52))
    weights[0, INDEX["jawOpen"]] = 0.4
    opening = MotionCurves.from_weights(rig, weights).opening[0] * inter_ocular_distance(rig)
    assert opening == pytest.approx(float(rig.lip_gap(weights)[0]))
