# SPDX-License-Identifier: Apache-2.0
"""A study: one model, its baselines and everything that was measured of them, in one place for report and JSON.

`Study` holds results; `measure_*` fill it in, each on its own, so that a command chooses what it pays for.
"""

from dataclasses import dataclass, field

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import drift, metrics, model_stats, non_speech, robustness, sampling
from streamingtalker_ros.evaluation.baselines import BASELINES
from streamingtalker_ros.evaluation.inference import inter_ocular, speak_all
from streamingtalker_ros.evaluation.motion_curves import of_weights, on_grid
from streamingtalker_ros.evaluation.test_set import score

REFERENCE = "the reference itself"


@dataclass
class Study:
    """model: how the judged system is called among the others; name: of the checkpoint or folder;
    options: with which its streams are opened.

    figures[section][system]: dict of floats; takes[section][system]: list of Take; per_clip[section][system]: dict
    of arrays. A system is the model, REFERENCE, a baseline checkpoint or one of BASELINES."""

    model: str
    rig: object
    name: str = ""
    options: dict = field(default_factory=dict)
    sections: list = field(default_factory=list)
    takes: dict = field(default_factory=dict)
    figures: dict = field(default_factory=dict)
    per_clip: dict = field(default_factory=dict)
    quiet: dict = field(default_factory=dict)
    robustness: dict = field(default_factory=dict)
    hour: dict = field(default_factory=dict)
    seeds: object = None
    seeds_figures: dict = field(default_factory=dict)
    sampling_table: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)

    def add(self, section, system, takes) -> None:
        """Judge a system's takes of a section's clips, and keep all of it."""
        figures, clips = score(self.rig, section, takes)
        for store, value in ((self.takes, takes), (self.figures, figures), (self.per_clip, clips)):
            store.setdefault(section.name, {})[system] = value

    def spoken_most(self):
        """The section to draw long speech from: with phones rather than without, then the longest."""
        return max(
            self.sections,
            key=lambda s: (any(p.name in metrics.BILABIALS for ps in s.phones for p in ps), s.seconds),
        )

    def speech_p95(self):
        """95th percentile of the model's lip speed over all sections, m/s."""
        speeds = [
            non_speech.lip_speed(self.rig, take.weights, FRAME_RATE)
            for section in self.sections
            for take in self.takes[section.name][self.model]
        ]
        return float(np.percentile(np.concatenate(speeds), 95))

    def json(self):
        """All figures as plain types; what is not a number is null."""
        from streamingtalker_ros.evaluation.acceptance import judge

        out = {
            "model": self.name,
            "system": self.model,
            "sections": self.figures,
            "quiet": self.quiet,
            "robustness": self.robustness,
            "hour": self.hour,
            "seeds": self.seeds_figures,
            "sampling": self.sampling_table,
            "facts": self.facts,
            "targets": [vars(row) for row in judge(self)],
        }
        return _plain(out)


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def speak_section(talker, rig, section, progress=False, **options):
    """A talker's Takes of a section's clips, on the section's grid of frames."""
    made = speak_all(
        talker, [clip.pcm for clip in section.clips], progress=progress and section.name, **options
    )
    out = []
    for (weights, head, _), truth in zip(made, section.truth):
        frames = len(truth.opening)
        out.append(
            of_weights(
                rig,
                on_grid(weights, talker.frame_rate, frames, FRAME_RATE),
                on_grid(head, talker.frame_rate, frames, FRAME_RATE),
            )
        )
    return out


def measure_sections(study, talker, sections, baseline=None, progress=False) -> None:
    """The model, REFERENCE, BASELINES and a baseline (name, Talker) over sections."""
    for section in sections:
        if section.name in study.figures:
            raise TalkerError(f"the corpus {section.name} was given twice: name each once")
        study.sections.append(section)
        study.add(section, study.model, speak_section(talker, study.rig, section, progress, **study.options))
        study.add(section, REFERENCE, section.truth)
        if baseline:
            study.add(section, baseline[0], speak_section(baseline[1], study.rig, section, progress))
        for name, make in BASELINES.items():
            takes = make(study.rig, section)
            if takes is not None:
                study.add(section, name, takes)


def judge_takes(study, parts) -> None:
    """Takes that were made elsewhere in place of a model's: parts are pairs (Section, list of Take)."""
    for section, takes in parts:
        study.sections.append(section)
        study.add(section, study.model, takes)
        if section.spoken:
            study.add(section, REFERENCE, section.truth)
        for name, make in BASELINES.items():
            made = make(study.rig, section) if section.spoken else None
            if made is not None:
                study.add(section, name, made)


def measure_quiet(study, talker) -> None:
    """Lips in sounds without a voice, and after speech that is cut dead."""
    section = robustness.subset(study.spoken_most())
    takes = study.takes[study.spoken_most().name][study.model]
    widest = metrics.vowel_opening([take.opening for take in takes], study.spoken_most().phones, FRAME_RATE)
    if not np.isfinite(widest):  # no phones: the opening that is rarely exceeded
        widest = float(np.percentile(np.concatenate([take.opening for take in takes]), 90))
    speech = study.speech_p95()
    share = non_speech.speed_without_voice(talker, study.rig, speech, **study.options)
    closing = non_speech.closing_times(
        talker,
        study.rig,
        [clip.pcm for clip in section.clips],
        metrics.CLOSED * widest * inter_ocular(study.rig),
        **study.options,
    )
    study.quiet = {
        "speech_p95_mm_s": 1e3 * speech,
        "share": share,
        "closing_ms": (1e3 * closing).tolist(),
        "closing_p95_ms": 1e3 * float(np.percentile(closing, 95)),
    }


def measure_robustness(study, talker, progress=False) -> None:
    """Noise, level, band and room, on every section whose reference moves."""
    for section in study.sections:
        if section.spoken:
            study.robustness[section.name] = robustness.robustness(
                talker, study.rig, section, progress, **study.options
            )


def measure_seeds(study, talker, seeds=32, table=True, progress=False) -> None:
    """The spread over seeds in one clip, and (table) what samples and history are worth."""
    study.seeds_figures, study.seeds = sampling.seed_spread(
        talker, study.rig, sampling.richest(study.sections), seeds, **study.options
    )
    if table:
        study.sampling_table = sampling.error_table(
            talker, study.rig, study.spoken_most(), progress=progress, **study.options
        )


def measure_hour(study, talker, minutes=60.0, voices=4, progress=False) -> None:
    clips = robustness.subset(study.spoken_most(), 200).clips
    study.hour = drift.hour(talker, study.rig, clips, minutes, voices, progress, **study.options)


def measure_facts(study, talker, folder) -> None:
    study.facts = {
        **model_stats.size(folder),
        **model_stats.codebook(talker, [clip for section in study.sections for clip in section.clips]),
        **model_stats.cost(talker),
    }
