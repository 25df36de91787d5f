# SPDX-License-Identifier: Apache-2.0
"""What a visitor may change of a voice: described for the panel, checked, and handed to the stream.

`Controls(talker, stream)` holds one voice's values; `change` takes a dict from the page. A blendshape model has style,
steps, seed, gains of mouth and face, an expression and guidance; a vertex model only a seed.
"""

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.streaming.controls import HIGHEST_GAIN, HIGHEST_GUIDANCE
from streamingtalker_ros.web import protocol

HIGHEST_SEED = 2**31 - 1
HIGHEST_STEPS = 16  # of a visitor: one who asks for hundreds would slow all the others
_GAINS = {
    "mouth_expressiveness": HIGHEST_GAIN,
    "face_expressiveness": HIGHEST_GAIN,
    "guidance": HIGHEST_GUIDANCE,
}


def describe(talker):
    """What the page needs to draw the panel: {name: {"kind", and its range, choices and default}}."""
    panel = {"seed": {"kind": "whole", "low": 0, "high": HIGHEST_SEED, "default": 0}}
    if hasattr(talker, "styles"):
        steps = min(talker.steps, HIGHEST_STEPS)
        panel["style"] = {"kind": "choice", "choices": list(talker.styles), "default": talker.styles[0]}
        panel["steps"] = {"kind": "whole", "low": 1, "high": HIGHEST_STEPS, "default": steps}
        panel |= {
            name: {"kind": "number", "low": 0.0, "high": high, "default": 1.0}
            for name, high in _GAINS.items()
        }
        panel["expression"] = {
            "kind": "shapes",
            "low": -1.0,
            "high": 1.0,
            "choices": list(ARKIT_NAMES),
            "default": {},
        }
    return panel


class Controls:
    """The values of one voice. `seed` holds from its next start on, all others from its next frame on."""

    def __init__(self, talker, stream) -> None:
        self._panel, self._stream, self.seed = describe(talker), stream, 0

    def change(self, given) -> None:
        """given: {name: value}. Raises TalkerError for the first that cannot be had; those before it hold."""
        for name, value in given.items():
            if name not in self._panel:
                raise TalkerError(
                    f"{str(name)[:40]!r} is no control here: known are {', '.join(self._panel)}"
                )
            if name == "seed":
                self.seed = protocol.whole(given, name, 0, HIGHEST_SEED)
            elif name == "style":
                if not isinstance(value, str):
                    raise TalkerError(f"style is {protocol.shown(value)}: send the name of one")
                self._stream.style = value[:100]
            elif name == "steps":
                self._stream.steps = protocol.whole(given, name, 1, HIGHEST_STEPS)
            elif name == "expression":
                self._stream.set(expression=_shapes(value))
            else:
                self._stream.set(**{name: protocol.number(given, name, 0.0, _GAINS[name])})


def _shapes(value):
    if not isinstance(value, dict) or len(value) > len(ARKIT_NAMES):
        raise TalkerError(
            'an expression is an object of ARKit shapes and weights, such as {"browInnerUp": 0.4}'
        )
    return {str(name)[:40]: protocol.number(value, name, -1.0, 1.0) for name in value}
