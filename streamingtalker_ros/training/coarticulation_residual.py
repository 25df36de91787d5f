# SPDX-License-Identifier: Apache-2.0
"""Trains the residual network on tracked lips: `streamingtalker train coarticulation-residual`.

Least squares on lip gap and mouth width of a corpus of video with aligned phones; writes
`data/coarticulation_residual.npz`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.dominance import MAX_ANTICIPATION_S
from streamingtalker_ros.coarticulation.residual import (
    WEIGHTS_PATH,
    LipFeatures,
    Network,
    compute_features,
    measure_lips,
    predict,
)
from streamingtalker_ros.corpus.storage import Clip, load_corpus
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import atomic_output

HIDDEN_WIDTH = 128
STEPS = 3000
BATCH_SIZE = 1024  # frames
LEARNING_RATE = 2e-3

_log = logging.getLogger(__name__)


class ResidualDataset:
    """Clips with tracked lips, as lists of arrays, one entry per clip.

    Attributes:
        features: `LipFeatures` of each clip.
        measured: (T, 2) lip gap and mouth width above rest that the camera measured, mm.
        mobility: (T, 2) fraction of gap and width that closure and pauses leave free, 0..1.
        is_counted: (T,) bool: frames that count in the loss. People part their lips up to half a second
            before they speak, which no audio announces, so frames before the first phone are left out.

    Raises:
        TalkerError: if no clip has tracked lips and phones.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        clips = [clip for clip in clips if clip.lip_opening is not None and len(clip.phones) > 1]
        if not clips:
            raise TalkerError("no clip has tracked lips and phones; train on a corpus built from video")
        self.features: list[LipFeatures] = []
        self.measured: list[npt.NDArray[np.floating]] = []
        self.mobility: list[npt.NDArray[np.floating]] = []
        self.is_counted: list[npt.NDArray[np.bool_]] = []
        for clip in clips:
            features = compute_features(clip.phones, len(clip.weights), clip.pcm)
            self.features.append(features)
            self.measured.append(np.stack(measure_lips(clip.weights), 1))
            self.mobility.append(np.stack(((1.0 - features.closure) * features.speech, features.speech), 1))
            first = clip.phones[0]
            start = first.end - MAX_ANTICIPATION_S if first.name == "pau" else 0.0
            self.is_counted.append(dominance.frame_times(len(clip.weights)) > start)

    def correlation(self, network: Network | None = None) -> tuple[float, float]:
        """Pearson's r of lip gap and mouth width with the camera's, medians over the clips.

        Args:
            network: the network to measure; None for the rules alone.
        """
        predicted = [
            features.rule_lips
            if network is None
            else np.maximum(predict(network, features.inputs, features.rule_lips) * mobility, [0.0, -np.inf])
            for features, mobility in zip(self.features, self.mobility, strict=True)
        ]
        gap, width = (
            float(
                np.median(
                    [
                        np.corrcoef(one[:, k], truth[:, k])[0, 1]
                        for one, truth in zip(predicted, self.measured, strict=True)
                    ]
                )
            )
            for k in (0, 1)
        )
        return gap, width


def train_residual(
    dataset: ResidualDataset, steps: int = STEPS, seed: int = 0
) -> dict[str, npt.NDArray[np.floating]]:
    """Fit the network by least squares, in units of the standard deviation of gap and width.

    A least-squares answer moves too little, so the result carries a gain per output that restores the
    camera's standard deviation.

    Args:
        dataset: the training clips.
        steps: optimizer steps.
        seed: of PyTorch's generator.

    Returns:
        The arrays of `data/coarticulation_residual.npz`.
    """
    torch = require("torch", "learning the coarticulation residual")
    torch.manual_seed(seed)
    counted = np.concatenate(dataset.is_counted)
    inputs = np.concatenate([features.inputs for features in dataset.features])[counted]
    rule_lips = np.concatenate([features.rule_lips for features in dataset.features])[counted]
    measured = np.concatenate(dataset.measured)[counted]
    mean, scale = inputs.mean(0), inputs.std(0) + 0.1
    x = torch.from_numpy((inputs - mean) / scale)
    residual = torch.from_numpy((measured - rule_lips) / measured.std(0)).float()
    nn = torch.nn
    model = nn.Sequential(
        nn.Dropout(0.1),
        nn.Linear(x.shape[1], HIDDEN_WIDTH),
        nn.SiLU(),
        nn.Dropout(0.3),
        nn.Linear(HIDDEN_WIDTH, HIDDEN_WIDTH),
        nn.SiLU(),
        nn.Dropout(0.3),
        nn.Linear(HIDDEN_WIDTH, 2),
    )
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (BATCH_SIZE,))
        loss = (model(x[rows]) - residual[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    network: dict[str, npt.NDArray[np.floating]] = {
        f"{name}{k}": value.detach().numpy()
        for k, layer in enumerate(layers)
        for name, value in (("weight", layer.weight), ("bias", layer.bias))
    }
    network["weight2"] = network["weight2"] * measured.std(0)[:, None]
    network["bias2"] = network["bias2"] * measured.std(0)
    network |= {"mean": mean, "scale": scale, "gain": np.ones(2)}
    network["gain"] = measured.std(0) / predict(network, inputs, rule_lips).std(0)
    return network


def run(corpus: Path, out: Path = WEIGHTS_PATH, steps: int = STEPS) -> Path:
    """Train on a corpus's training clips, log the correlation on its test clips, and write the weights.

    Args:
        corpus: folder made by `streamingtalker corpus from-video`.
        out: .npz file to write.
        steps: optimizer steps.

    Raises:
        TalkerError: if no clip has tracked lips and phones.
    """
    test_set = ResidualDataset(load_corpus(corpus, "test"))
    _log.info("rules: lip gap r %.3f, width r %.3f", *test_set.correlation())
    network = train_residual(ResidualDataset(load_corpus(corpus, "train")), steps)
    gap, width = test_set.correlation(network)
    _log.info("network: lip gap r %.3f, width r %.3f, gain %s", gap, width, network["gain"].round(2))
    arrays = {name: value.astype(np.float16) for name, value in network.items()}
    with atomic_output(out) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
    return out
