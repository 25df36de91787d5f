# SPDX-License-Identifier: Apache-2.0
"""The one error that users meet, and the late import of what may be absent.

`TalkerError` carries one sentence that says what was wrong and what to do about it.
"""

import importlib

_HOW = {
    "torch": "`pip install torch` (choose the CPU or CUDA build for your machine on pytorch.org)",
    "vtk": "`pip install 'streamingtalker_ros[render]'`",
    "av": "`pip install 'streamingtalker_ros[render]'`",
    "matplotlib": "`pip install 'streamingtalker_ros[report]'`",
    "PIL": "`pip install 'streamingtalker_ros[render]'`",
}


class TalkerError(Exception):
    """A mistake in input or set-up; its text is one sentence with the cure."""


def require(module, purpose):
    """Import `module` and return it.

    module: dotted name; purpose: what needs it, for the sentence ("rendering", "the model").
    Raises TalkerError when it is not installed, naming the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        top = module.partition(".")[0]
        if missing.name is None or missing.name.partition(".")[0] != top:
            raise
        how = _HOW.get(top, f"`pip install {top}`")
        raise TalkerError(f"{purpose} needs {top}, which is not installed: {how}") from None
    except OSError as broken:  # a wheel whose shared library is missing, such as PortAudio
        raise TalkerError(f"{purpose} needs {module}, which does not load here: {broken}") from None
