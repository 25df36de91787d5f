# SPDX-License-Identifier: Apache-2.0
"""Corpora of recorded speech: aligned, split by speaker, animated, resumed; every layout is read."""

from __future__ import annotations

import itertools
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.corpus import relabel, speech, storage
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import BILABIALS, VOWELS
from streamingtalker_ros.phonetics.sentences import sentences
from support.command_line import run_command

VOICE_OF_SPEAKER = {"anna": "slt", "bruce": "rms", "carl": "awb", "dan": "kal16"}


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write text files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write_silence(folder: Path, *names: str) -> None:
    """Write a second of silence into each file below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.zeros(16000), 16000)


def synthesize(voice: str, seed: int, count: int) -> list[Utterance]:
    return flite_festival_tts.synthesize(voice, list(itertools.islice(sentences(seed), count)))


@pytest.fixture(scope="module")
def flite() -> None:
    """Skips a test where flite is not installed."""
    if not set(VOICE_OF_SPEAKER.values()) <= set(flite_festival_tts.available_voices()):
        pytest.skip("flite is not installed: nothing to read")


@pytest.fixture(scope="module")
def pairs(flite: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WAV files with text of four speakers, in stereo; three recordings that cannot be used."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed, (speaker, voice) in enumerate(VOICE_OF_SPEAKER.items()):
        (folder / speaker).mkdir()
        for k, utterance in enumerate(synthesize(voice, seed, 4)):
            path = folder / speaker / f"{speaker}_{k}.wav"
            soundfile.write(path, np.stack([utterance.pcm, utterance.pcm], 1), 16000)
            path.with_suffix(".txt").write_text(utterance.text + "\n")
    write_silence(folder, "bruce/bruce_9.wav")
    write_files(
        folder,
        {
            "anna/anna_0.txt": "There were 12 people.",
            "bruce/bruce_9.txt": "nothing at all",
            "eve/eve_0.txt": "Good morning.",
        },
    )
    (short,) = flite_festival_tts.synthesize("slt", ["Good morning."])
    soundfile.write(folder / "eve" / "eve_0.wav", short.pcm, 16000)
    return folder


@pytest.fixture(scope="module")
def corpus(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("speech")
    assert run_command("corpus", "speech", pairs, "--out", out) == 0
    return out


def test_clips_hold_all_speakers_in_whole_frames(corpus: Path) -> None:
    clips = storage.load_corpus(corpus)
    assert {clip.voice for clip in clips} == set(VOICE_OF_SPEAKER)
    for clip in clips:
        assert clip.style == storage.RULE_BASED_STYLE
        assert len(clip.pcm) == 640 * len(clip.weights) and 4.0 <= len(clip.pcm) / 16000 <= 17.0
        assert clip.phones[0].start == 0.0 and abs(clip.phones[-1].end - len(clip.pcm) / 16000) < 0.05


def test_bilabials_close_the_lips(corpus: Path) -> None:
    rig, smallest_gaps = default_rig(), []
    for clip in storage.load_corpus(corpus):
        gap = rig.lip_gap(clip.weights)
        frame_starts = np.arange(len(gap)) / 25
        smallest_gaps += [
            gap[(frame_starts < phone.end) & (frame_starts + 0.04 > phone.start)].min()
            for phone in clip.phones
            if phone.name in BILABIALS
        ]
    assert len(smallest_gaps) > 15 and np.max(smallest_gaps) < 0.0011


def test_vowels_are_20_db_louder_than_pauses(corpus: Path) -> None:
    for clip in storage.load_corpus(corpus):
        level = 10 * np.log10(np.square(clip.pcm).reshape(-1, 640).mean(1) + 1e-9)
        t = dominance.frame_times(len(level))
        in_vowel, in_pause = np.zeros(len(level), bool), np.zeros(len(level), bool)
        for phone in clip.phones:
            inside = (t > phone.start + 0.03) & (t < phone.end - 0.03)
            in_vowel |= inside & (phone.name in VOWELS)
            in_pause |= inside & (phone.name == "pau")
        assert np.median(level[in_vowel]) > np.median(level[in_pause]) + 20


def test_rejected_recordings_are_listed_with_the_reason(corpus: Path) -> None:
    rejected = {row["name"]: row["reason"] for row in storage.read_index(corpus)["rejected"]}
    assert set(rejected) == {"anna_0", "bruce_9", "eve_0"}
    assert "digits" in rejected["anna_0"]
    assert "silent" in rejected["bruce_9"]
    assert "too short" in rejected["eve_0"]


@pytest.mark.parametrize("seed", range(20))
def test_grouping_loses_no_recording(seed: int) -> None:
    rng = np.random.default_rng(seed)
    aligned: list[speech.AlignedRecording] = [
        (
            speech.Recording(str(k), Path(), "", "x", "pairs"),
            np.zeros(int(16000 * rng.uniform(1.0, 12.0))),
            [],
        )
        for k in range(rng.integers(1, 30))
    ]
    groups = speech.group_recordings(aligned, rng)
    seconds = [sum(len(pcm) for _, pcm, _ in group) / 16000 for group in groups]
    if sum(len(pcm) for _, pcm, _ in aligned) < 4.0 * 16000:
        assert groups == []
    else:
        names = [recording.name for group in groups for recording, _, _ in group]
        assert names == [recording.name for recording, _, _ in aligned]
        assert min(seconds) >= 4.0 and max(seconds) < 20.0


def recording(name: str, speaker: str) -> speech.Recording:
    return speech.Recording(name, Path(), "", speaker, "pairs")


def test_every_speaker_is_in_one_split(corpus: Path) -> None:
    splits: dict[str, str] = {}
    for entry in storage.read_index(corpus)["clips"]:
        assert splits.setdefault(entry["speaker"], entry["split"]) == entry["split"]


def test_a_tenth_of_the_speakers_is_for_test_and_frequent_speakers_train() -> None:
    rows = [recording(f"{speaker}{k}", f"s{speaker}") for speaker in range(100) for k in range(5)]
    frequent = [recording(f"m{k}", "frequent") for k in range(100)]
    splits = speech.split_speakers(rows + frequent)
    counts = {name: list(splits.values()).count(name) for name in storage.SPLITS}
    assert counts == {"train": 86, "validation": 5, "test": 10} and splits["frequent"] == "train"
    assert set(speech.split_speakers(frequent).values()) == {"train"}


def test_the_unknown_speaker_is_never_held_out() -> None:
    names = sorted((f"s{k}" for k in range(200)), key=lambda name: zlib.crc32(name.encode()))
    for first in range(0, 200, 10):  # the checksums of the other names select the held-out speakers
        speakers = (speech.UNKNOWN_SPEAKER, *names[first : first + 30])
        splits = speech.split_speakers([recording(name, name) for name in speakers])
        assert splits[speech.UNKNOWN_SPEAKER] == "train" and set(splits.values()) == set(storage.SPLITS)


def test_a_second_call_aligns_nothing_again(
    corpus: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "align", lambda *_: pytest.fail("aligned again"))
    index = storage.read_index(corpus)
    (corpus / "index.json").unlink()
    assert speech.build_speech_corpus([pairs], corpus)["clips"] == index["clips"]
    with pytest.raises(TalkerError, match="holds another corpus"):
        speech.build_speech_corpus([pairs], corpus, minutes=1)


def test_ljspeech_is_read(tmp_path: Path) -> None:
    write_silence(tmp_path, "wavs/LJ1.wav")
    write_files(tmp_path, {"metadata.csv": "LJ1|It was 2 o'clock|It was two o'clock\nLJ2|a|b\n"})
    (row,) = speech.find_recordings(tmp_path)
    assert (row.name, row.text, row.source) == ("LJ1", "It was two o'clock", "LJSpeech")


def test_speechocean_is_read_without_its_children(tmp_path: Path) -> None:
    write_files(
        tmp_path / "train",
        {
            "wav.scp": "u1\tW/u1.WAV\nu2\tW/u2.WAV\n",
            "text": "u1\tHELLO YOU\nu2\tNO\n",
            "utt2spk": "u1\t0001\nu2\t0002\n",
            "spk2age": "0001\t30\n0002\t9\n",
        },
    )
    (row,) = speech.find_recordings(tmp_path)
    assert (row.speaker, row.text, row.path) == ("so0001", "HELLO YOU", tmp_path / "W" / "u1.WAV")


def test_a_folder_without_recordings_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="no speech with text"):
        speech.find_recordings(tmp_path / "nowhere")


def test_layouts_side_by_side_are_all_read_once(tmp_path: Path) -> None:
    write_silence(
        tmp_path,
        "own/eve/one.wav",
        "lj/wavs/LJ1.wav",
        "libri/84/84-121-0000.flac",
        "cv/clips/cv_1.wav",
        "old/cv-valid-dev/sample-0.wav",
        "twice/cv-valid-test/cv-valid-test/sample-1.wav",
    )
    write_files(
        tmp_path,
        {
            "own/eve/one.txt": "hello",
            "lj/metadata.csv": "LJ1|a|b\n",
            "lj/metadata_test.csv": "LJ1|a|b\n",
            "libri/84/84-121.trans.txt": "84-121-0000 HELLO\n",
            "cv/validated.tsv": "client_id\tpath\tsentence\tage\nabc\tcv_1.wav\thello\t\n",
            "old/cv-valid-dev.csv": "filename,text,age\ncv-valid-dev/sample-0.wav,hello you,\nno.wav,none,\n",
            "twice/cv-valid-test.csv": "filename,text,age\ncv-valid-test/sample-1.wav,hello,teens\n",
            "own/metadata.csv": "\nof something else\n",
            "own/validated.tsv": "word\n",
            "own/cv-valid-x.csv": "word\n",
            "own/wav.scp": "word\n",
        },
    )
    rows = [(row.name, row.speaker) for row in speech.find_recordings(tmp_path)]
    assert len(rows) == len(set(rows)) and set(rows) == {
        ("one", "eve"),
        ("LJ1", "ljspeech"),
        ("84-121-0000", "ls84"),
        ("cv_1", "cvabc"),
        ("sample-0", "cvunnamed"),
    }
    minors = {(row.name, row.speaker) for row in speech.find_recordings(tmp_path, (0, 17))}
    assert ("sample-1", "cvunnamed") in minors


def test_recordings_behind_links_are_read_once(tmp_path: Path) -> None:
    stored, root = tmp_path / "stored" / "eve", tmp_path / "root"
    write_silence(stored, "one.wav")
    write_files(stored, {"one.txt": "hello"})
    root.mkdir()
    (stored / "cycle").symlink_to(root)
    (root / "eve").symlink_to(stored)
    (root / "eve_again").symlink_to(stored)
    assert [(row.name, row.speaker) for row in speech.find_recordings(root)] == [("one", "eve")]


@pytest.mark.usefixtures("flite")
def test_librispeech_and_common_voice_become_a_corpus(tmp_path: Path) -> None:
    utterances = synthesize("slt", 5, 4)
    chapter, clips = tmp_path / "libri" / "dev-clean" / "84" / "121", tmp_path / "common" / "clips"
    chapter.mkdir(parents=True)
    clips.mkdir(parents=True)
    for k in (0, 1):
        soundfile.write(chapter / f"84-121-000{k}.flac", utterances[k].pcm, 16000)
    texts = [utterance.text.upper().rstrip(".") for utterance in utterances]
    (chapter / "84-121.trans.txt").write_text(
        f"84-121-0000 {texts[0]}\n84-121-0001 {texts[1]}\n84-121-0002 NO SOUND\n"
    )
    for k in (2, 3):
        soundfile.write(clips / f"cv_{k}.mp3", utterances[k].pcm, 16000, format="MP3")
    table = (
        ("client_id", "path", "sentence", "age"),
        ("f" * 64, "cv_2.mp3", utterances[2].text, "fourties"),
        ("f" * 64, "cv_3.mp3", utterances[3].text, ""),
        ("e" * 64, "cv_2.mp3", utterances[2].text, "teens"),
        ("f" * 64, "cv_9.mp3", "no sound", ""),
    )
    (tmp_path / "common" / "validated.tsv").write_text("\n".join("\t".join(row) for row in table))
    rows = speech.find_recordings(tmp_path / "libri") + speech.find_recordings(tmp_path / "common")
    assert [(row.name, row.speaker, row.source) for row in rows] == [
        ("84-121-0000", "ls84", "LibriSpeech"),
        ("84-121-0001", "ls84", "LibriSpeech"),
        ("cv_2", "cvffffffffff", "Common Voice"),
        ("cv_3", "cvffffffffff", "Common Voice"),
    ]
    minors = speech.find_recordings(tmp_path / "common", (0, 17))
    assert [row.speaker for row in minors] == ["cveeeeeeeeee"]
    out = tmp_path / "out"
    assert run_command("corpus", "speech", tmp_path / "libri", tmp_path / "common", "--out", out) == 0
    index = storage.read_index(out)
    assert not index["rejected"]
    assert {entry["source"] for entry in index["clips"]} == {"LibriSpeech", "Common Voice"}
    assert {source["licence"] for source in index["sources"].values()} == {"CC BY 4.0", "CC0"}


def test_relabelling_restores_the_motion_and_keeps_the_audio(corpus: Path) -> None:
    before = storage.load_corpus(corpus)
    storage.save_clip(corpus, replace(before[0], weights=0 * before[0].weights))
    assert run_command("corpus", "reanimate", corpus) == 0
    for expected, clip in zip(before, storage.load_corpus(corpus), strict=True):
        np.testing.assert_allclose(expected.weights, clip.weights, atol=1e-3)
        np.testing.assert_array_equal(expected.pcm, clip.pcm)


def test_captured_motion_is_not_relabelled(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"kind": "video", "clips": []}))
    with pytest.raises(TalkerError, match="captured"):
        relabel.relabel_corpus(tmp_path)
