# SPDX-License-Identifier: Apache-2.0
"""What the teacher's rules leave of lips that a camera saw: a small network that knows the phones around each frame.

`lips(phones, frames, pcm, manner)` are the rules' lips (`teacher.lips`) with the inner-lip gap and the mouth's width that
the network tells; contacts of p, b and m, pauses, tongue and everything else stay the rules'. It is given what a phone
is by the rules' own numbers for it, never its name, so that phones the camera did not see lie between those it saw.
`python -m streamingtalker_ros.coarticulation.residual CORPUS` learns it from a corpus of video with aligned phones and writes
data/residual.npz; docs/teacher.md tells what it is worth.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.dominance import EARLIEST
from streamingtalker_ros.corpus.storage import load_corpus
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rig import default_rig
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    LABIODENTALS,
    TARGET_COLUMNS,
    VOWELS,
    Phone,
    viseme_targets,
)

WEIGHTS = Path(__file__).parent.parent / "data" / "residual.npz"
BEFORE, AFTER = 3, 4  # phones known besides the one that sounds
FRAMES = (-2, -1, 0, 1, 2)  # of the rules' lips and of loudness that are known
MADE = (
    VOWELS,
    BILABIALS,
    LABIODENTALS,
    {"pau"},
    {"n", "ng"},
    set("tdkg"),
    set("sz") | {"sh", "zh", "ch", "jh"},
    {"th", "dh"},
    set("lrwy"),
    {"hh"},
)
NEAR = 0.15  # seconds over which it matters how far a phone's edge is
APART = 0.7  # mm that lips keep where no phone closes them: lips that nearly touch are not to touch
SIDEWAYS = (
    "mouthPucker",
    *(f"mouth{way}{side}" for way in ("Smile", "Stretch", "Dimple") for side in ("Left", "Right")),
)
FAR = 1e3  # units of a row, further than any weight has to move
HIDDEN, STEPS, BATCH, RATE = 128, 3000, 1024, 2e-3


def features(phones, frames, pcm):
    """What the network knows of each frame, (T, F) float32, and the rules' (gap, width above that at rest) in mm, (T, 2),
    with how far lips are closed and how far the mouth is awake, (T,) each in 0..1. pcm: (n,) float32 at 16 kHz, None
    where only phones are known."""
    t = dominance.times(frames)
    gap, width = _measured(dominance.lips(phones, frames, pcm))
    closed, awake = dominance.closed(t, phones), dominance.awake(t, phones)
    kinds = np.array(
        [_kind("pau")] * BEFORE + [_kind(phone.name) for phone in phones] + [_kind("pau")] * AFTER
    )
    first, last = phones[0].start, phones[-1].end
    starts = np.array(
        [
            *(first - k for k in range(BEFORE, 0, -1)),
            *(phone.start for phone in phones),
            *(last + k for k in range(AFTER)),
        ]
    )
    ends = np.append(starts[1:], starts[-1] + 1.0)
    ends[BEFORE : BEFORE + len(phones)] = [phone.end for phone in phones]
    effort = np.concatenate((np.ones(BEFORE), dominance.effort(phones, pcm), np.ones(AFTER)))
    now = BEFORE + np.clip(np.searchsorted([phone.start for phone in phones], t, "right") - 1, 0, None)
    known = []
    for row in (now + k for k in range(-BEFORE, AFTER + 1)):
        edges = np.stack((t - starts[row], ends[row] - t, ends[row] - starts[row]), 1)
        known += [kinds[row], np.tanh(edges / NEAR), effort[row, None] - 1.0]
    curves = (0.2 * gap, 0.2 * width, closed, awake, _level(pcm, frames))
    known += [np.stack([_shifted(curve, k) for k in FRAMES], 1) for curve in curves]
    return np.concatenate(known, 1, dtype=np.float32), np.stack((gap, width), 1), closed, awake


def lips(phones, frames, pcm=None, manner=dominance.Manner()):
    """The lower face of speech as in `teacher.lips`, after the network: ARKit weights (T, 52) float32 in 0..1."""
    weights = dominance.lips(phones, frames, pcm, manner)
    if not phones or not frames:
        return weights
    known, ruled, _, awake = features(phones, frames, pcm)
    closed = dominance.closed(dominance.times(frames), phones, manner.sharpness)
    gap, width = told(load(), known, ruled).T
    gap = (
        np.maximum(manner.amplitude * gap, APART) * (1.0 - closed**4) * awake
    )  # the network knows of the lips' way there
    width = manner.rounding * width * awake
    (bias, opening), across = default_rig().lip_gap_map(), default_rig().lip_width_map()[1]
    free = (closed < 1.0) & (awake > 0.0)
    weights = moved(weights, across * _only(SIDEWAYS), across, 1e-3 * width)
    weights[free] = moved(weights[free], opening * ~_only(("mouthClose",)), opening, 1e-3 * gap[free] - bias)
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    weights[:, close] = np.minimum(
        weights[:, close], weights[:, jaw]
    )  # it serves contacts, and follows the jaw
    return weights


def moved(weights, along, measure, value):
    """weights (T, S) in 0..1, moved along a row (S,) and clipped to 0..1 so that weights @ measure is value (T,), or as near
    to it as 0 and 1 allow; found by halving. Where a stream has one frame and the two rows are one, `controls.keep_closed`."""
    low, high = np.full(len(weights), -FAR), np.full(len(weights), FAR)
    for _ in range(40):
        middle = 0.5 * (low + high)
        short = np.clip(weights + middle[:, None] * along, 0.0, 1.0) @ measure < value
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.clip(weights + high[:, None] * along, 0.0, 1.0).astype(np.float32)


def told(network, known, ruled):
    """What a network, dict of arrays, tells: gap and width in mm, (T, 2). known, ruled: of `features`."""
    x = (known - network["mean"]) / network["scale"]
    for layer in (0, 1):
        x = _silu(x @ network[f"weight{layer}"].T + network[f"bias{layer}"])
    return network["gain"] * (ruled + x @ network["weight2"].T + network["bias2"])


@functools.lru_cache(maxsize=1)
def load():
    """The network of data/residual.npz: dict of float32 arrays."""
    with np.load(WEIGHTS) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


@functools.cache
def _kind(name):
    """A phone as the rules know it: its first and its last target, and how it is made."""
    rows = [[row[column] for column in TARGET_COLUMNS] for row, *_ in viseme_targets([Phone(name, 0.0, 1.0)])]
    return np.array([*rows[0], *rows[-1], *(float(name in made) for made in MADE)])


def _only(names):
    """(52,) bool: the shapes of these names."""
    return np.isin(ARKIT_NAMES, names)


def _measured(weights):
    """(T, 52) -> (lip gap, width above that at rest), mm, (T,) each."""
    rig = default_rig()
    still = rig.lip_width(np.zeros(weights.shape[1], np.float32))
    return 1e3 * np.maximum(rig.lip_gap(weights), 0.0), 1e3 * (rig.lip_width(weights) - still)


def _level(pcm, frames):
    """Loudness of each frame under the clip's loudest, (T,), 1 for 10 dB."""
    if pcm is None:
        return np.zeros(frames)
    sound = np.zeros(frames * HOP_LENGTH)
    sound[: min(len(pcm), len(sound))] = pcm[: len(sound)]
    level = 10.0 * np.log10(np.square(sound).reshape(frames, HOP_LENGTH).mean(1) + 1e-9)
    return np.clip((level - np.percentile(level, 90)) / 10.0, -4.0, 1.0)


def _shifted(curve, by):
    """curve (T,), each value that of `by` frames later; beyond the ends the last one."""
    return curve[np.clip(np.arange(len(curve)) + by, 0, len(curve) - 1)]


def _silu(x):
    return x / (1.0 + np.exp(-x))


class Seen:
    """Clips that a camera saw, as lists of (T, …) arrays: what the network knows, the rules' and the camera's gap and width
    in mm, how far lips are free (neither closed nor asleep), and which frames count: people part their lips half a second
    before they speak, of which no sound tells."""

    def __init__(self, clips) -> None:
        clips = [clip for clip in clips if clip.lip_opening is not None and len(clip.phones) > 1]
        if not clips:
            raise TalkerError("no clip has tracked lips and phones; learn from a corpus made from video")
        self.known, self.ruled, self.true, self.free, self.counts = [], [], [], [], []
        for clip in clips:
            known, ruled, closed, awake = features(clip.phones, len(clip.weights), clip.pcm)
            self.known.append(known)
            self.ruled.append(ruled)
            self.true.append(np.stack(_measured(clip.weights), 1))
            self.free.append(np.stack(((1.0 - closed) * awake, awake), 1))
            first = clip.phones[0]
            self.counts.append(
                dominance.times(len(known)) > (first.end - EARLIEST if first.name == "pau" else 0.0)
            )

    def described(self, network=None) -> str:
        """r of gap and width with the camera's, medians of the clips, in words; the rules' without a network."""
        made = [
            ruled if network is None else np.maximum(told(network, known, ruled) * free, [0.0, -np.inf])
            for known, ruled, free in zip(self.known, self.ruled, self.free)
        ]
        r = [
            np.median([np.corrcoef(one[:, k], true[:, k])[0, 1] for one, true in zip(made, self.true)])
            for k in (0, 1)
        ]
        return f"opening r {r[0]:.3f}, width r {r[1]:.3f}"


def learn(train, steps=STEPS, seed=0):
    """A network, dict of arrays, of Seen clips: least squares, each of the two in parts of its standard deviation, and at
    last a gain that makes both move as far as the camera's, since a least-squares answer is too calm."""
    torch = require("torch", "learning the teacher's residual")
    torch.manual_seed(seed)
    counts = np.concatenate(train.counts)
    known, ruled, true = (np.concatenate(parts)[counts] for parts in (train.known, train.ruled, train.true))
    mean, scale = known.mean(0), known.std(0) + 0.1
    x, rest = torch.from_numpy((known - mean) / scale), torch.from_numpy((true - ruled) / true.std(0)).float()
    nn = torch.nn
    net = nn.Sequential(
        nn.Dropout(0.1),
        nn.Linear(x.shape[1], HIDDEN),
        nn.SiLU(),
        nn.Dropout(0.3),
        nn.Linear(HIDDEN, HIDDEN),
        nn.SiLU(),
        nn.Dropout(0.3),
        nn.Linear(HIDDEN, 2),
    )
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (BATCH,))
        loss = (net(x[rows]) - rest[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    network = {
        f"{name}{k}": value.detach().numpy()
        for k, layer in enumerate(layers)
        for name, value in (("weight", layer.weight), ("bias", layer.bias))
    }
    network["weight2"], network["bias2"] = (
        network["weight2"] * true.std(0)[:, None],
        network["bias2"] * true.std(0),
    )
    network |= {"mean": mean, "scale": scale, "gain": np.ones(2)}
    network["gain"] = true.std(0) / told(network, known, ruled).std(0)
    return network


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m streamingtalker_ros.coarticulation.residual", description=__doc__
    )
    parser.add_argument("corpus", type=Path, help="made by `streamingtalker corpus from-video`")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args(argv)
    try:
        judge = Seen(load_corpus(args.corpus, "test"))
        print(f"rules: {judge.described()}")
        network = learn(Seen(load_corpus(args.corpus, "train")), args.steps)
    except TalkerError as error:
        print(f"residual: error: {error}", file=sys.stderr)
        return 2
    print(f"network: {judge.described(network)}, gain {network['gain'].round(2)}")
    np.savez_compressed(args.out, **{name: value.astype(np.float16) for name, value in network.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
