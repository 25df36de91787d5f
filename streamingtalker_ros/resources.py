# SPDX-License-Identifier: Apache-2.0
"""Finds the package's msg/ and config/ files wherever it was installed.

Takes "msg" or "config" and a file name, gives a Path. Three homes exist: the source tree (and an editable or
symlinked install), the wheel, where both folders lie inside the package, and a colcon install, where they lie
in share/streamingtalker_ros beside the Python code's prefix.
"""

from pathlib import Path

from streamingtalker_ros.errors import TalkerError

_PACKAGE = Path(__file__).absolute().parent


def find(kind, name, package=None):
    """Path of the file `name` of the folder `kind` ("msg" or "config").

    package: the installed package's folder, default this one. Raises TalkerError when no home has the file.
    """
    package = Path(package) if package else _PACKAGE
    for home in _homes(package, kind):
        # the file is asked for, not the folder: a colcon install has generated code under the package's msg/
        if (home / name).is_file():
            return home / name
    raise TalkerError(f"{kind}/{name} is missing from {package}: install the package again")


def _homes(package, kind):
    yield package / kind
    yield package.resolve().parent / kind
    for prefix in package.parents:
        yield prefix / "share" / package.name / kind
