# SPDX-License-Identifier: Apache-2.0
"""Writes streamingtalker_ros/data/default_head.npz from the code of the default head.

    python tools/default_head.py

Run it after a change in streamingtalker_ros/face/default_head.
"""

from __future__ import annotations

from streamingtalker_ros.face.default_head import stored
from streamingtalker_ros.face.default_head.assemble import build_default_rig

if __name__ == "__main__":
    stored.write_rig(build_default_rig())
    print(f"wrote {stored.FILE}, {stored.FILE.stat().st_size / 1e6:.2f} MB")
