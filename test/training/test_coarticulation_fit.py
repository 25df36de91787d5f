# SPDX-License-Identifier: Apache-2.0
"""The fit of the dominance model equals `dominance` and recovers the parameters of a motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.dominance import DEFAULT_STYLE, PARAMETERS, SpeakingStyle
from streamingtalker_ros.coarticulation.parameters import (
    ARTICULATOR_GROUPS,
    CONTACT_KINDS,
    DominanceParameters,
)
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import FITTED_PARAMETERS, VISEME_TARGETS
from streamingtalker_ros.training import coarticulation_fit
from streamingtalker_ros.training.coarticulation_fit import (
    ClipTensors,
    DifferentiableMouth,
    fit_parameters,
    row_correlations,
)
from support.synthetic_speech import synthesize_utterances, tracked_clip

NUM_FRAMES = 40


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return [
        utterance
        for utterance in synthesize_utterances({"slt": 1, "awb": 2}, 8)
        if len(utterance.pcm) > NUM_FRAMES * HOP_LENGTH
    ]


def _clip(utterance: Utterance, style: SpeakingStyle = DEFAULT_STYLE) -> Clip:
    return tracked_clip(
        utterance, dominance.synthesize_lips(utterance.phones, NUM_FRAMES, utterance.pcm, style)
    )


def _shipped_mouth() -> DifferentiableMouth:
    """A mouth with the parameters of data/coarticulation.json."""
    mouth, parameters = DifferentiableMouth(), PARAMETERS
    names = coarticulation_fit.PHONE_NAMES
    with torch.no_grad():
        mouth.learnable.fill_(1.0)
        for buffer, columns in (
            (mouth.initial_target, coarticulation_fit.ARTICULATOR_COLUMNS),
            (mouth.initial_dominance, coarticulation_fit.DOMINANCE_COLUMNS),
        ):
            buffer.copy_(
                torch.tensor([[VISEME_TARGETS[name][column] for column in columns] for name in names])
            )
        groups, kinds = ARTICULATOR_GROUPS, CONTACT_KINDS
        mouth.reach.copy_(torch.tensor([parameters.reach_s[group] for group in groups]))
        mouth.skirt_ratio.copy_(torch.tensor([parameters.skirt_ratio[group] for group in groups]))
        mouth.log_neutral.copy_(torch.tensor([parameters.neutral_dominance[group] for group in groups]).log())
        mouth.closing.copy_(torch.tensor([parameters.closing_s[kind] for kind in kinds]))
        mouth.release.copy_(torch.tensor([parameters.release_s[kind] for kind in kinds]))
        mouth.contact_offsets.copy_(
            torch.tensor([parameters.contact_offsets_s[phone] for phone in coarticulation_fit.CONTACT_PHONES])
        )
        mouth.effort.copy_(torch.tensor([parameters.effort_per_duration, parameters.effort_per_level]))
        mouth.pause.copy_(
            torch.tensor([parameters.pause_delay_s, parameters.pause_closing_s, parameters.pause_opening_s])
        )
        mouth.jaw_reduction.copy_(torch.tensor(parameters.labiodental_jaw_reduction))
    return mouth


def test_the_differentiable_mouth_equals_the_dominance_model(
    utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dominance, "ROUNDING_GAIN", 1.0)  # chosen, not fitted
    clips = ClipTensors([_clip(utterance) for utterance in utterances])
    with torch.no_grad():
        gap, width, jaw = _shipped_mouth()(clips)
    np.testing.assert_allclose(gap, clips.gap, atol=0.02)  # mm
    # the rig's width is not quite linear, and cheeks pull at it
    np.testing.assert_allclose(width, clips.width, atol=0.5)
    np.testing.assert_allclose(jaw, clips.jaw, atol=2e-3)


def test_the_fit_recovers_the_parameters_of_a_motion(utterances: list[Utterance]) -> None:
    """A mouth that opens wider and rounds less than the hand-written targets."""
    clips = [_clip(utterance, SpeakingStyle(amplitude=1.3, rounding=0.6)) for utterance in utterances]
    train_set, test_set = ClipTensors(clips[1::2]), ClipTensors(clips[::2])
    before, after = DifferentiableMouth(), fit_parameters(train_set, test_set, steps=60)
    with torch.no_grad():
        error_before, error_after = (
            float(((mouth(test_set)[0] - test_set.gap) ** 2).mean()) for mouth in (before, after)
        )
        r = row_correlations(after(test_set)[0], test_set.gap).median()
    assert error_after < 0.35 * error_before and r > 0.93
    values = after.to_json(1.0, {})
    assert set(values) == set(FITTED_PARAMETERS) and set(values["visemes"]) == set(VISEME_TARGETS)
    spoken = {phone.name for utterance in utterances[1::2] for phone in utterance.phones}
    absent = [name for name in ("zh", "oy:1", "uh", "ch", "jh", "sh") if name.split(":")[0] not in spoken]
    assert absent
    scale = float(after.log_scale[0].exp().detach())
    for name in absent:  # phones that the corpus lacks are scaled like the others
        expected = coarticulation_fit.TARGET_TABLE[name]["jaw"] * scale
        assert values["visemes"][name][0] == pytest.approx(expected, abs=1e-3)
    assert all(len(row) == 8 for row in values["visemes"].values())


def test_a_clip_without_tracked_lips_is_rejected(utterances: list[Utterance]) -> None:
    clip = _clip(utterances[0])
    clip.lip_opening = None  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TalkerError, match="no clip has tracked lips"):
        ClipTensors([clip])


def test_shipped_parameters_name_their_source_and_fit_the_look_ahead() -> None:
    assert "CC BY 4.0" in str(FITTED_PARAMETERS["sources"]) and "Cooke" in str(FITTED_PARAMETERS["sources"])
    assert all(before <= dominance.MAX_ANTICIPATION_S for before, _ in PARAMETERS.reach_s.values())
    assert PARAMETERS.pause_delay_s + PARAMETERS.pause_closing_s < 0.2
    assert VISEME_TARGETS["aa"]["jaw"] > VISEME_TARGETS["uw"]["jaw"]


def test_parameters_survive_a_round_trip_through_the_file() -> None:
    values = PARAMETERS.to_json()
    assert values == {key: FITTED_PARAMETERS[key] for key in values}
    assert DominanceParameters.from_json(values) == PARAMETERS
    assert Path(coarticulation_fit.PARAMETERS_PATH).is_file()
