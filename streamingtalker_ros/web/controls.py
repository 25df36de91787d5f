# SPDX-License-Identifier: Apache-2.0
"""Controls of a session: their description for the page, their validation, and their effect on the stream.

A blendshape model has a style, diffusion steps, a seed, gains of mouth and upper face, an added expression
and guidance; a vertex model has a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamingtalker_ros.conversation.emotion_table import EMOTIONS, NEUTRAL
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.model.control_ranges import NUMBER_CONTROLS, SEED_RANGE
from streamingtalker_ros.web.message_fields import check_number, describe_value

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol
    from streamingtalker_ros.runtime.session import VoiceSession

MAX_STEPS = 16  # the batch is stepped as a whole: more steps of one session would slow down all others
_MAX_NAME_LENGTH = 40  # characters


def describe_controls(talker: TalkerProtocol, styles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The controls of a model, for the page's panel: {name: {"kind", range or choices, "default"}}.

    Args:
        talker: The model; a model of vertices has the control seed only.
        styles: Those of its styles that are offered; the first is the default.
    """
    controls: dict[str, dict[str, Any]] = {
        "seed": {"kind": "whole", "low": SEED_RANGE[0], "high": SEED_RANGE[1], "default": 0}
    }
    if talker.family == "blendshape":
        steps = min(talker.steps, MAX_STEPS)
        controls["style"] = {"kind": "choice", "choices": list(styles), "default": styles[0]}
        controls["steps"] = {"kind": "whole", "low": 1, "high": MAX_STEPS, "default": steps}
        controls |= {
            name: {"kind": "number", "low": low, "high": high, "default": neutral}
            for name, ((low, high), neutral) in NUMBER_CONTROLS.items()
        }
        controls["emotion"] = {"kind": "choice", "choices": list(EMOTIONS), "default": NEUTRAL}
        controls["expression"] = {
            "kind": "shapes",
            "low": -1.0,
            "high": 1.0,
            "choices": list(ARKIT_NAMES),
            "default": {},
        }
    return controls


class Controls:
    """The controls of one session. `seed` takes effect at the next start, all others at the next frame."""

    def __init__(self, session: VoiceSession) -> None:
        talker = session.talker
        self._session = session
        self._stream = session.stream
        self._names = describe_controls(talker, talker.styles).keys()
        self._steps: int | None = None  # as the page set them
        self._imposed_steps: int | None = None

    def impose_steps(self, steps: int | None) -> None:
        """Use this number of diffusion steps instead of the one that the page set.

        Args:
            steps: 1 to `MAX_STEPS`; None for the page's again.
        """
        self._imposed_steps = steps
        if self._steps is not None:
            self._stream.steps = steps or self._steps

    def apply(self, changes: dict[str, Any]) -> None:
        """Apply the changes in order.

        Args:
            changes: {name: value} as the page sent them.

        Raises:
            TalkerError: at the first unknown name or invalid value; the changes before it are applied.
        """
        for name, value in changes.items():
            if name not in self._names:
                raise TalkerError(
                    f"{str(name)[:_MAX_NAME_LENGTH]!r} is not a control of this model: "
                    f"choose from {', '.join(self._names)}"
                )
            if name == "seed":
                self._session.default_seed = check_number(changes, name, *SEED_RANGE, int)
            elif name == "style":
                if not isinstance(value, str):
                    raise TalkerError(f"style is {describe_value(value)}: send the name of one")
                self._stream.style = value[:100]
            elif name == "steps":
                self._steps = check_number(changes, name, 1, MAX_STEPS, int)
                self._stream.steps = self._imposed_steps or self._steps
            elif name == "emotion":
                if not isinstance(value, str):
                    raise TalkerError(f"emotion is {describe_value(value)}: send the name of one")
                self._stream.set(emotion=value[:_MAX_NAME_LENGTH])
            elif name == "expression":
                self._stream.set(expression=_check_expression(value))
            else:
                self._stream.set(**{name: check_number(changes, name, *NUMBER_CONTROLS[name][0])})


def _check_expression(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > len(ARKIT_NAMES):
        raise TalkerError(
            'an expression is an object of ARKit shapes and weights, such as {"browInnerUp": 0.4}'
        )
    return {str(name)[:_MAX_NAME_LENGTH]: check_number(value, name, -1.0, 1.0) for name in value}
