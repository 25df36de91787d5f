# SPDX-License-Identifier: Apache-2.0
"""Corpora from video, measured on landmarks of a face whose weights are known: the default rig, posed and
filmed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.corpus.av_sync import estimate_lag
from streamingtalker_ros.corpus.storage import LIP_MEASUREMENTS, load_corpus, read_index
from streamingtalker_ros.corpus.video import tracking, transcript
from streamingtalker_ros.corpus.video.blendshape_solver import match_lips, solve_weights
from streamingtalker_ros.corpus.video.clips import extract_audio, resample_face, split_track
from streamingtalker_ros.corpus.video.head_pose import (
    StabilizedFace,
    mean_rigid_face,
    relative_rotation,
    stabilize,
)
from streamingtalker_ros.corpus.video.landmark_matching import (
    MOUTH_SHAPES,
    interocular_distance,
    match_landmarks,
)
from streamingtalker_ros.corpus.video.landmarks import NUM_LANDMARKS, LandmarkTrack
from streamingtalker_ros.corpus.video.neutral_pose import (
    NeutralPose,
    estimate_neutral_pose,
    measure_lip_gap,
    measure_lip_width,
    measure_lips,
)
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rendering.video import write_video
from streamingtalker_ros.phonetics.phones import Phone
from support.command_line import run_command
from support.synthetic_faces import film_face, synthesize_head_motion, synthesize_talking

RIG = default_rig()
INTEROCULAR = 0.0664  # m, of the default rig
MOUTH_WIDTH = 0.049  # m, of the default rig at rest


class FilmedClip(NamedTuple):
    """A clip without noise: weights that were posed, audio, tracked face, neutral pose, solved weights."""

    weights: np.ndarray
    pcm: np.ndarray
    face: StabilizedFace
    neutral: NeutralPose
    solved: np.ndarray


def solve_track(track: LandmarkTrack, pcm: np.ndarray) -> tuple[StabilizedFace, NeutralPose, np.ndarray]:
    """(tracked face, neutral pose, solved weights) of one clip."""
    face = stabilize(track, mean_rigid_face([track]))
    neutral = estimate_neutral_pose([face], [pcm])
    return face, neutral, solve_weights(face, neutral, match_landmarks(RIG, neutral))


@pytest.fixture(scope="module")
def filmed() -> FilmedClip:
    weights, pcm = synthesize_talking()
    return FilmedClip(weights, pcm, *solve_track(film_face(weights), pcm))


def test_the_interocular_distance_of_the_default_rig() -> None:
    assert interocular_distance(RIG) == pytest.approx(INTEROCULAR, abs=1e-4)
    assert RIG.lip_width(np.zeros(52)) == pytest.approx(MOUTH_WIDTH, abs=1e-4)


def test_solving_returns_the_weights_that_were_posed(filmed: FilmedClip) -> None:
    weights, solved = filmed.weights, filmed.solved
    for name, tolerance in (
        ("jawOpen", 0.06),
        ("mouthPucker", 0.06),
        ("mouthSmileLeft", 0.15),
        ("eyeBlinkLeft", 0.05),
    ):
        column = INDEX[name]
        assert np.abs(solved[:, column] - weights[:, column]).max() < tolerance, name
        assert np.corrcoef(solved[:, column], weights[:, column])[0, 1] > 0.97, name
    lines = ("outer_lip_upper", "outer_lip_lower", "inner_lip_lower")
    lips = np.concatenate([RIG.landmark(name) for name in lines])
    distance = np.linalg.norm(RIG.pose(solved)[:, lips] - RIG.pose(weights)[:, lips], axis=-1)
    assert np.sqrt((distance**2).mean()) < 6e-4


def test_the_lips_of_the_rig_have_the_tracked_gap_and_width(filmed: FilmedClip) -> None:
    gap, width = measure_lip_gap(filmed.face.points), measure_lip_width(filmed.face.points)
    is_open = gap > 3 * filmed.neutral.contact_gap
    assert is_open.sum() > 20
    assert RIG.lip_gap(filmed.solved)[is_open] == pytest.approx(INTEROCULAR * gap[is_open], abs=2e-5)
    relative_width = RIG.lip_width(filmed.solved) / MOUTH_WIDTH
    assert relative_width == pytest.approx(width / filmed.neutral.lip_width, abs=1e-3)


def test_lips_and_chin_are_measured_alike_on_landmarks_and_on_the_rig(filmed: FilmedClip) -> None:
    tracked = measure_lips(filmed.face.points, filmed.neutral)
    posed = MotionCurves.from_weights(RIG, filmed.weights)
    for name in ("upper_lip_raise", "lower_lip_drop", "chin_drop"):
        curve = getattr(posed, name)
        assert np.ptp(curve) > 0.01, name
        assert np.abs(tracked[name] - curve).max() < 0.1 * np.ptp(curve), name


def test_contact_stays_contact_under_noise() -> None:
    weights, pcm = synthesize_talking(seed=3)
    face, _, solved = solve_track(film_face(weights, noise=0.2), pcm)
    stored_gap = RIG.lip_gap(solved.astype(np.float16).astype(np.float32))
    tracked_gap = measure_lip_gap(face.points)
    touching = tracked_gap < 0.01
    assert 0.2 < touching.mean() < 0.8
    assert (stored_gap[touching] <= 0).all()
    assert np.corrcoef(stored_gap, tracked_gap)[0, 1] > 0.97
    # a closure of two frames is neither smoothed away nor widened
    posed_gap = RIG.lip_gap(weights)
    is_unambiguous = np.abs(posed_gap / INTEROCULAR - 0.011) > 0.01
    assert ((stored_gap <= 0) == (posed_gap <= 1e-9))[is_unambiguous].mean() > 0.98


def test_head_motion_is_measured_and_does_not_change_the_face() -> None:
    weights, pcm = synthesize_talking()
    head = synthesize_head_motion(len(weights))
    still = film_face(weights)
    moving = film_face(
        weights, head, shift=np.linspace(0, 40, 125)[:, None] * (1, -0.5), zoom=np.linspace(1, 1.3, 125)
    )
    _, _, solved_still = solve_track(still, pcm)
    face, _, solved_moving = solve_track(moving, pcm)
    assert np.abs(solved_still - solved_moving).max() < 0.05
    measured, expected = relative_rotation(face.head, face.head[60]), relative_rotation(head, head[60])
    assert np.degrees(np.abs(measured - expected)[3:-3].max()) < 0.5


def test_head_rotation_is_measured_from_a_frontal_face() -> None:
    weights, _ = synthesize_talking()
    turned = film_face(weights, np.tile((0.0, 0.0, 0.3), (125, 1)))
    face = stabilize(turned, mean_rigid_face([turned]))
    assert face.head.mean(axis=0) == pytest.approx((0, 0, 0.3), abs=0.02)


def test_the_neutral_pose_is_the_face_at_rest(filmed: FilmedClip) -> None:
    neutral = filmed.neutral
    assert abs(neutral.lip_gap) < 0.002
    assert neutral.lip_width == pytest.approx(MOUTH_WIDTH / INTEROCULAR, abs=0.01)
    assert np.abs(neutral.points - filmed.face.points[5]).max() < 0.01


def test_a_mouth_that_never_closes_has_no_neutral_pose(filmed: FilmedClip) -> None:
    gaping = filmed.weights.copy()
    gaping[:, INDEX["jawOpen"]] = np.maximum(gaping[:, INDEX["jawOpen"]], 0.2)
    track = film_face(gaping)
    with pytest.raises(TalkerError, match=r"never shut.*half a second of rest"):
        estimate_neutral_pose([stabilize(track, mean_rigid_face([track]))], [filmed.pcm])


def test_without_rest_the_neutral_pose_comes_from_closures_with_one_warning(filmed: FilmedClip) -> None:
    face, speaking = filmed.face, slice(27, 98)  # no rest before or after
    part = replace(
        face,
        points=face.points[speaking],
        head=face.head[speaking],
        times=face.times[speaking] - face.times[speaking][0],
    )
    noise = np.random.default_rng(0).normal(0, 0.1, len(part.times) * 640).astype(np.float32)
    warnings: list[str] = []
    neutral = estimate_neutral_pose([part], [noise], warnings.append)
    assert len(warnings) == 1 and "never shut, still and silent" in warnings[0]
    assert abs(neutral.lip_gap) < 0.011
    assert neutral.lip_width == pytest.approx(filmed.neutral.lip_width, rel=0.15)


def test_with_rest_the_neutral_pose_gives_no_warning(filmed: FilmedClip) -> None:
    warnings: list[str] = []
    estimate_neutral_pose([filmed.face], [filmed.pcm], warnings.append)
    assert warnings == []


def test_matching_lips_changes_weights_no_more_than_needed() -> None:
    rng = np.random.default_rng(1)
    mouth = rng.uniform(0, 0.3, (40, len(MOUTH_SHAPES)))
    weights = np.zeros((40, 52))
    columns = [INDEX[name] for name in MOUTH_SHAPES]
    weights[:, columns] = mouth
    gap, width = RIG.lip_gap(weights), RIG.lip_width(weights)
    assert match_lips(mouth, RIG, gap, width) == pytest.approx(mouth, abs=1e-6)
    wider = match_lips(mouth, RIG, gap + 0.002, width)
    weights[:, columns] = wider
    assert RIG.lip_gap(weights) == pytest.approx(gap + 0.002, abs=1e-6)
    prefixes = ("mouthRoll", "jawLeft", "mouthPress")
    unrelated = [k for k, name in enumerate(MOUTH_SHAPES) if name.startswith(prefixes)]
    assert (wider[:, unrelated] == mouth[:, unrelated]).all()


def empty_track(frames: int, frame_rate: float) -> LandmarkTrack:
    """A track of zeros in which a face was detected in every frame."""
    times = (np.arange(frames) + 0.5) / frame_rate
    points = np.zeros((frames, NUM_LANDMARKS, 3), np.float32)
    return LandmarkTrack(points, times, np.ones(frames, bool), 1, (640, 480))


def test_clips_have_25_frames_per_second_at_any_video_rate() -> None:
    track = empty_track(90, 30)
    track.points[:, 0, 0] = track.times
    spans = split_track(track, np.zeros(48000, np.float32))
    assert spans == [(0, 75)]
    face = resample_face(StabilizedFace(track.points, np.zeros((90, 3)), track.times), spans[0])
    assert face.points[1:-1, 0, 0] == pytest.approx((np.arange(75)[1:-1] + 0.5) / 25, abs=1e-3)
    assert len(extract_audio(np.zeros(47000), spans[0])) == 75 * 640


def test_a_lost_face_ends_a_clip_and_long_clips_are_cut_at_pauses() -> None:
    frames = 25 * 40
    track = empty_track(frames, 25)
    track.detected[:10] = track.detected[500:520] = False
    track.detected[700:702] = False  # two frames are interpolated
    pcm = np.random.default_rng(0).normal(0, 0.1, frames * 640).astype(np.float32)
    pcm[7 * 16000 : int(7.5 * 16000)] = 0
    spans = split_track(track, pcm)
    assert spans[0][0] == 10 and abs(spans[0][1] - 7.25 * 25) < 8
    assert any(first == 520 for first, _ in spans) and max(last for _, last in spans) == frames
    assert all(25 <= last - first <= 375 for first, last in spans)
    assert sum(last - first for first, last in spans) == frames - 30


def lose_face(track: LandmarkTrack) -> None:
    track.detected.fill(False)


def add_second_face(track: LandmarkTrack) -> None:
    track.max_faces = 2


def lose_two_of_three_frames(track: LandmarkTrack) -> None:
    track.detected[::3] = track.detected[1::3] = False


def shorten(track: LandmarkTrack) -> None:
    track.detected[20:] = False
    track.detected, track.times = track.detected[:30], track.times[:30]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lose_face, "no face"),
        (add_second_face, "2 faces"),
        (lose_two_of_three_frames, "track was lost"),
        (shorten, "too short"),
    ],
)
def test_a_track_that_cannot_be_used_is_rejected_with_the_reason(
    change: Callable[[LandmarkTrack], None], reason: str
) -> None:
    track = film_face(np.zeros((60, 52)))
    change(track)
    with pytest.raises(TalkerError, match=reason):
        split_track(track, np.zeros(60 * 640, np.float32))


def test_a_track_loads_as_it_was_saved(tmp_path: Path) -> None:
    track = film_face(np.zeros((30, 52)), max_faces=2)
    track.detected[3] = False
    track.save(tmp_path / "film.npz")
    loaded = LandmarkTrack.load(tmp_path / "film.npz")
    np.testing.assert_array_equal(loaded.points, track.points)
    np.testing.assert_array_equal(loaded.times, track.times)
    np.testing.assert_array_equal(loaded.detected, track.detected)
    assert (loaded.max_faces, loaded.image_size, loaded.name) == (2, (640, 480), "film")


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tracks from another machine: four that can be used and three that cannot."""
    folder = tmp_path_factory.mktemp("tracks")
    for k in range(4):
        weights, pcm = synthesize_talking(100, seed=k)
        film_face(weights, synthesize_head_motion(100), f"take{k}").save(folder / f"take{k}.npz")
        soundfile.write(folder / f"take{k}.flac", pcm, 16000)
    two_faces = film_face(np.zeros((60, 52)), max_faces=2)
    without_face = film_face(np.zeros((60, 52)))
    without_face.detected[:] = False
    for name, track in (("two", two_faces), ("void", without_face)):
        track.save(folder / f"{name}.npz")
        soundfile.write(folder / f"{name}.flac", np.zeros(60 * 640), 16000)
    (folder / "bad.npz").write_bytes(b"no landmarks")
    return folder


class BuiltCorpus(NamedTuple):
    """Folder of a corpus, the words of the command that builds it, and what the command printed."""

    folder: Path
    command: tuple[object, ...]
    printed: str


@pytest.fixture(scope="module")
def built(tracks: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltCorpus:
    folder = tmp_path_factory.mktemp("corpus") / "me"
    videos = [f"{name}.mp4" for name in ("take0", "take1", "take2", "take3", "two", "void", "bad")]
    options = ("--out", folder, "--landmarks", tracks, "--stage", "solve", "--every", 3, "--jobs", 1)
    command = ("corpus", "from-video", *videos, "b/take0.mp4", *options)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert run_command(*command) == 0
    return BuiltCorpus(folder, command, output.getvalue())


def test_tracks_from_another_machine_become_a_corpus(built: BuiltCorpus) -> None:
    splits = {entry["name"]: entry["split"] for entry in read_index(built.folder)["clips"]}
    # in the order of names: bad, take0, take1, take2, take3, two, void; every third is held out
    assert splits == {"take0": "train", "take1": "train", "take2": "test", "take3": "train"}
    for clip in load_corpus(built.folder):
        assert clip.style == clip.voice == "me"
        assert all(np.ptp(getattr(clip, name)) > 0.01 for name in LIP_MEASUREMENTS)
        assert clip.lip_opening is not None
        assert len(clip.pcm) == 640 * len(clip.weights) == 640 * len(clip.head) == 640 * len(clip.lip_opening)
        gap = RIG.lip_gap(clip.weights)
        assert np.corrcoef(gap, clip.lip_opening)[0, 1] > 0.99
        assert (gap[clip.lip_opening < 0.01] <= 0).all()
        assert 0.9 < np.percentile(gap, 95) / INTEROCULAR / np.percentile(clip.lip_opening, 95) < 1.1
        assert {phone.name for phone in clip.phones} == {"voice", "pau"}
        assert (built.folder / "pictures" / f"{clip.name}.png").stat().st_size > 4000


def test_a_name_of_the_grid_corpus_is_a_sentence() -> None:
    assert transcript.grid_sentence("bbaf2n") == "bin blue at f two now"
    assert transcript.grid_sentence("swwzzs") == "set white with zed zero soon"
    for name in ("take0", "bbaf2", "bbaf2nx", "bbaw2n", "video_1", ""):
        assert transcript.grid_sentence(name) == ""


def test_videos_of_several_people_have_a_voice_and_a_neutral_pose_each(tracks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    videos = [f"take{k}.mp4" for k in range(4)]
    options = ("--landmarks", tracks, "--stage", "solve", "--every", 0, "--jobs", 1, "--no-pictures")
    assert run_command("corpus", "from-video", *videos, "--people", "--out", folder, *options) == 0
    assert {(clip.voice, clip.style) for clip in load_corpus(folder)} == {
        (f"take{k}", "people") for k in range(4)
    }
    assert sorted(path.stem for path in (folder / "neutral").iterdir()) == [f"take{k}" for k in range(4)]


def test_every_rejected_video_is_reported_once_with_its_reason(built: BuiltCorpus) -> None:
    rejected = json.loads((built.folder / "rejected.json").read_text())
    assert set(rejected) == {"two", "void", "bad"}
    for name, reason in (("two", "2 faces"), ("void", "no face"), ("bad", "no tracked landmarks")):
        assert len(re.findall(rf"^rejected {name}:.*$", built.printed, re.MULTILINE)) == 1
        assert reason in rejected[name]
    duplicate = "^rejected b/take0.mp4: take0.mp4 has the same name"
    assert len(re.findall(duplicate, built.printed, re.MULTILINE)) == 1


def test_a_second_call_repeats_only_what_is_missing(built: BuiltCorpus) -> None:
    files = sorted(path for path in built.folder.rglob("*") if path.suffix in (".flac", ".png"))
    before = {path: path.stat().st_mtime_ns for path in files}
    for path in (built.folder / "train").glob("take3.*"):
        path.unlink()
    assert run_command(*built.command) == 0
    changed = {path.stem for path in files if path.stat().st_mtime_ns != before[path]}
    assert changed == {"take3"}
    assert len(load_corpus(built.folder)) == 4


def write_grey_video(
    path: Path, seconds: float = 2.0, frame_rate: float = 25, with_audio: bool = True
) -> None:
    """Write a video of grey images, with a burst of noise from 1.0 to 1.05 s."""
    images = (np.full((48, 64, 3), 10 * k % 250, np.uint8) for k in range(int(seconds * frame_rate)))
    pcm = np.zeros(int(16000 * seconds), np.float32)
    burst = pcm[16000:16800]
    burst[:] = np.random.default_rng(0).normal(0, 0.3, len(burst))
    write_video(path, images, frame_rate, pcm if with_audio else None)


def test_frames_and_audio_of_a_video_share_a_clock(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    write_grey_video(video, frame_rate=30)
    times = np.array([time for time, _ in tracking.read_frames(video)])
    pcm, start = tracking.read_sound(video)
    assert times == pytest.approx((np.arange(60) + 0.5) / 30, abs=1e-3)
    loud = np.flatnonzero(np.abs(pcm) > 0.1) / 16000 + start
    assert loud[0] == pytest.approx(1.0, abs=0.004) and loud[-1] == pytest.approx(1.05, abs=0.004)
    assert tracking.audio_start_time(video) == start


def test_files_that_are_not_videos_with_audio_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no film")
    with pytest.raises(TalkerError, match="cannot be read as video"):
        list(tracking.read_frames(tmp_path / "text.mp4"))
    write_grey_video(tmp_path / "mute.mp4", 1.0, with_audio=False)
    with pytest.raises(TalkerError, match="no sound"):
        tracking.read_sound(tmp_path / "mute.mp4")


@pytest.mark.skipif(tracking.is_available(), reason="mediapipe is installed")
def test_missing_mediapipe_is_reported_with_its_installation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_grey_video(tmp_path / "a.mp4", 1.0)
    assert run_command("corpus", "from-video", tmp_path / "a.mp4", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "mediapipe==0.10.21" in error and "--landmarks" in error and error.count("\n") == 1


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="mediapipe is not installed beside this Python (it asks for numpy < 2)",
)
def test_a_rendered_face_is_tracked_and_solved(tmp_path: Path) -> None:
    from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer

    weights, pcm = synthesize_talking(100)
    renderer = SoftwareRenderer(RIG, 320, 400)
    write_video(tmp_path / "me.mp4", (renderer.render(row) for row in weights), 25, pcm)
    out = tmp_path / "out"
    options = ("--out", out, "--every", 0, "--jobs", 1)
    assert run_command("corpus", "from-video", tmp_path / "me.mp4", *options) == 0
    assert LandmarkTrack.load(out / "landmarks" / "me.npz").detected.all()
    (clip,) = load_corpus(out)
    assert np.corrcoef(RIG.lip_gap(clip.weights), RIG.lip_gap(weights))[0, 1] > 0.9


@pytest.fixture
def noise_burst() -> np.ndarray:
    """Three seconds of silence with loud noise from 1 to 2 s."""
    pcm = np.random.default_rng(0).normal(0, 1e-4, 48000).astype(np.float32)
    pcm[16000:32000] = np.random.default_rng(1).normal(0, 0.1, 16000)
    return pcm


def test_loudness_gives_phones_of_voice(noise_burst: np.ndarray) -> None:
    phones, _, source = transcript.label_phones("x", noise_burst)
    assert source == "loudness" and [phone.name for phone in phones] == ["pau", "voice", "pau"]
    assert phones[1].start == pytest.approx(1.0, abs=0.05)
    assert phones[1].end == pytest.approx(2.0, abs=0.05)


def test_word_times_give_phones_of_voice_where_alignment_fails(
    noise_burst: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "x.align").write_text("0 25000 sil\n25000 37500 bin\n37500 50000 blue\n50000 75000 sil\n")
    phones, text, source = transcript.label_phones("x", noise_burst, tmp_path)
    assert text == "bin blue" and source == "words"
    assert phones == [
        Phone("pau", 0, 1.0),
        Phone("voice", 1.0, 1.5),
        Phone("voice", 1.5, 2.0),
        Phone("pau", 2.0, 3.0),
    ]
    assert transcript.crop_phones(phones, 1.25, 3.0)[0] == Phone("voice", 0.0, 0.25)


def test_word_times_in_another_format_are_rejected(noise_burst: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "y.align").write_text("hello\n")
    with pytest.raises(TalkerError, match="word times"):
        transcript.label_phones("y", noise_burst, tmp_path)


def test_the_lag_between_lips_and_audio_is_measured() -> None:
    weights, pcm = synthesize_talking(200)
    opening = np.maximum(0, RIG.lip_gap(weights))
    lag, correlation = estimate_lag(opening, pcm)
    assert abs(lag) < 0.01 and correlation > 0.7
    assert estimate_lag(np.roll(opening, 2), pcm)[0] == pytest.approx(lag + 0.08, abs=0.01)
    assert estimate_lag(np.zeros(50), pcm)[1] == 0.0
