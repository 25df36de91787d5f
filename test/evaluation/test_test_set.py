# SPDX-License-Identifier: Apache-2.0
"""Figures of a section: a corpus on disk whose answers are known, through the code that judges real ones."""

import json

import numpy as np
import pytest

from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import Clip, save_clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import baselines, dynamics, external_motion, metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import inter_ocular
from streamingtalker_ros.evaluation.motion_curves import Take, of_weights, on_grid, reference
from streamingtalker_ros.evaluation.test_set import load_section, score
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.phonetics.phones import Phone

SAID = ["pau", "m", "aa", "b", "ih", "t", "ow", "p", "ae", "n", "pau"]


def spoken_clip(name, split="test", voice="anna", tracked=True, seed=0):
    """Three seconds of noise in syllables, with phones, the teacher's motion, and lips that a camera saw."""
    rng = np.random.default_rng(seed)
    edges = np.r_[0.0, 0.3 + np.cumsum(rng.uniform(0.12, 0.26, len(SAID) - 1)), 3.0]
    phones = [Phone(sound, start, end) for sound, start, end in zip(SAID, edges[:-1], edges[1:])]
    pcm = np.zeros(48000, np.float32)
    for phone in phones[1:-1]:
        part = slice(int(phone.start * 16000), int(phone.end * 16000))
        pcm[part] = rng.normal(
            0.0, 0.1 if phone.name in metrics.OPEN_VOWELS else 0.02, part.stop - part.start
        )
    weights, head = face_motion.synthesize_motion(phones, 75, pcm, seed)
    clip = Clip(pcm, weights, head, phones, voice, split, name)
    if tracked:
        rig = default_rig()
        clip.lip_opening = rig.lip_gap(weights) / inter_ocular(rig)
        clip.lip_width = rig.lip_width(weights) / inter_ocular(rig)
    return clip


def write_corpus(path, clips, **more):
    """Clips as a corpus on disk."""
    index = {
        "kind": "video",
        "motion": "solved from video",
        "clips": [save_clip(path, clip) for clip in clips],
        **more,
    }
    path.mkdir(exist_ok=True)
    (path / "index.json").write_text(json.dumps(index))
    return path


@pytest.fixture(scope="module")
def rig():
    return default_rig()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two test clips of a voice that also has a training clip, one without speech, one of a voice without."""
    clips = [
        spoken_clip("a", seed=1),
        spoken_clip("b", seed=2),
        spoken_clip("c", "train", seed=3),
        spoken_clip("d", "validation", "bert", seed=4),
    ]
    still = spoken_clip("rest", seed=5)
    still.pcm[:], still.weights[:], still.lip_opening[:], still.phones = (
        0.0,
        0.0,
        0.0,
        [Phone("pau", 0.0, 3.0)],
    )
    return write_corpus(tmp_path_factory.mktemp("corpus") / "seen", [*clips, still])


def test_the_reference_agrees_with_itself(rig, corpus) -> None:
    section = load_section(rig, corpus)
    figures, clips = score(rig, section, section.truth)
    assert figures["clips"] == 3 and figures["clips_that_move"] == 2 == len(clips["lip_opening_r"])
    for name, wanted in (
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
        assert figures[name] == pytest.approx(wanted, abs=1e-3), name
    assert (figures["bilabials"], figures["open_vowels"]) == (6, 4)
    assert figures["pause_lip_speed_share"] < 0.3


def test_late_small_and_open_lips_are_told_apart(rig, corpus) -> None:
    """A shift is a lag, a scale is an amplitude, an offset is closures missed: none of them disturbs the others."""
    section = load_section(rig, corpus)

    def changed(change):
        return score(rig, section, [Take(change(take.opening), take.width) for take in section.truth])[0]

    late = changed(lambda opening: np.r_[0.0, opening[:-1]])
    assert late["lag_ms"] == pytest.approx(40.0, abs=6.0) and late["lag_within_one_frame"] == 1.0
    assert late["amplitude_ratio"] == pytest.approx(1.0, abs=0.02) and np.isnan(late["lve_mm2"])
    small = changed(lambda opening: 0.5 * opening)
    assert small["amplitude_ratio"] == pytest.approx(0.5) and small["lip_opening_r_median"] == pytest.approx(
        1.0
    )
    assert small["closure_recall"] == 1.0  # closed means closed for this mouth
    ajar = changed(lambda opening: opening + 0.05)
    assert ajar["closure_recall"] == 0.0 and ajar["lip_opening_r_median"] == pytest.approx(1.0)
    shut = changed(np.zeros_like)
    assert shut["lip_opening_r_median"] == 0.0 and shut["amplitude_ratio"] == 0.0


def test_lost_frames_are_bridged_and_overlap_is_closed(rig) -> None:
    clip = spoken_clip("a")
    clip.lip_opening = clip.lip_opening.copy()
    clip.lip_opening[10:12] = np.nan
    clip.lip_opening[20] = -0.01
    take = reference(rig, clip)
    assert np.isfinite(take.opening).all() and take.opening[20] == 0.0


def test_who_is_known(rig, corpus) -> None:
    """Voices count as known when the same corpus trained on them; otherwise the harder bounds hold."""
    assert load_section(rig, corpus).known and load_section(rig, corpus).tracked
    assert not load_section(rig, corpus, unseen=True).known
    assert not load_section(rig, corpus, "validation").known
    everything = load_section(rig, corpus, "all")
    assert not everything.known and len(everything.clips) == 5
    assert load_section(rig, f"{corpus}:validation").clips[0].name == "d"
    assert len(load_section(rig, f"{corpus}:all", limit=2).clips) == 2
    with pytest.raises(TalkerError, match="no corpus"):
        load_section(rig, corpus.parent / "nowhere")


def test_a_split_that_is_empty_is_named(rig, tmp_path) -> None:
    write_corpus(tmp_path, [spoken_clip("a", "train")])
    with pytest.raises(
        TalkerError, match="no test clips .it has 1 train, 0 validation, 0 test.: choose another"
    ):
        load_section(rig, tmp_path)


def test_baselines(rig, corpus) -> None:
    section = load_section(rig, corpus)
    loud = baselines.loud_jaw(rig, section)
    moved = loud[0].weights[:, [i for i in range(52) if i != INDEX["jawOpen"]]]
    assert loud[0].opening.max() > 0.05 and not moved.any()
    assert score(rig, section, loud)[0]["loudness_r_median"] > 0.6
    taught = score(rig, section, baselines.teacher_itself(rig, section))[0]
    assert taught["lip_opening_r_median"] > 0.99
    assert score(rig, section, baselines.own_motion(rig, section))[0]["lip_opening_r_median"] > 0.999


def test_loudness_jaw_is_causal() -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, 640 * 40).astype(np.float32)
    whole, early = baselines.jaw_of_loudness(pcm), baselines.jaw_of_loudness(pcm[: 640 * 20])
    assert np.array_equal(whole[:19], early[:19])  # one frame of smoothing looks ahead


def test_upper_face_deviation(rig) -> None:
    """FDD is 0 for the same motion, keeps its sign, and hears brows but not lips."""
    upper, t = vertex_metrics.regions(rig).upper, np.sin(np.arange(50))

    def motion(**shapes):
        weights = np.zeros((50, 52))
        for name, size in shapes.items():
            weights[:, INDEX[name]] = size * (0.5 + 0.5 * t)
        return vertex_metrics.points(rig, weights, upper)

    still, brows = motion(), motion(browInnerUp=0.5)
    rest = rig.vertices[upper]
    assert vertex_metrics.upper_face_deviation(brows, brows, rest) == 0.0
    assert (
        vertex_metrics.upper_face_deviation(still, brows, rest)
        == -vertex_metrics.upper_face_deviation(brows, still, rest)
        > 0
    )
    speaking = abs(vertex_metrics.upper_face_deviation(motion(jawOpen=0.5, mouthPucker=0.5), still, rest))
    assert speaking < 0.05 * vertex_metrics.upper_face_deviation(still, brows, rest)
    hand = (np.array([1.0, 3.0, 2.0]) ** 2).std()  # one vertex 1, 3, 2 away from its template
    points = np.zeros((3, 1, 3))
    points[:, 0, 1] = [1.0, 3.0, 2.0]
    assert vertex_metrics.upper_face_deviation(
        np.zeros((3, 1, 3)), points, np.zeros((1, 3))
    ) == pytest.approx(hand)


def test_mouth_opening_difference(rig) -> None:
    """MOD of an open jaw against a shut one is the mean of the five pairs' distances."""
    regions = vertex_metrics.regions(rig)
    assert len(regions.above) == 5 == len(regions.below)
    weights = np.zeros((4, 52))
    shut = [vertex_metrics.points(rig, weights, side) for side in (regions.above, regions.below)]
    weights[:, INDEX["jawOpen"]] = 0.5
    wide = [vertex_metrics.points(rig, weights, side) for side in (regions.above, regions.below)]
    gaps = np.linalg.norm(wide[0][0] - wide[1][0], axis=-1) - np.linalg.norm(shut[0][0] - shut[1][0], axis=-1)
    assert (
        vertex_metrics.mouth_opening_difference(wide, shut) == pytest.approx(np.abs(gaps).mean())
        and gaps.max() > 0.005
    )


def test_blinks() -> None:
    lids = np.zeros((100, 52))
    for start, depth in ((10, 1.0), (40, 0.7), (70, 0.4)):
        lids[start : start + 3, dynamics.LIDS] = depth
    lids[11, dynamics.LIDS] = 0.45  # a tremble within one blink, and a lid that hardly falls
    assert dynamics.blinks(lids).tolist() == [10, 40]
    lids[:, dynamics.LIDS[0]] = 0.0  # a wink of one lid is no blink
    assert not len(dynamics.blinks(0.9 * lids))


def test_spectrum_is_the_variance_spread_over_frequencies() -> None:
    rng, t = np.random.default_rng(0), np.arange(2000) / 25.0
    curve = 2.0 * np.sin(2 * np.pi * 3.9 * t) + rng.normal(0, 0.3, 2000)
    hertz, power = dynamics.spectrum([curve[:900], curve[900:], curve[:30]], 25.0)
    assert power.sum() * (hertz[1] - hertz[0]) == pytest.approx(curve.var(), rel=0.05)
    assert abs(hertz[power.argmax()] - 3.9) < 0.2
    assert np.isnan(dynamics.spectrum([curve[:30]], 25.0)[1]).all()


def test_jerk_of_a_known_curve() -> None:
    t = np.arange(400) / 25.0
    assert dynamics.jerk(t**3, 25.0) == pytest.approx(6.0)
    assert np.isnan(dynamics.jerk(t[:3], 25.0))


def test_frames_of_other_rates_land_on_the_same_moments() -> None:
    middles = (np.arange(180) + 0.5) / 60.0
    wave = np.sin(2 * np.pi * middles)[:, None] * np.ones(3)
    back = on_grid(wave, 60.0, 75)
    assert back.shape == (75, 3)
    assert np.abs(back[:, 0] - np.sin(2 * np.pi * (np.arange(75) + 0.5) / 25.0)).max() < 0.01
    assert on_grid(wave, 25.0, 70) is not wave and np.array_equal(on_grid(wave, 25.0, 70), wave[:70])


def test_motion_that_is_already_made(rig, corpus, tmp_path) -> None:
    """CSV and NPZ of one motion are one take; beside a corpus they are judged by names, alone by their sound."""
    import soundfile

    section = load_section(rig, corpus)
    clip = section.clips[0]
    motion = {
        "weights": clip.weights,
        "head": np.tile(np.float32([0, 0, 0, 1]), (75, 1)),
        "frame_rate": 25.0,
        "times": np.arange(75) / 25.0,
        "speaking": np.ones(75, bool),
        "names": np.array(ARKIT_NAMES),
    }
    write_livelink_csv(tmp_path / "a.csv", motion["weights"], motion["head"], motion["frame_rate"])
    motion["names"], motion["weights"] = (
        motion["names"][::-1],
        motion["weights"][:, ::-1],
    )  # any order, by name
    np.savez_compressed(tmp_path / "b.npz", **motion)
    takes = external_motion.read_folder(rig, tmp_path)
    assert np.abs(takes["a"].opening - takes["b"].opening).max() < 1e-6
    part, made = external_motion.against(section, takes)
    assert [c.name for c in part.clips] == ["a", "b"]
    figures, clips = score(rig, part, made)
    assert clips["lip_opening_r"][0] > 0.999 and clips["lip_opening_r"][1] < 0.9
    soundfile.write(tmp_path / "a.wav", clip.pcm, 16000)
    alone, made = external_motion.as_section(tmp_path, takes)
    figures, _ = score(rig, alone, made)
    assert (
        figures["clips"] == 1
        and np.isnan(figures["lip_opening_r_median"])
        and figures["loudness_r_median"] > 0.3
    )
    assert external_motion.as_section(tmp_path, {"a": takes["a"]})[1][0].opening == pytest.approx(
        takes["a"].opening
    )


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda path: None, "holds no motion"),
        (lambda path: np.savez(path / "a.npz", weights=np.zeros((3, 5))), "no motion of"),
        (
            lambda path: np.savez(
                path / "a.npz", weights=np.zeros((3, 51)), head=np.zeros((3, 4)), frame_rate=25
            ),
            "52 ARKit",
        ),
        (lambda path: (path / "a.csv").write_text("Timecode\n"), "lacks the column"),
    ],
)
def test_wrong_motion_is_one_sentence(rig, tmp_path, wrong, words) -> None:
    wrong(tmp_path)
    with pytest.raises(TalkerError, match=words):
        external_motion.read_folder(rig, tmp_path)


def test_inter_ocular_and_units(rig) -> None:
    assert 0.05 < inter_ocular(rig) < 0.08
    weights = np.zeros((1, 52))
    weights[0, INDEX["jawOpen"]] = 0.4
    assert of_weights(rig, weights).opening[0] * inter_ocular(rig) == pytest.approx(
        float(rig.lip_gap(weights)[0])
    )
