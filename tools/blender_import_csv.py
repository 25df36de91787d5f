# SPDX-License-Identifier: Apache-2.0
"""Imports a Live Link Face CSV into Blender, as keyframes of every shape key with the name of a column.

    blender scene.blend --python tools/blender_import_csv.py -- face.csv

or in Blender's text editor, with `CSV_PATH` set below. Rows stand at their own timecodes, counted from the
first, at the scene's frame rate. Shape keys may be written in any case. The head's rotation is not imported:
an animated .glb file of `streamingtalker animate` has it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import Any

CSV_PATH = ""
_TIMECODE_RATE = 60  # frames of a timecode in a second
_DAY_S = 86_400.0
_NO_SHAPES = 2  # columns before the shapes


def parse_timecode(text: str) -> float:
    """Convert HH:MM:SS:FF.fff to seconds since midnight.

    Args:
        text: The timecode.
    """
    hours, minutes, seconds, frames = (float(part) for part in text.split(":"))
    return 3600 * hours + 60 * minutes + seconds + frames / _TIMECODE_RATE


def read_curves(path: str) -> tuple[list[float], dict[str, list[float]]]:
    """Read a file.

    Args:
        path: A Live Link Face CSV.

    Returns:
        Seconds of each row from the first on, and the weights of each column by its name in lower case.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file))
    times = [parse_timecode(row[0]) for row in rows]
    seconds = [(time - times[0]) % _DAY_S for time in times]
    columns = {
        name.lower(): [float(row[index]) for row in rows]
        for index, name in enumerate(header)
        if index >= _NO_SHAPES
    }
    return seconds, columns


def keyframe(objects: Iterable[Any], path: str, frame_rate: float) -> int:
    """Write the keyframes of all shape keys that a file has weights for.

    Args:
        objects: Objects of Blender.
        path: A Live Link Face CSV.
        frame_rate: Frames per second of the scene.

    Returns:
        The number of shape keys.
    """
    seconds, columns = read_curves(path)
    count = 0
    for each in objects:
        keys = getattr(each.data, "shape_keys", None)
        for key in keys.key_blocks if keys else ():
            weights = columns.get(key.name.lower())
            if weights is None:
                continue
            for time, weight in zip(seconds, weights, strict=True):
                key.value = weight
                key.keyframe_insert("value", frame=time * frame_rate)
            count += 1
    return count


def main() -> None:
    """Import the file of the command line, or `CSV_PATH`, into the open scene."""
    import bpy  # pyright: ignore[reportMissingImports]

    path = sys.argv[sys.argv.index("--") + 1] if "--" in sys.argv else CSV_PATH
    scene = bpy.context.scene
    rate = scene.render.fps / scene.render.fps_base
    count = keyframe(bpy.data.objects, path, rate)
    seconds, _ = read_curves(path)
    scene.frame_end = max(scene.frame_end, round(seconds[-1] * rate))
    print(f"{path}: {len(seconds)} rows on {count} shape keys")


if __name__ == "__main__":
    main()
