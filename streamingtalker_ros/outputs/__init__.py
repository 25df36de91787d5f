# SPDX-License-Identifier: Apache-2.0
"""Live outputs: the face's motion as it is generated, sent to the program that holds the character.

    output = open_output("livelink://192.168.0.7?subject=Talker")  # a thread of its own sends from now on
    output.send(frame)  # a frame of a blendshape talker; never blocks and never raises
    output.close()      # the face goes to rest

| Address | Protocol | File |
|---|---|---|
| `livelink://HOST[:11111]` | Live Link Face of Unreal Engine | `livelink.py` |
| `vmc://HOST[:39539]` | VMC protocol of VTuber programs | `vmc.py` |
| `osc://HOST[:9000]` | plain OSC, Face Cap, VRChat | `osc.py` |

`address.py` reads addresses, `timeline.py` decides which pose is sent when, `live_output.py` sends.
"""

from __future__ import annotations

from streamingtalker_ros.outputs.address import OutputAddress, parse_address
from streamingtalker_ros.outputs.live_output import LiveOutput, MotionFrame, OutputGroup, open_output

__all__ = ["LiveOutput", "MotionFrame", "OutputAddress", "OutputGroup", "open_output", "parse_address"]
