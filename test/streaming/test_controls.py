# SPDX-License-Identifier: Apache-2.0
"""Laws of the controls: each keeps the laws of streaming, and lips in contact stay in contact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamingtalker_ros import Stream, Talker, TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX, MOUTH_MASK, UPPER_FACE_MASK
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.expression import parse_expression
from streamingtalker_ros.face.lip_measure import CONTACT_GAP_M
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.streaming.controls import (
    RAMP_FRAMES,
    Controls,
    ControlSmoother,
)
from support.backends import VARIANTS, make_talker
from support.scheduler_harness import SchedulerHarness, floats, offline, small_talker, voice

SMILE = {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4}
CONFIG = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    head_width=32,
    head_blocks=1,
    num_inference_steps=2,
    context_frames=10,
    styles=("neutral", "lively"),
)
SETS = {
    "mouth": {"mouth_expressiveness": 1.6},
    "calm": {"mouth_expressiveness": 0.3, "face_expressiveness": 0.0},
    "smile": {"expression": SMILE},
    "guidance": {"guidance": 2.5},
    "all": {
        "mouth_expressiveness": 1.3,
        "face_expressiveness": 2.0,
        "guidance": 0.5,
        "expression": {"jawOpen": 0.3, "browInnerUp": 0.5},
    },
}


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def small(request: pytest.FixtureRequest) -> Talker:
    """A small talker of two styles with random weights, large enough that it moves, on each backend."""
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIG)
    network.codec.motion_mean += 0.2
    return make_talker(network, request.param)


def run(stream: Stream, pieces: Iterable[np.ndarray]) -> list[BlendshapeFrame]:
    frames = [frame for piece in pieces for frame in stream.accept(piece)]
    return frames + stream.finish()


def motion(frames: Sequence[BlendshapeFrame]) -> npt.NDArray[np.float32]:
    """(T, 56): weights and head."""
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


@pytest.fixture(scope="module")
def plain(small: Talker, speech: npt.NDArray[np.float32]) -> list[BlendshapeFrame]:
    """The frames of the voice without a control."""
    return run(small.open_stream(3), [speech])


@pytest.mark.parametrize("name", SETS)
def test_chunked_equals_whole_with_any_control(
    small: Talker, speech: npt.NDArray[np.float32], plain: list[BlendshapeFrame], name: str
) -> None:
    expected = motion(run(small.open_stream(3, **SETS[name]), [speech]))
    cuts = np.sort(np.random.default_rng(1).integers(0, len(speech), 40))
    np.testing.assert_array_equal(
        motion(run(small.open_stream(3, **SETS[name]), np.split(speech, cuts))), expected
    )
    assert np.abs(expected - motion(plain)).max() > 0.01  # the control has an effect


CHANGES = [*SETS.values(), {"style": "lively"}, {"seed": 77}, {"steps": 5}]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: ",".join(change))
def test_a_change_affects_no_earlier_frame_and_drops_none(
    small: Talker,
    speech: npt.NDArray[np.float32],
    plain: list[BlendshapeFrame],
    change: dict[str, Any],
) -> None:
    stream = small.open_stream(3, style="neutral")
    frames = stream.accept(speech[:32000])
    before = len(frames)
    for name, value in change.items():
        if name in small.control_names:
            stream.set(**{name: value})
        else:
            setattr(stream, name, value)
    frames += stream.accept(speech[32000:]) + stream.finish()
    assert [frame.index for frame in frames] == list(range(len(plain)))
    np.testing.assert_array_equal(motion(frames[:before]), motion(plain[:before]))
    assert np.abs(motion(frames[before:]) - motion(plain[before:])).max() > 1e-3
    np.testing.assert_array_equal([frame.speaking for frame in frames], [frame.speaking for frame in plain])


def test_neutral_controls_change_no_bit(
    small: Talker, speech: npt.NDArray[np.float32], plain: list[BlendshapeFrame]
) -> None:
    expected = motion(plain)
    stream = small.open_stream(
        3, mouth_expressiveness=1.0, face_expressiveness=1, expression=[""], guidance=1.0
    )
    np.testing.assert_array_equal(motion(run(stream, [speech])), expected)
    stream = small.open_stream(3, expression=SMILE)
    stream.set(expression=None)
    stream.reset()
    np.testing.assert_array_equal(motion(run(stream, [speech])), expected)


def test_gains_and_expression_ramp_in(small: Talker) -> None:
    stream = small.open_stream(expression=None, eye_motion=False)
    silence = np.zeros(small.hop, np.float32)
    for _ in range(5):
        stream.accept(silence)
    stream.set(expression=SMILE)
    smile = [stream.accept(silence)[0].weights[INDEX["mouthSmileLeft"]] for _ in range(RAMP_FRAMES + 2)]
    np.testing.assert_allclose(
        smile[:RAMP_FRAMES], 0.4 * np.arange(1, RAMP_FRAMES + 1) / RAMP_FRAMES, atol=1e-6
    )
    np.testing.assert_allclose(
        smile[RAMP_FRAMES:], 0.4, atol=1e-7
    )  # in silence, too: the expression is part of the rest pose


def faces(count: int = 3000) -> npt.NDArray[np.float32]:
    """Random faces (count, 52), a third of them with lips that touch."""
    rng = np.random.default_rng(4)
    weights = rng.uniform(0, 1, (count, 52)).astype(np.float32) ** 2
    touching = weights[: count // 3]
    row = default_rig().lip_gap_map()[1]
    others = touching @ row - touching[:, INDEX["mouthClose"]] * row[INDEX["mouthClose"]]
    touching[:, INDEX["mouthClose"]] = np.clip(others / -row[INDEX["mouthClose"]], 0, 1)
    return weights


@pytest.mark.parametrize(
    "controls",
    [
        {"mouth_expressiveness": 2.0},
        {"mouth_expressiveness": 1.3},
        {"mouth_expressiveness": 0.0},
        {"mouth_expressiveness": 0.5},
        {"expression": SMILE},
        {"expression": {"jawOpen": 0.6, "mouthUpperUpLeft": 1.0}},
        {"expression": {"mouthClose": -1.0}},
        {"mouth_expressiveness": 2.0, "expression": {"mouthFunnel": 1.0}},
    ],
)
def test_lips_in_contact_stay_in_contact(controls: dict[str, Any]) -> None:
    smoother, rig = ControlSmoother(Controls(**controls)), default_rig()
    touched = 0
    for weights in faces():
        result = smoother.frame(weights, np.zeros(3, np.float32))[0]
        assert result.min() >= 0 and result.max() <= 1 and result.dtype == np.float32
        before, after = rig.lip_gap(weights), rig.lip_gap(result)
        if before <= CONTACT_GAP_M:
            assert after <= max(before, 0.0) + 1e-6
            touched += 1
    assert touched > 500
    assert rig.lip_gap(smoother.mouth_at_rest) <= 1e-6


def test_the_mouth_gain_scales_the_lip_gap_and_leaves_the_eyes() -> None:
    rig, weights = default_rig(), np.zeros(52, np.float32)
    weights[INDEX["jawOpen"]], weights[INDEX["mouthFunnel"]], weights[INDEX["eyeBlinkLeft"]] = 0.4, 0.2, 0.9
    for gain in (0.0, 0.5, 1.5):
        result, rotation = ControlSmoother(Controls(mouth_expressiveness=gain)).frame(
            weights, np.ones(3, np.float32)
        )
        assert rig.lip_gap(result) == pytest.approx(gain * rig.lip_gap(weights), abs=1e-6)
        np.testing.assert_array_equal(result[~MOUTH_MASK], weights[~MOUTH_MASK])
        np.testing.assert_array_equal(rotation, 1.0)
    calm, rotation = ControlSmoother(Controls(face_expressiveness=0.0)).frame(
        np.full(52, 0.5, np.float32), np.ones(3, np.float32)
    )
    assert calm[UPPER_FACE_MASK].max() == 0 and (calm[~UPPER_FACE_MASK] == 0.5).all() and not rotation.any()
    assert not any(
        UPPER_FACE_MASK[INDEX[name]] for name in ARKIT_NAMES if name.startswith(("eyeBlink", "eyeLook"))
    )


def test_closures_of_the_shipped_voice_survive_a_smile_and_a_gain(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    rig = default_rig()
    plain, result = (
        np.stack([frame.weights for frame in run(talker.open_stream(**controls), [speech])])
        for controls in ({}, {"expression": {**SMILE, "jawOpen": 0.2}, "mouth_expressiveness": 1.4})
    )
    before, after = rig.lip_gap(plain), rig.lip_gap(result)
    closed = before <= CONTACT_GAP_M
    assert closed.sum() > 10 and (after[closed] <= np.maximum(before[closed], 0) + 1e-6).all()
    assert result[:, INDEX["mouthSmileLeft"]].min() >= 0.4
    assert after.max() > 1.2 * before.max()


def test_guidance_of_one_stream_changes_no_other_and_costs_nothing_when_off(
    small: Talker, speech: npt.NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = motion(run(small.open_stream(1), [speech]))
    guided, plain = small.open_stream(2, guidance=3.0), small.open_stream(1)
    frames = []
    for piece in np.split(speech, 20):
        frames += small.accept([guided, plain], [piece, piece])[1]
    np.testing.assert_allclose(motion(frames + plain.finish()), expected, atol=1e-4)
    calls, (owner, name) = [], small.backend.stages(4)["predictor"]
    predict = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *values: calls.append(1) or predict(*values))
    count = len(small.open_stream(1).accept(speech[:16000]))
    assert len(calls) == count > 10
    small.open_stream(1, guidance=2.0).accept(speech[:16000])
    assert len(calls) == 3 * count


def test_guidance_extrapolates_from_the_unconditional_to_the_conditional_face(
    small: Talker, speech: npt.NDArray[np.float32]
) -> None:
    """Scale 0 gives the unconditional branch, 1 the conditional one; with one step others lie between."""

    def first(guidance: float, pcm: npt.NDArray[np.float32] = speech[: 640 * 3]) -> npt.NDArray[np.float32]:
        stream = small.open_stream(1, steps=1, context_frames=0, eye_motion=False, guidance=guidance)
        return motion(run(stream, [pcm]))[0]

    plain, none, half = (first(guidance) for guidance in (1.0, 0.0, 0.5))
    other = first(0.0, -speech[1000 : 1000 + 640 * 3])
    upper = ~np.append(MOUTH_MASK, [True] * 4)  # the mouth rests until voice activity is detected
    # the unconditional branch ignores the audio; in int8 both branches are quantized with one scale
    tolerance = 1e-5 if small.backend.precision == "float32" else 1e-2
    np.testing.assert_allclose(other[upper], none[upper], atol=tolerance)
    assert np.abs(plain - none)[upper].max() > 1e-3
    inside = upper & (np.minimum(plain, none) > 0.01) & (np.maximum(plain, none) < 0.99)
    assert (
        inside.sum() > 5
        and np.abs(plain + none - 2 * half)[inside].max() < np.abs(plain - none)[inside].max()
    )


def test_the_unconditional_branch_joins_late_and_is_reset(
    small: Talker, speech: npt.NDArray[np.float32]
) -> None:
    fresh = motion(run(small.open_stream(1, guidance=2.0), [speech]))
    stream = small.open_stream(1)
    stream.accept(speech[:20000])
    stream.set(guidance=2.0)
    stream.accept(speech[20000:])
    stream.reset()
    np.testing.assert_array_equal(motion(run(stream, [speech])), fresh)
    stream.set(guidance=1.0)
    stream.reset()
    np.testing.assert_array_equal(motion(run(stream, [speech])), motion(run(small.open_stream(1), [speech])))


def test_a_late_unconditional_branch_has_the_same_frame_index(
    small: Talker, speech: npt.NDArray[np.float32]
) -> None:
    """Without context (0 frames) both are equal once the decoder's convolutions have no earlier input."""
    fresh = run(small.open_stream(1, context_frames=0, eye_motion=False, guidance=2.0), [speech])
    stream = small.open_stream(1, context_frames=0, eye_motion=False)
    frames = stream.accept(speech[:20000])
    stream.set(guidance=2.0)
    frames += stream.accept(speech[20000:]) + stream.finish()
    np.testing.assert_allclose(motion(frames[40:]), motion(fresh[40:]), atol=1e-6)
    assert np.abs(motion(frames[:20]) - motion(fresh[:20])).max() > 1e-3


@pytest.mark.parametrize(
    "values, message",
    [
        ({"mouth_expressiveness": 3.0}, "mouth_expressiveness is 3.0: give a number from 0 to 2"),
        ({"guidance": float("nan")}, "guidance is nan: give a number from 0 to 4"),
        (
            {"expression": {"mouthSmile": 0.4}},
            "unknown shape 'mouthSmile' in the expression: did you mean mouthSmile",
        ),
        ({"expression": "mouthSmileLeft"}, "the weight of mouthSmileLeft is '': give a number from -1 to 1"),
        ({"expression": ["jawOpen:2"]}, "the weight of jawOpen is '2': give a number from -1 to 1"),
        ({"volume": 1}, "volume"),
    ],
)
def test_an_invalid_value_is_rejected_and_changes_nothing(
    small: Talker, values: dict[str, Any], message: str
) -> None:
    stream = small.open_stream(expression=SMILE)
    before = stream.controls
    for change in (stream.set, small.open_stream):
        with pytest.raises(TalkerError, match=message):
            change(**values)
    assert stream.controls is before


def test_expressions_are_read_in_every_form() -> None:
    expected = np.zeros(52)
    expected[INDEX["mouthSmileLeft"]], expected[INDEX["browInnerUp"]] = 0.4, -0.2
    for values in (
        {"mouthSmileLeft": 0.4, "browInnerUp": -0.2},
        "mouthSmileLeft:0.4, browInnerUp=-0.2",
        ["mouthSmileLeft:0.4", "", "browInnerUp: -0.2"],
    ):
        np.testing.assert_allclose(parse_expression(values), expected, atol=1e-7)
    assert (
        not parse_expression(None).any()
        and not parse_expression([""]).any()
        and not parse_expression("").any()
    )


def test_the_node_changes_them_live_and_a_smile_outlasts_the_speech() -> None:
    talker = small_talker()
    stage, pcm = SchedulerHarness(talker), voice(2.0)
    stage.send_realtime(pcm)
    settings = stage.session.parameters
    changed = settings.replace(expression=["mouthSmileLeft:0.4"], mouth_expressiveness=0.5, guidance=2.0)
    stage.at(101.0, lambda: stage.session.set_parameters(changed))
    stage.run(4.0)
    stamps = [frame.stamp for frame in stage.faces]
    assert set(np.diff(stamps)) == {40_000_000}  # no gap
    reference = offline(talker, floats(pcm))
    for published, frame in zip(stage.audio[:20], reference[:20], strict=True):
        np.testing.assert_allclose(published.weights, frame.weights, atol=1e-5)
    smile = np.array([frame.weights[INDEX["mouthSmileLeft"]] for frame in stage.faces])
    assert smile[40:].min() >= 0.4 - 1e-6 and stage.faces[-1].idle
    others = MOUTH_MASK & (np.arange(52) != INDEX["mouthSmileLeft"])
    assert not stage.faces[-1].weights[others].any()
    with pytest.raises(TalkerError, match="did you mean"):
        settings.replace(expression=["mouthSmileLef:0.4"])


def test_the_node_without_ros_follows_its_parameter_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from streamingtalker_ros.cli.talk import apply_changes
    from streamingtalker_ros.runtime.parameters import ParameterFile
    from streamingtalker_ros.runtime.worker import TalkerWorker

    path = tmp_path / "mine.yaml"

    def write(text: str) -> None:
        path.write_text("talker: {ros__parameters: {" + text + "}}")

    write("seed: 3")
    file = ParameterFile(path, [("steps", 1)])
    core = TalkerWorker(small_talker(), file.read(), publish=lambda frame: None)
    apply_changes(core, file)
    assert capsys.readouterr().out == ""
    write('seed: 4, expression: ["mouthSmileLeft:0.4"], guidance: 2, steps: 2, device: cuda')
    apply_changes(core, file)
    printed = capsys.readouterr().out
    assert (
        "read again" in printed
        and "device cannot change while the node runs" in printed
        and printed.count("\n") == 2
    )
    core.session.next_hop(0.0)
    assert (core.parameters.seed, core.parameters.steps, core.parameters.device) == (4, 1, "auto")
    assert (
        core.parameters.controls["expression"] == ("mouthSmileLeft:0.4",) and core.parameters.guidance == 2.0
    )
    for text, message in (
        ('expression: ["mouthSmil:0.4"]', "unknown shape 'mouthSmil'"),
        ("style: nobody", "unknown style"),
        ("seed: [", "is not YAML"),
    ):
        write(text)
        apply_changes(core, file)
        apply_changes(core, file)
        printed = capsys.readouterr().out
        assert printed.count("\n") == 1 and message in printed and "stay as they were" in printed
    path.unlink()
    apply_changes(core, file)
    core.session.next_hop(0.0)
    assert capsys.readouterr().out == "" and core.parameters.seed == 4
