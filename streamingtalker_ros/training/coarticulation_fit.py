# SPDX-License-Identifier: Apache-2.0
"""The procedural teacher's numbers from tracked lips: targets, firmness and timing by gradient descent.

`python -m streamingtalker_ros.training.coarticulation_fit CORPUS` takes a corpus of video with aligned phones and writes
data/teacher.json. `Mouth` is the teacher's arithmetic on tensors, so that gradients reach its numbers; what the corpus
does not show stays at the hand-written `phones.INITIAL_TARGETS`, scaled like the rest.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.dominance import EARLIEST
from streamingtalker_ros.corpus.storage import load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rig import default_rig
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    INITIAL_TARGETS,
    LABIODENTALS,
    TARGET_COLUMNS,
    VOWELS,
)

NUMBERS = Path(__file__).parent.parent / "data" / "teacher.json"
GROUPS = ("jaw", "shape", "part")
TARGETS = ("jaw", "pucker", "funnel", "spread", "part")
FIRM = ("jaw_dominance", "shape_dominance", "part_dominance")
OF_GROUP = {"jaw": (0,), "shape": (1, 2, 3), "part": (4,)}
CONTACTS = "pbmfv"
OPEN = 0.04  # least jaw of a phone that is no contact: lips that nearly touch are not to touch
LOUDER, LONGER = 0.20, 0.0  # least effects of loudness and length: one calm speaker does not show them
SIGMA = {"target": 0.10, "firm": 0.5}  # how far from the hand-written number a fitted one likes to be
STEPS, BATCH = 300, 120
KEEP = 0.0005  # price of a square of strangeness: twice as much costs 0.01 of r on clips held out
RATES = {
    "target": 0.01,
    "firm": 0.04,
    "scale": 0.02,
    "reach": 0.002,
    "plateau": 0.005,
    "neutral": 0.04,
    "closing": 0.001,
    "release": 0.001,
    "hold": 0.001,
    "bite": 0.01,
    "effort": 0.01,
    "rest": 0.002,
    "width": 0.05,
}
LIMITS = {
    "plateau": (0.02, 0.49),
    "closing": (0.03, 0.15),
    "release": (0.03, 0.2),
    "hold": (-0.05, 0.08),
    "bite": (0.2, 0.95),
}


def _prior():
    rows = [line.split() for line in INITIAL_TARGETS.strip().splitlines()]
    return [row[0] for row in rows], {row[0]: dict(zip(TARGET_COLUMNS, map(float, row[1:]))) for row in rows}


NAMES, TABLE = _prior()


def _column(names):
    return torch.tensor([[TABLE[phone][name] for name in names] for phone in NAMES])


class Sheet:
    """Clips as tensors: phones, contacts and pauses padded to the longest, and what the camera saw, in millimetres.

    rows (B, N, 5): row of NAMES, start, end, effort by length and by level; contacts (B, M, 6): kind, start, end,
    longest closing and release, whether a bilabial follows; pauses (B, P, 4): start, end, first, last.
    """

    def __init__(self, clips) -> None:
        rig = default_rig()
        clips = [clip for clip in clips if clip.lip_opening is not None and len(clip.phones) > 1]
        if not clips:
            raise TalkerError("no clip has tracked lips and phones; fit on a corpus made from video")
        self.frames = min(len(clip.weights) for clip in clips)
        rows, contacts, pauses = zip(*(self._clip(clip) for clip in clips))
        self.rows, self.contacts, self.pauses = (
            self._pad(rows, 5),
            self._pad(contacts, 6),
            self._pad(pauses, 4),
        )
        seen = [clip.weights[: self.frames] for clip in clips]
        self.gap = torch.tensor(np.stack([np.maximum(rig.lip_gap(w), 0.0) for w in seen]) * 1000.0).float()
        still = rig.lip_width(np.zeros((1, len(ARKIT_NAMES)), np.float32))
        self.width = torch.tensor(np.stack([rig.lip_width(w) - still for w in seen]) * 1000.0).float()
        self.jaw = torch.tensor(np.stack([w[:, INDEX["jawOpen"]] for w in seen])).float()
        # people part their lips half a second before they speak; no sound tells of it, and the teacher rests
        t = dominance.times(self.frames)
        self.counts = torch.tensor(
            np.stack(
                [
                    t > clip.phones[0].end - EARLIEST if clip.phones[0].name == "pau" else t >= 0.0
                    for clip in clips
                ]
            )
        ).float()

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, rows):
        part = object.__new__(Sheet)
        part.frames = self.frames
        for name in ("rows", "contacts", "pauses", "gap", "width", "jaw", "counts"):
            setattr(part, name, getattr(self, name)[rows])
        return part

    @staticmethod
    def _pad(lists, width):
        out = np.full((len(lists), max(1, max(map(len, lists))), width), -9.0, np.float32)
        for i, rows in enumerate(lists):
            if rows:
                out[i, : len(rows)] = rows
        return torch.from_numpy(out)

    @staticmethod
    def _clip(clip):
        phones, rows, contacts = clip.phones, [], []
        length, level = _efforts(phones, clip.pcm)
        for i, phone in enumerate(phones):
            before, after = phones[i - 1] if i else None, phones[i + 1] if i + 1 < len(phones) else None
            if phone.name + ":1" in TABLE:
                turn = 0.5 * (phone.start + phone.end)
                rows += [
                    (NAMES.index(phone.name + ":1"), phone.start, turn, length[i], level[i]),
                    (NAMES.index(phone.name + ":2"), turn, phone.end, length[i], level[i]),
                ]
            else:
                rows.append(
                    (
                        NAMES.index(phone.name if phone.name in TABLE else "ax"),
                        phone.start,
                        phone.end,
                        length[i],
                        level[i],
                    )
                )
            if phone.name in BILABIALS | LABIODENTALS:
                contacts.append(
                    (
                        CONTACTS.index(phone.name),
                        phone.start,
                        phone.end,
                        max(0.03, 0.5 * (before.end - before.start)) if before else 1.0,
                        max(0.03, 0.5 * (after.end - after.start)) if after else 1.0,
                        float(after is not None and after.name in BILABIALS),
                    )
                )
        pauses = [
            (phone.start, phone.end, float(i == 0), float(i == len(phones) - 1))
            for i, phone in enumerate(phones)
            if phone.name == "pau" and phone.end - phone.start >= 0.12
        ]
        return rows, contacts, pauses


def _efforts(phones, pcm):
    """`teacher.effort` before its two coefficients: (length, level), each (N,) in -1..1, 0 for consonants."""
    vowels = [i for i, phone in enumerate(phones) if phone.name in VOWELS]
    length, level = np.zeros(len(phones)), np.zeros(len(phones))
    for i in vowels:
        length[i] = np.tanh(np.log(max(phones[i].end - phones[i].start, 0.01) / 0.10))
        sound = pcm[int(phones[i].start * SAMPLE_RATE) : int(phones[i].end * SAMPLE_RATE) + 1].astype(
            np.float64
        )
        level[i] = 10.0 * np.log10((np.mean(sound**2) if len(sound) else 0.0) + 1e-9)
    if vowels:
        level[vowels] = np.tanh((level[vowels] - np.median(level[vowels])) / 6.0)
    return length, level


def _smooth(x):
    x = x.clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


class Mouth(torch.nn.Module):
    """The teacher's lips with numbers that learn: a Sheet -> opening and width in millimetres, jaw; (B, T) each."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hand_target", _column(TARGETS))
        self.register_buffer("hand_firm", _column(FIRM))
        # lips that no rule rounds or spreads are not to be rounded or spread by a fit's leftovers
        learns = torch.ones_like(self.hand_target)
        learns[:, 1:4] = (self.hand_target[:, 1:4] > 0).float()
        learns[NAMES.index("pau")] = 0.0
        self.register_buffer("learns", learns)
        floor = torch.zeros_like(learns)
        floor[:, 0] = OPEN * torch.tensor(
            [float(name not in BILABIALS | LABIODENTALS | {"pau"}) for name in NAMES]
        )
        self.register_buffer("floor", floor)
        start = {
            "target": torch.zeros(len(NAMES), len(TARGETS)),
            "firm": torch.zeros(len(NAMES), len(FIRM)),
            "scale": torch.zeros(len(TARGETS)),
            "reach": torch.tensor([[0.08, 0.11], [0.10, 0.13], [0.07, 0.09]]),
            "plateau": torch.full((3,), 0.25),
            "neutral": torch.full((3,), 0.12).log(),
            "closing": torch.full((2,), 0.065),
            "release": torch.full((2,), 0.07),
            "hold": torch.tensor(
                [[-0.005, 0.025], [-0.005, 0.010], [-0.005, -0.005], [0.01, 0.01], [0.01, 0.01]]
            ),
            "bite": torch.tensor(0.8),
            "effort": torch.tensor([0.28, 0.25]),
            "rest": torch.tensor([0.03, 0.14, 0.09]),
            "width": torch.tensor(0.0),
        }
        for name, value in start.items():
            setattr(self, name, torch.nn.Parameter(value))
        rig = default_rig()
        eye = np.eye(len(ARKIT_NAMES), dtype=np.float32)
        wide = 1000.0 * (rig.lip_width(eye) - rig.lip_width(0.0 * eye))
        tall = 1000.0 * rig.lip_gap_map()[1]
        self.tall, self.wide = (
            {name: float(row[INDEX[name]]) for name in ARKIT_NAMES} for row in (tall, wide)
        )

    @property
    def targets(self):
        return torch.maximum(self.hand_target * self.scale.exp() + self.target * self.learns, self.floor)

    @property
    def firmness(self):
        return self.hand_firm * self.firm.exp()

    def forward(self, sheet):
        t = torch.tensor(dominance.times(sheet.frames)).float()[:, None, None]  # (T, 1, 1)
        blend = self._blend(sheet.rows, t)
        closed, bitten, pressed = self._contacts(sheet.contacts, t)
        awake = self._awake(sheet.pauses, t)
        jaw = blend["jaw"].clamp(0.0, 0.95) * awake
        part = blend["part"] * (1.0 - closed) * awake * (1.0 - bitten)
        spread = blend["spread"] * awake * (1.0 - 0.3 * closed)
        pucker = blend["pucker"].clamp(0.0, 1.0) * awake * (1.0 - 0.3 * closed)
        funnel = blend["funnel"].clamp(0.0, 1.0) * awake * (1.0 - closed) * (1.0 - 0.5 * bitten)
        lift = 0.65 * part + 0.16 * bitten * awake * (1.0 - closed)
        tall, wide = self.tall, self.wide
        gap = (
            tall["jawOpen"] * jaw * (1.0 - closed) * (1.0 - self.bite * bitten)
            + tall["mouthFunnel"] * funnel
            + 2.0 * tall["mouthLowerDownLeft"] * part
            + 2.0 * tall["mouthUpperUpLeft"] * lift
        )
        corners = 2.0 * (
            0.48 * wide["mouthSmileLeft"] + 0.50 * wide["mouthStretchLeft"] + 0.10 * wide["mouthDimpleLeft"]
        )
        width = (
            wide["mouthPucker"] * pucker
            + wide["mouthFunnel"] * funnel
            + wide["jawOpen"] * jaw
            + corners * spread
            + 2.0 * wide["mouthPressLeft"] * pressed
            + self.width
        )
        return gap.clamp(min=0.0), width, jaw

    def _blend(self, rows, t):
        here = (rows[..., 0] >= 0).float()
        kind, start, end = rows[..., 0].clamp(min=0).long(), rows[..., 1], rows[..., 2]
        target, firm = self.targets[kind], self.firmness[kind]
        effort = 1.0 + (self.effort[0] * rows[..., 3] + self.effort[1] * rows[..., 4]) * here
        out = {}
        for g, group in enumerate(GROUPS):
            inner = self.plateau[g] * (end - start)
            before = (start + inner - t) / (self.reach[g, 0] + inner)
            after = (t - end + inner) / (self.reach[g, 1] + inner)
            weight = 0.5 + 0.5 * torch.cos(np.pi * torch.maximum(before, after).clamp(0.0, 1.0))
            weight = weight * firm[..., g] * here
            weight = weight / (weight.sum(-1, keepdim=True) + self.neutral[g].exp())
            for column in OF_GROUP[group]:
                wanted = target[..., column] * (effort if group != "shape" else 1.0)
                out[TARGETS[column]] = (weight * wanted).sum(-1).T
        return out

    def _contacts(self, rows, t):
        here = (rows[..., 0] >= 0).float()
        kind = rows[..., 0].clamp(min=0).long()
        lips = (kind < 3).float()
        on, left = self.hold[kind, 0], self.hold[kind, 1]
        span = rows[..., 2] - rows[..., 1]
        left = torch.where(kind < 3, torch.minimum(left, 0.35 * span - 0.005), left)
        left = torch.where((kind < 3) & (rows[..., 5] > 0), torch.full_like(left, -0.005), left)
        start, end = rows[..., 1] + on, rows[..., 2] - left
        missing = (1.02 / FRAME_RATE - (end - start)).clamp(min=0.0)
        start, end = start - missing / 2, end + missing / 2
        closing = torch.minimum(self.closing[(kind >= 3).long()], rows[..., 3])
        release = torch.minimum(self.release[(kind >= 3).long()], rows[..., 4])
        bump = torch.minimum(_smooth((t - start) / closing + 1.0), _smooth((end - t) / release + 1.0)) * here
        strength = torch.tensor([dominance.PRESS.get(name, 0.0) for name in CONTACTS])[kind]
        return tuple((bump * share).amax(-1).T for share in (lips, 1.0 - lips, strength))

    def _awake(self, rows, t):
        here = (rows[..., 1] >= 0).float()
        leaving = 1.0 - _smooth((t - rows[..., 0] - self.rest[0]) / self.rest[1])
        waking = _smooth((t - rows[..., 1] + self.rest[2]) / self.rest[2])
        leaving, waking = (
            leaving * (1.0 - (rows[..., 2] > 0).float()),
            waking * (1.0 - (rows[..., 3] > 0).float()),
        )
        inside = ((t >= rows[..., 0]) & (t < rows[..., 1])).float() * here
        return (1.0 - (inside * (1.0 - torch.maximum(leaving, waking))).amax(-1)).T

    def bound(self) -> None:
        """Keep every number where it means something."""
        with torch.no_grad():
            for name, (low, high) in LIMITS.items():
                getattr(self, name).clamp_(low, high)
            self.reach.clamp_(0.02, 0.25)
            self.reach[:, 0].clamp_(max=EARLIEST)
            self.rest[0].clamp_(0.0, 0.05)
            self.rest[1].clamp_(0.08, 0.14)
            self.rest[2].clamp_(0.04, EARLIEST)
            self.effort[0].clamp_(min=LONGER)
            self.effort[1].clamp_(min=LOUDER)
            self.target[:, 0].clamp_(-0.25, 0.25)

    def strangeness(self):
        """How far the numbers have left the hand-written ones, in squares of SIGMA."""
        return ((self.target / SIGMA["target"]) ** 2).sum() + ((self.firm / SIGMA["firm"]) ** 2).sum()

    def numbers(self, gain, sources):
        """The dict of data/teacher.json. gain: factor on every opening."""

        def short(value, digits=4):
            return round(float(value.detach()) if torch.is_tensor(value) else float(value), digits)

        targets, firm = self.targets.detach().clone(), self.firmness.detach()
        targets[:, 0] *= gain
        targets[:, 4] *= gain
        rows = {
            name: dict(zip((*TARGETS, *FIRM), (short(x, 3) for x in (*target, *strength))))
            for name, target, strength in zip(NAMES, targets, firm)
        }
        return {
            "about": "Numbers of the procedural teacher, made by `python -m streamingtalker_ros.training.coarticulation_fit` from "
            "tracked lips; docs/teacher.md says what each means. visemes: " + " ".join(TARGET_COLUMNS),
            "sources": sources,
            "reach": {name: [short(x) for x in self.reach[g]] for g, name in enumerate(GROUPS)},
            "plateau": {name: short(self.plateau[g]) for g, name in enumerate(GROUPS)},
            "neutral": {name: short(self.neutral[g].exp()) for g, name in enumerate(GROUPS)},
            "closing": {name: short(self.closing[k]) for k, name in enumerate(("lips", "teeth"))},
            "release": {name: short(self.release[k]) for k, name in enumerate(("lips", "teeth"))},
            "hold": {name: [short(x) for x in self.hold[k]] for k, name in enumerate(CONTACTS)},
            "bite": short(self.bite),
            "effort": {"length": short(self.effort[0]), "level": short(self.effort[1])},
            "rest": {name: short(self.rest[k]) for k, name in enumerate(("wait", "fall", "wake"))},
            "visemes": {name: [row[column] for column in TARGET_COLUMNS] for name, row in rows.items()},
        }


def correlations(one, other):
    """Pearson's r of the rows of two (B, T): (B,)."""
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1) + 1e-9)


def described(mouth, sheet) -> str:
    """r and amplitude of a Mouth against a Sheet, in words."""
    with torch.no_grad():
        gap, width, _ = mouth(sheet)
        r, of_width = correlations(gap, sheet.gap), correlations(width, sheet.width)
    return (
        f"opening r {r.median():.3f} (10th percentile {r.quantile(0.1):.3f}), width r {of_width.median():.3f}, "
        f"amplitude {(gap.std(1) / sheet.gap.std(1)).median():.2f}"
    )


def fit(train, judge, steps=STEPS, keep=KEEP, seed=0, tell=print):
    """Numbers that follow the camera. train, judge: Sheet; keep: price of a square of strangeness. Returns a Mouth."""
    torch.manual_seed(seed)
    mouth = Mouth()
    tell(f"hand-written: {described(mouth, judge)}")
    optimizer = torch.optim.Adam(
        [{"params": [getattr(mouth, name)], "lr": rate, "usual": rate} for name, rate in RATES.items()]
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["usual"] * min(1.0, (steps - step) / (0.4 * steps))
        part = train.pick(torch.randperm(len(train))[:BATCH])
        gap, width, jaw = mouth(part)
        loss = (
            part.counts
            * ((gap - part.gap) ** 2 / 9.0 + (width - part.width) ** 2 / 4.0 + 20.0 * (jaw - part.jaw) ** 2)
        ).mean() + keep * mouth.strangeness()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mouth.bound()
        if step % 50 == 49:
            tell(f"step {step + 1}: loss {loss:.3f}; {described(mouth, judge)}")
    return mouth


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m streamingtalker_ros.training.coarticulation_fit", description=__doc__
    )
    parser.add_argument("corpus", type=Path, help="made by `streamingtalker corpus from-video`")
    parser.add_argument("--out", type=Path, default=NUMBERS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--keep", type=float, default=KEEP, help="price of leaving the hand-written numbers")
    args = parser.parse_args(argv)
    try:
        train, judge = Sheet(load_corpus(args.corpus, "train")), Sheet(load_corpus(args.corpus, "test"))
        mouth = fit(train, judge, args.steps, args.keep)
        with torch.no_grad():
            gap = mouth(train)[0]
        gain = float((train.gap.std(1) / gap.std(1)).median())
        sources = {**read_index(args.corpus).get("sources", {}), "clips": len(train)}
        text = json.dumps(mouth.numbers(gain, sources), indent=1)
        text = re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
        args.out.write_text(text + "\n", encoding="utf-8")
        print(f"{args.out}: gain {gain:.2f}")
    except TalkerError as error:
        print(f"fit: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
