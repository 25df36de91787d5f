# SPDX-License-Identifier: Apache-2.0
"""The fit of the teacher's numbers: its arithmetic is the teacher's, and it finds numbers that made a motion."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing is fitted")

from streamingtalker_ros.coarticulation import dominance  # noqa: E402
from streamingtalker_ros.corpus import storage
from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.face.arkit import INDEX  # noqa: E402
from streamingtalker_ros.face.rig import default_rig  # noqa: E402
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.phones import FITTED_PARAMETERS, VISEME_TARGETS  # noqa: E402
from streamingtalker_ros.phonetics.sentences import sentences  # noqa: E402
from streamingtalker_ros.training import coarticulation_fit

RIG = default_rig()


def _filmed(said, lips):
    frames = 40
    weights = lips(said.phones, frames, said.pcm)
    return storage.Clip(
        said.pcm, weights, np.zeros((frames, 3)), said.phones, lip_opening=RIG.lip_gap(weights)
    )


@pytest.fixture(scope="module")
def spoken():
    if not {"slt", "awb"} <= set(flite_festival_tts.available_voices()):
        pytest.skip("flite is not installed: no speech with phone times")
    return [
        said
        for voice, seed in (("slt", 1), ("awb", 2))
        for said in flite_festival_tts.synthesize(voice, list(itertools.islice(sentences(seed), 8)))
        if len(said.pcm) > 40 * 640
    ]


def _shipped():
    """A Mouth with the numbers of data/teacher.json."""
    mouth = coarticulation_fit.Mouth()
    with torch.no_grad():
        mouth.learns.fill_(1.0)
        mouth.hand_target.copy_(
            torch.tensor(
                [
                    [VISEME_TARGETS[name][column] for column in coarticulation_fit.TARGETS]
                    for name in coarticulation_fit.NAMES
                ]
            )
        )
        mouth.hand_firm.copy_(
            torch.tensor(
                [
                    [VISEME_TARGETS[name][column] for column in coarticulation_fit.FIRM]
                    for name in coarticulation_fit.NAMES
                ]
            )
        )
        for name, keys in (
            ("reach", coarticulation_fit.GROUPS),
            ("plateau", coarticulation_fit.GROUPS),
            ("closing", ("lips", "teeth")),
            ("release", ("lips", "teeth")),
            ("hold", coarticulation_fit.CONTACTS),
            ("effort", ("length", "level")),
            ("rest", ("wait", "fall", "wake")),
        ):
            getattr(mouth, name).copy_(torch.tensor([FITTED_PARAMETERS[name][key] for key in keys]))
        mouth.neutral.copy_(
            torch.tensor([FITTED_PARAMETERS["neutral"][key] for key in coarticulation_fit.GROUPS]).log()
        )
        mouth.bite.copy_(torch.tensor(FITTED_PARAMETERS["bite"]))
    return mouth


def test_arithmetic_is_the_teachers(spoken, monkeypatch) -> None:
    monkeypatch.setattr(dominance, "ROUNDING", 1.0)  # chosen, not fitted
    sheet = coarticulation_fit.Sheet([_filmed(said, dominance.lips) for said in spoken])
    with torch.no_grad():
        gap, width, jaw = _shipped()(sheet)
    np.testing.assert_allclose(gap, sheet.gap, atol=0.02)  # millimetres
    np.testing.assert_allclose(width, sheet.width, atol=0.4)  # the rig's corners move on slightly bent ways
    np.testing.assert_allclose(jaw, sheet.jaw, atol=2e-3)


def test_fit_finds_the_numbers_that_made_a_motion(spoken) -> None:
    """A mouth that opens wider, rounds less and anticipates more than the hand-written numbers say."""
    wide = dominance.Manner(amplitude=1.3, rounding=0.6)
    clips = [_filmed(said, lambda *args: dominance.lips(*args, manner=wide)) for said in spoken]
    train, judge = coarticulation_fit.Sheet(clips[1::2]), coarticulation_fit.Sheet(clips[::2])
    before = coarticulation_fit.Mouth()
    after = coarticulation_fit.fit(train, judge, steps=60, tell=lambda _: None)
    with torch.no_grad():
        apart = [float(((mouth(judge)[0] - judge.gap) ** 2).mean()) for mouth in (before, after)]
        shift = coarticulation_fit.correlations(after(judge)[0], judge.gap).median()
    assert apart[1] < 0.35 * apart[0] and shift > 0.93
    numbers = after.numbers(1.0, {})
    assert set(numbers) == set(FITTED_PARAMETERS) and set(numbers["visemes"]) == set(VISEME_TARGETS)
    heard = {phone.name for said in spoken[1::2] for phone in said.phones}
    unheard = [name for name in ("zh", "oy:1", "uh", "ch", "jh", "sh") if name.split(":")[0] not in heard]
    assert unheard
    scale = float(after.scale[0].exp().detach())
    for name in unheard:  # phones that nobody said move with the others
        assert numbers["visemes"][name][0] == pytest.approx(
            coarticulation_fit.TABLE[name]["jaw"] * scale, abs=1e-3
        )
    assert all(len(row) == 8 for row in numbers["visemes"].values())


def test_corpus_without_a_camera_is_one_sentence(spoken) -> None:
    clip = _filmed(spoken[0], dominance.lips)
    clip.lip_opening = None
    with pytest.raises(TalkerError, match="no clip has tracked lips"):
        coarticulation_fit.Sheet([clip])


def test_shipped_numbers_have_a_source_and_are_used() -> None:
    assert "CC BY 4.0" in str(FITTED_PARAMETERS["sources"]) and "Cooke" in str(FITTED_PARAMETERS["sources"])
    assert dominance.REACH is FITTED_PARAMETERS["reach"] and all(
        ahead <= coarticulation_fit.EARLIEST for ahead, _ in FITTED_PARAMETERS["reach"].values()
    )
    assert FITTED_PARAMETERS["rest"]["wait"] + FITTED_PARAMETERS["rest"]["fall"] < 0.2
    assert VISEME_TARGETS["aa"]["jaw"] > VISEME_TARGETS["uw"]["jaw"] and INDEX["jawOpen"] >= 0
