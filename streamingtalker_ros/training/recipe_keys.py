# SPDX-License-Identifier: Apache-2.0
"""Names that sections, keys and stages of recipes and run folders had before 0.1.0, so that these still load.

The old names occur in this module only. Sections of both families are in one table: where both have a section
of one name, its keys have one meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamingtalker_ros.config_files import rename_keys

OLD_SECTIONS = {
    "mix": "mixture",
    "listener": "encoder",
    "talker": "generator",
    "closure": "articulation_heads",
    "pieces": "segments",
}
_OLD_LOOP_KEYS = {
    "batch": "batch_size",
    "rate": "lr",
    "warmup": "warmup_steps",
    "clip": "max_grad_norm",
    "average": "ema_decay",
    "mixed": "mixed_precision",
    "schedule": "lr_schedule",
    "halve_every": "lr_halving_steps",
    "momentum": "beta2",
}
OLD_KEYS: dict[str, dict[str, str]] = {
    "windows": {
        "lead": "burn_in",
        "lives": "motion_variants",
        "versions": "audio_variants",
        "clean": "clean_prob",
        "at_start": "start_prob",
        "mirrored": "mirror_prob",
        "captured_life": "use_captured_upper_face",
        "noisy": "augmentation_prob",
        "hiss": "stationary_noise_prob",
        "mixing": "augmentation",
        "jobs": "num_workers",
    },
    "codec": _OLD_LOOP_KEYS,
    "encoder": _OLD_LOOP_KEYS,
    "generator": {**_OLD_LOOP_KEYS, "listens": "train_encoder", "draws": "noise_draws"},
    "articulation_heads": _OLD_LOOP_KEYS,
    "history": {
        "drop": "dropout_prob",
        "cut": "truncation_prob",
        "blur": "max_noise",
        "own": "scheduled_sampling_prob",
        "own_from": "scheduled_sampling_start",
        "frames": "scheduled_sampling_ratio",
        "neutral": "style_dropout",
        "deaf": "audio_dropout",
    },
    "data": {"incomplete": "skip_incomplete"},
    "segments": {
        "whole": "full_clip_prob",
        "frames": "max_frames",
        "cut": "decoder_crop_prob",
        "restart": "restart_interval",
    },
    "audio": {
        "hear": "mode",
        "hop": "chunk_frames",
        "freeze": "freeze_encoder",
        "cache": "cache_features",
        "hidden": "mask_prob",
    },
    "learning": {"neutral": "style_dropout"},
}
OLD_AUGMENTATION_KEYS = {  # of windows.augmentation
    "noise": "noise_prob",
    "babble": "babble_prob",
    "snr": "snr_db",
    "room": "reverb_prob",
    "band": "band_limit_prob",
    "telephone": "telephone_prob",
    "level": "gain_db",
}
OLD_CORPUS_KEYS = {"of": "sources"}  # of each entry in the section corpora
OLD_STAGES = {"listener": "encoder", "talker": "generator", "closure": "articulation_heads"}


def modernize_sections(sections: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's sections under their present names and keys.

    Args:
        sections: section -> values, under old or present names.

    Raises:
        TalkerError: if a section or key is given under both names.
    """
    result: dict[str, Any] = {}
    for name, values in rename_keys(sections, OLD_SECTIONS).items():
        if isinstance(values, Mapping):
            values = rename_keys(values, OLD_KEYS.get(name, {}))
            if name == "windows" and isinstance(values.get("augmentation"), Mapping):
                values["augmentation"] = rename_keys(values["augmentation"], OLD_AUGMENTATION_KEYS)
            if name == "corpora":
                values = {
                    corpus: rename_keys(entry, OLD_CORPUS_KEYS) if isinstance(entry, Mapping) else entry
                    for corpus, entry in values.items()
                }
        result[name] = values
    return result


def stage_folder(run: str | Path, stage: str) -> Path:
    """Folder of a stage in a run folder; the old name's where only that exists.

    Args:
        run: the run folder.
        stage: "codec", "encoder", "generator" or "articulation_heads".
    """
    run = Path(run)
    folder = run / stage
    for old, new in OLD_STAGES.items():
        if new == stage and not folder.exists() and (run / old).exists():
            return run / old
    return folder
