# SPDX-License-Identifier: Apache-2.0
"""Corpora on disk: clips of audio with face motion.

A corpus is a folder with `index.json` and, per clip, `SPLIT/NAME.flac` (16 kHz, int16) and `SPLIT/NAME.npz`
(weights, head, phones, and the lip measurements of tracked clips). `load_corpus(folder, split)` returns its
clips.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.output_files import atomic_output, write_text
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.task_cluster import TaskFailure

SPLITS: Final = ("train", "validation", "test")
"""Names of the splits, which are also names of folders."""

LIP_MEASUREMENTS: Final = ("lip_opening", "lip_width", "upper_lip_raise", "lower_lip_drop", "chin_drop")
"""Curves in the NPZ file of a clip whose lips were tracked; older corpora lack some."""

RULE_BASED_STYLE: Final = "teacher"
"""Speaking style of clips whose motion comes from the coarticulation model."""

Index = dict[str, Any]
"""Content of an index.json, or one of its clip entries."""

INDEX_KEY_CHANGES: Final = {
    "rate": "sample_rate",
    "lag": "av_lag_s",
    "lag_correlation": "av_lag_correlation",
    "captured": "captured_parts",
    "resized": "speaker_scaling",
    "revoiced": "voice_conversion",
}
"""Key of an index.json that an older version wrote -> its present name."""

SECTION_KEY_CHANGES: Final = {
    "speaker_scaling": {"of": "source_kind"},
    "voice_conversion": {"of": "source_kind"},
    "neutral": {"gap": "lip_gap", "width": "lip_width", "touch": "contact_gap"},
}
"""Section of an index.json -> key that an older version wrote there -> its present name."""

ENTRY_KEY_CHANGES: Final = {
    "of": "source_file",
    "phones": "phone_source",
    "start": "start_s",
    "lag": "av_lag_s",
    "size": "speaker_scale",
    "throat": "formant_scale",
    "span": "pitch_range",
}
"""Key of a clip entry that an older version wrote -> its present name."""


def find_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Find the files in a folder and below it; symbolic links to folders are followed once.

    Args:
        folder: root of the search.

    Returns:
        Sorted paths.
    """
    files: list[Path] = []
    visited = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        targets = {
            os.path.realpath(os.path.join(parent, name)): name for name in sorted(folders, reverse=True)
        }
        folders[:] = sorted(name for path, name in targets.items() if path not in visited)
        visited |= targets.keys()
        files += [Path(parent, name) for name in names]
    return sorted(files)


@dataclass
class Clip:
    """A recording with its face motion, T frames at 25 frames/s.

    Attributes:
        pcm: (640 T,) float32 mono audio at 16 kHz.
        weights: (T, 52) ARKit blendshape weights, 0 to 1.
        head: (T, 3) rotation vectors in radians.
        phones: phones from 0 to the end of the audio.
        voice: name of the voice.
        split: one of `SPLITS`.
        name: unique within its split; name of its files.
        style: speaking style, a row of the style embedding of the talker.
        lip_opening: (T,) tracked signed gap between the inner lips, in inter-ocular distances; None without
            tracking.
        lip_width: (T,) tracked distance between the corners of the mouth, in inter-ocular distances; None
            without tracking.
        upper_lip_raise: (T,) tracked height of the inner upper lip above that of the speaker's neutral pose,
            in inter-ocular distances; None without tracking.
        lower_lip_drop: (T,) likewise, depth of the inner lower lip below the neutral pose.
        chin_drop: (T,) likewise, depth of the chin below the neutral pose.
        start_s: second of the recording at which the clip begins.
    """

    pcm: npt.NDArray[np.float32]
    weights: np.ndarray
    head: np.ndarray
    phones: list[Phone] = field(repr=False)
    voice: str = ""
    split: str = "train"
    name: str = ""
    style: str = RULE_BASED_STYLE
    lip_opening: np.ndarray | None = None
    lip_width: np.ndarray | None = None
    upper_lip_raise: np.ndarray | None = None
    lower_lip_drop: np.ndarray | None = None
    chin_drop: np.ndarray | None = None
    start_s: float = 0.0

    @classmethod
    def at_rest(
        cls,
        pcm: npt.NDArray[np.float32],
        phones: list[Phone],
        voice: str = "",
        split: str = "train",
        name: str = "",
    ) -> Clip:
        """Create a clip without motion, as input of the coarticulation model.

        Args:
            pcm: (n,) float32 mono audio at 16 kHz; the clip has n // 640 frames.
            phones: phones from 0 to the end of the audio.
            voice: name of the voice.
            split: one of `SPLITS`.
            name: name of the clip.
        """
        frames = len(pcm) // HOP_LENGTH
        return cls(
            pcm,
            np.zeros((frames, len(ARKIT_NAMES)), np.float32),
            np.zeros((frames, 3), np.float32),
            phones,
            voice,
            split,
            name,
        )

    def resample_upper_face(self, seed: int, liveliness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Draw another rule-based motion of eyelids, gaze, brows and head; the lips stay.

        Args:
            seed: equal seeds give equal motion for the same clip.
            liveliness: scale of brow and head motion.

        Returns:
            (weights (T, 52), head (T, 3) rotation vectors in radians).
        """
        clip_seed = zlib.crc32(
            f"{self.name} {seed}".encode()
        )  # clips with equal seeds must not blink in unison
        upper, head = upper_face.synthesize_upper_face(self.phones, len(self.weights), clip_seed, liveliness)
        return np.where(upper_face.UPPER_FACE_MASK, upper, self.weights), head


def load_corpus(folder: str | os.PathLike[str], split: str | None = None) -> list[Clip]:
    """Load the clips of a corpus, in the order of its index.

    Args:
        folder: folder of the corpus.
        split: one of `SPLITS`; None for all.

    Returns:
        The clips.

    Raises:
        TalkerError: if the folder holds no corpus, or the split does not exist.
    """
    soundfile = require("soundfile", "reading a corpus")
    folder = Path(folder)
    entries = read_index(folder)["clips"]
    if split is not None and split not in SPLITS:
        raise TalkerError(f"there is no split '{split}'; the splits are {', '.join(SPLITS)}")
    clips = []
    for entry in entries:
        if split is not None and entry["split"] != split:
            continue
        path = folder / entry["split"] / entry["name"]
        pcm, _ = soundfile.read(str(path.with_suffix(".flac")), dtype="float32")
        with np.load(path.with_suffix(".npz")) as data:
            phones = [
                Phone(str(name), float(start), float(end), int(stress))
                for name, start, end, stress in zip(
                    data["names"], data["starts"], data["ends"], data["stress"], strict=True
                )
            ]
            tracked = {key: data[key].astype(np.float32) for key in LIP_MEASUREMENTS if key in data}
            clips.append(
                Clip(
                    pcm,
                    data["weights"].astype(np.float32),
                    data["head"].astype(np.float32),
                    phones,
                    entry["voice"],
                    entry["split"],
                    entry["name"],
                    entry.get("style", RULE_BASED_STYLE),
                    **tracked,
                    start_s=entry.get("start_s", 0.0),
                )
            )
    return clips


def upgrade_entry(entry: Mapping[str, Any]) -> Index:
    """Rename the keys of a clip entry that an older version wrote.

    Args:
        entry: entry of any version.

    Returns:
        A copy with the present keys.
    """
    upgraded = {ENTRY_KEY_CHANGES.get(key, key): value for key, value in entry.items()}
    if "throat" in entry and "pitch" in entry:  # the pitch of an espeak-ng voice keeps its name
        upgraded["pitch_scale"] = upgraded.pop("pitch")
    return upgraded


def upgrade_index(index: Mapping[str, Any]) -> Index:
    """Rename the keys of an index.json that an older version wrote.

    Args:
        index: index of any version.

    Returns:
        A copy with the present keys.
    """
    upgraded = {INDEX_KEY_CHANGES.get(key, key): value for key, value in index.items()}
    for section, changes in SECTION_KEY_CHANGES.items():
        if section in upgraded:
            upgraded[section] = {changes.get(key, key): value for key, value in upgraded[section].items()}
    upgraded["clips"] = [upgrade_entry(entry) for entry in index.get("clips", ())]
    return upgraded


def read_index(folder: str | os.PathLike[str]) -> Index:
    """Read the index of a corpus of this or an older version.

    Args:
        folder: folder of the corpus.

    Returns:
        The content of its index.json, under the present keys.

    Raises:
        TalkerError: if the folder holds no corpus.
    """
    path = Path(folder) / "index.json"
    if not path.is_file():
        raise TalkerError(
            f"{folder} holds no corpus (index.json is missing); "
            f"make one with `streamingtalker corpus synthetic --out {folder}`"
        )
    return upgrade_index(json.loads(path.read_text()))


def write_index(folder: str | os.PathLike[str], index: Index, failures: Sequence[TaskFailure] = ()) -> Index:
    """Write the index of a corpus.

    Args:
        folder: folder of the corpus.
        index: content of index.json.
        failures: what could not be made; the key `failed` names it, and a second call tries it again.

    Returns:
        The index.

    Raises:
        TalkerError: if there are failures and nothing else.
    """
    index.pop("failed", None)  # of a source corpus
    if failures:
        if not index["clips"]:
            raise TalkerError(f"nothing could be made: all {len(failures)} failed, the first {failures[0]}")
        index["failed"] = [{"name": failure.name, "reason": failure.reason} for failure in failures]
    write_text(Path(folder) / "index.json", json.dumps(index, indent=1))
    return index


def finished_index(folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> Index | None:
    """Read the index of a corpus that an earlier call with equal settings finished.

    Args:
        folder: folder of the corpus.
        settings: entries of the index that identify the corpus.

    Returns:
        The index; None if the corpus is not finished, or some of it has failed.

    Raises:
        TalkerError: if the folder holds a corpus with other settings.
    """
    if not (Path(folder) / "index.json").is_file():
        return None
    index = read_index(folder)
    if {key: index.get(key) for key in settings} != dict(settings):
        raise TalkerError(f"{folder} holds another corpus; choose an empty folder for this one")
    return None if index.get("failed") else index


def minutes_by_split(entries: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Sum the minutes of clips per split.

    Args:
        entries: clip entries of an index.

    Returns:
        {split: minutes, rounded to 0.01}.
    """
    entries = list(entries)
    return {
        split: round(sum(entry["seconds"] for entry in entries if entry["split"] == split) / 60.0, 2)
        for split in SPLITS
    }


def read_part(folder: str | os.PathLike[str], name: str, state: object) -> Index | None:
    """Read what an earlier call has finished of a corpus.

    Args:
        folder: folder of the corpus.
        name: of the part.
        state: what its clips depend on, as JSON can hold it.

    Returns:
        What `write_part` wrote; None if that was of another state, or if one of its clips is not there and
        whole.
    """
    folder = Path(folder)
    try:
        part = json.loads((folder / "parts" / f"{name}.json").read_text(encoding="utf-8"))
        is_current = part["state"] == json.loads(json.dumps(state)) and part["files"] == _checksums(
            folder, part["clips"]
        )
    except (OSError, ValueError, TypeError, KeyError):  # not there, damaged, or of an older version
        return None
    return part if is_current else None


def write_part(
    folder: str | os.PathLike[str], name: str, state: object, clips: Sequence[Index], **more: Any
) -> Index:
    """Write a file of `parts/`, which tells a second call what is finished.

    Args:
        folder: folder of the corpus.
        name: of the part.
        state: what its clips depend on, as JSON can hold it.
        clips: entries of its clips, whose files are written.
        **more: further keys.

    Returns:
        The content of the file.
    """
    folder = Path(folder)
    content = {"state": state, "clips": list(clips), **more, "files": _checksums(folder, clips)}
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    write_text(folder / "parts" / f"{name}.json", json.dumps(content), sync=False)
    return content


def file_state(path: str | os.PathLike[str]) -> list[int]:
    """Describe the content of a source file, as part of a state.

    Args:
        path: the file.

    Returns:
        Its size in bytes and the time of its last change in ns.
    """
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def _checksums(folder: Path, clips: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Size and checksum of each file of clips; raises OSError if one is missing."""
    checksums: dict[str, list[int]] = {}
    for clip in clips:
        for suffix in (".flac", ".npz"):
            name = f"{clip['split']}/{clip['name']}{suffix}"
            content = (folder / name).read_bytes()
            checksums[name] = [len(content), zlib.crc32(content)]
    return checksums


def save_clip(folder: str | os.PathLike[str], clip: Clip, **metadata: Any) -> Index:
    """Write the two files of a clip.

    Args:
        folder: folder of the corpus.
        clip: the clip.
        **metadata: further keys of its entry in the index.

    Returns:
        The entry of the clip in the index.

    Raises:
        TalkerError: If a file cannot be written.
    """
    soundfile = require("soundfile", "writing a corpus")
    path = Path(folder) / clip.split / clip.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path.with_suffix(".flac"), sync=False) as partial:
        soundfile.write(str(partial), clip.pcm, SAMPLE_RATE, subtype="PCM_16")
    measurements = {key: getattr(clip, key) for key in LIP_MEASUREMENTS if getattr(clip, key) is not None}
    phones = clip.phones
    with atomic_output(path.with_suffix(".npz"), sync=False) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            weights=clip.weights.astype(np.float16),
            head=clip.head,
            **measurements,
            names=np.array([phone.name for phone in phones]),
            starts=np.array([phone.start for phone in phones]),
            ends=np.array([phone.end for phone in phones]),
            stress=np.array([phone.stress for phone in phones], np.int8),
        )
    return {
        "name": clip.name,
        "split": clip.split,
        "voice": clip.voice,
        "style": clip.style,
        "seconds": round(len(clip.pcm) / SAMPLE_RATE, 3),
        **metadata,
    }
