# SPDX-License-Identifier: Apache-2.0
"""Laws of the ears: sure of a p, b or m the lips are shut whatever the sample; they open as wide as is told."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamingtalker_ros import Talker  # noqa: E402
from streamingtalker_ros.face.arkit import INDEX  # noqa: E402
from streamingtalker_ros.face.default_head.assemble import default_rig  # noqa: E402
from streamingtalker_ros.model.blendshape.config import TalkerConfig  # noqa: E402
from streamingtalker_ros.model.blendshape.encoder import WIDE  # noqa: E402
from streamingtalker_ros.model.blendshape.network import TalkerNetwork  # noqa: E402
from streamingtalker_ros.streaming.lip_constraints import (  # noqa: E402
    DOUBT,
    FAINT,
    LOUD,
    PARTED,
    Lips,
    listen,
    part,
    press,
    spread,
    steer,
    strength,
)
from streamingtalker_ros.training.articulation_heads import closure_thresholds, open_vowel_thresholds  # noqa: E402
from streamingtalker_ros.training.encoder import closure_event_loss  # noqa: E402
from streamingtalker_ros.training.motion_gain import scale_motion  # noqa: E402

SMALL = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    history=12,
    head_width=32,
    head_blocks=2,
    slots=4,
    codes=32,
    code_dim=8,
    closure=(0.2, 0.4),
)


@pytest.fixture()
def open_mouth():
    weights = np.zeros(52, np.float32)
    weights[INDEX["jawOpen"]], weights[INDEX["mouthLowerDownLeft"]], weights[INDEX["browInnerUp"]] = (
        0.6,
        0.3,
        0.5,
    )
    return weights


def test_full_pressure_shuts_the_lips_and_moves_nothing_else(open_mouth) -> None:
    rig = default_rig()
    shut = press(open_mouth, 1.0)
    assert rig.lip_gap(open_mouth) > 0.005 and float(rig.lip_gap(shut)) <= 1e-6
    half = press(open_mouth, 0.5)
    rest = rig.lip_gap(np.zeros(52))
    assert rig.lip_gap(half) - rest == pytest.approx(0.5 * (rig.lip_gap(open_mouth) - rest), rel=1e-3)
    assert shut[INDEX["browInnerUp"]] == 0.5 and (shut >= 0).all() and (shut <= 1).all()


def test_no_pressure_is_the_same_frame(open_mouth) -> None:
    assert press(open_mouth, 0.0) is open_mouth
    closed = np.zeros(52, np.float32)
    assert press(closed, 1.0) is closed


def test_belief_grows_between_its_thresholds() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4, 0.9]) / (1.0 - np.array([0.1, 0.2, 0.3, 0.4, 0.9])))
    assert [strength(x, (0.2, 0.4)) for x in logits] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_open_vowels_keep_lips_apart_and_wide_ones_as_they_are(open_mouth) -> None:
    rig, rest = default_rig(), float(default_rig().lip_gap(np.zeros(52)))
    nearly = open_mouth * np.float32(0.05)
    nearly[INDEX["mouthClose"]] = 0.02
    parted = part(nearly, 1.0)
    assert rig.lip_gap(nearly) - rest < 0.5 * PARTED and rig.lip_gap(parted) - rest == pytest.approx(
        PARTED, rel=0.02
    )
    assert (
        (parted >= 0).all()
        and (parted <= 1).all()
        and parted[INDEX["browInnerUp"]] == nearly[INDEX["browInnerUp"]]
    )
    assert part(open_mouth, 1.0) is open_mouth and part(nearly, 0.0) is nearly


def test_two_ears_that_disagree_take_from_each_other() -> None:
    config = replace(SMALL, openness=(0.5, 0.75))

    def lips(*logits, config=config):
        return listen([0.0, *logits], config)[:2]

    assert lips(9.0, -9.0) == (1.0, 0.0) and lips(-9.0, 9.0) == (0.0, 1.0) and lips(9.0, 9.0) == (0.0, 0.0)
    doubtful = np.log(0.3 / 0.7)  # the first ear alone presses by half; the second is against it, or silent
    assert lips(doubtful, -9.0)[0] == lips(doubtful, 0.0)[0] == pytest.approx(0.5)
    assert lips(doubtful, 0.8)[0] < 0.3
    assert lips(9.0, config=SMALL) == (1.0, 0.0) and lips(config=replace(SMALL, closure=())) == (0.0, 0.0)


def test_the_wider_lips_are_heard_apart_the_surer_a_closure_must_be() -> None:
    config = replace(SMALL, opening=0.5)
    sure = np.log(0.4 / 0.6)  # where full pressure begins

    def pressure(logit, opening):
        return listen([0.0, logit, opening], config).pressure

    assert pressure(sure + 1e-6, 0.0) == pressure(sure + 1e-6, -0.3) == 1.0
    assert pressure(sure, 0.05) < 1.0 and pressure(sure, 0.5) == 0.0
    assert pressure(sure + 0.5 * WIDE + 1e-6, 0.5) == 1.0


def test_the_louder_the_noise_the_surer_a_closure_must_be() -> None:
    sure = np.log(0.4 / 0.6)  # where full pressure begins

    def pressure(logit, above):
        return listen([0.0, logit], SMALL, above=above).pressure

    assert (
        pressure(sure + 1e-6, FAINT)
        == pressure(sure + 1e-6, 90.0)
        == listen([0.0, sure + 1e-6], SMALL).pressure
        == 1.0
    )
    assert (
        pressure(sure, LOUD) == pressure(sure, 0.0) == 0.0 < pressure(sure, 0.25 * LOUD + 0.75 * FAINT) < 1.0
    )
    assert pressure(sure + DOUBT + 1e-6, 0.0) == 1.0


def test_lips_part_with_the_burst_as_the_evidence_falls() -> None:
    before, pressed = Lips(), []
    for logit in (-9.0, 3.0, 5.0, 4.0, 4.0, 6.0, -9.0):
        before = listen([0.0, logit], SMALL, before)
        pressed.append(before.pressure)
    assert pressed == [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def test_lips_stay_pressed_while_the_evidence_flickers() -> None:
    before, pressed = Lips(), []
    for logit in (3.0, 2.8, 2.9, 2.6, 2.0):
        before = listen([0.0, logit], SMALL, before)
        pressed.append(before.pressure)
    assert pressed == [1.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("told", [-0.2, 0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_gap_is_what_the_ear_tells_by_its_share(open_mouth, told, share) -> None:
    rig = default_rig()
    wide = rig.lip_gap_map()[1][INDEX["jawOpen"]]
    for weights in (open_mouth, open_mouth * np.float32(0.1), np.zeros(52, np.float32)):
        steered = steer(weights, told, share)
        wanted = (1.0 - share) * rig.lip_gap(weights) + share * max(told, 0.0) * wide
        assert float(rig.lip_gap(steered)) == pytest.approx(wanted, abs=1e-5)
        assert (
            (steered >= 0).all()
            and (steered <= 1).all()
            and steered[INDEX["browInnerUp"]] == weights[INDEX["browInnerUp"]]
        )


@pytest.mark.parametrize("told", [-0.15, 0.0, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_mouth_is_as_wide_as_the_ear_tells_by_its_share_and_no_more_open(open_mouth, told, share) -> None:
    rig = default_rig()
    open_mouth[[INDEX["mouthPucker"], INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]] = 0.2, 0.25, 0.25
    rest, was = rig.lip_width(np.zeros(52)), rig.lip_width(open_mouth)
    spread_out = spread(open_mouth, told, share)
    wanted = (1.0 - share) * was + share * rest * (1.0 + told)
    assert float(rig.lip_width(spread_out)) == pytest.approx(wanted, abs=3e-4)
    assert float(rig.lip_gap(spread_out)) == pytest.approx(float(rig.lip_gap(open_mouth)), abs=5e-4)
    assert (spread_out >= 0).all() and (spread_out <= 1).all()
    still = [INDEX[name] for name in ("jawOpen", "browInnerUp", "cheekPuff")]
    assert np.array_equal(spread_out[still], open_mouth[still])


def test_ears_are_told_apart_in_every_combination() -> None:
    """Whatever ears a model has, `listen` reads the numbers that its encoder's `cues` gives."""
    for closure, openness, opening, width in itertools.product(
        ((), (0.2, 0.4)), ((), (0.5, 0.75)), (0.0, 0.6), (0.0, 0.6)
    ):
        config = replace(SMALL, closure=closure, openness=openness, opening=opening, lip_width=width)
        encoder = TalkerNetwork(config).encoder
        for ear, says in (
            (encoder.opening if opening else None, 0.3),
            (encoder.lip_width[-1] if width else None, -0.1),
        ):
            if ear is not None:
                ear.weight.data.zero_()
                ear.bias.data.fill_(says)
        cues = encoder.cues(torch.zeros(1, config.audio_width))[0].tolist()
        assert len(cues) == 1 + bool(closure) + bool(openness) + bool(opening) + bool(width)
        lips = listen(cues, config)
        assert lips.opening == (pytest.approx(0.3) if opening else None)
        assert lips.width == (pytest.approx(-0.1) if width else None)
        assert np.isfinite(lips.evidence) == bool(closure)


def test_gains_scale_what_the_ears_for_opening_and_width_tell() -> None:
    config = replace(SMALL, opening=0.5, lip_width=0.5)
    network, feature = TalkerNetwork(config), torch.randn(5, config.audio_width)
    before = network.encoder.cues(feature)
    scale_motion(network, {"mouth": 1.5, "width": 1.25})
    after = network.encoder.cues(feature)
    assert torch.equal(after[:, :2], before[:, :2])
    assert torch.allclose(after[:, 2:], before[:, 2:] * torch.tensor([1.5, 1.25]), atol=1e-6)


@pytest.fixture(scope="module")
def networks():
    """The same weights without the ear, with an ear that hears p everywhere, and with one that hears it nowhere."""
    made = []
    for bias in (None, 9.0, -9.0):
        torch.manual_seed(3)
        network = TalkerNetwork(replace(SMALL, closure=()) if bias is None else SMALL)
        if made:
            network.load_state_dict(made[0].state_dict(), strict=False)
            network.encoder.closure[2].weight.data.zero_()
            network.encoder.closure[2].bias.data.fill_(bias)
        network.codec.motion_mean[INDEX["jawOpen"]] = 0.5
        network.encoder.voice.bias.data.fill_(9.0)
        made.append(network)
    return made


def test_the_ear_closes_every_sample_alike_or_changes_nothing(networks) -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    rig = default_rig()

    def frames(network, seed):
        stream = Talker(network, "cpu").open_stream(seed=seed)
        made = []
        for start in range(0, len(pcm), 1111):
            made += stream.accept(pcm[start : start + 1111])
        return np.stack([frame.weights for frame in made + stream.finish()])

    plain = frames(networks[0], 0)
    assert (rig.lip_gap(plain) > 0.002).mean() > 0.5
    assert np.array_equal(frames(networks[2], 0), plain)
    assert all((rig.lip_gap(frames(networks[1], seed)) <= 1e-6).all() for seed in range(3))


def test_thresholds_catch_their_share_and_spare_the_vowels() -> None:
    closed, opened = np.linspace(0, 1, 101), np.linspace(0, 0.5, 101)
    assert closure_thresholds([closed], [opened], 0.9, 0.5) == pytest.approx(
        (0.125, 0.25)
    )  # the vowels' share binds
    assert closure_thresholds([closed], [opened], 0.4, 0.5) == pytest.approx((0.3, 0.6))  # the closures' does
    easy = np.full(900, 0.9)  # many p, b, m that anybody hears do not hide that others are missed
    assert closure_thresholds([closed, easy], [opened], 0.4, 0.5) == pytest.approx((0.3, 0.6))
    assert closure_thresholds([closed], [opened, easy], 0.4, 0.5) == pytest.approx((0.45, 0.9))


def test_a_sounds_surest_frame_speaks_for_it_and_false_ones_cost_by_the_gap() -> None:
    sounds = torch.zeros(1, 12, dtype=torch.bool)
    sounds[0, 2:5] = sounds[0, 8:10] = True
    counts, gap = torch.ones(1, 12), torch.full((1, 12), 0.3)
    low = torch.full((1, 12), -9.0)

    def loss(counts=counts, gap=gap, worth=1.0, **set):
        logits = low.clone()
        for frame, value in set.items():
            logits[0, int(frame[1:])] = value
        return float(closure_event_loss(logits, sounds, counts, gap, torch.full((1,), worth)))

    both = loss(f3=9.0, f8=9.0)
    assert both < 0.01 and loss(f4=9.0, f9=9.0) == pytest.approx(both, abs=1e-3)  # whichever frame it is
    assert loss(f2=9.0, f3=9.0, f4=9.0, f8=9.0, f9=9.0) < 0.01  # or all of them
    assert loss(f3=9.0) == pytest.approx(4.4, abs=0.2) and loss() > 8.0  # a missed one, both missed
    assert loss(worth=0.1) == pytest.approx(0.1 * loss(), rel=0.05)  # both missed in a noise
    assert loss(f3=9.0, f8=9.0, f6=9.0) > 0.9  # pressed where the lips are apart
    shut = gap.clone()
    shut[0, 6] = 0.0  # and where they are shut anyway
    assert loss(f3=9.0, f8=9.0, f6=9.0, gap=shut) < 0.1
    unknown = counts.clone()
    unknown[0, 8] = 0.0
    assert loss(f3=9.0, counts=unknown) < 0.01  # a sound that is not all learned from
    assert loss(counts=torch.zeros(1, 12)) == 0.0
    assert (
        float(closure_event_loss(low, torch.zeros_like(sounds), counts, gap, torch.ones(1))) < 0.01
    )  # no sound at all


def test_parting_hinders_no_more_than_its_share() -> None:
    assert open_vowel_thresholds([np.linspace(0, 1, 101), np.zeros(900)], 0.2) == pytest.approx((0.8, 0.9))


def test_a_checkpoint_carries_the_ear(networks, tmp_path) -> None:
    from streamingtalker_ros.model.blendshape import checkpoint

    checkpoint.save(tmp_path, networks[1])
    again = checkpoint.load(tmp_path)
    assert again.config.closure == (0.2, 0.4)
    assert torch.equal(again.encoder.closure[0].weight, networks[1].encoder.closure[0].weight)
