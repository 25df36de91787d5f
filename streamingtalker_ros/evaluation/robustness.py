# SPDX-License-Identifier: Apache-2.0
"""What the room and the wire do to the lips: the same clips dirtied, and how far the figures fall.

`CONDITIONS` names them; `robustness(talker, rig, section)` gives the figures under each. Judged by the clean clip's
reference, since noise does not change what was said.
"""

import zlib

import numpy as np

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation.inference import speak_all
from streamingtalker_ros.evaluation.motion_curves import of_weights, on_grid
from streamingtalker_ros.evaluation.test_set import score

CLIPS = 24  # of a section, evenly spread: enough for a curve
SURE = 120  # of those conditions that targets speak of: over 24 clips a fall of r is known to 0.015 alone
CHATTER = 6  # clips whose voices make babble


def _noisy(make, snr):
    return lambda pcm, rng, voices: augmentation.add_noise(pcm, make(len(pcm), rng), snr)


def _babble(pcm, rng, voices):
    return (
        augmentation.add_noise(pcm, augmentation.babble_noise(len(pcm), rng, voices), 10.0)
        if len(voices)
        else pcm
    )


def _level(dbfs):
    return lambda pcm, rng, voices: augmentation.set_active_level(pcm, dbfs)


def _clipped(pcm, rng, voices):
    return augmentation.clip(pcm, float(np.abs(pcm).max()) * 10.0 ** (-12.0 / 20.0))


# (family, name) -> what happens to (pcm, rng, voices of others)
CONDITIONS = {
    ("noise", "pink noise, 30 dB"): _noisy(augmentation.pink_noise, 30.0),
    ("noise", "pink noise, 20 dB"): _noisy(augmentation.pink_noise, 20.0),
    ("noise", "pink noise, 10 dB"): _noisy(augmentation.pink_noise, 10.0),
    ("noise", "pink noise, 5 dB"): _noisy(augmentation.pink_noise, 5.0),
    ("noise", "pink noise, 0 dB"): _noisy(augmentation.pink_noise, 0.0),
    ("noise", "white noise, 10 dB"): _noisy(augmentation.white_noise, 10.0),
    ("noise", "other voices, 10 dB"): _babble,
    ("level", "-10 dBFS"): _level(-10.0),
    ("level", "-20 dBFS"): _level(-20.0),
    ("level", "-30 dBFS"): _level(-30.0),
    ("level", "-40 dBFS"): _level(-40.0),
    ("band", "telephone"): lambda pcm, rng, voices: augmentation.telephone(pcm),
    ("band", "below 3 kHz"): lambda pcm, rng, voices: augmentation.band_pass(pcm, 50.0, 3000.0),
    ("room", "small room"): lambda pcm, rng, voices: augmentation.reverberate(pcm, rng),
    ("room", "clipped by 12 dB"): _clipped,
}
PROMISED = ("pink noise, 10 dB", "white noise, 10 dB", "telephone", "-30 dBFS")  # those that targets speak of


def subset(section, count=CLIPS):
    """At most `count` clips of a section that have speech, evenly spread, as a Section."""
    spoken = section.spoken
    if len(spoken) > count:
        spoken = [spoken[int(i)] for i in np.linspace(0, len(spoken) - 1, count).round()]
    return section.part(spoken)


def robustness(talker, rig, section, progress=False, **options):
    """{"clean" or condition: its figures and the fall of the median r of lip opening}, over `subset(section)`, those of
    PROMISED over `subset(section, SURE)`, and "clean" over these.

    Noise and rooms are drawn from the clip's name: equal for every model.
    """
    names = [name for _, name in CONDITIONS]
    groups = (
        (CLIPS, [name for name in names if name not in PROMISED]),
        (SURE, [name for name in names if name in PROMISED]),
    )
    out = {}
    for count, some in groups:
        out |= _under(
            some, talker, rig, subset(section, count), "noise, level, band" if progress else False, options
        )
    return {name: out[name] for name in ("clean", *names)}


def _under(names, talker, rig, part, progress, options):
    """Figures of a Section's clips as they are, "clean", and under the conditions of these names."""
    conditions = {name: dirty for (_, name), dirty in CONDITIONS.items()}
    voices = [clip.pcm for clip in part.clips[:: max(1, len(part.clips) // CHATTER)]][:CHATTER]
    audio = [clip.pcm for clip in part.clips]
    for name in names:
        for clip in part.clips:
            rng = np.random.default_rng(zlib.crc32(f"{clip.name} {name}".encode()))
            others = [voice for voice in voices if voice is not clip.pcm]
            audio.append(np.clip(conditions[name](clip.pcm, rng, others), -1.0, 1.0).astype(np.float32))
    made = speak_all(talker, audio, progress=progress, **options)
    out, count = {}, len(part.clips)
    for k, name in enumerate(("clean", *names)):
        takes = [
            of_weights(rig, on_grid(weights, talker.frame_rate, len(truth.opening), FRAME_RATE))
            for (weights, _, _), truth in zip(made[k * count : (k + 1) * count], part.truth)
        ]
        figures, _ = score(rig, part, takes)
        out[name] = {
            key: figures[key]
            for key in (
                "lip_opening_r_median",
                "lip_opening_r_p10",
                "lip_width_r_median",
                "amplitude_ratio",
                "closure_recall",
                "false_closures",
                "clips",
            )
        }
        out[name]["r_falls_by"] = out["clean"]["lip_opening_r_median"] - out[name]["lip_opening_r_median"]
    return out
