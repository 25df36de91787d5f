# SPDX-License-Identifier: Apache-2.0
"""Names of shapes in the spelling of many tools mean the same to the importer and to the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.names import arkit_name, match_name, select_names

MODULE = Path(__file__).absolute().parents[2] / "frontend" / "src" / "face" / "arkit_names.js"


def words(name: str) -> list[str]:
    return [word.capitalize() for word in re.findall("[A-Z]?[a-z]+", name)]


SPELLINGS = {
    "numbered": lambda name: "A25_" + "_".join(words(name)),
    "Rocketbox": lambda name: f"AK_07_{name[0].upper()}{name[1:]}",
    "a mesh before": lambda name: f"CC_Base_Body.{'_'.join(words(name))}",
    "a figure before": lambda name: f"Emily_{name}",
    "a rig before": lambda name: f"CTRL_expressions_{name}",
    "snake": lambda name: "head_lod0_mesh__" + "_".join(words(name)).lower(),
    "a copy's number": lambda name: f"{name}.001",
    "a suffix": lambda name: f"{name}_shape",
    "both": lambda name: f"facs_bs_{name[0].upper()}{name[1:]}_div2",
    "capitals": lambda name: "_".join(words(name)).upper(),
    "spaces": lambda name: "Key 12 " + " ".join(words(name)),
    "a short side": lambda name: re.sub("(Left|Right)$", lambda side: "_" + side[0][0], name),
    "a side before": lambda name: re.sub(r"^(.*)(Left|Right)$", r"\2_\1", name),
}
OTHERS = {
    "Brow_Raise_Inner_L": "browInnerUp",
    "Brow_Drop_R": "browDownRight",
    "Eye_L_Look_L": "eyeLookOutLeft",
    "Eye_R_Look_L": "eyeLookInRight",
    "Mouth_Roll_In_Lower": "mouthRollLower",
    "Mouth_Up_Upper_L": "mouthUpperUpLeft",
    "Mouth_Pucker_Down_R": "mouthPucker",
    "CC_Base_Body.Jaw_L": "jawLeft",
    "upperMouthLeft": None,
    "jawOpen_mouthClose_corrective": None,
    "not_jawOpen": None,
    "AU_34_CheekPuff": None,
    "A25_Wobble": None,
    "": None,
    "jawOpen" * 1000: None,
    "_" * 100_000: None,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_shape_is_found_in_every_spelling(spelling: str) -> None:
    for name in ARKIT_NAMES:
        assert arkit_name(SPELLINGS[spelling](name)) == name


@pytest.mark.parametrize("label, name", OTHERS.items(), ids=lambda value: str(value)[:30])
def test_makers_names_are_found_and_other_names_are_not(label: str, name: str | None) -> None:
    assert arkit_name(label) == name


def test_a_shape_under_several_schemes_counts_once_and_halves_are_all_there() -> None:
    labels = [
        "A25_Jaw_Open",
        "jawOpen",
        "Brow_Drop_L",
        "A02_Brow_Down_Left",
        "browInnerUp_L",
        "browInnerUp_R",
    ]
    assert select_names(labels) == {
        "jawOpen": "jawOpen",
        "A02_Brow_Down_Left": "browDownLeft",
        "browInnerUp_L": "browInnerUp",
        "browInnerUp_R": "browInnerUp",
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_page_matches_as_the_importer_does() -> None:
    labels = [spell(name) for spell in SPELLINGS.values() for name in ARKIT_NAMES] + list(OTHERS)
    script = (
        f"import {{ matchName }} from '{MODULE.as_uri()}';\nimport {{ readFileSync }} from 'node:fs';\n"
        "const { labels, names } = JSON.parse(readFileSync(0));\n"
        "console.log(JSON.stringify(labels.map((label) => matchName(label, names))));"
    )
    result = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        text=True,
        input=json.dumps({"labels": labels, "names": list(ARKIT_NAMES)}),
        capture_output=True,
    )
    if "type" in result.stderr and "SyntaxError" in result.stderr:
        pytest.skip("this Node cannot import JSON")
    assert result.returncode == 0, result.stderr
    for label, found in zip(labels, json.loads(result.stdout), strict=True):
        match = match_name(label)
        assert found == (None if match is None else match._asdict()), label
