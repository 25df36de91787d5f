"""What the tests share: the shipped talker, and a real voice."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small networks only lose by more threads

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

if int(pytest.__version__.split(".")[0]) >= 7:      # Humble's is older, and looks at the asked folder alone
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path, parent):
        """Every module is a plain one. Where ROS is sourced, launch_testing's plugin would import it outside of
        pytest's own collection, and one that asks to be skipped as a whole would end the collection of all."""
        return pytest.Module.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def talker():
    """The default model on the CPU."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from streamingtalker_ros import Talker
    return Talker.load(device="cpu")


@pytest.fixture(scope="session")
def voice_path():
    """The demo's voice, a few seconds of speech."""
    from streamingtalker_ros.cli.demo import VOICE
    return Path(VOICE)


@pytest.fixture(scope="session")
def speech(voice_path):
    """Four seconds of a real voice: (64000,) float32 at 16 kHz."""
    from streamingtalker_ros.audio.files import read_audio
    from streamingtalker_ros.audio.pcm import to_16k
    pcm = to_16k(*read_audio(voice_path))
    return np.ascontiguousarray(pcm[:64000], np.float32)
