# SPDX-License-Identifier: Apache-2.0
"""Mixing in the domain of the features must be what mixing samples is."""

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.cli.demo import VOICE  # noqa: E402
from streamingtalker_ros.model.blendshape.config import TalkerConfig  # noqa: E402
from streamingtalker_ros.model.blendshape.features import MIN_LEVEL, LogMel  # noqa: E402
from streamingtalker_ros.training import feature_augmentation  # noqa: E402
from streamingtalker_ros.training.feature_augmentation import (
    FeatureAugmentationConfig,
    absolute,
    leveled,
    mix,
)  # noqa: E402

CONFIG = TalkerConfig()
NOTHING = dict(noise=0.0, babble=0.0, room=0.0, band=0.0, telephone=0.0, level=(0.0, 0.0))


@pytest.fixture(scope="module")
def voice():
    pcm, _ = soundfile.read(VOICE, dtype="float32", frames=5 * 16000)
    return pcm


@pytest.fixture(scope="module")
def log_mel():
    return LogMel(CONFIG)


def measured(log_mel, pcm):
    """(log powers, features, loudness) of one sound."""
    audio = torch.from_numpy(np.ascontiguousarray(pcm, np.float32))[None]
    return log_mel.measure(audio)[0], *log_mel(audio)


def start(count=1):
    return torch.full((count,), MIN_LEVEL)


def test_what_was_normalised_and_is_leveled_again_is_what_it_was(log_mel, voice) -> None:
    power, mels, loudness = measured(log_mel, voice)
    _, _, level = log_mel.measure(torch.from_numpy(voice)[None])
    again, loud = leveled(absolute(mels, level), start())
    heard = mels > -1.9  # what lies further below the level was cut off
    sounding = loudness > -8.0
    assert torch.allclose(again[heard], mels[heard], atol=0.03)
    assert torch.allclose(loud[sounding], loudness[sounding], atol=0.02)
    assert all(
        torch.allclose(one, other, atol=1e-5)
        for one, other in zip(
            mix(power, start(), power, FeatureAugmentationConfig(**NOTHING))[:2], leveled(power, start())
        )
    )
    assert mix(power, start(), power, FeatureAugmentationConfig(**NOTHING))[2].isinf().all()


@pytest.mark.parametrize("kind", ["white", "pink", "engine"])
def test_noise_under_a_voice_sounds_as_it_does_in_samples(log_mel, voice, kind) -> None:
    noise = getattr(augmentation, kind)(len(voice), np.random.default_rng(1))
    power, _, _ = measured(log_mel, voice)
    torch.manual_seed(0)
    mixed, loud, snr = mix(
        power,
        start(),
        measured(log_mel, 0.05 * noise)[0],
        FeatureAugmentationConfig(**{**NOTHING, "noise": 1.0, "snr": (10.0, 10.0)}),
    )
    _, true, true_loud = measured(log_mel, augmentation.add_noise(voice, noise, 10.0))
    clean = measured(log_mel, voice)[1]
    far = (clean - true).abs().mean()
    assert (mixed - true).abs().mean() < 0.25 * far, "one bin in four nepers: powers add but for their phases"
    assert (loud - true_loud).abs().mean() < 0.5  # nepers
    assert snr.tolist() == [10.0]


def test_gain_is_gain(log_mel, voice) -> None:
    quiet = 0.1 * voice
    power, true, true_loud = measured(log_mel, quiet)
    torch.manual_seed(0)
    louder, loud, _ = mix(
        power, start(), power, FeatureAugmentationConfig(**{**NOTHING, "level": (20.0, 20.0)})
    )
    _, expected, expected_loud = measured(log_mel, voice)
    sounding = expected_loud > -4.0
    assert (louder - expected)[sounding].abs().mean() < 0.05
    assert (loud - expected_loud)[sounding].abs().mean() < 0.1


def test_a_room_rings_on_and_takes_nothing_from_what_came_before(log_mel, voice) -> None:
    click = np.concatenate((np.zeros(8000), 0.5 * np.ones(160), np.zeros(16000 - 160))).astype(np.float32)
    power, _, _ = measured(log_mel, click[: 24000 // 640 * 640])
    torch.manual_seed(1)
    batch = power.expand(8, -1, -1, -1)
    rung = feature_augmentation._room(batch, lambda low, high: low + (high - low) * torch.rand(8))
    columns, dry = rung.flatten(1, 2).mean(-1), power.flatten(1, 2).mean(-1)
    assert torch.allclose(columns[:, :48], dry[:, :48].expand(8, -1), atol=0.05), (
        "nothing sounds before its cause"
    )
    after = columns[:, 56:70]
    assert (after[:, 0] > dry[:, 56] + 2.0).all() and (after.diff(dim=1) <= 0.0).all()


def test_band_limits_leave_the_middle(log_mel, voice) -> None:
    power, _, _ = measured(log_mel, voice)
    torch.manual_seed(2)
    batch = power.expand(16, -1, -1, -1)
    cut = feature_augmentation._band(
        batch,
        1.0,
        feature_augmentation.MICROPHONE,
        lambda *shape: torch.rand(shape),
        lambda low, high: low + (high - low) * torch.rand(16),
    )
    lost = (batch - cut).mean((1, 2))
    assert lost[:, 12:40].abs().max() == 0.0 and (lost[:, -1] >= 0.0).all() and lost[:, -1].max() > 8.0


def test_a_telephone_sounds_as_it_does_in_samples(log_mel, voice) -> None:
    power, clean, _ = measured(log_mel, voice)
    _, true, true_loud = measured(log_mel, augmentation.telephone(voice))
    torch.manual_seed(3)
    mixed, loud, _ = mix(
        power.expand(32, -1, -1, -1),
        start(32),
        power.expand(32, -1, -1, -1),
        FeatureAugmentationConfig(**{**NOTHING, "telephone": 1.0}),
    )
    far = (clean - true).abs().mean()
    each = (mixed - true).abs().mean((1, 2, 3))
    assert each.min() < 0.3 * far and each.max() < far
    sounding = true_loud[0] > -6.0
    assert (loud - true_loud)[:, sounding].abs().mean() < 0.1  # nepers
    above = mixed[..., -8:].mean((1, 2, 3)) - clean[..., -8:].mean()
    assert (above < -0.05).all() and above.max() - above.min() > 0.1, (
        "with the noise of steps above the band and without"
    )
