# SPDX-License-Identifier: Apache-2.0
"""Parameters of the dominance model: a typed view of `data/coarticulation.json`.

The file keeps its short keys; `DominanceParameters.from_json` and `to_json` are the only code that maps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ARTICULATOR_GROUPS = (
    "jaw",
    "shape",
    "part",
)  # shape: pucker, funnel, spread; part: lips drawn from the teeth
CONTACT_KINDS = ("lips", "teeth")  # bilabial and labiodental contacts


@dataclass(frozen=True)
class DominanceParameters:
    """Timing and dominance of the articulators; times in seconds, the rest without unit.

    Attributes:
        reach_s: group -> (before, after): time over which a target acts outside its phone.
        skirt_ratio: group -> fraction of the phone at either end that the dominance function's skirts take.
        neutral_dominance: group -> dominance of the neutral position.
        closing_s: contact kind -> time a contact takes to form.
        release_s: contact kind -> time a contact takes to open.
        contact_offsets_s: phone -> (from the phone's start to the contact's, from the contact's end to the
            phone's).
        labiodental_jaw_reduction: fraction of the jaw's opening that f and v take back.
        effort_per_duration: effect of a vowel's duration on its opening.
        effort_per_level: effect of a vowel's loudness on its opening.
        pause_delay_s: time from a pause's start until the mouth begins to close.
        pause_closing_s: time the mouth then takes to close.
        pause_opening_s: time before a pause's end at which the mouth begins to open.
    """

    reach_s: Mapping[str, tuple[float, float]]
    skirt_ratio: Mapping[str, float]
    neutral_dominance: Mapping[str, float]
    closing_s: Mapping[str, float]
    release_s: Mapping[str, float]
    contact_offsets_s: Mapping[str, tuple[float, float]]
    labiodental_jaw_reduction: float
    effort_per_duration: float
    effort_per_level: float
    pause_delay_s: float
    pause_closing_s: float
    pause_opening_s: float

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DominanceParameters:
        """Read the parameters from the parsed file; its keys about, sources and visemes are ignored.

        Args:
            values: Content of `data/coarticulation.json`; its times are in seconds.
        """
        return cls(
            reach_s={group: (before, after) for group, (before, after) in values["reach"].items()},
            skirt_ratio=values["plateau"],
            neutral_dominance=values["neutral"],
            closing_s=values["closing"],
            release_s=values["release"],
            contact_offsets_s={phone: (start, end) for phone, (start, end) in values["hold"].items()},
            labiodental_jaw_reduction=values["bite"],
            effort_per_duration=values["effort"]["length"],
            effort_per_level=values["effort"]["level"],
            pause_delay_s=values["rest"]["wait"],
            pause_closing_s=values["rest"]["fall"],
            pause_opening_s=values["rest"]["wake"],
        )

    def to_json(self) -> dict[str, Any]:
        """The same numbers under the keys of the file, in its order."""
        return {
            "reach": {group: list(pair) for group, pair in self.reach_s.items()},
            "plateau": dict(self.skirt_ratio),
            "neutral": dict(self.neutral_dominance),
            "closing": dict(self.closing_s),
            "release": dict(self.release_s),
            "hold": {phone: list(pair) for phone, pair in self.contact_offsets_s.items()},
            "bite": self.labiodental_jaw_reduction,
            "effort": {"length": self.effort_per_duration, "level": self.effort_per_level},
            "rest": {
                "wait": self.pause_delay_s,
                "fall": self.pause_closing_s,
                "wake": self.pause_opening_s,
            },
        }
