# SPDX-License-Identifier: Apache-2.0
"""What a camera teaches the teacher: contacts and rest stay the rules', and a mouth that no rule describes is learned."""

import itertools
import json

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.coarticulation import dominance, residual
from streamingtalker_ros.corpus import storage
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.rig import default_rig
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.phonetics.sentences import sentences

RIG = default_rig()


@pytest.fixture(scope="module")
def spoken():
    if not {"slt", "awb"} <= set(flite_festival_tts.available_voices()):
        pytest.skip("flite is not installed: no speech with phone times")
    return [
        said
        for voice, seed in (("slt", 1), ("awb", 2))
        for said in flite_festival_tts.synthesize(voice, list(itertools.islice(sentences(seed), 10)))
    ]


def _frames(said):
    return len(said.pcm) // HOP_LENGTH


def test_contacts_and_rest_stay_the_rules(spoken) -> None:
    changed = 0.0
    for said in spoken:
        t = dominance.times(_frames(said))
        rules, lips = (make(said.phones, len(t), said.pcm) for make in (dominance.lips, residual.lips))
        shut, asleep = dominance.closed(t, said.phones) == 1.0, dominance.awake(t, said.phones) == 0.0
        assert shut.any() and (RIG.lip_gap(lips[shut]) < 1e-6).all()
        assert not lips[asleep].any() and not rules[asleep].any()
        np.testing.assert_array_equal(lips[:, INDEX["tongueOut"]], rules[:, INDEX["tongueOut"]])
        assert lips.min() >= 0.0 and lips.max() <= 1.0 and lips.dtype == np.float32
        free = (dominance.closed(t, said.phones) < 0.01) & (dominance.awake(t, said.phones) > 0.99)
        assert RIG.lip_gap(lips[free]).min() > 0.6e-3  # lips that nearly touch are not to touch
        changed = max(changed, np.abs(RIG.lip_width(lips) - RIG.lip_width(rules)).max())
    assert changed > 1e-3


def test_phones_far_away_change_nothing() -> None:
    def said(last):
        return [
            Phone(name, 0.1 * k, 0.1 * k + 0.1)
            for k, name in enumerate(["pau", "b", "iy", "s", "n", "d", "k", "t", last])
        ]

    ending = [residual.lips(said(last), 25) for last in ("aa", "uw")]
    first = int(0.1 * 3 * 25)  # of s, from which the last phone is further than AFTER phones away
    np.testing.assert_array_equal(ending[0][:first], ending[1][:first])
    assert np.abs(ending[0] - ending[1]).max() > 0.1


def test_moved_goes_as_far_as_weights_allow() -> None:
    row = np.array([2.0, -1.0, 0.0], np.float32)
    weights = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.9, 0.1, 0.3]], np.float32)
    there = residual.moved(weights, row, row, np.array([0.5, 9.0, -9.0]))
    np.testing.assert_allclose(there[0] @ row, 0.5, atol=1e-6)
    np.testing.assert_allclose(there[1:], [[1.0, 0.0, 0.3], [0.0, 1.0, 0.3]], atol=1e-6)


def test_a_mouth_that_no_rule_describes_is_learned(spoken) -> None:
    """Somebody who spreads the lips at iy and ih and whose mouth opens by half as much again after s and z."""
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing is learned")
    torch.set_num_threads(2)
    row, stretch = RIG.lip_gap_map()[1], [INDEX["mouthStretchLeft"], INDEX["mouthStretchRight"]]

    def filmed(said):
        weights, t = dominance.lips(said.phones, _frames(said), said.pcm), dominance.times(_frames(said))
        for before, phone in zip(said.phones, said.phones[1:]):
            inside = (t >= phone.start) & (t < phone.end)
            if phone.name in ("iy", "ih"):
                weights[np.ix_(inside, stretch)] += 0.3
            if before.name in ("s", "z"):
                weights[inside] = residual.moved(weights[inside], row, row, 1.5 * weights[inside] @ row)
        return storage.Clip(
            said.pcm, weights, np.zeros((len(weights), 3)), said.phones, lip_opening=RIG.lip_gap(weights)
        )

    clips = [filmed(said) for said in spoken]
    train, judge = residual.Seen(clips[1::2]), residual.Seen(clips[::2])
    network = residual.learn(train, steps=400)

    def error(tell):
        return np.mean(
            [
                np.square(tell(known, ruled) - true)[counts].mean(0)
                for known, ruled, true, counts in zip(judge.known, judge.ruled, judge.true, judge.counts)
            ],
            0,
        )

    left = error(lambda known, ruled: residual.told(network, known, ruled)) / error(
        lambda known, ruled: ruled
    )
    assert (left < 0.6).all(), left
    assert "opening r" in judge.described(network) and judge.described(network) != judge.described()


def test_a_corpus_without_a_camera_is_one_sentence(spoken, tmp_path, capsys) -> None:
    said = spoken[0]
    clip = storage.Clip(
        said.pcm,
        dominance.lips(said.phones, _frames(said), said.pcm),
        np.zeros((_frames(said), 3)),
        said.phones,
        "slt",
        "test",
        "one",
    )
    (tmp_path / "index.json").write_text(
        json.dumps({"kind": "speech", "clips": [storage.save_clip(tmp_path, clip)]})
    )
    assert residual.main([str(tmp_path), "--out", str(tmp_path / "net.npz")]) == 2
    assert "no clip has tracked lips" in capsys.readouterr().err
    assert not (tmp_path / "net.npz").exists()
