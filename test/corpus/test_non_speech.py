# SPDX-License-Identifier: Apache-2.0
"""Recordings without speech become clips of a mouth at rest; the window sampler mixes them under speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.corpus.non_speech import build_non_speech_corpus
from streamingtalker_ros.corpus.storage import SPLITS, Clip, load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.features import LogMel
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.streaming.voice_gate import MOUTH_MASK
from streamingtalker_ros.training.batches import WindowSampler
from streamingtalker_ros.training.feature_augmentation import FeatureAugmentationConfig
from support.command_line import run_command


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Ten tunes of 20 s in stereo at 44.1 kHz, on two levels of folders."""
    folder = tmp_path / "music"
    (folder / "more").mkdir(parents=True)
    for number in range(10):
        tune = 0.1 * augmentation.ensemble_music(20 * 16000, np.random.default_rng(number))
        tune = np.interp(np.arange(20 * 44100) / 44100, np.arange(len(tune)) / 16000, tune)
        path = folder / ("more" if number % 2 else "") / f"{number}.flac"
        soundfile.write(path, np.stack((tune, 0.5 * tune), 1), 44100)
    return folder


def test_clips_are_spread_over_all_files_and_every_mouth_rests(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (music / "torn.ogg").write_bytes(b"OggS and no more")
    soundfile.write(music / "nothing.wav", np.zeros(32000), 16000)
    out = tmp_path / "first"
    assert run_command("corpus", "quiet", music, "--out", out, "--minutes", 2, "--jobs", 1) == 0
    printed = capsys.readouterr().out
    assert "nothing.wav is silent" in printed and "torn.ogg cannot be read" in printed
    entries = read_index(out)["clips"]
    assert len({entry["source_file"] for entry in entries}) == 10
    assert {entry["split"] for entry in entries} == set(SPLITS)
    clips = load_corpus(out)
    for clip in clips:
        assert len(clip.pcm) == 640 * len(clip.weights) == 8 * 16000
        assert not clip.weights[:, MOUTH_MASK].any() and {phone.name for phone in clip.phones} == {"pau"}
    levels = [10.0 * np.log10(np.mean(np.square(clip.pcm))) for clip in clips]
    assert min(levels) > -51.0 and max(levels) < -9.0 and max(levels) - min(levels) > 15.0
    index = build_non_speech_corpus([music], tmp_path / "second", 2.0, jobs=2)
    assert len(index["rejected"]) == 2
    for first, second in zip(clips, load_corpus(tmp_path / "second"), strict=True):
        assert np.array_equal(first.pcm, second.pcm)


def test_folders_without_a_usable_file_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="no audio files below"):
        build_non_speech_corpus([tmp_path], tmp_path / "out")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(32000), 16000)
    with pytest.raises(TalkerError, match="none of 1 files can be used"):
        build_non_speech_corpus([tmp_path], tmp_path / "out", jobs=1)


def test_windows_lay_quiet_sounds_under_voices_and_leave_labels_alone() -> None:
    rng = np.random.default_rng(0)
    frames = 120
    tone = (0.1 * np.sin(2 * np.pi * 500.0 * np.arange(frames * 640) / 16000)).astype(np.float32)
    noise = augmentation.set_rms(augmentation.white_noise(frames * 640, rng), -20.0)
    still = np.zeros((frames, 52), np.float32), np.zeros((frames, 3), np.float32)
    spoken = Clip(tone, *still, [Phone("aa", 0.0, frames / 25.0)], name="spoken")
    quiet = Clip(noise, *still, [Phone("pau", 0.0, frames / 25.0)], name="quiet")
    log_mel = LogMel(TalkerConfig())

    def drawn(noisy):
        torch.manual_seed(0)
        windows = WindowSampler(
            [spoken, quiet], 40, 8, 2, log_mel, chances=[1.0, 0.0], noisy=noisy, mixing={"telephone": 0.0}
        )
        assert windows.quiet == [1]
        return windows.draw(64, np.random.default_rng(1))

    clean, dirty = drawn(0.0), drawn(1.0)
    top = slice(48, None)  # bands far from the tone, which a telephone would cut
    raised = dirty.mels[..., top].mean((1, 2, 3)) - clean.mels[..., top].mean((1, 2, 3))
    assert 0.25 < (raised > 0.3).float().mean() < 0.7, "MixConfig.noise is 0.35, babble adds nothing up here"
    assert (raised > -0.6).all()
    told = dirty.snr.isfinite()
    assert clean.snr.isinf().all() and (dirty.snr[told] <= FeatureAugmentationConfig().snr[1]).all()
    assert 0.25 < told.float().mean() < 0.7 and (raised[told] > 0.0).all(), (
        "the batch tells where something was added"
    )
    assert raised[told].mean() > raised[~told].mean() + 0.5
    for part in ("motion", "voice", "phones", "learned", "first"):
        assert torch.equal(getattr(clean, part), getattr(dirty, part))
    assert torch.equal(drawn(1.0).mels, dirty.mels), "chance is the generators' alone"


def test_steady_noises_lie_under_voices_where_no_clip_is_quiet() -> None:
    frames = 120
    still = np.zeros((frames, 52), np.float32), np.zeros((frames, 3), np.float32)
    tone = (0.1 * np.sin(2 * np.pi * 500.0 * np.arange(frames * 640) / 16000)).astype(np.float32)
    spoken = Clip(tone, *still, [Phone("aa", 0.0, frames / 25.0)], name="spoken")
    windows = WindowSampler(
        [spoken],
        40,
        8,
        2,
        LogMel(TalkerConfig()),
        noisy=1.0,
        hiss=1.0,
        mixing={"noise": 1.0, "babble": 0.0, "room": 0.0, "band": 0.0, "snr": (5.0, 5.0)},
    )
    torch.manual_seed(0)
    batch = windows.draw(64, np.random.default_rng(1), with_clean=True)
    raised = (batch.mels - batch.clean[0])[..., 48:].mean((1, 2, 3))  # bands far from the tone
    assert (raised > 0.2).float().mean() > 0.5 and raised.std() > 0.1, "noises of many colours"
    assert batch.mels[..., 48:].std(1).mean() > 0.02, "that flicker as noise does"
