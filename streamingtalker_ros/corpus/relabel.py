# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a rule-based corpus, regenerated with the current coarticulation model.

Run `relabel_corpus(folder)` after `training.coarticulation_fit` or the residual has changed the model. Audio
and phones stay.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import Index, load_corpus, read_index, save_clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import progress_bar

RULE_BASED_KINDS: Final = ("synthetic", "speech", "espeak")
"""Kinds of corpora whose motion comes from the coarticulation model."""


def relabel_corpus(folder: str | os.PathLike[str]) -> Index:
    """Overwrite the weights and head rotation of every clip.

    Args:
        folder: folder of the corpus.

    Returns:
        The index of the corpus.

    Raises:
        TalkerError: if the motion of the corpus was captured.
    """
    tqdm = progress_bar()
    folder = Path(folder)
    index = read_index(folder)
    if index.get("kind") not in RULE_BASED_KINDS:
        raise TalkerError(f"the motion of {folder} was captured; only rule-based motion can be regenerated")
    speakers = {(entry["split"], entry["name"]): entry["speaker"] for entry in index["clips"]}
    for clip in tqdm(load_corpus(folder), unit="clip", desc="animating"):
        speaker = speakers[clip.split, clip.name]
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        save_clip(folder, clip)
    return index
