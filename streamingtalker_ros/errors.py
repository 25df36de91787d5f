# SPDX-License-Identifier: Apache-2.0
"""`TalkerError`, the error that users see, and `require`, the late import of optional dependencies."""

from __future__ import annotations

import importlib
from typing import Any, Final

INSTALL_HINTS: Final = {
    "torch": "`pip install torch` (choose the CPU or CUDA build for your machine on pytorch.org)",
    "vtk": "`pip install 'streamingtalker_ros[render]'`",
    "av": "`pip install 'streamingtalker_ros[render]'`",
    "matplotlib": "`pip install 'streamingtalker_ros[report]'`",
    "PIL": "`pip install 'streamingtalker_ros[render]'`",
}
"""How to install a package whose command is not `pip install NAME`."""


class TalkerError(Exception):
    """Invalid input or set-up; the text is one sentence that states the problem and its solution."""


def require(module: str, purpose: str) -> Any:
    """Import an optional dependency.

    Args:
        module: dotted name.
        purpose: what needs it, as the error message begins ("rendering", "the model").

    Returns:
        The module.

    Raises:
        TalkerError: if it is not installed, with the command that installs it, or does not load.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # a dependency of the package is missing
        hint = INSTALL_HINTS.get(package, f"`pip install {package}`")
        raise TalkerError(f"{purpose} needs {package}, which is not installed: {hint}") from None
    except OSError as error:  # a wheel whose shared library is missing, such as PortAudio
        raise TalkerError(f"{purpose} needs {module}, which does not load here: {error}") from None
