# SPDX-License-Identifier: Apache-2.0
"""The backends of a blendshape talker, for tests that assert a law on each of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from streamingtalker_ros import Talker
    from streamingtalker_ros.model.blendshape.network import TalkerNetwork


class Variant(NamedTuple):
    """A backend and a precision."""

    backend: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend}-{self.precision}"


TORCH: Final = Variant("torch", "float32")
VARIANTS: Final = (TORCH, Variant("onnx", "float32"), Variant("onnx", "int8"))
ONNX_VARIANTS: Final = VARIANTS[1:]
BACKEND_VARIABLE: Final = "STREAMINGTALKER_TEST_BACKEND"
"""Environment: the variant of small talkers with random weights, such as torch-float32; else onnx-float32."""


def chosen_variant() -> Variant:
    """Return the variant that the environment names."""
    name = os.environ.get(BACKEND_VARIABLE, str(ONNX_VARIANTS[0]))
    return next(variant for variant in VARIANTS if str(variant) == name)


def make_talker(network: TalkerNetwork, variant: Variant) -> Talker:
    """Return a talker of a network on a backend.

    Args:
        network: The network; torch's talker takes ownership of it.
        variant: The backend and precision.
    """
    from streamingtalker_ros import Talker
    from streamingtalker_ros.model.blendshape.onnx_files import build_from_tensors

    if variant.backend == "torch":
        return Talker(network, "cpu")
    tensors = {name: tensor.detach().float().numpy() for name, tensor in network.state_dict().items()}
    precision = "int8" if variant.precision == "int8" else "float32"
    return Talker(build_from_tensors(network.config, tensors, precision))
