# SPDX-License-Identifier: Apache-2.0
"""`make_from_video`: videos of one speaker -> a corpus. Tracks, finds the neutral, solves, cuts, draws, resumes.

Files in the corpus's folder beside the clips: `landmarks/` (tracks and sounds, or another folder), `pictures/` (one
PNG a clip), `parts/` (what is done), `rejected.json` (name: reason). What changed since the last call is done again.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.corpus.av_sync import lag
from streamingtalker_ros.corpus.storage import SPLITS, Clip, save_clip
from streamingtalker_ros.corpus.video import clips as cutting
from streamingtalker_ros.corpus.video import tracking
from streamingtalker_ros.corpus.video.blendshape_solver import solve
from streamingtalker_ros.corpus.video.head_pose import mean_face, relative, steady
from streamingtalker_ros.corpus.video.landmark_matching import match
from streamingtalker_ros.corpus.video.landmarks import load
from streamingtalker_ros.corpus.video.neutral_pose import find_neutral, lip_gap, lip_width
from streamingtalker_ros.corpus.video.transcript import phones_of, within
from streamingtalker_ros.errors import TalkerError, require

LOOKED_AT = 120  # clips for the speaker's neutral, evenly spread
VALIDATED = 33  # every so many videos that are not held out are for validation


def split_of(index, every) -> str:
    """Which split the video at an index, in the order of names, belongs to: every `every`th is held out."""
    if every and index % every == 0:
        return "test"
    return "validation" if index % VALIDATED == VALIDATED // 2 else "train"


def make_from_video(
    videos,
    folder,
    speaker,
    landmarks=None,
    stage="all",
    every=20,
    align=None,
    licence="",
    jobs=2,
    pictures=True,
    say=print,
):
    """Write the corpus, or its landmarks alone; a second call goes on where the first stopped.

    videos: paths, all of one speaker; folder: to write; speaker: names voice and style; landmarks: folder of tracks,
    default folder/landmarks; stage: "track", "solve" or "all"; every: n-th video that is held out, 0 for none;
    align: folder of NAME.align or NAME.txt; say: called with one sentence per rejected video. Returns the index, or
    None after stage "track". Raises TalkerError where nothing is left.
    """
    if landmarks and stage == "all" and not tracking.is_available():
        stage = "solve"  # the tracks come from elsewhere
    videos = _unlike(map(Path, videos), say)
    folder = Path(folder)
    landmarks = Path(landmarks) if landmarks else folder / "landmarks"
    folder.mkdir(parents=True, exist_ok=True)
    rejected = {}
    if stage != "solve":
        rejected = track_all(videos, landmarks, jobs, say)
        if stage == "track":
            return None
    names = [path.stem for path in videos if path.stem not in rejected]
    usable = _usable(names, landmarks, rejected, say)
    if not usable:
        raise TalkerError("no video is left to learn from; every one was rejected")
    picked = [
        usable[k] for k in np.linspace(0, len(usable) - 1, min(LOOKED_AT, len(usable))).round().astype(int)
    ]
    tracks = [cutting.filled(load(landmarks / f"{name}.npz")) for name in picked]
    reference = mean_face(tracks)
    neutral = find_neutral(
        [steady(track, reference) for track in tracks],
        [sound(landmarks / f"{name}.flac") for name in picked],
        say,
    )
    np.savez(folder / "neutral.npz", reference=reference, points=neutral.points, head=neutral.head)
    paths = {path.stem: path for path in videos}
    splits = {path.stem: split_of(k, every) for k, path in enumerate(videos)}
    work = [(name, paths[name], folder, landmarks, align, speaker, splits[name], pictures) for name in usable]
    entries = []
    with ProcessPoolExecutor(jobs, initializer=_share, initargs=(reference, neutral)) as pool:
        bar = require("tqdm", "the progress bar").tqdm
        for made in bar(pool.map(_solve_one, work, chunksize=4), total=len(work), desc="clips", unit="video"):
            entries += made
    (folder / "rejected.json").write_text(json.dumps(rejected, indent=1))
    index = {
        "kind": "video",
        "version": __version__,
        "rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "minutes_by_split": minutes(entries),
        "motion": "tracked lips, solved by least squares on the default rig",
        "sources": {speaker: {"videos": len(usable), "rejected": len(rejected), "licence": licence}},
        "lag": float(np.median([entry["lag"] for entry in entries])),
        "neutral": {"gap": neutral.gap, "width": neutral.width, "touch": neutral.touch},
        "clips": entries,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    return index


def _unlike(videos, say):
    """The videos in the order of their names, the first of each name."""
    kept = {}
    for path in videos:
        if path.stem in kept and path != kept[path.stem]:
            say(f"rejected {path}: {kept[path.stem]} has the same name, and clips are told apart by it")
        kept.setdefault(path.stem, path)
    return [kept[name] for name in sorted(kept)]


def minutes(entries):
    """{split: minutes} of index entries."""
    return {
        split: round(sum(entry["seconds"] for entry in entries if entry["split"] == split) / 60, 2)
        for split in SPLITS
    }


def track_all(videos, landmarks, jobs, say):
    """Track every video that has no track yet; {name: reason} of those that cannot be."""
    todo = [
        path
        for path in videos
        if not (landmarks / f"{path.stem}.npz").is_file() or not (landmarks / f"{path.stem}.flac").is_file()
    ]
    if todo and not tracking.is_available():
        raise TalkerError(tracking.INSTALL_HINT)
    rejected = {}
    if not todo:
        return rejected
    with ProcessPoolExecutor(min(jobs, len(todo)), initializer=_hush) as pool:
        bar = require("tqdm", "the progress bar").tqdm(total=len(todo), desc="tracking", unit="video")
        for path, reason in pool.map(_track_one, [(path, landmarks) for path in todo]):
            bar.update()
            if reason:
                rejected[path.stem] = reason
                bar.clear()
                say(f"rejected {path.name}: {reason}")
        bar.close()
    return rejected


def _hush() -> None:
    """Send what mediapipe's libraries print nowhere; reasons come back as values."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _track_one(job):
    video, landmarks = job
    try:
        tracking.track(video, landmarks)
    except TalkerError as error:
        return video, str(error).removeprefix(f"{video}: ")
    return video, None


def _usable(names, landmarks, rejected, say):
    """The names whose tracks give clips; the others join `rejected`, with one sentence each."""
    usable = []
    for name in names:
        try:
            if not (landmarks / f"{name}.npz").is_file():
                raise TalkerError(f"{landmarks} holds no landmarks of it: track it first")
            cutting.cut(load(landmarks / f"{name}.npz"), sound(landmarks / f"{name}.flac"))
            usable.append(name)
        except TalkerError as error:
            rejected[name] = str(error)
            say(f"rejected {name}: {error}")
    return usable


def sound(path):
    """(n,) float32 at 16 kHz of a track's FLAC. Raises TalkerError where it is missing."""
    if not Path(path).is_file():
        raise TalkerError(f"{path}, the sound of a track, is missing: track the video again")
    return require("soundfile", "reading sound").read(str(path), dtype="float32")[0]


_SHARED = []


def _share(reference, neutral) -> None:
    """In each process: what all clips of the speaker need."""
    _SHARED[:] = [reference, neutral, crc32(reference.tobytes() + neutral.points.tobytes())]


@lru_cache(maxsize=1)
def _rig():
    from streamingtalker_ros.face.default_head.assemble import default_rig

    return default_rig()


def _solve_one(job):
    """Solve one video into clips; returns their index entries, from parts/ when nothing changed."""
    name, video, folder, landmarks, align, speaker, split, pictures = job
    reference, neutral, version = _SHARED
    done = folder / "parts" / f"{name}.json"
    state = [version, __version__, str(align), speaker, split, pictures]
    if done.is_file():
        part = json.loads(done.read_text())
        if part["state"] == state and all(
            (folder / split / f"{entry['name']}.npz").is_file() for entry in part["clips"]
        ):
            return part["clips"]
    track, pcm = load(landmarks / f"{name}.npz"), sound(landmarks / f"{name}.flac")
    face = steady(cutting.filled(track), reference)
    spans = cutting.cut(track, pcm)
    phones, text, how = phones_of(name, pcm, align)
    basis = match(_rig(), neutral)
    entries = []
    for k, span in enumerate(spans):
        part = cutting.on_grid(face, span)
        clip = Clip(
            cutting.sound_of(pcm, span),
            solve(part, neutral, basis),
            relative(part.head, neutral.head),
            within(phones, *(edge / FRAME_RATE for edge in span)),
            speaker,
            split,
            name if len(spans) == 1 else f"{name}_{k:02d}",
            speaker,
            lip_gap(part.points).astype(np.float32),
            lip_width(part.points).astype(np.float32),
        )
        entries.append(
            save_clip(
                folder,
                clip,
                speaker=speaker,
                text=text,
                phones=how,
                start=span[0] / FRAME_RATE,
                lag=round(lag(np.maximum(clip.lip_opening, 0.0), clip.pcm)[0], 4),
            )
        )
        if pictures:
            from streamingtalker_ros.corpus.video.preview import draw

            path = folder / "pictures" / f"{clip.name}.png"
            path.parent.mkdir(exist_ok=True)
            draw(clip, part, track, span, video, basis, neutral).save(path)
    done.parent.mkdir(exist_ok=True)
    done.write_text(json.dumps({"state": state, "clips": entries}))
    return entries
