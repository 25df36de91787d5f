"""A talker: the weights of a checkpoint on a device, from which any number of streams are opened.

    talker = Talker.load()            # the default weights, CUDA where there is one
    stream = talker.open_stream(seed=0)
"""
from pathlib import Path

import torch

from ..errors import TalkerError
from ..model import checkpoint
from ..model.head import HeadSampler
from ..model.sampler import Schedule
from .stream import Stream

DEFAULT = Path(__file__).parent.parent / "weights" / "default"


def choose_device(device):
    """"auto" | "cpu" | "cuda" | "cuda:N" -> a torch device string. Raises TalkerError when it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise TalkerError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise TalkerError(f"device {device!r} is not there: this PyTorch sees no CUDA, choose auto or cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise TalkerError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices are seen")
    return device


class Talker:
    """Weights on a device. Opens streams; holds nothing of any voice."""

    def __init__(self, network, device="auto"):
        self.device = choose_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self._samplers = {}

    @classmethod
    def load(cls, path=None, device="auto"):
        """Load a checkpoint folder, by default the weights inside the package.

        Raises TalkerError when the folder, its weights or the device are not there.
        """
        return cls(checkpoint.load(path or DEFAULT), device)

    @property
    def name(self):
        return self.network.config.name

    @property
    def frame_rate(self):
        """Frames per second."""
        return self.network.config.frame_rate

    @property
    def hop(self):
        """Samples of 16 kHz audio per frame."""
        return self.network.config.hop

    @property
    def lookahead(self):
        """Seconds of audio after a frame's own that the frame waits for."""
        return self.network.config.lookahead_frames / self.frame_rate

    @property
    def steps(self):
        """Diffusion steps per frame unless a stream asks for others."""
        return self.network.config.steps

    @property
    def styles(self):
        """Names of the speaking styles, the first is the default."""
        return self.network.config.styles

    def sampler(self, steps):
        """The head's sampler for a number of steps, made once. Raises TalkerError when it is out of range."""
        if steps not in self._samplers:
            config = self.network.config
            schedule = Schedule(config.beta_start, config.beta_end, config.train_steps)
            self._samplers[steps] = HeadSampler(self.network.head, steps, schedule)
        return self._samplers[steps]

    def open_stream(self, seed=0, style=None, steps=None, history=None):
        """A fresh voice. seed: of its noise; style: one of `styles`; steps: diffusion steps per frame; history:
        frames of past motion that count, None for all that the model keeps. Raises TalkerError on a bad value."""
        limit = self.network.config.history
        if history is not None and not 0 <= history <= limit:
            raise TalkerError(f"a history of {history} frames cannot be had: this model keeps 0 to {limit}")
        return Stream(self, seed, style, steps, history)

    def warm_up(self, frames=10):
        """Run a few frames of silence, so that the first real one finds everything allocated and compiled."""
        stream = self.open_stream()
        stream.accept(torch.zeros(frames * self.hop).numpy())
