# SPDX-License-Identifier: Apache-2.0
"""The present teacher's motion for a corpus whose motion is rule-made: sound and phones stay as they are.

`reanimate(folder)` takes a fifth of a second per minute of speech; run it after `fit` or `residual` has changed what the teacher knows.
"""

from pathlib import Path

from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import load_corpus, read_index, save_clip
from streamingtalker_ros.errors import TalkerError, require

RULE_MADE = ("synthetic", "speech", "espeak")


def reanimate(folder):
    """Write the weights and head of every clip again. folder: of a corpus. Returns the index (dict).

    Raises TalkerError for a corpus whose motion was captured.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    folder, index = Path(folder), read_index(folder)
    if index.get("kind") not in RULE_MADE:
        raise TalkerError(f"the motion of {folder} was captured; only rule-made motion can be made again")
    speakers = {(entry["split"], entry["name"]): entry["speaker"] for entry in index["clips"]}
    for clip in tqdm(load_corpus(folder), unit="clip", desc="animating"):
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speakers[clip.split, clip.name])
        save_clip(folder, clip)
    return index
