# SPDX-License-Identifier: Apache-2.0
"""Laws of the replay command: figures against a reference, the page, and error messages."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.bag import motion as bag_motion
from streamingtalker_ros.bag import rosbag_io
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.streaming import Talker
from support.bag_harness import SECOND, network, read_raw, run, to_packets, write_bag
from support.scheduler_harness import MS, S0, voice


@pytest.fixture(scope="module")
def talker() -> Any:
    return Talker(network(), "cpu")


# -- against a reference -------------------------------------------------------------------------------------


def generated_motion(path: Path, talker: Any) -> Any:
    """A bag of 2 s and what the talker makes of it."""
    source = write_bag(path / "in", to_packets(voice(2.0)))
    return run(source, path / "plain", talker)[0].motion


def compared(path: Path, motion: Any, talker: Any) -> Any:
    source = write_bag(path, to_packets(voice(2.0)), motion=motion)
    with rosbag_io.BagInput(source) as bag:
        topic = bag.motion_topic()
        assert topic is not None
        reference = bag_motion.read_motion(bag, topic)
    return bag_motion.compare(
        run(source, path.with_suffix(".out"), talker)[0].motion, reference, default_rig()
    )


def test_a_reference_that_is_the_same_has_no_error_whatever_the_order_of_its_names(
    tmp_path: Path, talker: Any
) -> None:
    motion = generated_motion(tmp_path, talker)
    order = np.random.default_rng(0).permutation(52)
    names = [ARKIT_NAMES[k] for k in order]
    same = [
        (int(stamp), names, weights[order])
        for stamp, weights in zip(motion.stamps, motion.weights, strict=True)
    ]
    figures = compared(tmp_path / "same", same, talker)
    assert figures["frames"] == 50 and figures["lag_frames"] == 0
    assert figures["lip_opening_r"] == pytest.approx(1.0)
    for error in ("lip_opening_error_mm", "lve_mm2", "mouth_weights_error"):
        assert figures[error] == pytest.approx(0.0, abs=1e-6)
    # the reference is two frames earlier, so the lag is positive
    early = [(stamp - 80 * MS, names, weights) for stamp, names, weights in same]
    assert compared(tmp_path / "early", early, talker)["lag_frames"] == 2
    opened = [(stamp, names, np.minimum(weights + 0.1, 1.0)) for stamp, names, weights in same]
    figures = compared(tmp_path / "opened", opened, talker)
    assert figures["mouth_weights_error"] == pytest.approx(0.1, abs=0.01) and figures["lve_mm2"] > 0.0


def test_a_reference_of_another_frame_rate_is_read_at_the_frame_centres() -> None:
    def ramp(rate: float, start: int = 0) -> bag_motion.MotionRecording:
        stamps = start + (np.arange(round(2 * rate)) * SECOND / rate).astype(np.int64)
        weights = np.repeat(((stamps / SECOND + 0.5 / rate) / 3.0)[:, None], 52, 1).astype(np.float32)
        head, none = np.zeros((len(stamps), 4), np.float32), np.zeros(len(stamps), bool)
        return bag_motion.MotionRecording(stamps, weights, head, none, none, rate)

    weights, reference = bag_motion.align_weights(ramp(25.0), ramp(30.0))
    np.testing.assert_allclose(weights, reference, atol=1e-5)  # interpolation keeps what is linear in time
    assert 48 <= len(weights) <= 50
    with_gap = ramp(30.0)
    keep = np.r_[0:20, 40:60]
    with_gap = dataclasses.replace(with_gap, stamps=with_gap.stamps[keep], weights=with_gap.weights[keep])
    # no weights are interpolated inside a gap
    assert len(bag_motion.align_weights(ramp(25.0), with_gap)[0]) < 40
    with pytest.raises(TalkerError, match="too few"):
        bag_motion.compare(ramp(25.0), ramp(25.0, start=9 * SECOND), default_rig())


# -- the command ---------------------------------------------------------------------------------------------


class TagChecker(HTMLParser):
    """Collects tags; fails on one that is closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.found, self.text = [], [], ""

    def handle_starttag(self, tag: Any, attributes: Any) -> None:
        self.found.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: Any, attributes: Any) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: Any) -> None:
        self.text += data


def test_the_command_writes_a_bag_and_a_self_contained_page(
    tmp_path: Path, talker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(tmp_path / "model", network())
    motion = generated_motion(tmp_path, talker)
    reference = [(int(s), list(ARKIT_NAMES), w) for s, w in zip(motion.stamps, motion.weights, strict=True)]
    source = write_bag(tmp_path / "<bag>", to_packets(voice(2.0)), motion=reference)
    page = tmp_path / "report.html"
    assert (
        main(
            [
                "replay",
                str(source),
                "--out",
                str(tmp_path / "out"),
                "--model",
                str(tmp_path / "model"),
                "--device",
                "cpu",
                "--storage",
                "mcap",
                "--report",
                str(page),
            ]
        )
        == 0
    )
    output = capsys.readouterr().out
    assert re.search(r"50 frames of audio and \d+ idle frames from 2.00 s of /audio", output)
    assert re.search(r"lip_opening_r +1\n", output) and re.search(r"lag_frames +0\n", output)
    assert [data for _, data in read_raw(tmp_path / "out", "/face_motion")] == [
        data for _, data in read_raw(tmp_path / "plain", "/face_motion")
    ]
    text = page.read_text(encoding="utf-8")
    tags = TagChecker()
    tags.feed(text)
    assert not tags.open and "Replay of <bag>" in tags.text
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text)
    paths = {values["class"]: values["d"] for tag, values in tags.found if tag == "path"}
    assert set(paths) == {"voice", "generated", "reference"}
    points = {kind: re.findall(r"[ML]([\d.]+) ([\d.]+)", paths[kind]) for kind in ("generated", "reference")}
    assert len(points["generated"]) == len(motion.stamps) and points["generated"] == points["reference"]
    assert paths["voice"].count("M") == 200


def error_message(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    assert main(["replay", *map(str, words)]) == 2
    output = capsys.readouterr().err
    assert output.startswith("streamingtalker: error: ") and output.count("\n") == 1
    return output


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.save(tmp_path / "model", network())
    model = ("--model", tmp_path / "model", "--device", "cpu")
    out = tmp_path / "out"
    assert "there is no bag" in error_message(capsys, tmp_path / "none", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "metadata.yaml" in error_message(capsys, tmp_path / "empty", "--out", out)
    (tmp_path / "text.mcap").write_text("no bag at all")
    assert "cannot be read" in error_message(capsys, tmp_path / "text.mcap", "--out", out)
    (tmp_path / "empty" / "metadata.yaml").write_text("a: [\n")
    assert "cannot be read" in error_message(capsys, tmp_path / "empty", "--out", out)
    source = write_bag(
        tmp_path / "in", to_packets(voice(0.4)), topic="/robot/mic", info=S0, motion=[(S0, [], [])]
    )
    output = error_message(capsys, source, "--out", out, "--topic", "audio")
    assert "/robot/mic (audio_common_msgs/msg/AudioDataStamped)" in output and "/face_motion" in output
    assert "is no audio" in error_message(capsys, source, "--out", out, "--topic", "face_motion")
    assert "exists already" in error_message(capsys, source, "--out", tmp_path / "model")
    assert "no folder" in error_message(
        capsys, source, "--out", out, "--report", tmp_path / "no" / "report.html"
    )
    silent = write_bag(tmp_path / "silent", [(S0, np.zeros(0, np.int16))])
    assert "completed no frame" in error_message(capsys, silent, "--out", out, *model)
    assert not out.exists()  # no partial output remains
    # the only audio of a bag is found without being named
    assert main(["replay", str(source), "--out", str(out), *map(str, model)]) == 0
