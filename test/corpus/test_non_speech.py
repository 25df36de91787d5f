# SPDX-License-Identifier: Apache-2.0
"""Sounds in which nobody speaks become clips of a mouth at rest; windows lay them under the voices of other clips."""

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from streamingtalker_ros.audio import augmentation  # noqa: E402
from streamingtalker_ros.cli import main  # noqa: E402
from streamingtalker_ros.corpus.non_speech import make_quiet  # noqa: E402
from streamingtalker_ros.corpus.storage import Clip, load_corpus, read_index  # noqa: E402
from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.model.blendshape.config import TalkerConfig  # noqa: E402
from streamingtalker_ros.model.blendshape.features import LogMel  # noqa: E402
from streamingtalker_ros.phonetics.phones import Phone  # noqa: E402
from streamingtalker_ros.streaming.voice_gate import MOUTH_MASK  # noqa: E402
from streamingtalker_ros.training.batches import WindowSampler  # noqa: E402
from streamingtalker_ros.training.feature_augmentation import FeatureAugmentationConfig  # noqa: E402


@pytest.fixture
def music(tmp_path):
    """Ten tunes of 20 s in stereo at 44.1 kHz, below two levels of folders."""
    folder = tmp_path / "music"
    (folder / "more").mkdir(parents=True)
    for number in range(10):
        tune = 0.1 * augmentation.ensemble_music(20 * 16000, np.random.default_rng(number))
        tune = np.interp(np.arange(20 * 44100) / 44100, np.arange(len(tune)) / 16000, tune)
        soundfile.write(
            folder / ("more" if number % 2 else "") / f"{number}.flac", np.stack((tune, 0.5 * tune), 1), 44100
        )
    return folder


def test_pieces_are_spread_over_all_files_and_every_mouth_rests(music, tmp_path, capsys) -> None:
    (music / "torn.ogg").write_bytes(b"OggS and no more")
    soundfile.write(music / "nothing.wav", np.zeros(32000), 16000)
    assert (
        main(
            ["corpus", "quiet", str(music), "--out", str(tmp_path / "made"), "--minutes", "2", "--jobs", "1"]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "nothing.wav is silent" in told and "torn.ogg cannot be read" in told
    index = read_index(tmp_path / "made")
    assert len({clip["of"] for clip in index["clips"]}) == 10 and {
        clip["split"] for clip in index["clips"]
    } == {"train", "validation", "test"}
    clips = load_corpus(tmp_path / "made")
    assert all(len(clip.pcm) == 640 * len(clip.weights) == 8 * 16000 for clip in clips)
    assert all(
        not clip.weights[:, MOUTH_MASK].any() and {phone.name for phone in clip.phones} == {"pau"}
        for clip in clips
    )
    levels = [10.0 * np.log10(np.mean(np.square(clip.pcm))) for clip in clips]
    assert min(levels) > -51.0 and max(levels) < -9.0 and max(levels) - min(levels) > 15.0
    again = make_quiet([music], tmp_path / "again", 2.0, jobs=2)
    assert all(
        np.array_equal(one.pcm, other.pcm) for one, other in zip(clips, load_corpus(tmp_path / "again"))
    )
    assert len(again["rejected"]) == 2


def test_folders_without_a_usable_file_are_refused_in_a_sentence(tmp_path) -> None:
    with pytest.raises(TalkerError, match="no audio files below"):
        make_quiet([tmp_path], tmp_path / "made")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(32000), 16000)
    with pytest.raises(TalkerError, match="none of 1 files can be used"):
        make_quiet([tmp_path], tmp_path / "made", jobs=1)


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
