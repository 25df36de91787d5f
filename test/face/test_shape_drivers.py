# SPDX-License-Identifier: Apache-2.0
"""Files whose mouths have visemes, vowels or makers' own shapes talk: open on a, closed on p."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.names import arkit_name, pose_shapes
from streamingtalker_ros.face.formats.shape_drivers import find_drivers, suggest_name
from streamingtalker_ros.face.visemes import OCULUS_VISEMES

MODULE = Path(__file__).absolute().parents[2] / "frontend" / "src" / "face" / "shape_drivers.js"
VISEMES = OCULUS_VISEMES[1:]
VOWELS = ("aa", "ih", "ou", "E", "oh")
ROCKETBOX = ("PP", "FF", "TH", "DD", "KK", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")
CHARACTER_CREATOR = {
    "V_Open": "aa",
    "V_Explosive": "PP",
    "V_Dental_Lip": "FF",
    "V_Tight_O": "tight o",
    "V_Tight": "tight",
    "V_Wide": "wide",
    "V_Affricate": "CH",
    "V_Lip_Open": "lips open",
}
SCHEMES: dict[str, dict[str, str]] = {
    "Oculus": {f"viseme_{name}": name for name in VISEMES},
    "Ready Player Me": {
        f"viseme_{ {'ih': 'I', 'oh': 'O', 'ou': 'U'}.get(name, name) }": name for name in VISEMES
    },
    "VRChat": {f"vrc.v_{name.lower()}": name for name in VISEMES},
    "OVR's own": {name: name for name in VISEMES},
    "a mesh before": {f"Head.viseme_{name}": name for name in VISEMES},
    "a figure before": {f"Emily_Head_viseme_{name}": name for name in VISEMES},
    "Rocketbox": {
        f"AA_VI_{k:02d}_{name}": pose
        for k, (name, pose) in enumerate(zip(ROCKETBOX, VISEMES, strict=True), start=1)
    },
    "Character Creator": CHARACTER_CREATOR,
    "VRoid": {f"Fcl_MTH_{letter}": pose for letter, pose in zip("AIUEO", VOWELS, strict=True)},
    "VRoid's long names": {
        f"Face.M_F00_000_00_Fcl_MTH_{letter}": pose for letter, pose in zip("AIUEO", VOWELS, strict=True)
    },
    "letters": dict(zip("AIUEO", VOWELS, strict=True)),
    "MMD": dict(zip("あいうえお", VOWELS, strict=True)),
}


def arkit_weights(**weights: float) -> np.ndarray:
    values = np.zeros(len(ARKIT_NAMES))
    for name, weight in weights.items():
        values[INDEX[name]] = weight
    return values


def shape_weights(labels: Mapping[str, str], weights: np.ndarray) -> dict[str, float]:
    selected = find_drivers(labels).select(list(labels))
    return {
        label: sum(factor * weights[INDEX[name]] for name, factor in factors.items())
        for label, factors in selected.items()
    }


def shown_weights(labels: Mapping[str, str], weights: np.ndarray) -> np.ndarray:
    """ARKit weights of the mouth that the file's shapes show together."""
    shown = np.zeros(len(ARKIT_NAMES))
    for label, weight in shape_weights(labels, weights).items():
        shown += weight * arkit_weights(**pose_shapes(labels[label]))
    return shown


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_pose_of_every_scheme_is_found(scheme: str) -> None:
    drivers = find_drivers(SCHEMES[scheme])
    assert set(drivers.select(list(SCHEMES[scheme]))) == set(SCHEMES[scheme])
    assert {"jawOpen", "mouthClose"} <= drivers.driven


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mouth_opens_on_a_and_equal_jaw_open_and_mouth_close_leave_it_closed(scheme: str) -> None:
    labels = SCHEMES[scheme]
    a = shown_weights(labels, arkit_weights(**pose_shapes("aa")))
    assert 0.4 < a[INDEX["jawOpen"]] - a[INDEX["mouthClose"]] < 0.6
    for weight in (0.1, 0.3, 0.6):
        closed = shown_weights(labels, arkit_weights(jawOpen=weight, mouthClose=weight))
        assert abs(closed[INDEX["jawOpen"]] - closed[INDEX["mouthClose"]]) < 0.02 + 0.1 * weight


@pytest.mark.parametrize("viseme", ("PP", "FF", "aa", "ou"))
def test_the_pose_of_a_viseme_gives_that_viseme(viseme: str) -> None:
    labels = SCHEMES["Oculus"]
    weights = shape_weights(labels, arkit_weights(**pose_shapes(viseme)))
    assert max(weights, key=lambda label: weights[label]) == f"viseme_{viseme}"
    assert 0.6 < weights[f"viseme_{viseme}"] < 1.1


def test_shapes_with_arkits_names_come_before_visemes() -> None:
    labels = ["viseme_aa", "viseme_PP", "viseme_O", "jawOpen", "eyeBlinkLeft"]
    assert find_drivers(labels).select(labels) == {
        "jawOpen": {"jawOpen": 1.0},
        "eyeBlinkLeft": {"eyeBlinkLeft": 1.0},
    }


def test_the_richest_scheme_drives_the_mouth_and_the_others_rest() -> None:
    labels = [*SCHEMES["VRoid"], *SCHEMES["Oculus"]]
    drivers = find_drivers(labels)
    assert drivers.scheme == "Oculus visemes"
    assert set(drivers.select(labels)) == set(SCHEMES["Oculus"])


def test_a_shape_of_both_sides_follows_both() -> None:
    labels = ["jawOpen", "mouthSmile", "Fcl_EYE_Close", "まばたき", "mouthLeft"]
    selected = find_drivers(labels).select(labels)
    assert selected["mouthSmile"] == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert selected["まばたき"] == {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5}
    assert selected["mouthLeft"] == {"mouthLeft": 1.0}


def test_few_bare_letters_are_no_vowels() -> None:
    assert not find_drivers(["a", "b", "c"]).driven
    assert not find_drivers(["O", "E"]).driven


def test_a_makers_jaw_without_mouth_close_closes_by_itself_and_arkits_own_stays_as_it_is() -> None:
    assert find_drivers(["mouthOpen"]).select(["mouthOpen"]) == {
        "mouthOpen": {"jawOpen": 1.0, "mouthClose": -1.0}
    }
    assert find_drivers(["jawOpen"]).select(["jawOpen"]) == {"jawOpen": {"jawOpen": 1.0}}


@pytest.mark.parametrize(
    "label, name",
    {
        "CTRL_expressions_mouthCornerPullL": "mouthSmileLeft",
        "CTRL_expressions_mouthLipsTogetherUR": "mouthClose",
        "CTRL_expressions_mouthLipsPurseDL": "mouthPucker",
        "CTRL_expressions_mouthFunnelUL": "mouthFunnel",
        "CTRL_expressions_mouthPressUL": "mouthPressLeft",
        "CTRL_expressions_jawChinRaiseDR": "mouthShrugLower",
        "CTRL_expressions_eyeLookLeftL": "eyeLookOutLeft",
        "CTRL_expressions_eyeLookLeftR": "eyeLookInRight",
        "CTRL_expressions_browRaiseInL": "browInnerUp",
        "CTRL_expressions_eyeBlinkR": "eyeBlinkRight",
        "CTRL_expressions_jawOpen": "jawOpen",
        "CTRL_expressions_jawOpenExtreme": None,
        "CTRL_expressions_jawFwd": "jawForward",
        "h_expressions.MouthOpen_h": "jawOpen",
        "h_teeth.t_MouthOpen_h": "jawOpen",
        "h_expressions.RsmileClose_h": "mouthSmileRight",
        "h_expressions.LLbrowUp_h": "browOuterUpLeft",
        "h_expressions.LeyeClose_h": "eyeBlinkLeft",
        "Fcl_EYE_Close_L": "eyeBlinkLeft",
        "blink_right": "eyeBlinkRight",
    }.items(),
)
def test_curves_of_metahuman_and_shapes_of_character_generators_are_found(
    label: str, name: str | None
) -> None:
    assert arkit_name(label) == name


def test_a_misspelt_name_is_suggested() -> None:
    assert suggest_name("jawOpn") == "jawOpen"
    assert suggest_name("Face.mouthSmilLeft") == "mouthSmileLeft"
    assert suggest_name("hat") is None and suggest_name("x" * 10_000) is None


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_page_drives_the_shapes_as_the_importer_does() -> None:
    files = [list(labels) for labels in SCHEMES.values()]
    files += [["mouthOpen", "mouthSmile", "eyesClosed"], ["jawOpen", "viseme_aa"], [], ["O", "E"]]
    files.append([*SCHEMES["VRoid"], *SCHEMES["Oculus"], "まばたき", "mouthLeft"])
    script = (
        f"import {{ findDrivers, selectLabels }} from '{MODULE.as_uri()}';\n"
        "import { readFileSync } from 'node:fs';\nconst { files, names } = JSON.parse(readFileSync(0));\n"
        "console.log(JSON.stringify(files.map((labels) => Object.fromEntries("
        "selectLabels(findDrivers(labels, names), labels, names)))));"
    )
    result = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        text=True,
        input=json.dumps({"files": files, "names": list(ARKIT_NAMES)}),
        capture_output=True,
    )
    if "type" in result.stderr and "SyntaxError" in result.stderr:
        pytest.skip("this Node cannot import JSON")
    assert result.returncode == 0, result.stderr
    for labels, found in zip(files, json.loads(result.stdout), strict=True):
        expected = find_drivers(labels).select(labels)
        assert set(found) == set(expected)
        for label, factors in expected.items():
            assert found[label] == pytest.approx(factors, abs=1e-9)
