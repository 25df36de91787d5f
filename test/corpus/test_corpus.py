# SPDX-License-Identifier: Apache-2.0
"""Laws of the corpus and of augmentation: equal seeds, equal files; a voice held out; motion in step."""

import shutil

import numpy as np
import pytest

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.coarticulation import dominance, residual, upper_face
from streamingtalker_ros.corpus import storage, synthetic
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.phones import VOWELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of a minute made through the command line."""
    if not {*synthetic.VOICE_ROTATION, flite_festival_tts.HELD_OUT_VOICE} <= set(
        flite_festival_tts.available_voices()
    ):
        pytest.skip("flite, festival or one of their voices is not installed")
    path = tmp_path_factory.mktemp("corpus")
    assert main(["corpus", "synthetic", "--out", str(path), "--minutes", "1", "--seed", "4"]) == 0
    return path


@pytest.fixture(scope="module")
def clips(folder):
    return storage.load_corpus(folder)


def test_held_out_voice_is_in_test_alone(folder, clips) -> None:
    assert {clip.voice for clip in clips if clip.split == "test"} == {
        flite_festival_tts.HELD_OUT_VOICE,
        "none",
    }
    assert all(clip.voice != flite_festival_tts.HELD_OUT_VOICE for clip in clips if clip.split != "test")
    texts = {
        split: {
            entry["text"]
            for entry in storage.read_index(folder)["clips"]
            if entry["split"] == split and entry["text"]
        }
        for split in storage.SPLITS
    }
    assert all(texts.values()) and not texts["train"] & (texts["validation"] | texts["test"])


def test_clips_are_whole_and_in_range(clips) -> None:
    seconds = sum(len(clip.pcm) for clip in clips if clip.split == "train" and clip.voice != "none") / 16000
    assert seconds >= 60
    for clip in clips:
        assert len(clip.pcm) == 640 * len(clip.weights) == 640 * len(clip.head)
        assert 4.0 <= len(clip.pcm) / 16000 <= 12.0 and np.abs(clip.pcm).max() <= 1.0
        assert clip.weights.shape[1:] == (52,) and clip.head.shape[1:] == (3,)
        assert clip.weights.min() >= 0.0 and clip.weights.max() <= 1.0
        assert clip.phones[0].start == 0.0 and abs(clip.phones[-1].end - len(clip.pcm) / 16000) < 0.05
        if clip.voice != "none":
            assert clip.phones[0].end >= 0.2 and clip.phones[-1].end - clip.phones[-1].start >= 0.2


def test_mouth_rests_where_nobody_speaks(clips) -> None:
    silent = [clip for clip in clips if clip.voice == "none"]
    assert silent
    for clip in silent:
        assert not clip.weights[:, ~upper_face.UPPER_FACE_MASK].any()
        assert clip.weights.any()


def test_stored_motion_is_the_teachers(folder, clips) -> None:
    speakers = {entry["name"]: entry["speaker"] for entry in storage.read_index(folder)["clips"]}
    for clip in clips[:6]:
        manner = dominance.speaker_style(speakers[clip.name], clip.name)
        again = residual.synthesize_lips(clip.phones, len(clip.weights), clip.pcm, manner)
        np.testing.assert_allclose(
            clip.weights[:, ~upper_face.UPPER_FACE_MASK], again[:, ~upper_face.UPPER_FACE_MASK], atol=2e-3
        )


def test_sound_is_where_the_phones_say(clips) -> None:
    """Nearly all frames within pauses are 20 dB below speech, nearly all within vowels are not."""
    pauses, vowels = [], []
    for clip in clips:
        if clip.voice == "none":
            continue
        level = 10 * np.log10(np.square(clip.pcm).reshape(-1, 640).mean(1) + 1e-9)
        t = dominance.frame_times(len(level))
        inside = {True: np.zeros(len(t), bool), False: np.zeros(len(t), bool)}
        for phone in clip.phones:
            if phone.name in VOWELS or phone.name == "pau":
                inside[phone.name == "pau"] |= (t > phone.start + 0.04) & (t < phone.end - 0.03)
        usual = np.median(level[inside[False]])
        pauses.append(level[inside[True]] < usual - 20)
        vowels.append(level[inside[False]] > usual - 20)
    assert np.concatenate(pauses).mean() > 0.95
    assert np.concatenate(vowels).mean() > 0.95


def test_relived_clip_keeps_its_lips(clips) -> None:
    clip = clips[0]
    (one, head), (two, other) = clip.resample_upper_face(1), clip.resample_upper_face(2)
    np.testing.assert_array_equal(
        one[:, ~upper_face.UPPER_FACE_MASK], clip.weights[:, ~upper_face.UPPER_FACE_MASK]
    )
    assert np.abs(one - two).max() > 0.1 and np.abs(head - other).max() > 0.002
    elsewhere = clips[1].resample_upper_face(1)[1]
    count = min(len(head), len(elsewhere))
    assert np.abs(head[:count] - elsewhere[:count]).max() > 0.002


def test_interrupted_corpus_ends_up_the_same(folder, tmp_path) -> None:
    """Half of the parts gone, the index gone: the second call makes the same files."""
    shutil.copytree(folder, tmp_path / "again")
    again = tmp_path / "again"
    (again / "index.json").unlink()
    for part in sorted((again / "parts").iterdir())[::2]:
        for path in again.glob(f"*/*_{part.stem[-3:]}_*"):
            if path.parent.name == part.stem.rpartition("_")[0]:
                path.unlink()
        part.unlink()
    synthetic.make_synthetic(again, 1.0, 4)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(again) for path in again.rglob("*.*"))
    assert all((folder / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_mistakes_are_one_sentence(tmp_path, folder, capsys) -> None:
    with pytest.raises(TalkerError, match="streamingtalker corpus synthetic"):
        storage.load_corpus(tmp_path)
    with pytest.raises(TalkerError, match="no split 'exam'"):
        storage.load_corpus(folder, "exam")
    with pytest.raises(TalkerError, match="another corpus"):
        synthetic.make_synthetic(folder, 2.0, 4)
    assert main(["corpus", "synthetic", "--out", str(tmp_path), "--minutes", "0"]) == 2
    assert "--minutes must be above 0" in capsys.readouterr().err


def test_missing_synthesiser_names_its_package(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TalkerError, match="apt install festival"):
        synthetic.make_synthetic(tmp_path / "c", 1.0)
    with pytest.raises(TalkerError, match="apt install flite"):
        flite_festival_tts.synthesize("slt", ["Hello."])


@pytest.fixture(scope="module")
def voice():
    """Two seconds that behave like speech: harmonics in syllables, silence between."""
    t = np.arange(32000) / 16000
    syllables = np.maximum(np.sin(2 * np.pi * 2.5 * t), 0.0)
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return (0.2 * syllables * buzz).astype(np.float32)


def test_augmentation_repeats_by_seed_and_keeps_length_and_time(voice) -> None:
    changed = 0
    for seed in range(40):
        out = augmentation.augment(voice, seed, [voice[::-1].copy()])
        np.testing.assert_array_equal(out, augmentation.augment(voice, seed, [voice[::-1].copy()]))
        assert out.shape == voice.shape and out.dtype == np.float32 and np.abs(out).max() <= 1.0
        assert np.isfinite(out).all()
        changed += not np.allclose(out, voice)
    assert changed == 40
    whisper = np.abs(voice) * np.random.default_rng(2).standard_normal(len(voice)).astype(np.float32)
    for dirty in (
        augmentation.telephone(whisper),
        augmentation.reverberate(whisper, np.random.default_rng(1)),
        augmentation.band_pass(whisper, 200.0, 4000.0),
        augmentation.clip(whisper, 0.1),
    ):
        lag = np.correlate(dirty, whisper, "same").argmax() - len(whisper) // 2
        assert abs(lag) <= 2


def test_noise_has_the_asked_ratio_and_colour(voice) -> None:
    rng = np.random.default_rng(0)
    for make in (
        augmentation.white_noise,
        augmentation.pink_noise,
        augmentation.mains_hum,
        augmentation.plucked_music,
        augmentation.breath_noise,
        augmentation.impact_noise,
    ):
        noise = make(48000, rng)
        assert noise.shape == (48000,) and abs(np.sqrt(np.mean(noise**2)) - 1.0) < 0.02
    added = augmentation.add_noise(voice, augmentation.white_noise(len(voice), rng), 20.0) - voice
    assert abs(augmentation.active_level(voice) - 10 * np.log10(np.mean(added**2)) - 20.0) < 0.1
    power = np.abs(np.fft.rfft(augmentation.pink_noise(160000, rng))) ** 2
    octaves = [power[10 * low : 20 * low].mean() for low in (100, 400, 1600)]  # bins are 0.1 Hz wide
    np.testing.assert_allclose(10 * np.log10(np.array(octaves[:-1]) / octaves[1:]), 6.0, atol=1.0)


def test_level_band_and_size(voice) -> None:
    assert abs(augmentation.active_level(augmentation.set_active_level(voice, -30.0)) + 30.0) < 0.05
    assert not augmentation.set_active_level(np.zeros(1600, np.float32), -10.0).any()
    power = (
        np.abs(np.fft.rfft(augmentation.telephone(voice) - augmentation.band_pass(voice, 300.0, 3400.0))) ** 2
    )
    wanted = np.abs(np.fft.rfft(augmentation.band_pass(voice, 300.0, 3400.0))) ** 2
    assert power.sum() < 0.01 * wanted.sum()  # mu-law adds little
    narrow = np.abs(np.fft.rfft(augmentation.band_pass(voice, 300.0, 3400.0))) ** 2
    hertz = np.fft.rfftfreq(len(voice), 1 / 16000)
    assert narrow[(hertz < 250) | (hertz > 4000)].sum() < 1e-6 * narrow.sum()
    smaller = augmentation.perturb_speed(voice, 1.2)
    assert abs(len(smaller) - len(voice) / 1.2) <= 2
    peak = np.abs(np.fft.rfft(smaller)).argmax() * 16000 / len(smaller)
    assert abs(peak - 1.2 * 120) < 5


def test_closures_survive_in_the_stored_corpus(clips) -> None:
    for clip in clips:
        gap = clip.weights[:, INDEX["jawOpen"]] - clip.weights[:, INDEX["mouthClose"]]
        t = dominance.frame_times(len(gap))
        for phone in clip.phones:
            if phone.name in ("p", "b", "m"):
                near = (t > phone.start - 0.03) & (t < phone.end + 0.03)
                assert gap[near].min() < 0.004
