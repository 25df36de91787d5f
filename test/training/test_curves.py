# SPDX-License-Identifier: Apache-2.0
"""Training logs are thinned to means and plotted by `train curves`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.training.curves import read_log, thin_log


def test_a_log_is_thinned_to_means_and_plotted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    rows = [f"{step},{1000 + 6 * step},{1 / step},{step / 500}" for step in range(1, 501)]
    (run / "log.csv").write_text("\n".join(["step,time,loss,phone_accuracy", *rows]) + "\n")
    names, thinned = thin_log(*read_log(run / "log.csv"))
    assert names == ["step", "minutes", "loss", "phone_accuracy"] and len(thinned) == 100
    expected = [500, 49.9, (1 / np.arange(496, 501)).mean(), 0.996]
    assert thinned[-1].tolist() == pytest.approx(expected, rel=1e-3)
    picture = tmp_path / "curves.png"
    assert main(["train", "curves", f"x={tmp_path}", "--picture", str(picture)]) == 2
    assert "is not a training log" in capsys.readouterr().err
    assert main(["train", "curves", f"encoder={run}", "--picture", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
