# SPDX-License-Identifier: Apache-2.0
"""Laws of the lip constraints: predicted closures close the lips of every sample; apertures are met."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamingtalker_ros import Talker
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.mouth_measures import default_mouth_measures
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.closure import WIDE_OPEN_PENALTY
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.streaming.lip_constraints import (
    FULL_PENALTY_DB,
    MIN_OPEN_GAP_M,
    NO_PENALTY_DB,
    NOISE_PENALTY,
    LipTargets,
    blend_measures,
    close_lips,
    confidence,
    open_lips,
    read_articulation_heads,
)

Weights = npt.NDArray[np.float32]

SMALL = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=12,
    head_width=32,
    head_blocks=2,
    num_codebooks=4,
    codebook_size=32,
    code_dim=8,
    bilabial_thresholds=(0.2, 0.4),
)
FULL_CLOSING_LOGIT = math.log(0.4 / 0.6)


@pytest.fixture()
def open_mouth() -> Weights:
    """A face with an open mouth and raised brows."""
    weights = np.zeros(52, np.float32)
    weights[INDEX["jawOpen"]] = 0.6
    weights[INDEX["mouthLowerDownLeft"]] = 0.3
    weights[INDEX["browInnerUp"]] = 0.5
    return weights


def in_range(weights: Weights) -> bool:
    """Return whether all weights lie in 0..1."""
    return bool((weights >= 0).all() and (weights <= 1).all())


def test_full_closing_shuts_the_lips_and_moves_nothing_else(open_mouth: Weights) -> None:
    rig = default_rig()
    shut = close_lips(open_mouth, 1.0)
    assert rig.lip_gap(open_mouth) > 0.005 and float(rig.lip_gap(shut)) <= 1e-6
    half = close_lips(open_mouth, 0.5)
    rest = rig.lip_gap(np.zeros(52, np.float32))
    assert rig.lip_gap(half) - rest == pytest.approx(0.5 * (rig.lip_gap(open_mouth) - rest), rel=1e-3)
    assert shut[INDEX["browInnerUp"]] == 0.5 and in_range(shut)


def test_no_closing_returns_the_same_frame(open_mouth: Weights) -> None:
    assert close_lips(open_mouth, 0.0) is open_mouth
    closed = np.zeros(52, np.float32)
    assert close_lips(closed, 1.0) is closed


def test_confidence_grows_linearly_between_its_thresholds() -> None:
    probabilities = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    logits = np.log(probabilities / (1.0 - probabilities))
    assert [confidence(x, (0.2, 0.4)) for x in logits] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_open_vowels_keep_lips_apart_and_wide_lips_unchanged(open_mouth: Weights) -> None:
    rig = default_rig()
    rest = float(rig.lip_gap(np.zeros(52, np.float32)))
    nearly_closed = open_mouth * np.float32(0.05)
    nearly_closed[INDEX["mouthClose"]] = 0.02
    opened = open_lips(nearly_closed, MIN_OPEN_GAP_M)
    assert rig.lip_gap(nearly_closed) - rest < 0.5 * MIN_OPEN_GAP_M
    assert rig.lip_gap(opened) - rest == pytest.approx(MIN_OPEN_GAP_M, rel=0.02)
    assert in_range(opened) and opened[INDEX["browInnerUp"]] == nearly_closed[INDEX["browInnerUp"]]
    assert (
        open_lips(open_mouth, MIN_OPEN_GAP_M) is open_mouth and open_lips(nearly_closed, 0.0) is nearly_closed
    )


def test_contradicting_heads_reduce_each_other() -> None:
    both = replace(SMALL, open_vowel_thresholds=(0.5, 0.75))

    def targets(*logits: float, config: TalkerConfig = both) -> tuple[float, float]:
        result = read_articulation_heads([0.0, *logits], config)
        return result.closing, result.opening

    assert targets(9.0, -9.0) == (1.0, 0.0) and targets(-9.0, 9.0) == (0.0, 1.0)
    assert targets(9.0, 9.0) == (0.0, 0.0)
    uncertain = math.log(0.3 / 0.7)  # closes halfway
    assert targets(uncertain, -9.0)[0] == targets(uncertain, 0.0)[0] == pytest.approx(0.5)
    assert targets(uncertain, 0.8)[0] < 0.3
    assert targets(9.0, config=SMALL) == (1.0, 0.0)
    assert targets(config=replace(SMALL, bilabial_thresholds=())) == (0.0, 0.0)


def test_wide_predicted_apertures_raise_the_evidence_that_a_closure_needs() -> None:
    config = replace(SMALL, lip_measure_weight=0.5)

    def closing(logit: float, aperture: float) -> float:
        return read_articulation_heads([0.0, logit, aperture, 0.0, 0.0, 0.0, 0.0], config).closing

    above = FULL_CLOSING_LOGIT + 1e-6
    assert closing(above, 0.0) == closing(above, -0.3) == 1.0
    assert closing(FULL_CLOSING_LOGIT, 0.05) < 1.0 and closing(FULL_CLOSING_LOGIT, 0.5) == 0.0
    assert closing(above + 0.5 * WIDE_OPEN_PENALTY, 0.5) == 1.0


def test_noise_raises_the_evidence_that_a_closure_needs() -> None:
    def closing(logit: float, snr_db: float) -> float:
        return read_articulation_heads([0.0, logit], SMALL, snr_db=snr_db).closing

    above = FULL_CLOSING_LOGIT + 1e-6
    assert closing(above, NO_PENALTY_DB) == closing(above, 90.0) == 1.0
    assert read_articulation_heads([0.0, above], SMALL).closing == 1.0
    assert closing(FULL_CLOSING_LOGIT, FULL_PENALTY_DB) == closing(FULL_CLOSING_LOGIT, 0.0) == 0.0
    assert 0.0 < closing(FULL_CLOSING_LOGIT, 0.25 * FULL_PENALTY_DB + 0.75 * NO_PENALTY_DB) < 1.0
    assert closing(above + NOISE_PENALTY, 0.0) == 1.0


def closing_over(logits: list[float]) -> list[float]:
    """Return the closing targets of consecutive frames."""
    targets, closing = LipTargets(), []
    for logit in logits:
        targets = read_articulation_heads([0.0, logit], SMALL, targets)
        closing.append(targets.closing)
    return closing


def test_lips_part_with_the_burst_when_the_evidence_falls() -> None:
    logits = [-9.0, 3.0, 5.0, 4.0, 4.0, 6.0, -9.0]
    assert closing_over(logits) == [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def test_lips_stay_closed_while_the_evidence_flickers() -> None:
    assert closing_over([3.0, 2.8, 2.9, 2.6, 2.0]) == [1.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("aperture", [-0.2, 0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_measures_blend_towards_the_predicted_ones(
    open_mouth: Weights, aperture: float, fraction: float
) -> None:
    measures = default_mouth_measures()
    target = np.array([aperture, 0.02, 0.1 * max(aperture, 0.0), -0.1])
    reachable = np.maximum(target, [0.0, -1.0, -1.0, 0.0])
    for weights in (open_mouth, open_mouth * np.float32(0.1), np.zeros(52, np.float32)):
        blended = blend_measures(weights, target, fraction)
        expected = (1.0 - fraction) * measures(weights) + fraction * reachable
        assert measures(blended)[:2] == pytest.approx(expected[:2], abs=2e-3)
        assert measures(blended) == pytest.approx(expected, abs=0.02)
        assert in_range(blended) and blended[INDEX["browInnerUp"]] == weights[INDEX["browInnerUp"]]


def test_logits_are_read_in_the_encoders_order_for_every_combination_of_heads() -> None:
    for bilabial, open_vowel, fraction in itertools.product(((), (0.2, 0.4)), ((), (0.5, 0.75)), (0.0, 0.6)):
        config = replace(
            SMALL,
            bilabial_thresholds=bilabial,
            open_vowel_thresholds=open_vowel,
            lip_measure_weight=fraction,
        )
        encoder = TalkerNetwork(config).encoder
        predicted = torch.tensor([0.3, -0.1, 0.05, 0.4])
        if fraction:
            head = encoder.lip_head[-1]
            assert isinstance(head, torch.nn.Linear)
            head.weight.data.zero_()
            head.bias.data.copy_(predicted)
        logits = encoder.auxiliary_logits(torch.zeros(1, 1, config.audio_width))[0, 0].tolist()
        assert len(logits) == 1 + bool(bilabial) + bool(open_vowel) + 4 * bool(fraction)
        targets = read_articulation_heads(logits, config)
        assert targets.aperture == (pytest.approx(0.3) if fraction else None)
        assert (targets.measures is None) == (not fraction)
        if targets.measures is not None:
            assert targets.measures == pytest.approx(predicted.numpy())
        assert np.isfinite(targets.closure_logit) == bool(bilabial)


@pytest.fixture(scope="module")
def networks() -> dict[str, TalkerNetwork]:
    """The same weights without the bilabial head, with one that is always positive, and one never."""
    networks: dict[str, TalkerNetwork] = {}
    for name, bias in (("no head", None), ("always", 9.0), ("never", -9.0)):
        torch.manual_seed(3)
        network = TalkerNetwork(replace(SMALL, bilabial_thresholds=()) if bias is None else SMALL)
        if bias is not None:
            network.load_state_dict(networks["no head"].state_dict(), strict=False)
            last = network.encoder.bilabial_head[2]
            assert isinstance(last, torch.nn.Linear)
            last.weight.data.zero_()
            last.bias.data.fill_(bias)
        network.codec.motion_mean[INDEX["jawOpen"]] = 0.5
        network.encoder.vad_head.bias.data.fill_(9.0)
        networks[name] = network
    return networks


def test_a_predicted_bilabial_closes_every_sample_and_none_changes_nothing(
    networks: dict[str, TalkerNetwork],
) -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    rig = default_rig()

    def generate(name: str, seed: int) -> Weights:
        stream = Talker(networks[name], "cpu").open_stream(seed=seed)
        frames = [frame for start in range(0, len(pcm), 1111) for frame in stream.accept(pcm[start:][:1111])]
        return np.stack([frame.weights for frame in frames + stream.finish()])

    plain = generate("no head", 0)
    assert (rig.lip_gap(plain) > 0.002).mean() > 0.5
    assert np.array_equal(generate("never", 0), plain)
    assert all((rig.lip_gap(generate("always", seed)) <= 1e-6).all() for seed in range(3))


def test_a_checkpoint_keeps_the_bilabial_head(networks: dict[str, TalkerNetwork], tmp_path: Path) -> None:
    checkpoint.save(tmp_path, networks["always"])
    loaded = checkpoint.load(tmp_path)
    assert loaded.config.bilabial_thresholds == (0.2, 0.4)
    expected = networks["always"].encoder.bilabial_head.state_dict()
    for name, value in loaded.encoder.bilabial_head.state_dict().items():
        assert torch.equal(value, expected[name])
