# SPDX-License-Identifier: Apache-2.0
"""Blendshape animation with its sound as a corpus: Live Link Face CSV, NPZ, FACEGOOD's pairs.

`make_from_animation(pairs, folder, …)` reads motion of any frame rate, brings it onto 25 frames a second at the
middles of 640 samples, makes its closures close on the default rig, cuts it where it is quiet and writes clips.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.corpus import facegood
from streamingtalker_ros.corpus.av_sync import lag
from streamingtalker_ros.corpus.storage import Clip, save_clip
from streamingtalker_ros.corpus.video import clips as cutting
from streamingtalker_ros.corpus.video.blendshape_solver import exact, opening
from streamingtalker_ros.corpus.video.corpus import minutes
from streamingtalker_ros.corpus.video.landmark_matching import MOUTH, eye_distance
from streamingtalker_ros.corpus.video.neutral_pose import loudness
from streamingtalker_ros.corpus.video.transcript import phones_of, spoken, within
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX

UNEQUAL = 0.15  # share by which sound and motion may differ in length; the longer one's end is dropped
CONTACT = 0.008  # lips nearer than that touch: half a millimetre, in parts of the inter-ocular distance
DEEPEST = 0.03  # most that a mouth at rest may gape and still be taken for shut: 2 mm
ROLLED = 0.15  # both lips rolled in, or pressed, by that much are shut whatever the jaw does


@dataclass
class Animation:
    """weights (T, 52); head (T, 3) rotation vectors; times (T,) s, what each row stands for on the sound's clock."""

    weights: np.ndarray
    head: np.ndarray
    times: np.ndarray


def find_pairs(paths, motion=None):
    """[(sound, motion)] of files and folders. A folder is FACEGOOD's code/train, or holds sounds beside motion.

    motion: folder of the motion files, the sound's own when None. A sound without motion is paired with None.
    """
    found = []
    for path in map(Path, paths):
        if (path / "bs_value").is_dir():
            found += facegood.pairs(path)
            continue
        sounds = (
            [path]
            if path.is_file()
            else sorted(file for end in ("*.wav", "*.flac") for file in path.glob(end))
        )
        if not sounds:
            raise TalkerError(f"{path} holds no sound: give WAV or FLAC files beside NAME.csv or NAME.npz")
        for sound in sounds:
            beside = Path(motion or sound.parent) / sound.stem
            motions = [beside.with_name(beside.name + end) for end in (".csv", ".npz")]
            found.append((sound, next((file for file in motions if file.is_file()), None)))
    return found


def read_animation(path):
    """The Animation in NAME.csv (Live Link Face), NAME.npz (weights (T, 52), frame_rate, optionally names and head
    quaternions) or FACEGOOD's bs_value_NAME.npy. Raises TalkerError for anything else."""
    path = Path(path)
    if path.suffix == ".npy":
        names = np.load(facegood.names_file(path.parent.parent))
        weights = facegood.to_arkit(np.load(path), names)
        return Animation(weights, np.zeros((len(weights), 3)), np.arange(len(weights)) / facegood.RATE)
    if path.suffix.lower() == ".csv":
        from streamingtalker_ros.face.formats.livelink import read_livelink_csv

        weights, head, rate = read_livelink_csv(path)
    else:
        weights, head, rate = _read_npz(path)
    if not np.isfinite(weights).all() or len(weights) < 2:
        raise TalkerError(f"{path} holds no motion: it needs two rows of finite weights at least")
    turns = require("scipy.spatial.transform", "reading animation").Rotation.from_quat(head).as_rotvec()
    return Animation(np.clip(weights, 0.0, 1.0), turns, (np.arange(len(weights)) + 0.5) / rate)


def _read_npz(path):
    try:
        with np.load(path) as data:
            weights, rate = np.asarray(data["weights"], np.float64), float(data["frame_rate"])
            names = [str(name) for name in data["names"]] if "names" in data else list(ARKIT_NAMES)
            still = np.tile((0.0, 0.0, 0.0, 1.0), (len(weights), 1))
            head = np.asarray(data["head"], np.float64) if "head" in data else still
    except (OSError, KeyError, ValueError) as broken:
        raise TalkerError(
            f"{path} cannot be read ({broken}): it needs weights (T, 52) and frame_rate"
        ) from None
    if weights.ndim != 2 or weights.shape[1] != len(names) or head.shape != (len(weights), 4) or rate <= 0:
        raise TalkerError(
            f"{path} has weights of shape {weights.shape} for {len(names)} names, head {head.shape}, "
            f"{rate:g} frames/s: it needs (T, 52), (T, 4) and more than 0"
        )
    out = np.zeros((len(weights), len(ARKIT_NAMES)))
    for k, name in enumerate(names):
        if name in INDEX:
            out[:, INDEX[name]] = weights[:, k]
    return out, head, rate


def on_grid(animation, frames, offset=0.0):
    """The animation at the middles of motion frames 0 to `frames`, lines between its rows, ends held: weights, head."""
    at = (np.arange(frames) + 0.5) / FRAME_RATE
    return tuple(
        np.stack([np.interp(at, animation.times + offset, column) for column in values.T], axis=1)
        for values in (animation.weights, animation.head)
    )


def shut(weights, rig, quiet):
    """Weights (T, 52) whose closures close on the rig, the rest as it was.

    What the lips' gap is in quiet frames, where a mouth rests shut, counts as contact (2 mm at most), and so do
    lips that are both rolled in or pressed. quiet: (T,) bool.
    """
    eyes = eye_distance(rig)
    gap = rig.lip_gap(weights) / eyes
    rest = gap[quiet & (gap < DEEPEST)]
    touch = max(CONTACT, float(np.percentile(rest, 75)) + CONTACT if len(rest) else CONTACT)
    column = {name: weights[:, INDEX[name]] for name in ARKIT_NAMES}
    rolled = (
        np.maximum(
            np.minimum(column["mouthRollLower"], column["mouthRollUpper"]),
            np.minimum(column["mouthPressLeft"], column["mouthPressRight"]),
        )
        / ROLLED
    )
    wanted = opening(gap, touch)
    wanted = np.minimum(wanted, wanted * (1.0 - np.clip(rolled, 0.0, 1.0)))
    columns = [INDEX[name] for name in MOUTH]
    out = weights.copy()
    out[:, columns] = exact(weights[:, columns], rig, wanted * eyes, rig.lip_width(weights))
    return out


def make_from_animation(
    pairs, folder, speaker, hold_out="last", offset=0.0, align=None, licence="", say=print
):
    """Write the corpus; equal arguments give equal files. Returns its index.

    pairs: of `find_pairs`; speaker: names voice and style; hold_out: "last" pair, "none" or "all", for test; offset:
    s to add to the motion's times; align: folder of NAME.txt; say: called with one sentence per rejected pair.
    Raises TalkerError where nothing is left.
    """
    from streamingtalker_ros.face.default_head.assemble import default_rig

    rig, folder = default_rig(), Path(folder)
    bar = require("tqdm", "the progress bar").tqdm(pairs, desc="pairs", unit="pair")
    entries, rejected, lags, captured = [], {}, [], set()
    for k, (sound, motion) in enumerate(bar):
        split = "test" if hold_out == "all" or (hold_out == "last" and k == len(pairs) - 1) else "train"
        try:
            clip, moves = _whole(sound, motion, rig, offset)
        except TalkerError as error:
            rejected[sound.stem] = str(error)
            say(f"rejected {sound.name}: {error}")
            continue
        lags.append(lag(np.maximum(rig.lip_gap(clip.weights), 0.0), clip.pcm))
        captured |= moves
        phones, text, how = phones_of(sound.stem, clip.pcm, align)
        spans = cutting.pieces(0, len(clip.weights), clip.pcm)
        for number, span in enumerate(spans):
            piece = Clip(
                cutting.sound_of(clip.pcm, span),
                clip.weights[slice(*span)].astype(np.float32),
                clip.head[slice(*span)].astype(np.float32),
                within(phones, *(edge / FRAME_RATE for edge in span)),
                speaker,
                split,
                sound.stem if len(spans) == 1 else f"{sound.stem}_{number:02d}",
                speaker,
            )
            entries.append(
                save_clip(
                    folder,
                    piece,
                    speaker=speaker,
                    text=text if len(spans) == 1 else "",
                    phones=how,
                    start=span[0] / FRAME_RATE,
                )
            )
    if not entries:
        raise TalkerError("no pair is left to learn from; every one was rejected")
    index = {
        "kind": "animation",
        "version": __version__,
        "rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "minutes_by_split": minutes(entries),
        "motion": "animated or captured blendshapes under ARKit's names",
        "sources": {
            speaker: {"pairs": len(pairs) - len(rejected), "rejected": len(rejected), "licence": licence}
        },
        "captured": sorted(captured),
        "lag": float(np.median([row[0] for row in lags])),
        "lag_correlation": float(np.median([row[1] for row in lags])),
        "rejected": rejected,
        "clips": entries,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    return index


def _whole(sound, motion, rig, offset):
    """(Clip of a whole pair without phones, the parts of the face that its source moves)."""
    if motion is None:
        raise TalkerError(f"there is no {sound.stem}.csv or {sound.stem}.npz beside it")
    animation = read_animation(motion)
    pcm, rate = read_audio(sound)
    if rate != SAMPLE_RATE:
        pcm = require("soxr", "resampling").resample(pcm, rate, SAMPLE_RATE)
    heard, moved = len(pcm) / SAMPLE_RATE, float(animation.times[-1])
    if abs(heard - moved) > UNEQUAL * max(heard, moved):
        raise TalkerError(
            f"its sound lasts {heard:.1f} s and its motion {moved:.1f} s: they do not belong together"
        )
    frames = int(min(heard, moved + 1.0 / FRAME_RATE) * FRAME_RATE)
    if frames < FRAME_RATE:
        raise TalkerError(f"it is too short: {min(heard, moved):.2f} s")
    weights, head = on_grid(animation, frames, offset)
    pcm = pcm[: frames * HOP_LENGTH]
    level = loudness(pcm, (np.arange(frames) + 0.5) / FRAME_RATE)
    weights = shut(weights, rig, level < np.percentile(level, 95) - 25.0)
    parts = {"mouth": ~upper_face.UPPER_FACE_MASK, "eyes and brows": upper_face.UPPER_FACE_MASK}
    moves = {name for name, columns in parts.items() if np.ptp(weights[:, columns], axis=0).max() > 0.05}
    moves |= {"head"} if np.ptp(head, axis=0).max() > 0.01 else set()
    clip = Clip(pcm.astype(np.float32), weights, head, [])
    if "eyes and brows" not in moves:  # a face whose eyes were not captured would teach dead eyes
        seed = zlib.crc32(sound.stem.encode())
        upper, turned = upper_face.synthesize_upper_face(spoken(clip.pcm), frames, seed)
        clip.weights = np.where(upper_face.UPPER_FACE_MASK, upper, weights)
        clip.head = head if "head" in moves else turned
    return clip, moves
