# SPDX-License-Identifier: Apache-2.0
"""Laws of motion from video, on landmarks of a face whose weights are known: the default rig, posed and filmed."""

import importlib.util
import json
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")
import soundfile

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.corpus.av_sync import lag
from streamingtalker_ros.corpus.storage import load_corpus
from streamingtalker_ros.corpus.video import clips as cutting
from streamingtalker_ros.corpus.video import tracking, transcript
from streamingtalker_ros.corpus.video.blendshape_solver import MOUTH, exact, solve
from streamingtalker_ros.corpus.video.head_pose import mean_face, relative, steady
from streamingtalker_ros.corpus.video.landmarks import POINTS, Track, load
from streamingtalker_ros.corpus.video.neutral_pose import find_neutral, lip_gap, lip_width
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.rendering.video import write_mp4
from support.synthetic_faces import film, match_of

RIG = default_rig()
EYES = 0.0664  # m between the default rig's eyes


def talk(frames=125, seed=0):
    """Weights (T, 52) of a mouth that rests, talks with closures, and rests; the sound that goes with it."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 25
    on = ((t > 1.0) & (t < t[-1] - 1.0)).astype(float)
    weights = np.zeros((frames, 52))

    def put(value, *names) -> None:
        for name in names:
            weights[:, INDEX[name]] = value * on

    put(0.45 * np.maximum(0, np.sin(2 * np.pi * 2.1 * t + rng.random())), "jawOpen")
    put(0.4 * np.maximum(0, np.sin(2 * np.pi * 0.9 * t)), "mouthPucker")
    put(0.4 * np.maximum(0, -np.sin(2 * np.pi * 0.9 * t)), "mouthSmileLeft", "mouthSmileRight")
    put(0.15 * np.maximum(0, np.sin(2 * np.pi * 2.1 * t + 0.4)), "mouthUpperUpLeft", "mouthUpperUpRight")
    weights[frames // 2 : frames // 2 + 3, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 1.0
    opening = np.repeat(0.02 + np.maximum(0, RIG.lip_gap(weights)) * 30 * on, 640)
    return weights, (rng.normal(0, 0.2, len(opening)) * opening * np.repeat(on, 640)).astype(np.float32)


def nod(frames):
    t = np.arange(frames) / 25
    return np.stack([0.06 * np.sin(t), 0.12 * np.sin(1.3 * t), 0.2 * np.sin(0.9 * t)], axis=1)


@pytest.fixture(scope="module")
def filmed():
    """(weights, sound, Face, Neutral, solved) of a clip without noise."""
    weights, pcm = talk()
    track = film(weights)
    reference = mean_face([track])
    face = steady(track, reference)
    neutral = find_neutral([face], [pcm])
    return weights, pcm, face, neutral, solve(face, neutral, match_of(RIG, neutral))


def test_solving_gives_back_the_weights_that_were_posed(filmed) -> None:
    weights, _, _, _, solved = filmed
    for name, within in (
        ("jawOpen", 0.06),
        ("mouthPucker", 0.06),
        ("mouthSmileLeft", 0.15),
        ("eyeBlinkLeft", 0.05),
    ):
        assert np.abs(solved[:, INDEX[name]] - weights[:, INDEX[name]]).max() < within, name
        assert np.corrcoef(solved[:, INDEX[name]], weights[:, INDEX[name]])[0, 1] > 0.97, name
    lips = np.concatenate(
        [RIG.landmark(name) for name in ("outer_lip_upper", "outer_lip_lower", "inner_lip_lower")]
    )
    apart = np.linalg.norm(RIG.pose(solved)[:, lips] - RIG.pose(weights)[:, lips], axis=-1)
    assert np.sqrt((apart**2).mean()) < 6e-4


def test_the_rigs_lips_are_as_far_apart_and_as_wide_as_the_tracked_ones(filmed) -> None:
    weights, _, face, neutral, solved = filmed
    gap = lip_gap(face.points)
    wide = gap > 3 * neutral.touch
    assert wide.sum() > 20
    assert RIG.lip_gap(solved)[wide] == pytest.approx(EYES * gap[wide], abs=2e-5)
    assert RIG.lip_width(solved) / 0.049 == pytest.approx(lip_width(face.points) / neutral.width, abs=1e-3)


def test_contact_stays_contact_with_noise_half_a_pixel_strong() -> None:
    weights, pcm = talk(seed=3)
    track = film(weights, noise=0.2)
    face = steady(track, mean_face([track]))
    neutral = find_neutral([face], [pcm])
    solved = (
        solve(face, neutral, match_of(RIG, neutral)).astype(np.float16).astype(np.float32)
    )  # as clips are stored
    tracked = lip_gap(face.points)
    touching = tracked < 0.01
    assert 0.2 < touching.mean() < 0.8
    assert (RIG.lip_gap(solved)[touching] <= 0).all()
    assert np.corrcoef(RIG.lip_gap(solved), tracked)[0, 1] > 0.97
    # a closure of two frames between open ones is neither smoothed away nor widened
    shut = RIG.lip_gap(weights) <= 1e-9
    assert ((RIG.lip_gap(solved) <= 0) == shut)[
        np.abs(RIG.lip_gap(weights) / EYES - 0.011) > 0.01
    ].mean() > 0.98


def test_the_heads_motion_leaves_the_face_alone_and_is_kept() -> None:
    weights, pcm = talk()
    still, turned = (
        film(weights),
        film(
            weights,
            nod(len(weights)),
            shift=np.linspace(0, 40, 125)[:, None] * (1, -0.5),
            zoom=np.linspace(1, 1.3, 125),
        ),
    )
    solved = []
    for track in (still, turned):
        face = steady(track, mean_face([track]))
        neutral = find_neutral([face], [pcm])
        solved.append(solve(face, neutral, match_of(RIG, neutral)))
    assert np.abs(solved[0] - solved[1]).max() < 0.03
    moved, wanted = relative(face.head, face.head[60]), relative(nod(125), nod(125)[60])
    assert np.degrees(np.abs(moved - wanted)[3:-3].max()) < 0.5


def test_a_head_is_measured_from_a_frontal_face() -> None:
    weights, _ = talk()
    aside = film(weights, np.tile((0.0, 0.0, 0.3), (125, 1)))
    face = steady(aside, mean_face([aside]))
    assert face.head.mean(axis=0) == pytest.approx((0, 0, 0.3), abs=0.02)


def test_the_neutral_is_found_at_rest_not_in_closures_or_blinks(filmed) -> None:
    weights, pcm, face, neutral, _ = filmed
    assert abs(neutral.gap) < 0.002 and neutral.width == pytest.approx(0.049 / EYES, abs=0.01)
    rest = face.points[5]
    assert np.abs(neutral.points - rest).max() < 0.01
    gaping = weights.copy()
    gaping[:, INDEX["jawOpen"]] = np.maximum(gaping[:, INDEX["jawOpen"]], 0.2)
    track = film(gaping)
    with pytest.raises(TalkerError, match="never shut.*half a second of rest"):
        find_neutral([steady(track, mean_face([track]))], [pcm])


def test_who_never_rests_is_measured_by_lips_that_meet_in_speech(filmed) -> None:
    weights, pcm, face, neutral, _ = filmed
    speaking = slice(27, 98)  # no rest before nor after
    part = replace(
        face,
        points=face.points[speaking],
        head=face.head[speaking],
        times=face.times[speaking] - face.times[speaking][0],
    )
    rng = np.random.default_rng(0)
    told = []
    found = find_neutral([part], [rng.normal(0, 0.1, len(part.times) * 640).astype(np.float32)], told.append)
    assert len(told) == 1 and "never shut, still and silent" in told[0]
    assert abs(found.gap) < 0.011 and found.width == pytest.approx(neutral.width, rel=0.15)
    told.clear()
    find_neutral([face], [pcm], told.append)
    assert told == []


def test_exact_lips_move_the_weights_no_more_than_needed() -> None:
    rng = np.random.default_rng(1)
    mouth = rng.uniform(0, 0.3, (40, len(MOUTH)))
    full = np.zeros((40, 52))
    full[:, [INDEX[name] for name in MOUTH]] = mouth
    gap, width = RIG.lip_gap(full), RIG.lip_width(full)
    assert exact(mouth, RIG, gap, width) == pytest.approx(mouth, abs=1e-6)
    changed = exact(mouth, RIG, gap + 0.002, width)
    full[:, [INDEX[name] for name in MOUTH]] = changed
    assert RIG.lip_gap(full) == pytest.approx(gap + 0.002, abs=1e-6)
    untouched = [k for k, name in enumerate(MOUTH) if name.startswith(("mouthRoll", "jawLeft", "mouthPress"))]
    assert (changed[:, untouched] == mouth[:, untouched]).all()


def test_clips_stand_on_the_grid_whatever_the_videos_frame_rate() -> None:
    count = 90
    points = np.zeros((count, POINTS, 3), np.float32)
    track = Track(points, (np.arange(count) + 0.5) / 30, np.ones(count, bool), 1, (640, 480))
    track.points[:, 0, 0] = track.times
    spans = cutting.cut(track, np.zeros(48000, np.float32))
    assert spans == [(0, 75)]
    from streamingtalker_ros.corpus.video.head_pose import Face

    face = cutting.on_grid(Face(track.points, np.zeros((count, 3)), track.times), spans[0])
    assert face.points[1:-1, 0, 0] == pytest.approx((np.arange(75)[1:-1] + 0.5) / 25, abs=1e-3)
    assert len(cutting.sound_of(np.zeros(47000), spans[0])) == 75 * 640


def test_a_lost_face_ends_a_clip_and_long_ones_are_cut_where_it_is_quiet() -> None:
    count = 25 * 40
    track = Track(
        np.zeros((count, POINTS, 3), np.float32),
        (np.arange(count) + 0.5) / 25,
        np.ones(count, bool),
        1,
        (640, 480),
    )
    track.found[:10] = track.found[500:520] = False
    track.found[700:702] = False  # two frames are bridged
    pcm = np.random.default_rng(0).normal(0, 0.1, count * 640).astype(np.float32)
    pcm[7 * 16000 : int(7.5 * 16000)] = 0
    spans = cutting.cut(track, pcm)
    assert spans[0][0] == 10 and abs(spans[0][1] - 7.25 * 25) < 8
    assert any(first == 520 for first, _ in spans) and max(last for _, last in spans) == count
    assert all(25 <= last - first <= 375 for first, last in spans)
    assert sum(last - first for first, last in spans) == count - 30


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda track: track.found.fill(False), "no face"),
        (lambda track: setattr(track, "faces", 2), "2 faces"),
        (lambda track: track.found[::3].fill(False) or track.found[1::3].fill(False), "track was lost"),
        (
            lambda track: (
                track.found[20:].fill(False)
                or setattr(track, "found", track.found[:30])
                or setattr(track, "times", track.times[:30])
            ),
            "too short",
        ),
    ],
)
def test_what_cannot_be_used_has_a_reason(change, reason) -> None:
    track = film(np.zeros((60, 52)))
    change(track)
    with pytest.raises(TalkerError, match=reason):
        cutting.cut(track, np.zeros(60 * 640, np.float32))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A folder of tracks as another machine left them: four good ones and three that cannot be used."""
    folder = tmp_path_factory.mktemp("tracked")
    for k in range(4):
        weights, pcm = talk(100, seed=k)
        film(weights, nod(100), f"take{k}").save(folder / f"take{k}.npz")
        soundfile.write(folder / f"take{k}.flac", pcm, 16000)
    two = film(np.zeros((60, 52)), faces=2)
    lost = film(np.zeros((60, 52)))
    lost.found[:] = False
    for name, track in (("two", two), ("void", lost)):
        track.save(folder / f"{name}.npz")
        soundfile.write(folder / f"{name}.flac", np.zeros(60 * 640), 16000)
    (folder / "bad.npz").write_bytes(b"no landmarks")
    return folder


@pytest.fixture(scope="module")
def made(tracked, tmp_path_factory):
    """(folder of the corpus, names of its videos, what the command printed)."""
    import contextlib
    import io

    out = tmp_path_factory.mktemp("corpus") / "me"
    names = [f"{name}.mp4" for name in ("take0", "take1", "take2", "take3", "two", "void", "bad")] + [
        "b/take0.mp4"
    ]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert (
            main(
                [
                    "corpus",
                    "from-video",
                    *names,
                    "--out",
                    str(out),
                    "--landmarks",
                    str(tracked),
                    "--stage",
                    "solve",
                    "--every",
                    "3",
                    "--jobs",
                    "1",
                ]
            )
            == 0
        )
    return out, names, said.getvalue()


def test_tracks_of_elsewhere_become_a_corpus(made) -> None:
    out, _, _ = made
    index = json.loads((out / "index.json").read_text())
    splits = {clip["name"]: clip["split"] for clip in index["clips"]}
    # by name: bad, take0, take1, take2, take3, two, void; every third is held out
    assert splits == {"take0": "train", "take1": "train", "take2": "test", "take3": "train"}
    clips = load_corpus(out)
    for clip in clips:
        assert clip.style == clip.voice == "me"
        assert len(clip.pcm) == 640 * len(clip.weights) == 640 * len(clip.head) == 640 * len(clip.lip_opening)
        assert np.corrcoef(RIG.lip_gap(clip.weights), clip.lip_opening)[0, 1] > 0.99
        assert (RIG.lip_gap(clip.weights)[clip.lip_opening < 0.01] <= 0).all()
        assert (
            0.9
            < np.percentile(RIG.lip_gap(clip.weights), 95) / EYES / np.percentile(clip.lip_opening, 95)
            < 1.1
        )
        assert {phone.name for phone in clip.phones} == {"voice", "pau"}
        assert (out / "pictures" / f"{clip.name}.png").stat().st_size > 4000


def test_every_rejected_video_is_named_once_with_its_reason(made) -> None:
    out, _, said = made
    rejected = json.loads((out / "rejected.json").read_text())
    assert set(rejected) == {"two", "void", "bad"}
    for name, reason in (("two", "2 faces"), ("void", "no face"), ("bad", "no tracked landmarks")):
        assert len(re.findall(rf"^rejected {name}:.*$", said, re.M)) == 1
        assert reason in rejected[name]
    assert len(re.findall("^rejected b/take0.mp4: take0.mp4 has the same name", said, re.M)) == 1


def test_a_second_call_finds_what_the_first_one_did(made, tracked) -> None:
    out, names, _ = made
    files = sorted(path for path in out.rglob("*") if path.suffix in (".flac", ".png"))
    before = {path: path.stat().st_mtime_ns for path in files}
    for path in (out / "train").glob("take3.*"):
        path.unlink()
    assert (
        main(
            [
                "corpus",
                "from-video",
                *names,
                "--out",
                str(out),
                "--landmarks",
                str(tracked),
                "--stage",
                "solve",
                "--every",
                "3",
                "--jobs",
                "1",
            ]
        )
        == 0
    )
    changed = {path.stem for path in files if path.stat().st_mtime_ns != before[path]}
    assert changed == {"take3"}
    assert len(load_corpus(out)) == 4


def movie(path, seconds=2.0, fps=25, sound=True) -> None:
    rng = np.random.default_rng(0)
    images = (np.full((48, 64, 3), 10 * k % 250, np.uint8) for k in range(int(seconds * fps)))
    pcm = np.zeros(int(16000 * seconds), np.float32)
    pcm[16000:16800] = rng.normal(0, 0.3, len(pcm[16000:16800]))
    write_mp4(path, images, fps, pcm if sound else None)


def test_frames_and_sound_of_a_video_share_a_clock(tmp_path) -> None:
    movie(tmp_path / "a.mp4", fps=30)
    times = np.array([time for time, _ in tracking.frames(tmp_path / "a.mp4")])
    pcm, began = tracking.read_sound(tmp_path / "a.mp4")
    assert times == pytest.approx((np.arange(60) + 0.5) / 30, abs=1e-3)
    loud = np.flatnonzero(np.abs(pcm) > 0.1) / 16000 + began
    assert loud[0] == pytest.approx(1.0, abs=0.004) and loud[-1] == pytest.approx(1.05, abs=0.004)
    assert tracking.sound_began(tmp_path / "a.mp4") == began


def test_what_is_no_video_is_told_in_a_sentence(tmp_path) -> None:
    (tmp_path / "text.mp4").write_text("this is no film")
    with pytest.raises(TalkerError, match="cannot be read as video"):
        list(tracking.frames(tmp_path / "text.mp4"))
    movie(tmp_path / "mute.mp4", 1.0, sound=False)
    with pytest.raises(TalkerError, match="no sound"):
        tracking.read_sound(tmp_path / "mute.mp4")


@pytest.mark.skipif(tracking.is_available(), reason="mediapipe is installed")
def test_without_mediapipe_one_sentence_says_how_to_get_it(tmp_path, capsys) -> None:
    movie(tmp_path / "a.mp4", 1.0)
    assert main(["corpus", "from-video", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "mediapipe==0.10.21" in said and "--landmarks" in said and said.count("\n") == 1


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="mediapipe is not installed beside this Python (it asks for numpy < 2)",
)
def test_a_rendered_face_comes_back_through_the_camera(tmp_path) -> None:
    from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer

    weights, pcm = talk(100)
    renderer = SoftwareRenderer(RIG, 320, 400)
    write_mp4(tmp_path / "me.mp4", (renderer.render(row) for row in weights), 25, pcm)
    out = tmp_path / "out"
    assert (
        main(
            [
                "corpus",
                "from-video",
                str(tmp_path / "me.mp4"),
                "--out",
                str(out),
                "--every",
                "0",
                "--jobs",
                "1",
            ]
        )
        == 0
    )
    assert load(out / "landmarks" / "me.npz").found.all()
    (clip,) = load_corpus(out)
    assert np.corrcoef(RIG.lip_gap(clip.weights), RIG.lip_gap(weights))[0, 1] > 0.9


def test_word_times_and_loudness_give_phones(tmp_path) -> None:
    pcm = np.random.default_rng(0).normal(0, 1e-4, 48000).astype(np.float32)
    pcm[16000:32000] = np.random.default_rng(1).normal(0, 0.1, 16000)
    found, _, how = transcript.phones_of("x", pcm)
    assert how == "loudness" and [phone.name for phone in found] == ["pau", "voice", "pau"]
    assert found[1].start == pytest.approx(1.0, abs=0.05) and found[1].end == pytest.approx(2.0, abs=0.05)
    (tmp_path / "x.align").write_text("0 25000 sil\n25000 37500 bin\n37500 50000 blue\n50000 75000 sil\n")
    found, text, how = transcript.phones_of("x", pcm, tmp_path)  # noise holds no such words
    assert text == "bin blue" and how == "words"
    assert [(p.name, p.start, p.end) for p in found] == [
        ("pau", 0, 1.0),
        ("voice", 1.0, 1.5),
        ("voice", 1.5, 2.0),
        ("pau", 2.0, 3.0),
    ]
    assert transcript.within(found, 1.25, 3.0)[0] == transcript.Phone("voice", 0.0, 0.25)
    (tmp_path / "y.align").write_text("hello\n")
    with pytest.raises(TalkerError, match="word times"):
        transcript.phones_of("y", pcm, tmp_path)


def test_lag_tells_how_far_a_mouth_is_behind() -> None:
    weights, pcm = talk(200)
    opening = np.maximum(0, RIG.lip_gap(weights))
    now, alike = lag(opening, pcm)
    assert abs(now) < 0.01 and alike > 0.7
    assert lag(np.roll(opening, 2), pcm)[0] == pytest.approx(now + 0.08, abs=0.01)
    assert lag(np.zeros(50), pcm)[1] == 0.0
