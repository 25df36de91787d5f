# SPDX-License-Identifier: Apache-2.0
"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name: str, wav: Path) -> tuple[list[str], str]:
    """Run an example; return the lines that it prints, and the names of the modules that it imports."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(EXAMPLES / name), str(wav)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_examples_print_every_frame_of_a_file(tmp_path: Path, speech: np.ndarray) -> None:
    seconds = 1.0
    wav = tmp_path / "voice.wav"
    soundfile.write(wav, speech[: round(16_000 * seconds)], 16_000, subtype="PCM_16")
    lines, imported = run_example("stream_file.py", wav)
    assert len(lines) == round(25 * seconds)
    assert "onnxruntime" in imported and "torch" not in imported
    lines, _ = run_example("real_time_worker.py", wav)
    assert len([line for line in lines if line.startswith("frame ") and "idle" not in line]) == round(
        25 * seconds
    )


def test_the_scripted_dialogue_listens_with_closed_lips_and_nods_and_answers(tmp_path: Path) -> None:
    run_example("scripted_dialogue.py", tmp_path / "dialogue")
    with np.load(tmp_path / "dialogue.npz") as dialogue:
        weights, head, names = dialogue["weights"], dialogue["head"], list(dialogue["names"])
        listens = dialogue["speaker"] == "partner"
    jaw = weights[:, names.index("jawOpen")]
    # the first turn is the partner's, under a neutral face; in its last frames the mouth opens for its own
    first_turn = jaw[: np.flatnonzero(~listens)[0] - 5]
    assert first_turn.max() < 0.02 and jaw[~listens].max() > 0.1
    assert np.ptp(head[listens, 1]) > 0.03  # nods, and the head that follows the person
    rows = (tmp_path / "dialogue.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == len(weights) + 1
    assert (tmp_path / "dialogue.png").stat().st_size > 10_000
