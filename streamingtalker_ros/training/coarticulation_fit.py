# SPDX-License-Identifier: Apache-2.0
"""Fits the dominance model to tracked lips by gradient descent: `streamingtalker train coarticulation-fit`.

Takes a corpus of video with aligned phones and writes `data/coarticulation.json`. `DifferentiableMouth` is
the arithmetic of `coarticulation.dominance` on tensors; parameters that the corpus does not show stay at the
hand-written targets of `phones.INITIAL_TARGETS`, scaled like the rest.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.dominance import MAX_ANTICIPATION_S, MIN_CONTACT_RAMP_S, MIN_PAUSE_S
from streamingtalker_ros.coarticulation.parameters import (
    ARTICULATOR_GROUPS,
    CONTACT_KINDS,
    DominanceParameters,
)
from streamingtalker_ros.corpus.storage import Clip, load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.output_files import write_text
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    INITIAL_TARGETS,
    LABIODENTALS,
    TARGET_COLUMNS,
    VOWELS,
    Phone,
)

PARAMETERS_PATH = Path(__file__).parent.parent / "data" / "coarticulation.json"
ARTICULATOR_COLUMNS = ("jaw", "pucker", "funnel", "spread", "part")
DOMINANCE_COLUMNS = ("jaw_dominance", "shape_dominance", "part_dominance")
GROUP_COLUMNS = {"jaw": (0,), "shape": (1, 2, 3), "part": (4,)}  # rows of ARTICULATOR_COLUMNS
CONTACT_PHONES = "pbmfv"
NUM_BILABIALS = 3  # the first of CONTACT_PHONES
MIN_OPEN_JAW = 0.04  # of a phone without contact: lips that nearly touch would look closed
MIN_EFFORT_PER_LEVEL, MIN_EFFORT_PER_DURATION = 0.20, 0.0  # one calm speaker does not show these effects
PRIOR_SIGMA = {"target": 0.10, "dominance": 0.5}  # standard deviations around the hand-written numbers
STEPS, BATCH_SIZE = 300, 120
PRIOR_WEIGHT = 0.0005  # per unit of `prior_penalty`
LEARNING_RATES = {
    "target": 0.01,
    "log_dominance": 0.04,
    "log_scale": 0.02,
    "reach": 0.002,
    "skirt_ratio": 0.005,
    "log_neutral": 0.04,
    "closing": 0.001,
    "release": 0.001,
    "contact_offsets": 0.001,
    "jaw_reduction": 0.01,
    "effort": 0.01,
    "pause": 0.002,
    "width_offset": 0.05,
}
LIMITS = {
    "skirt_ratio": (0.02, 0.49),
    "closing": (0.03, 0.15),
    "release": (0.03, 0.2),
    "contact_offsets": (-0.05, 0.08),
    "jaw_reduction": (0.2, 0.95),
}

_log = logging.getLogger(__name__)


def _parse_initial_targets() -> tuple[list[str], dict[str, dict[str, float]]]:
    rows = [line.split() for line in INITIAL_TARGETS.strip().splitlines()]
    return [row[0] for row in rows], {
        row[0]: dict(zip(TARGET_COLUMNS, map(float, row[1:]), strict=True)) for row in rows
    }


PHONE_NAMES, TARGET_TABLE = _parse_initial_targets()


def _columns(names: Sequence[str]) -> torch.Tensor:
    """(phones, len(names)) of the hand-written table."""
    return torch.tensor([[TARGET_TABLE[phone][name] for name in names] for phone in PHONE_NAMES])


class ClipTensors:
    """Clips as padded tensors: phones, contacts, pauses, and the lips that the camera measured.

    Attributes:
        frames: frames per clip T, those of the shortest clip.
        phones: (B, N, 5): row of `PHONE_NAMES`, start s, end s, effort by duration, effort by level; padding
            is -9.
        contacts: (B, M, 6): index in `CONTACT_PHONES`, start s, end s, longest closing s, longest release s,
            whether a bilabial follows.
        pauses: (B, P, 4): start s, end s, whether it is the first phone, whether it is the last.
        gap: (B, T) measured lip gap, mm.
        width: (B, T) measured mouth width above rest, mm.
        jaw: (B, T) measured jawOpen.
        counted: (B, T) 1 where the frame counts in the loss.

    Raises:
        TalkerError: if no clip has tracked lips and phones.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        rig = default_rig()
        clips = [clip for clip in clips if clip.lip_opening is not None and len(clip.phones) > 1]
        if not clips:
            raise TalkerError("no clip has tracked lips and phones; fit on a corpus built from video")
        self.frames = min(len(clip.weights) for clip in clips)
        phones, contacts, pauses = zip(*(self._clip_rows(clip) for clip in clips), strict=True)
        self.phones = self._pad(phones, 5)
        self.contacts = self._pad(contacts, 6)
        self.pauses = self._pad(pauses, 4)
        weights = [clip.weights[: self.frames] for clip in clips]
        self.gap = torch.tensor(np.stack([np.maximum(rig.lip_gap(w), 0.0) for w in weights]) * 1000.0).float()
        rest_width = rig.lip_width(np.zeros((1, len(ARKIT_NAMES)), np.float32))
        self.width = torch.tensor(np.stack([rig.lip_width(w) - rest_width for w in weights]) * 1000.0).float()
        self.jaw = torch.tensor(np.stack([w[:, INDEX["jawOpen"]] for w in weights])).float()
        # people part their lips up to half a second before they speak, which no audio announces
        t = dominance.frame_times(self.frames)
        self.counted = torch.tensor(
            np.stack(
                [
                    t > clip.phones[0].end - MAX_ANTICIPATION_S if clip.phones[0].name == "pau" else t >= 0.0
                    for clip in clips
                ]
            )
        ).float()

    def __len__(self) -> int:
        return len(self.phones)

    def select(self, rows: torch.Tensor) -> ClipTensors:
        """The clips of the given rows (K,)."""
        subset = object.__new__(ClipTensors)
        subset.frames = self.frames
        for name in ("phones", "contacts", "pauses", "gap", "width", "jaw", "counted"):
            setattr(subset, name, getattr(self, name)[rows])
        return subset

    @staticmethod
    def _pad(lists: Sequence[Sequence[tuple[float, ...]]], width: int) -> torch.Tensor:
        padded = np.full((len(lists), max(1, max(map(len, lists))), width), -9.0, np.float32)
        for i, rows in enumerate(lists):
            if rows:
                padded[i, : len(rows)] = rows
        return torch.from_numpy(padded)

    @staticmethod
    def _clip_rows(
        clip: Clip,
    ) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]], list[tuple[float, ...]]]:
        phones: list[Phone] = clip.phones
        rows: list[tuple[float, ...]] = []
        contacts: list[tuple[float, ...]] = []
        by_duration, by_level = _effort_terms(phones, clip.pcm)
        for i, phone in enumerate(phones):
            before, after = phones[i - 1] if i else None, phones[i + 1] if i + 1 < len(phones) else None
            effort = by_duration[i], by_level[i]
            if phone.name + ":1" in TARGET_TABLE:  # a diphthong is two targets
                middle = 0.5 * (phone.start + phone.end)
                rows += [
                    (PHONE_NAMES.index(phone.name + ":1"), phone.start, middle, *effort),
                    (PHONE_NAMES.index(phone.name + ":2"), middle, phone.end, *effort),
                ]
            else:
                name = phone.name if phone.name in TARGET_TABLE else "ax"
                rows.append((PHONE_NAMES.index(name), phone.start, phone.end, *effort))
            if phone.name in BILABIALS | LABIODENTALS:
                contacts.append(
                    (
                        CONTACT_PHONES.index(phone.name),
                        phone.start,
                        phone.end,
                        max(MIN_CONTACT_RAMP_S, 0.5 * (before.end - before.start)) if before else 1.0,
                        max(MIN_CONTACT_RAMP_S, 0.5 * (after.end - after.start)) if after else 1.0,
                        float(after is not None and after.name in BILABIALS),
                    )
                )
        pauses: list[tuple[float, ...]] = [
            (phone.start, phone.end, float(i == 0), float(i == len(phones) - 1))
            for i, phone in enumerate(phones)
            if phone.name == "pau" and phone.end - phone.start >= MIN_PAUSE_S
        ]
        return rows, contacts, pauses


def _effort_terms(
    phones: Sequence[Phone], pcm: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Terms of `dominance.articulation_effort` without their coefficients: two (N,) in -1..1."""
    vowels = [i for i, phone in enumerate(phones) if phone.name in VOWELS]
    duration, level = np.zeros(len(phones)), np.zeros(len(phones))
    for i in vowels:
        duration[i] = np.tanh(np.log(max(phones[i].end - phones[i].start, 0.01) / 0.10))
        samples = pcm[int(phones[i].start * SAMPLE_RATE) : int(phones[i].end * SAMPLE_RATE) + 1].astype(
            np.float64
        )
        level[i] = 10.0 * np.log10((np.mean(samples**2) if len(samples) else 0.0) + 1e-9)
    if vowels:
        level[vowels] = np.tanh((level[vowels] - np.median(level[vowels])) / 6.0)
    return duration, level


def _smoothstep(x: torch.Tensor) -> torch.Tensor:
    x = x.clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


class DifferentiableMouth(torch.nn.Module):
    """The lips of the dominance model with learnable parameters.

    `forward` maps `ClipTensors` to lip gap (mm), mouth width above rest (mm) and jawOpen, each (B, T).
    """

    initial_target: torch.Tensor
    initial_dominance: torch.Tensor
    learnable: torch.Tensor
    floor: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initial_target", _columns(ARTICULATOR_COLUMNS))
        self.register_buffer("initial_dominance", _columns(DOMINANCE_COLUMNS))
        # a phone whose hand-written target has no rounding or spreading gets none from the fit
        learnable = torch.ones_like(self.initial_target)
        learnable[:, 1:4] = (self.initial_target[:, 1:4] > 0).float()
        learnable[PHONE_NAMES.index("pau")] = 0.0
        self.register_buffer("learnable", learnable)
        floor = torch.zeros_like(learnable)
        floor[:, 0] = MIN_OPEN_JAW * torch.tensor(
            [float(name not in BILABIALS | LABIODENTALS | {"pau"}) for name in PHONE_NAMES]
        )
        self.register_buffer("floor", floor)
        parameter = torch.nn.Parameter
        self.target = parameter(torch.zeros(len(PHONE_NAMES), len(ARTICULATOR_COLUMNS)))
        self.log_dominance = parameter(torch.zeros(len(PHONE_NAMES), len(DOMINANCE_COLUMNS)))
        self.log_scale = parameter(torch.zeros(len(ARTICULATOR_COLUMNS)))
        self.reach = parameter(torch.tensor([[0.08, 0.11], [0.10, 0.13], [0.07, 0.09]]))
        self.skirt_ratio = parameter(torch.full((3,), 0.25))
        self.log_neutral = parameter(torch.full((3,), 0.12).log())
        self.closing = parameter(torch.full((2,), 0.065))
        self.release = parameter(torch.full((2,), 0.07))
        self.contact_offsets = parameter(
            torch.tensor([[-0.005, 0.025], [-0.005, 0.010], [-0.005, -0.005], [0.01, 0.01], [0.01, 0.01]])
        )
        self.jaw_reduction = parameter(torch.tensor(0.8))
        self.effort = parameter(torch.tensor([0.28, 0.25]))
        self.pause = parameter(torch.tensor([0.03, 0.14, 0.09]))
        self.width_offset = parameter(torch.tensor(0.0))
        rig = default_rig()
        eye = np.eye(len(ARKIT_NAMES), dtype=np.float32)
        width_mm = 1000.0 * (rig.lip_width(eye) - rig.lip_width(0.0 * eye))
        gap_mm = 1000.0 * rig.lip_gap_map()[1]
        self.gap_per_shape, self.width_per_shape = (
            {name: float(row[INDEX[name]]) for name in ARKIT_NAMES} for row in (gap_mm, width_mm)
        )

    @property
    def targets(self) -> torch.Tensor:
        """(phones, len(ARTICULATOR_COLUMNS)) current targets."""
        scaled = self.initial_target * self.log_scale.exp() + self.target * self.learnable
        return torch.maximum(scaled, self.floor)

    @property
    def dominance(self) -> torch.Tensor:
        """(phones, len(DOMINANCE_COLUMNS)) current dominance."""
        return self.initial_dominance * self.log_dominance.exp()

    def forward(self, clips: ClipTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Lip gap (mm), mouth width above rest (mm) and jawOpen of the clips: three (B, T)."""
        t = torch.tensor(dominance.frame_times(clips.frames)).float()[:, None, None]  # (T, 1, 1)
        blend = self._blend(clips.phones, t)
        closed, bitten, pressed = self._contact_curves(clips.contacts, t)
        speech = self._speech_mask(clips.pauses, t)
        jaw = blend["jaw"].clamp(0.0, 0.95) * speech
        part = blend["part"] * (1.0 - closed) * speech * (1.0 - bitten)
        spread = blend["spread"] * speech * (1.0 - 0.3 * closed)
        pucker = blend["pucker"].clamp(0.0, 1.0) * speech * (1.0 - 0.3 * closed)
        funnel = blend["funnel"].clamp(0.0, 1.0) * speech * (1.0 - closed) * (1.0 - 0.5 * bitten)
        lift = 0.65 * part + 0.16 * bitten * speech * (1.0 - closed)
        gap_per, width_per = self.gap_per_shape, self.width_per_shape
        gap = (
            gap_per["jawOpen"] * jaw * (1.0 - closed) * (1.0 - self.jaw_reduction * bitten)
            + gap_per["mouthFunnel"] * funnel
            + 2.0 * gap_per["mouthLowerDownLeft"] * part
            + 2.0 * gap_per["mouthUpperUpLeft"] * lift
        )
        corners = 2.0 * (
            0.48 * width_per["mouthSmileLeft"]
            + 0.50 * width_per["mouthStretchLeft"]
            + 0.10 * width_per["mouthDimpleLeft"]
        )
        width = (
            width_per["mouthPucker"] * pucker
            + width_per["mouthFunnel"] * funnel
            + width_per["jawOpen"] * jaw
            + corners * spread
            + 2.0 * width_per["mouthPressLeft"] * pressed
            + self.width_offset
        )
        return gap.clamp(min=0.0), width, jaw

    def _blend(self, rows: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
        """Blended target per column of `ARTICULATOR_COLUMNS`, each (B, T)."""
        valid = (rows[..., 0] >= 0).float()
        phone, start, end = rows[..., 0].clamp(min=0).long(), rows[..., 1], rows[..., 2]
        target, strength = self.targets[phone], self.dominance[phone]
        effort = 1.0 + (self.effort[0] * rows[..., 3] + self.effort[1] * rows[..., 4]) * valid
        blended: dict[str, torch.Tensor] = {}
        for g, group in enumerate(ARTICULATOR_GROUPS):
            inner = self.skirt_ratio[g] * (end - start)
            before = (start + inner - t) / (self.reach[g, 0] + inner)
            after = (t - end + inner) / (self.reach[g, 1] + inner)
            weight = 0.5 + 0.5 * torch.cos(np.pi * torch.maximum(before, after).clamp(0.0, 1.0))
            weight = weight * strength[..., g] * valid
            weight = weight / (weight.sum(-1, keepdim=True) + self.log_neutral[g].exp())
            for column in GROUP_COLUMNS[group]:
                value = target[..., column] * (effort if group != "shape" else 1.0)
                blended[ARTICULATOR_COLUMNS[column]] = (weight * value).sum(-1).T
        return blended

    def _contact_curves(
        self, rows: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Bilabial closure, labiodental contact and lip press: three (B, T) in 0..1."""
        valid = (rows[..., 0] >= 0).float()
        phone = rows[..., 0].clamp(min=0).long()
        is_bilabial = phone < NUM_BILABIALS
        from_start, to_end = self.contact_offsets[phone, 0], self.contact_offsets[phone, 1]
        length = rows[..., 2] - rows[..., 1]
        to_end = torch.where(is_bilabial, torch.minimum(to_end, 0.35 * length - 0.005), to_end)
        to_end = torch.where(is_bilabial & (rows[..., 5] > 0), torch.full_like(to_end, -0.005), to_end)
        start, end = rows[..., 1] + from_start, rows[..., 2] - to_end
        missing = (1.02 / FRAME_RATE - (end - start)).clamp(min=0.0)
        start, end = start - missing / 2, end + missing / 2
        closing = torch.minimum(self.closing[(~is_bilabial).long()], rows[..., 3])
        release = torch.minimum(self.release[(~is_bilabial).long()], rows[..., 4])
        bump = torch.minimum(_smoothstep((t - start) / closing + 1.0), _smoothstep((end - t) / release + 1.0))
        bump = bump * valid
        press = torch.tensor([dominance.PRESS_WEIGHTS.get(name, 0.0) for name in CONTACT_PHONES])[phone]
        closed, bitten, pressed = (
            (bump * factor).amax(-1).T for factor in (is_bilabial.float(), 1.0 - is_bilabial.float(), press)
        )
        return closed, bitten, pressed

    def _speech_mask(self, rows: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """As `dominance.speech_mask`: (B, T) in 0..1."""
        valid = (rows[..., 1] >= 0).float()
        closing = 1.0 - _smoothstep((t - rows[..., 0] - self.pause[0]) / self.pause[1])
        opening = _smoothstep((t - rows[..., 1] + self.pause[2]) / self.pause[2])
        closing = closing * (1.0 - (rows[..., 2] > 0).float())
        opening = opening * (1.0 - (rows[..., 3] > 0).float())
        inside = ((t >= rows[..., 0]) & (t < rows[..., 1])).float() * valid
        return (1.0 - (inside * (1.0 - torch.maximum(closing, opening))).amax(-1)).T

    def clamp_parameters(self) -> None:
        """Keep every parameter in the range where it has a meaning."""
        with torch.no_grad():
            for name, (low, high) in LIMITS.items():
                getattr(self, name).clamp_(low, high)
            self.reach.clamp_(0.02, 0.25)
            self.reach[:, 0].clamp_(max=MAX_ANTICIPATION_S)
            self.pause[0].clamp_(0.0, 0.05)
            self.pause[1].clamp_(0.08, 0.14)
            self.pause[2].clamp_(0.04, MAX_ANTICIPATION_S)
            self.effort[0].clamp_(min=MIN_EFFORT_PER_DURATION)
            self.effort[1].clamp_(min=MIN_EFFORT_PER_LEVEL)
            self.target[:, 0].clamp_(-0.25, 0.25)

    def prior_penalty(self) -> torch.Tensor:
        """Sum of squared deviations from the hand-written numbers, in units of `PRIOR_SIGMA`."""
        return ((self.target / PRIOR_SIGMA["target"]) ** 2).sum() + (
            (self.log_dominance / PRIOR_SIGMA["dominance"]) ** 2
        ).sum()

    def parameters_as_dataclass(self) -> DominanceParameters:
        """The timing parameters, rounded to four digits."""
        return DominanceParameters(
            reach_s={
                group: (_rounded(self.reach[g, 0]), _rounded(self.reach[g, 1]))
                for g, group in enumerate(ARTICULATOR_GROUPS)
            },
            skirt_ratio={group: _rounded(self.skirt_ratio[g]) for g, group in enumerate(ARTICULATOR_GROUPS)},
            neutral_dominance={
                group: _rounded(self.log_neutral[g].exp()) for g, group in enumerate(ARTICULATOR_GROUPS)
            },
            closing_s={kind: _rounded(self.closing[k]) for k, kind in enumerate(CONTACT_KINDS)},
            release_s={kind: _rounded(self.release[k]) for k, kind in enumerate(CONTACT_KINDS)},
            contact_offsets_s={
                phone: (_rounded(self.contact_offsets[k, 0]), _rounded(self.contact_offsets[k, 1]))
                for k, phone in enumerate(CONTACT_PHONES)
            },
            labiodental_jaw_reduction=_rounded(self.jaw_reduction),
            effort_per_duration=_rounded(self.effort[0]),
            effort_per_level=_rounded(self.effort[1]),
            pause_delay_s=_rounded(self.pause[0]),
            pause_closing_s=_rounded(self.pause[1]),
            pause_opening_s=_rounded(self.pause[2]),
        )

    def to_json(self, gain: float, sources: dict[str, Any]) -> dict[str, Any]:
        """The content of `data/coarticulation.json`.

        Args:
            gain: factor on every jaw opening and lip parting.
            sources: provenance of the corpus.
        """
        targets, strengths = self.targets.detach().clone(), self.dominance.detach()
        targets[:, 0] *= gain
        targets[:, 4] *= gain
        rows = {
            name: dict(
                zip(
                    (*ARTICULATOR_COLUMNS, *DOMINANCE_COLUMNS),
                    (_rounded(x, 3) for x in (*target, *strength)),
                    strict=True,
                )
            )
            for name, target, strength in zip(PHONE_NAMES, targets, strengths, strict=True)
        }
        return {
            "about": "Parameters of the dominance model of coarticulation, fitted to tracked lips by "
            "`streamingtalker train coarticulation-fit`; docs/coarticulation.md describes each. visemes: "
            + " ".join(TARGET_COLUMNS),
            "sources": sources,
            **self.parameters_as_dataclass().to_json(),
            "visemes": {name: [row[column] for column in TARGET_COLUMNS] for name, row in rows.items()},
        }


def _rounded(value: torch.Tensor, digits: int = 4) -> float:
    return round(float(value.detach()), digits)


def row_correlations(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's r of corresponding rows of two (B, T): (B,).

    Args:
        a: (B, T).
        b: (B, T).

    Returns:
        (B,) in -1..1.
    """
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-9)


def describe_agreement(mouth: DifferentiableMouth, clips: ClipTensors) -> str:
    """Correlation and amplitude of a mouth against tracked lips, as text for the log.

    Args:
        mouth: The dominance model.
        clips: Clips with tracked lips.

    Returns:
        Median r of lip gap and mouth width, and the median ratio of the gaps' standard deviations.
    """
    with torch.no_grad():
        gap, width, _ = mouth(clips)
        gap_r, width_r = row_correlations(gap, clips.gap), row_correlations(width, clips.width)
    return (
        f"lip gap r {gap_r.median():.3f} (10th percentile {gap_r.quantile(0.1):.3f}), "
        f"width r {width_r.median():.3f}, amplitude {(gap.std(1) / clips.gap.std(1)).median():.2f}"
    )


def fit_parameters(
    train_set: ClipTensors,
    test_set: ClipTensors,
    steps: int = STEPS,
    prior_weight: float = PRIOR_WEIGHT,
    seed: int = 0,
) -> DifferentiableMouth:
    """Fit the dominance model to tracked lips.

    Args:
        train_set: training clips.
        test_set: clips whose agreement is logged.
        steps: optimizer steps.
        prior_weight: weight of `DifferentiableMouth.prior_penalty`.
        seed: of PyTorch's generator.
    """
    torch.manual_seed(seed)
    mouth = DifferentiableMouth()
    _log.info("hand-written: %s", describe_agreement(mouth, test_set))
    optimizer = torch.optim.Adam(
        [
            {"params": [getattr(mouth, name)], "lr": rate, "base_lr": rate}
            for name, rate in LEARNING_RATES.items()
        ]
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * min(1.0, (steps - step) / (0.4 * steps))
        batch = train_set.select(torch.randperm(len(train_set))[:BATCH_SIZE])
        gap, width, jaw = mouth(batch)
        error = (
            (gap - batch.gap) ** 2 / 9.0 + (width - batch.width) ** 2 / 4.0 + 20.0 * (jaw - batch.jaw) ** 2
        )
        loss = (batch.counted * error).mean() + prior_weight * mouth.prior_penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mouth.clamp_parameters()
        if step % 50 == 49:
            _log.info("step %d: loss %.3f; %s", step + 1, loss, describe_agreement(mouth, test_set))
    return mouth


def run(
    corpus: Path, out: Path = PARAMETERS_PATH, steps: int = STEPS, prior_weight: float = PRIOR_WEIGHT
) -> Path:
    """Fit on a corpus and write the parameters.

    Args:
        corpus: folder made by `streamingtalker corpus from-video`.
        out: JSON file to write.
        steps: optimizer steps.
        prior_weight: weight of the distance from the hand-written numbers.

    Raises:
        TalkerError: if no clip has tracked lips and phones.
    """
    train_set = ClipTensors(load_corpus(corpus, "train"))
    test_set = ClipTensors(load_corpus(corpus, "test"))
    mouth = fit_parameters(train_set, test_set, steps, prior_weight)
    with torch.no_grad():
        gap = mouth(train_set)[0]
    gain = float((train_set.gap.std(1) / gap.std(1)).median())  # restores the camera's amplitude
    sources = {**read_index(corpus).get("sources", {}), "clips": len(train_set)}
    text = json.dumps(mouth.to_json(gain, sources), indent=1)
    text = re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
    write_text(out, text + "\n")
    _log.info("%s: gain %.2f", out, gain)
    return out
