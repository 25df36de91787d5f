# SPDX-License-Identifier: Apache-2.0
"""A section: the clips of one corpus, what each is judged by, and the figures of any system's takes of them.

`load_section(rig, folder, split)` reads one, `score(rig, section, takes)` judges. Figures are flat dicts with units in
their names; a figure that the clips cannot give (closures without phones) is NaN.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.storage import SPLITS, load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import dynamics, metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import MOUTH, inter_ocular
from streamingtalker_ros.evaluation.motion_curves import reference
from streamingtalker_ros.phonetics.phones import normalize_phones

STILL = 0.002  # inter-ocular: a reference whose opening deviates less correlates with nothing
MOST_LAG = 5  # frames


@dataclass
class Section:
    """name: of the folder and split; clips: list of Clip; truth: list of Take; phones: a list of Phone for each.

    tracked: whether a camera saw the lips; known: whether the voices had other clips in training; rule_made: whether
    the teacher made the motion; licences: of what the corpus was made from.
    """

    name: str
    clips: list
    truth: list = field(repr=False)
    phones: list = field(repr=False)
    tracked: bool = False
    known: bool = False
    rule_made: bool = True
    licences: tuple = ()

    def part(self, chosen):
        """The Section of the clips at some indices."""
        return replace(
            self,
            clips=[self.clips[i] for i in chosen],
            truth=[self.truth[i] for i in chosen],
            phones=[self.phones[i] for i in chosen],
        )

    @property
    def spoken(self):
        """Indices of the clips with a reference that moves."""
        return [i for i, take in enumerate(self.truth) if take.opening.std() > STILL]

    @property
    def seconds(self):
        return sum(len(take.opening) for take in self.truth) / FRAME_RATE


def load_section(rig, folder, split="test", limit=None, unseen=False):
    """The clips of a corpus folder as a Section.

    folder: path, or path:split; split: one of SPLITS or "all"; limit: only so many clips, evenly spread; unseen: the
    model was trained without this corpus. Raises TalkerError where there are none.
    """
    folder = str(folder)
    head, _, tail = folder.rpartition(":")
    if head and tail in (*SPLITS, "all"):
        folder, split = head, tail
    index = read_index(folder)
    clips = load_corpus(folder, None if split == "all" else split)
    if not clips:
        have = {name: sum(clip["split"] == name for clip in index["clips"]) for name in SPLITS}
        raise TalkerError(
            f"the corpus {folder} has no {split} clips (it has "
            f"{', '.join(f'{n} {name}' for name, n in have.items())}): choose another --split"
        )
    if limit and limit < len(clips):
        clips = [clips[int(i)] for i in np.linspace(0, len(clips) - 1, limit).round()]
    trained = {clip["voice"] for clip in index["clips"] if clip["split"] == "train"}
    known = (
        split in ("test", "validation")
        and not unseen
        and any(clip.voice in trained - {"none"} for clip in clips)
    )
    tracked = any(clip.lip_opening is not None for clip in clips)
    return Section(
        f"{Path(folder).resolve().name}, {split}",
        clips,
        [reference(rig, clip) for clip in clips],
        [normalize_phones(clip.phones) for clip in clips],
        tracked,
        known,
        not tracked and "rule" in str(index.get("motion", "")),
        _licences(index),
    )


def _licences(index):
    """What an index says of its sources' licences, each once."""
    sources = index.get("sources", {})
    found = [
        str(source["licence"])
        for source in (sources.values() if isinstance(sources, dict) else sources)
        if isinstance(source, dict) and source.get("licence")
    ]
    return tuple(dict.fromkeys(found))


def score(rig, section, takes):
    """Judge takes (one for each clip) against the section: (figures, per clip).

    figures: dict of floats; per clip: dict of (N,) arrays over the clips with a reference that moves.
    """
    regions = vertex_metrics.regions(rig)
    rows = [_clip_scores(rig, regions, takes[i], section.truth[i]) for i in section.spoken]
    clips = {key: np.array([row[key] for row in rows]) for key in rows[0]} if rows else {}
    openings = [take.opening for take in takes]
    widest = metrics.vowel_opening(openings, section.phones, FRAME_RATE)
    count = sum(
        (
            metrics.closures(opening, phones, FRAME_RATE, widest)
            for opening, phones in zip(openings, section.phones)
        ),
        metrics.Closures(),
    )
    figures = {"clips": len(takes), "seconds": section.seconds, "clips_that_move": len(rows)}
    for name in ("lip_opening_r", "lip_width_r"):
        figures[f"{name}_median"] = _percentile(clips, name, 50)
        figures[f"{name}_p10"] = _percentile(clips, name, 10)
    crossed = clips.get("crossed")
    late = metrics.peak_of(np.nanmean(crossed, 0)) - MOST_LAG if rows else float("nan")
    level = [metrics.loudness(clip.pcm) for clip in section.clips]
    figures |= {
        "lag_ms": 1e3 * late / FRAME_RATE,
        "lag_frames_median": _percentile(clips, "lag", 50),
        "lag_within_one_frame": float(np.mean(np.abs(clips["lag"]) <= 1)) if rows else float("nan"),
        "amplitude_ratio": _percentile(clips, "amplitude", 50),
        "width_amplitude_ratio": _percentile(clips, "width_amplitude", 50),
        "lip_opening_error_mm": 1e3 * inter_ocular(rig) * _mean(clips, "error"),
        "jerk_ratio": _percentile(clips, "jerk", 50),
        "jerk_over_amplitude_ratio": _percentile(clips, "jerk_per_amplitude", 50),
        "bilabials": count.bilabials,
        "closure_recall": count.recall,
        "squeezed": count.squeezed,
        "closure_recall_of_all": count.recall_of_all,
        "open_vowels": count.vowels,
        "false_closures": count.false_rate,
        "vowel_opening_mm": 1e3 * inter_ocular(rig) * widest,
        "lve_mm2": 1e6 * _mean(clips, "lve"),
        "fdd_mm2": 1e6 * _mean(clips, "fdd"),
        "mod_mm": 1e3 * _mean(clips, "mod"),
        "mouth_weights_error": _mean(clips, "mouth"),
        "blinks_per_minute": _blinks_per_minute(takes),
        "pause_lip_speed_share": _speed_in_pauses(rig, regions, takes, level),
    }
    figures |= _with_sound(takes, level)
    return figures, clips


def _clip_scores(rig, regions, take, truth):
    """The numbers of one clip, a dict of floats (and its cross-correlation, an array)."""
    frames = min(len(take.opening), len(truth.opening))
    made, true = take.opening[:frames], truth.opening[:frames]
    ratio = metrics.amplitude_ratio(made, true)
    true_jerk = dynamics.jerk(true, FRAME_RATE)
    jerk = dynamics.jerk(made, FRAME_RATE) / true_jerk if true_jerk > 0 else float("nan")
    crossed = metrics.cross_correlation(made, true, MOST_LAG)
    row = {
        "lip_opening_r": metrics.correlation(made, true),
        "crossed": crossed,
        "lag": int(crossed.argmax()) - MOST_LAG,
        "amplitude": ratio,
        "jerk": jerk,
        "jerk_per_amplitude": jerk / ratio if ratio > 0 else float("nan"),
        "error": float(np.abs(made - true).mean()),
        "lip_width_r": float("nan"),
        "width_amplitude": float("nan"),
        "lve": float("nan"),
        "fdd": float("nan"),
        "mod": float("nan"),
        "mouth": float("nan"),
    }
    width, true_width = take.width[:frames], truth.width[:frames]
    if np.isfinite(true_width).all() and true_width.std() > 1e-6:
        row["lip_width_r"] = metrics.correlation(width, true_width)
        row["width_amplitude"] = metrics.amplitude_ratio(width, true_width)
    if take.weights is not None and truth.weights is not None:
        row |= _vertex_scores(rig, regions, take.weights[:frames], truth.weights[:frames])
    return row


def _vertex_scores(rig, regions, made, true):
    def at(weights, chosen):
        return vertex_metrics.points(rig, weights, chosen)

    pairs = [(at(weights, regions.above), at(weights, regions.below)) for weights in (made, true)]
    return {
        "lve": vertex_metrics.lip_vertex_error(at(made, regions.lips), at(true, regions.lips)),
        "fdd": vertex_metrics.upper_face_deviation(
            at(made, regions.upper), at(true, regions.upper), rig.vertices[regions.upper]
        ),
        "mod": vertex_metrics.mouth_opening_difference(*pairs),
        "mouth": float(np.abs(made - true)[:, MOUTH].mean()),
    }


def _blinks_per_minute(takes):
    """Over all takes together; NaN where lids are unknown."""
    known = [take.weights for take in takes if take.weights is not None]
    seconds = sum(len(weights) for weights in known) / FRAME_RATE
    return (
        60.0 * sum(len(dynamics.blinks(weights)) for weights in known) / seconds if seconds else float("nan")
    )


def _with_sound(takes, level):
    """How the opening goes with loudness: what can be said without a reference. A face mostly opens a little before it
    is loud; a lag of several frames either way is seen."""
    pairs = [
        (take.opening[: len(sound)], np.maximum(sound[: len(take.opening)], sound.max() - 40.0))
        for take, sound in zip(takes, level)
        if take.opening.std() > STILL and np.ptp(sound) > 20.0
    ]
    if not pairs:
        return {"loudness_r_median": float("nan"), "loudness_lag_ms": float("nan")}
    crossed = np.array([metrics.cross_correlation(*pair, MOST_LAG) for pair in pairs])
    return {
        "loudness_r_median": float(np.median(crossed[:, MOST_LAG])),
        "loudness_lag_ms": 1e3 * (metrics.peak_of(crossed.mean(0)) - MOST_LAG) / FRAME_RATE,
    }


def _speed_in_pauses(rig, regions, takes, level):
    """95th percentile of lip speed in the clips' quiet frames, as a share of that in all others: quiet is 40 dB under
    the clip's loudest frame and 240 ms after and 80 ms before anything louder. NaN without such frames."""
    quiet, loud = [], []
    for take, sound in zip(takes, level):
        if take.weights is None or not np.any(take.weights):
            continue
        speed = dynamics.vertex_speed(vertex_metrics.points(rig, take.weights, regions.lips), FRAME_RATE)
        sounding = np.flatnonzero(sound > max(sound.max() - 40.0, -70.0))
        near = np.zeros(len(sound) + 8, bool)
        for shift in range(-2, 7):
            near[sounding + shift] = True  # negative indices fall into the tail that is cut off
        near = near[1 : len(speed) + 1]
        loud.append(speed[near])
        quiet.append(speed[~near])
    if not quiet or sum(map(len, quiet)) < FRAME_RATE:
        return float("nan")
    return float(np.percentile(np.concatenate(quiet), 95) / np.percentile(np.concatenate(loud), 95))


def _percentile(clips, key, q):
    values = clips.get(key, np.zeros(0))
    values = values[np.isfinite(values)]
    return float(np.percentile(values, q)) if len(values) else float("nan")


def _mean(clips, key):
    values = clips.get(key, np.zeros(0))
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
