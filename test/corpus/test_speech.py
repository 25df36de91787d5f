# SPDX-License-Identifier: Apache-2.0
"""Recorded speech with text, and espeak-ng's voices, as corpora: aligned, split by speaker, animated, resumed."""

import itertools
import json
import zlib

import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed: nothing aligns")

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.coarticulation import dominance, upper_face
from streamingtalker_ros.corpus import espeak as espeak_corpus
from streamingtalker_ros.corpus import relabel, speech, storage
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.phonetics import espeak_tts, flite_festival_tts, forced_alignment, languages
from streamingtalker_ros.phonetics.phones import BILABIALS, VISEME_TARGETS, VOWELS
from streamingtalker_ros.phonetics.sentences import sentences

sf = pytest.importorskip("soundfile")
SPEAKERS = {"anna": "slt", "bruce": "rms", "carl": "awb", "dan": "kal16"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of WAV and text, four speakers, as a user has it: 22.05 kHz stereo, one wrong text, one of silence; and two
    words of a fifth."""
    if not set(SPEAKERS.values()) <= set(flite_festival_tts.available_voices()):
        pytest.skip("flite is not installed: nothing to read")
    folder = tmp_path_factory.mktemp("pairs")
    for n, (speaker, voice) in enumerate(SPEAKERS.items()):
        (folder / speaker).mkdir()
        for k, said in enumerate(
            flite_festival_tts.synthesize(voice, list(itertools.islice(sentences(n), 4)))
        ):
            path = folder / speaker / f"{speaker}_{k}.wav"
            sf.write(str(path), np.stack([said.pcm, said.pcm], 1), 16000)
            path.with_suffix(".txt").write_text(said.text + "\n")
    (folder / "anna" / "anna_0.txt").write_text("There were 12 people.")
    sf.write(str(folder / "bruce" / "bruce_9.wav"), np.zeros(16000), 16000)
    (folder / "bruce" / "bruce_9.txt").write_text("nothing at all")
    (folder / "eve").mkdir()
    sf.write(
        str(folder / "eve" / "eve_0.wav"),
        next(iter(flite_festival_tts.synthesize("slt", ["Good morning."]))).pcm,
        16000,
    )
    (folder / "eve" / "eve_0.txt").write_text("Good morning.")
    return folder


@pytest.fixture(scope="module")
def corpus(pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("speech")
    assert main(["corpus", "speech", str(pairs), "--out", str(out)]) == 0
    return out


def test_clips_hold_the_recordings_with_phones_and_closed_lips(corpus) -> None:
    rig, closures = default_rig(), []
    clips = storage.load_corpus(corpus)
    assert {clip.voice for clip in clips} == set(SPEAKERS) and all(clip.style == "teacher" for clip in clips)
    for clip in clips:
        assert len(clip.pcm) == 640 * len(clip.weights) and 4.0 <= len(clip.pcm) / 16000 <= 17.0
        assert clip.phones[0].start == 0.0 and abs(clip.phones[-1].end - len(clip.pcm) / 16000) < 0.05
        gap = rig.lip_gap(clip.weights)
        first = np.arange(len(gap)) / 25
        closures += [
            gap[(first < p.end) & (first + 0.04 > p.start)].min() for p in clip.phones if p.name in BILABIALS
        ]
        level = 10 * np.log10(np.square(clip.pcm).reshape(-1, 640).mean(1) + 1e-9)
        t, spoken, still = dominance.frame_times(len(gap)), np.zeros(len(gap), bool), np.zeros(len(gap), bool)
        for p in clip.phones:
            inside = (t > p.start + 0.03) & (t < p.end - 0.03)
            spoken |= inside & (p.name in VOWELS)
            still |= inside & (p.name == "pau")
        assert np.median(level[spoken]) > np.median(level[still]) + 20
    assert len(closures) > 15 and np.max(closures) < 0.0011


def test_rejected_recordings_are_named_with_the_reason(corpus) -> None:
    rejected = {row["name"]: row["reason"] for row in storage.read_index(corpus)["rejected"]}
    assert set(rejected) == {"anna_0", "bruce_9", "eve_0"}
    assert (
        "digits" in rejected["anna_0"]
        and "silent" in rejected["bruce_9"]
        and "too short" in rejected["eve_0"]
    )


@pytest.mark.parametrize("seed", range(20))
def test_joining_loses_no_recording(seed) -> None:
    rng = np.random.default_rng(seed)
    spoken = [(k, np.zeros(int(16000 * rng.uniform(1.0, 12.0))), ()) for k in range(rng.integers(1, 30))]
    groups = speech._grouped(spoken, rng)
    seconds = [sum(len(pcm) for _, pcm, _ in group) / 16000 for group in groups]
    if sum(len(pcm) for _, pcm, _ in spoken) < 4.0 * 16000:
        assert groups == []
    else:
        assert [row for group in groups for row, _, _ in group] == list(range(len(spoken)))
        assert min(seconds) >= 4.0 and max(seconds) < 20.0


def test_speakers_are_in_one_split_each(corpus) -> None:
    index = storage.read_index(corpus)
    split = {}
    for entry in index["clips"]:
        assert split.setdefault(entry["speaker"], entry["split"]) == entry["split"]
    rows = [speech.Recording(f"{who}{k}", None, "", f"s{who}", "x") for who in range(100) for k in range(5)]
    rows += [speech.Recording(f"m{k}", None, "", "much", "x") for k in range(100)]
    shares = speech.split_speakers(rows)
    counts = {name: list(shares.values()).count(name) for name in storage.SPLITS}
    assert counts == {"train": 86, "validation": 5, "test": 10} and shares["much"] == "train"
    assert set(speech.split_speakers(rows[-100:]).values()) == {"train"}


def test_who_has_no_name_is_never_held_out() -> None:
    names = sorted((f"s{k}" for k in range(200)), key=lambda name: zlib.crc32(name.encode()))
    for first in range(0, 200, 10):  # whoever the others are: the order of these sums decides who is held out
        rows = [
            speech.Recording(name, None, "", name, "x")
            for name in (speech.UNNAMED, *names[first : first + 30])
        ]
        shares = speech.split_speakers(rows)
        assert shares[speech.UNNAMED] == "train" and set(shares.values()) == set(storage.SPLITS)


def test_second_call_aligns_nothing_again(corpus, pairs, monkeypatch) -> None:
    monkeypatch.setattr(speech, "align", lambda *_: pytest.fail("aligned again"))
    index = storage.read_index(corpus)
    (corpus / "index.json").unlink()
    assert speech.make_speech([pairs], corpus)["clips"] == index["clips"]
    with pytest.raises(TalkerError, match="holds another corpus"):
        speech.make_speech([pairs], corpus, minutes=1)


def test_folders_of_other_kinds_are_read(tmp_path) -> None:
    said = np.zeros(16000)
    (tmp_path / "lj" / "wavs").mkdir(parents=True)
    (tmp_path / "lj" / "metadata.csv").write_text("LJ1|It was 2 o'clock|It was two o'clock\nLJ2|a|b\n")
    sf.write(str(tmp_path / "lj" / "wavs" / "LJ1.wav"), said, 22050)
    (row,) = speech.recordings(tmp_path / "lj")
    assert (row.name, row.text, row.source) == ("LJ1", "It was two o'clock", "LJSpeech")
    so = tmp_path / "so" / "train"
    so.mkdir(parents=True)
    for name, text in (
        ("wav.scp", "u1\tW/u1.WAV\nu2\tW/u2.WAV\n"),
        ("text", "u1\tHELLO YOU\nu2\tNO\n"),
        ("utt2spk", "u1\t0001\nu2\t0002\n"),
        ("spk2age", "0001\t30\n0002\t9\n"),
    ):
        (so / name).write_text(text)
    (row,) = speech.recordings(tmp_path / "so")  # the child stays out
    assert (row.speaker, row.text, row.path) == ("so0001", "HELLO YOU", tmp_path / "so" / "W" / "u1.WAV")
    with pytest.raises(TalkerError, match="no speech with text"):
        speech.recordings(so / "nowhere")


def test_layouts_side_by_side_in_one_folder_are_all_read(tmp_path) -> None:
    said = np.zeros(16000)
    for name in (
        "own/eve/one.wav",
        "lj/wavs/LJ1.wav",
        "libri/84/84-121-0000.flac",
        "cv/clips/cv_1.wav",
        "old/cv-valid-dev/sample-0.wav",
        "twice/cv-valid-test/cv-valid-test/sample-1.wav",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(str(tmp_path / name), said, 16000)
    for name, text in (
        ("own/eve/one.txt", "hello"),
        ("lj/metadata.csv", "LJ1|a|b\n"),
        ("lj/metadata_test.csv", "LJ1|a|b\n"),
        ("libri/84/84-121.trans.txt", "84-121-0000 HELLO\n"),
        ("cv/validated.tsv", "client_id\tpath\tsentence\tage\nabc\tcv_1.wav\thello\t\n"),
        ("old/cv-valid-dev.csv", "filename,text,age\ncv-valid-dev/sample-0.wav,hello you,\nno.wav,none,\n"),
        ("twice/cv-valid-test.csv", "filename,text,age\ncv-valid-test/sample-1.wav,hello,teens\n"),
        ("own/metadata.csv", "\nof something else\n"),
        ("own/validated.tsv", "word\n"),
        ("own/cv-valid-x.csv", "word\n"),
        ("own/wav.scp", "word\n"),
    ):
        (tmp_path / name).write_text(text)
    found = {(row.name, row.speaker) for row in speech.recordings(tmp_path)}
    assert found == {
        ("one", "eve"),
        ("LJ1", "ljspeech"),
        ("84-121-0000", "ls84"),
        ("cv_1", "cvabc"),
        ("sample-0", "cvunnamed"),
    }
    assert ("sample-1", "cvunnamed") in {
        (row.name, row.speaker) for row in speech.recordings(tmp_path, (0, 17))
    }
    assert len(speech.recordings(tmp_path)) == len(found), "none twice"


def test_linked_folders_are_read_once_and_circles_end(tmp_path) -> None:
    kept, asked = tmp_path / "kept" / "eve", tmp_path / "asked"
    kept.mkdir(parents=True)
    asked.mkdir()
    sf.write(str(kept / "one.wav"), np.zeros(16000), 16000)
    (kept / "one.txt").write_text("hello")
    (kept / "round").symlink_to(asked)
    (asked / "eve").symlink_to(kept)
    (asked / "eve_too").symlink_to(kept)
    assert [(row.name, row.speaker) for row in speech.recordings(asked)] == [("one", "eve")]


def test_libri_speech_and_common_voice_are_read_and_become_a_corpus(tmp_path) -> None:
    if "slt" not in flite_festival_tts.available_voices():
        pytest.skip("flite is not installed: nothing to read")
    said = flite_festival_tts.synthesize("slt", list(itertools.islice(sentences(5), 4)))
    chapter, clips = tmp_path / "libri" / "dev-clean" / "84" / "121", tmp_path / "common" / "clips"
    chapter.mkdir(parents=True)
    clips.mkdir(parents=True)
    for k in (0, 1):
        sf.write(str(chapter / f"84-121-000{k}.flac"), said[k].pcm, 16000)
    texts = [one.text.upper().rstrip(".") for one in said]
    (chapter / "84-121.trans.txt").write_text(
        f"84-121-0000 {texts[0]}\n84-121-0001 {texts[1]}\n84-121-0002 NO SOUND\n"
    )
    for k in (2, 3):
        sf.write(str(clips / f"cv_{k}.mp3"), said[k].pcm, 16000, format="MP3")
    rows = [
        ("f" * 64, "cv_2.mp3", said[2].text, "fourties"),
        ("f" * 64, "cv_3.mp3", said[3].text, ""),
        ("e" * 64, "cv_2.mp3", said[2].text, "teens"),
        ("f" * 64, "cv_9.mp3", "no sound", ""),
    ]
    (tmp_path / "common" / "validated.tsv").write_text(
        "\n".join("\t".join(row) for row in (("client_id", "path", "sentence", "age"), *rows))
    )
    read = speech.recordings(tmp_path / "libri") + speech.recordings(tmp_path / "common")
    assert [(row.name, row.speaker, row.source) for row in read] == [
        ("84-121-0000", "ls84", "LibriSpeech"),
        ("84-121-0001", "ls84", "LibriSpeech"),
        ("cv_2", "cvffffffffff", "Common Voice"),
        ("cv_3", "cvffffffffff", "Common Voice"),
    ]
    assert [row.speaker for row in speech.recordings(tmp_path / "common", (0, 17))] == ["cveeeeeeeeee"]
    assert (
        main(
            [
                "corpus",
                "speech",
                str(tmp_path / "libri"),
                str(tmp_path / "common"),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    index = storage.read_index(tmp_path / "out")
    assert not index["rejected"] and {clip["source"] for clip in index["clips"]} == {
        "LibriSpeech",
        "Common Voice",
    }
    assert {source["licence"] for source in index["sources"].values()} == {"CC BY 4.0", "CC0"}


def test_motion_can_be_made_again(corpus) -> None:
    before = storage.load_corpus(corpus)
    for clip in before[:1]:
        storage.save_clip(
            corpus,
            storage.Clip(
                clip.pcm, 0 * clip.weights, clip.head, clip.phones, clip.voice, clip.split, clip.name
            ),
        )
    relabel.reanimate(corpus)
    for one, two in zip(before, storage.load_corpus(corpus)):
        np.testing.assert_allclose(one.weights, two.weights, atol=1e-3)
        np.testing.assert_array_equal(one.pcm, two.pcm)
    index = storage.read_index(corpus)
    (corpus / "index.json").write_text(json.dumps({**index, "kind": "video"}))
    with pytest.raises(TalkerError, match="captured"):
        relabel.reanimate(corpus)
    (corpus / "index.json").write_text(json.dumps(index))


def _needs_espeak() -> None:
    if not espeak_tts.is_available():
        pytest.skip("libespeak-ng is not installed")


@pytest.mark.parametrize("voice", ["en-us+m3", "en-us+klatt4"])
def test_espeak_says_when_its_phones_sound(voice) -> None:
    import difflib

    _needs_espeak()
    apart, stops = [], []
    for said in espeak_tts.synthesize(voice, list(itertools.islice(sentences(11), 5))):
        found = forced_alignment.align(said.pcm, said.text)
        mine, theirs = (
            [phone.name.replace("ax", "ah") for phone in phones] for phones in (said.phones, found)
        )
        for i, j, count in difflib.SequenceMatcher(None, mine, theirs, False).get_matching_blocks():
            late = [
                found[j + k].start - said.phones[i + k].start for k in range(count) if mine[i + k] != "pau"
            ]
            apart += late
            stops += [gap for gap, name in zip(late, mine[i : i + count]) if name in ("p", "t", "k")]
    assert len(apart) > 70 and abs(np.median(apart)) < 0.008
    assert np.median(np.abs(apart)) < 0.014 and np.percentile(np.abs(apart), 90) < 0.045
    assert abs(np.median(stops)) < 0.02


@pytest.mark.parametrize("language", sorted(languages.SENTENCES))
def test_every_language_becomes_phones_of_the_table(language) -> None:
    _needs_espeak()
    for said in espeak_tts.synthesize(language, languages.SENTENCES[language][:4]):
        names = [phone.name for phone in said.phones]
        assert all(name in VISEME_TARGETS or f"{name}:1" in VISEME_TARGETS for name in names)
        assert all(one.end == two.start for one, two in zip(said.phones, said.phones[1:]))
        assert sum(name in VOWELS for name in names) > 0.25 * len(names) and 1.0 < len(said.pcm) / 16000 < 9.0
    letters = " ".join(
        phone.name
        for said in espeak_tts.synthesize(language, languages.SENTENCES[language][:8])
        for phone in said.phones
    )
    assert {"p", "b", "m"} & set(letters.split())


def test_ipa_is_read_by_what_the_lips_do() -> None:
    assert espeak_tts.ipa_to_phones("tʃ") == ["ch"] and espeak_tts.ipa_to_phones("ˈyː") == ["uw"]
    assert (
        espeak_tts.ipa_to_phones("ɔ̃") == ["ao"]
        and espeak_tts.ipa_to_phones("pʲ") == ["p"]
        and espeak_tts.ipa_to_phones("") == []
    )


def test_espeak_corpus_keeps_a_language_for_the_test(tmp_path) -> None:
    _needs_espeak()
    assert main(["corpus", "espeak", "--out", str(tmp_path), "--minutes", "0.3", "--jobs", "1"]) == 0
    index = storage.read_index(tmp_path)
    spoken = {
        split: {clip["language"] for clip in index["clips"] if clip["split"] == split}
        for split in storage.SPLITS
    }
    assert spoken["test"] == {espeak_corpus.HELD_OUT} and espeak_corpus.HELD_OUT not in spoken["train"]
    clip = storage.load_corpus(tmp_path, "train")[0]
    assert clip.weights[:, INDEX["jawOpen"]].max() > 0.1 and clip.weights[:, upper_face.UPPER_FACE_MASK].any()
    first = (tmp_path / "train" / f"{clip.name}.npz").read_bytes()
    espeak_corpus.make_espeak(tmp_path / "again", 0.3, jobs=1)
    assert (tmp_path / "again" / "train" / f"{clip.name}.npz").read_bytes() == first


def test_espeak_without_voice_is_one_sentence() -> None:
    _needs_espeak()
    with pytest.raises(TalkerError, match="no voice 'nowhere'"):
        espeak_tts.synthesize("nowhere", ["hello"])
