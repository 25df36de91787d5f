# SPDX-License-Identifier: Apache-2.0
"""Training windows carry real history, features of a stream and correct labels; mixtures keep fractions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.corpus.storage import Clip, save_clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.features import LogMel
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.codebook import codebook_perplexity
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.training.batches import (
    IGNORED_LABEL,
    PHONES,
    Batch,
    WindowSampler,
    clip_motion,
    mirror_motion,
    phone_labels,
    voice_labels,
)
from streamingtalker_ros.training.feature_augmentation import FeatureAugmentationConfig
from streamingtalker_ros.training.feature_cache import extract_corpus_features
from streamingtalker_ros.training.mixture import load_mixture
from support.training_clips import TINY_MODEL, SpeechClip, noise_burst_clip

CONFIG = TalkerConfig.from_json(TINY_MODEL)


@pytest.fixture(scope="module")
def clips() -> list[SpeechClip]:
    return [noise_burst_clip(seed) for seed in range(4)]


def test_windows_carry_real_history_and_the_features_of_a_stream(clips: list[SpeechClip]) -> None:
    encoder = TalkerNetwork(CONFIG).encoder
    sampler = WindowSampler(
        clips,
        frames=24,
        burn_in=8,
        lookahead=2,
        log_mel=encoder.log_mel,
        mirror_prob=0.0,
        audio_variants=2,
        clean_prob=1.0,
    )
    batch = sampler.sample(32, np.random.default_rng(0))
    assert batch.mels.shape == (32, 34, 4, 64) and batch.motion.shape == (32, 32, 55)
    assert (batch.first > 0).any() and (batch.first == 0).any()
    streamed = []
    for clip in clips:
        state = encoder.log_mel.init_state(1)
        hops = torch.from_numpy(np.pad(clip.pcm, (0, 2 * HOP_LENGTH))).view(-1, HOP_LENGTH)
        streamed.append(torch.stack([encoder.log_mel(hop[None], state)[0][0, 0] for hop in hops]))
    for b in range(32):
        first = int(batch.first[b])
        number, clip = next(
            (number, clip)
            for number, clip in enumerate(clips)
            if np.array_equal(clip_motion(clip)[first : first + 32], batch.motion[b].numpy())
        )
        expected = streamed[number][first : first + 34]
        assert torch.allclose(batch.mels[b], expected, atol=2e-3)  # half precision
        assert batch.loss_mask[b, :8].sum() == (0 if first else 8)
        labels = torch.from_numpy(phone_labels(clip.phones, 200)[first : first + 32])
        assert (batch.phones[b] == labels).all()


def test_audio_variants_differ_and_are_reproducible(clips: list[SpeechClip]) -> None:
    log_mel = TalkerNetwork(CONFIG).encoder.log_mel
    clean, augmented = extract_corpus_features(log_mel, clips[:1], [120], audio_variants=2)[0]
    again = extract_corpus_features(log_mel, clips[:1], [120], audio_variants=2)[0][1]
    assert (clean.mels.float() - augmented.mels.float()).abs().mean() > 0.02
    assert torch.equal(augmented.mels, again.mels)


def test_frames_around_an_unreliable_bilabial_are_ignored() -> None:
    def labels(length: float) -> list[int]:
        phones = [
            Phone("pau", 0.0, 0.2),
            Phone("aa", 0.2, 0.4),
            Phone("m", 0.4, 0.4 + length),
            Phone("iy", 0.4 + length, 0.8),
        ]
        return phone_labels(phones, 20).tolist()[5:]

    aa, m, iy = (PHONES.index(name) for name in ("aa", "m", "iy"))
    assert labels(0.04) == [aa] * 5 + [m] + [iy] * 9
    assert labels(0.03) == [aa] * 3 + [IGNORED_LABEL] * 4 + [iy] * 8


def test_phone_labels_are_those_of_each_frame_s_centre() -> None:
    phones = [Phone("pau", 0, 0.1), Phone("AA1", 0.1, 0.2), Phone("voice", 0.2, 0.3)]
    names = [PHONES[k] if k >= 0 else "?" for k in phone_labels(phones, 10)]
    assert names == ["pau"] * 2 + ["aa"] * 3 + ["?"] * 2 + ["pau"] * 3


def test_voice_labels_bridge_short_pauses() -> None:
    phones = [
        Phone("pau", 0, 0.4),
        Phone("aa", 0.4, 0.8),
        Phone("pau", 0.8, 0.9),
        Phone("t", 0.9, 1.0),
        Phone("pau", 1.0, 2.0),
    ]
    assert voice_labels(phones, 50).tolist() == [0.0] * 10 + [1.0] * 15 + [0.0] * 25


def test_mirroring_swaps_sides_and_is_its_own_inverse() -> None:
    motion = torch.randn(5, 55, generator=torch.Generator().manual_seed(0))
    mirrored = mirror_motion(motion)
    assert torch.equal(mirrored[:, INDEX["mouthSmileLeft"]], motion[:, INDEX["mouthSmileRight"]])
    # a turn and a roll change sign, a nod does not
    assert torch.equal(mirrored[:, 52:], motion[:, 52:] * torch.tensor([-1, 1, -1]))
    assert torch.equal(mirror_motion(mirrored), motion)


def test_the_mixture_concatenates_short_clips_and_keeps_fractions(tmp_path: Path) -> None:
    def write(folder: Path, count: int, voice: str) -> None:
        entries = []
        for k in range(count):
            clip = noise_burst_clip(k, 75)
            stored = Clip(clip.pcm, clip.weights, clip.head, clip.phones, voice, "train", f"{voice}_{k}")
            entries.append(save_clip(folder, stored))
        (folder / "index.json").write_text(json.dumps({"clips": entries}))

    write(tmp_path / "a", 8, "ann")
    write(tmp_path / "b", 2, "bob")
    clips, probs = load_mixture([tmp_path / "a", tmp_path / "b"], "train", {"b": 0.7})
    assert [len(clip.weights) for clip in clips] == [300, 300, 150]
    assert all(len(clip.pcm) == HOP_LENGTH * len(clip.weights) for clip in clips)
    assert clips[0].phones[1].start == pytest.approx(3.2)
    assert np.allclose(probs, [0.15, 0.15, 0.7])
    with pytest.raises(TalkerError, match="mixture names"):
        load_mixture([tmp_path / "a"], "train", {"c": 0.5})


def _tone_clip(frames: int) -> Clip:
    """A tone of 500 Hz that counts as speech."""
    tone = 0.1 * np.sin(2 * np.pi * 500.0 * np.arange(frames * HOP_LENGTH) / SAMPLE_RATE)
    weights, head = np.zeros((frames, 52), np.float32), np.zeros((frames, 3), np.float32)
    return Clip(tone.astype(np.float32), weights, head, [Phone("aa", 0.0, frames / 25.0)], name="tone")


HIGH_BANDS = slice(48, None)  # bands far from the tone, which a telephone would cut


def test_clips_without_speech_are_mixed_under_voices_at_a_known_snr() -> None:
    frames, rng = 120, np.random.default_rng(0)
    noise = augmentation.set_rms(augmentation.white_noise(frames * HOP_LENGTH, rng), -20.0)
    spoken = _tone_clip(frames)
    silence = replace(spoken, pcm=noise.astype(np.float32), phones=[Phone("pau", 0.0, frames / 25.0)])
    log_mel = LogMel(CONFIG)

    def sample(augmentation_prob: float) -> Batch:
        torch.manual_seed(0)
        sampler = WindowSampler(
            [spoken, silence],
            frames=40,
            burn_in=8,
            lookahead=2,
            log_mel=log_mel,
            clip_weights=[1.0, 0.0],
            augmentation_prob=augmentation_prob,
            augmentation={"telephone_prob": 0.0},
        )
        assert sampler.non_speech_clips.tolist() == [1]
        return sampler.sample(64, np.random.default_rng(1))

    clean, noisy = sample(0.0), sample(1.0)
    raised = (noisy.mels - clean.mels)[..., HIGH_BANDS].mean((1, 2, 3))
    # noise_prob is 0.35, and babble of the same tone adds nothing in these bands
    assert 0.25 < (raised > 0.3).float().mean() < 0.7 and (raised > -0.6).all()
    assert clean.snr is not None and noisy.snr is not None
    is_mixed = noisy.snr.isfinite()
    max_snr = FeatureAugmentationConfig().snr_db[1]
    assert clean.snr.isinf().all() and (noisy.snr[is_mixed] <= max_snr).all()
    assert 0.25 < is_mixed.float().mean() < 0.7 and (raised[is_mixed] > 0.0).all()
    assert raised[is_mixed].mean() > raised[~is_mixed].mean() + 0.5
    for part in ("motion", "voice", "phones", "loss_mask", "first"):
        assert torch.equal(getattr(clean, part), getattr(noisy, part))
    assert torch.equal(sample(1.0).mels, noisy.mels)  # all randomness comes from the two generators


def test_stationary_noises_are_mixed_where_no_clip_is_without_speech() -> None:
    def sample(prob: float) -> Batch:
        sampler = WindowSampler(
            [_tone_clip(120)],
            frames=40,
            burn_in=8,
            lookahead=2,
            log_mel=LogMel(CONFIG),
            augmentation_prob=prob,
            stationary_noise_prob=1.0,
            augmentation={
                "noise_prob": 1.0,
                "babble_prob": 0.0,
                "reverb_prob": 0.0,
                "band_limit_prob": 0.0,
                "snr_db": (5.0, 5.0),
            },
        )
        torch.manual_seed(0)
        return sampler.sample(64, np.random.default_rng(1))

    clean, batch = sample(0.0), sample(1.0)
    assert torch.equal(clean.first, batch.first)
    raised = (batch.mels - clean.mels)[..., HIGH_BANDS].mean((1, 2, 3))
    assert (raised > 0.2).float().mean() > 0.5 and raised.std() > 0.1  # noises of many colours
    assert batch.mels[..., HIGH_BANDS].std(1).mean() > 0.02  # they fluctuate as noise does


def test_perplexity_counts_codes_in_use() -> None:
    assert codebook_perplexity(torch.arange(64), 64) == pytest.approx(64)
    assert codebook_perplexity(torch.zeros(100, dtype=torch.int64), 64) == pytest.approx(1)
