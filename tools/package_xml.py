# SPDX-License-Identifier: Apache-2.0
"""Reads package.xml as colcon does, and compares the version in it and in CITATION.cff with the package's."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from catkin_pkg.package import InvalidPackage, parse_package

import streamingtalker_ros

ROOT = Path(__file__).resolve().parents[1]


def findings() -> list[str]:
    """What is wrong with package.xml, a sentence each."""
    warnings: list[str] = []
    try:
        package = parse_package(str(ROOT / "package.xml"), warnings=warnings)
        package.validate(warnings=warnings)
    except InvalidPackage as invalid:
        return [*warnings, str(invalid)]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for name, version in (("package.xml", package.version), ("CITATION.cff", citation["version"])):
        if version != streamingtalker_ros.__version__:
            warnings.append(f"{name} has version {version}, the package {streamingtalker_ros.__version__}")
    return warnings


if __name__ == "__main__":
    found = findings()
    print("\n".join(found) or "package.xml and CITATION.cff are valid")
    sys.exit(bool(found))
