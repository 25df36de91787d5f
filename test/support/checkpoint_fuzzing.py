# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints of both families, from a seed: each loads and generates finite frames, or is rejected.

`run_configs(folder, seed, count)` damages config.json, `run_weights` weights.safetensors, `run_published` the
files that `convert` reads; a long run calls them with another seed and a greater count.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.checkpoint_files import CHECKSUM_FIELD, CONFIG, WEIGHTS
from streamingtalker_ros.model.vertex import checkpoint as vertex_checkpoint
from streamingtalker_ros.model.vertex.config import read_hubert_json, read_yaml
from streamingtalker_ros.streaming.talker import load_talker
from support.published_model import PUBLISHED
from support.tiny_vertex_talker import tiny_vertex_talker

MAX_INPUT_S = 2.0  # of processor time
MAX_GROWTH_BYTES = 300e6
MAX_SENTENCE = 600  # characters, beside the path

AWKWARD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    7,
    65,
    1.5,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    10**9,
    2**31,
    2**63,
    10**400,
    "",
    "x",
    "16000",
    "\n",
    "a" * 10_000,
    [],
    {},
    [[]],
    [None] * 3,
    ["neutral", 3],
    [0.5, 0.2],
    [float("nan"), 1.0],
    {"a": {"b": []}},
]
"""Values that replace a field's."""

AWKWARD_TEXTS = [
    b"",
    b"\0",
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b"NaN",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 5000,
    b'{"hop": ' + b"9" * 5000 + b"}",
    b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}",
    b"{}\n{}",
    b'{"a": 1e999}',
    b'{"styles": ["\\ud800"]}',
]
"""Whole contents of config.json."""


def write_small_checkpoints(folder: Path) -> list[Path]:
    """Write a small checkpoint of each family.

    Args:
        folder: Where to write.

    Returns:
        Their folders.
    """
    torch.manual_seed(0)
    config = TalkerConfig(
        audio_width=16,
        audio_blocks=1,
        column_blocks=1,
        codec_width=16,
        width=16,
        heads=2,
        layers=1,
        feedforward=16,
        context_frames=8,
        head_width=16,
        head_blocks=1,
        num_codebooks=2,
        codebook_size=8,
        code_dim=4,
        styles=("neutral", "other"),
        bilabial_thresholds=(0.1, 0.2),
        open_vowel_thresholds=(0.5, 0.75),
        lip_measure_weight=0.5,
    )
    checkpoint.save(folder / "blendshape", TalkerNetwork(config))
    vertex_checkpoint.save(folder / "vertex", tiny_vertex_talker(4).network)
    return [folder / "blendshape", folder / "vertex"]


def check_checkpoint(folder: Path) -> bool:
    """Load a checkpoint and generate its first frames.

    Args:
        folder: The checkpoint.

    Returns:
        Whether it was read; else it was rejected with one sentence.

    Raises:
        AssertionError: If the sentence is none, a frame is not finite, or it took too long.
    """
    start = time.process_time()
    try:
        talker = load_talker(folder, "cpu")
        if talker.family == "blendshape" and (talker.hop > 16000 or talker.steps > 50):
            frames: Any = []  # a valid configuration that takes long
        elif talker.family == "vertex" and talker.steps > 50:
            frames = []
        else:
            frames = talker.open_stream().accept(np.zeros(5 * 640, np.float32))
    except TalkerError as error:
        text = str(error)
        assert "\n" not in text and len(text) < MAX_SENTENCE + 4 * len(str(folder)), text[:2000]
        read = False
    else:
        for frame in frames:
            values = frame.vertices if talker.family == "vertex" else frame.weights
            assert np.isfinite(values).all()
        read = True
    assert time.process_time() - start < MAX_INPUT_S, (folder / CONFIG).read_bytes()[:2000]
    return read


def run_configs(folder: Path, seed: int, count: int) -> int:
    """Load checkpoints with damaged configurations.

    Args:
        folder: A folder for the files.
        seed: Of the damage.
        count: Number of checkpoints.

    Returns:
        How many of them were read.
    """
    rng = np.random.default_rng(seed)
    folders = write_small_checkpoints(folder)
    texts = [(each / CONFIG).read_bytes() for each in folders]
    read, before = 0, _peak_bytes()
    for number in range(count):
        k = int(rng.integers(len(folders)))
        (folders[k] / CONFIG).write_bytes(_damage_config(texts[k], rng, number))
        read += check_checkpoint(folders[k])
    assert _peak_bytes() - before < MAX_GROWTH_BYTES
    return read


def run_weights(folder: Path, seed: int, count: int) -> int:
    """Load checkpoints with damaged weights, half of them without a checksum.

    Args:
        folder: A folder for the files.
        seed: Of the damage.
        count: Number of checkpoints.

    Returns:
        How many of them were read.
    """
    rng = np.random.default_rng(seed)
    folders = write_small_checkpoints(folder)
    plain: list[Path] = []
    for each in folders:
        copy = each.with_name(f"{each.name}_without_checksum")
        shutil.copytree(each, copy)
        values = json.loads((copy / CONFIG).read_text())
        del values[CHECKSUM_FIELD]
        (copy / CONFIG).write_text(json.dumps(values))
        plain.append(copy)
    everywhere = folders + plain
    contents = [(each / WEIGHTS).read_bytes() for each in everywhere]
    read, before = 0, _peak_bytes()
    for _ in range(count):
        k = int(rng.integers(len(everywhere)))
        (everywhere[k] / WEIGHTS).write_bytes(_damage_weights(contents[k], rng))
        was_read = check_checkpoint(everywhere[k])
        read += was_read
        assert not (was_read and k < len(folders)), "damage that the checksum shows was not found"
    assert _peak_bytes() - before < MAX_GROWTH_BYTES
    return read


def run_published(folder: Path, seed: int, count: int) -> int:
    """Read published checkpoints with a damaged .ckpt, YAML or HuBERT configuration, as `convert` does.

    Args:
        folder: A folder for the files.
        seed: Of the damage.
        count: Number of checkpoints.

    Returns:
        How many of them were read.
    """
    rng = np.random.default_rng(seed)
    names = ("checkpoint.ckpt", "config.yaml", "hubert_config.json")
    contents = {name: (PUBLISHED / name).read_bytes() for name in names}
    hubert = read_hubert_json(PUBLISHED / names[2])  # the first reading imports transformers
    vertex_checkpoint.read_ckpt(PUBLISHED / names[0], read_yaml(PUBLISHED / names[1], hubert))
    read, before = 0, _peak_bytes()
    for _ in range(count):
        damaged = names[int(rng.integers(len(names)))]
        for name in names:
            data = contents[name]
            (folder / name).write_bytes(_damage_text(data, rng) if name == damaged else data)
        start = time.process_time()
        try:
            hubert = read_hubert_json(folder / names[2])
            vertex_checkpoint.read_ckpt(folder / names[0], read_yaml(folder / names[1], hubert))
            read += 1
        except TalkerError as error:
            assert str(error).isprintable() and len(str(error)) < MAX_SENTENCE + 4 * len(str(folder)), error
        assert time.process_time() - start < MAX_INPUT_S, (folder / damaged).read_bytes()[:2000]
    assert _peak_bytes() - before < MAX_GROWTH_BYTES
    return read


def _damage_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage bytes anywhere, or put an awkward word in the place of a value."""
    changed = bytearray(data)
    if rng.uniform() < 0.6:
        values = list(re.finditer(rb":[ ]+([^\n,]+)", data))
        if values:
            value = values[int(rng.integers(len(values)))]
            word = json.dumps(AWKWARD[int(rng.integers(len(AWKWARD)))]).encode()
            return data[: value.start(1)] + word + data[value.end(1) :]
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(changed)))
        kind = int(rng.integers(0, 4))
        if kind == 0:
            changed[at] = int(rng.integers(0, 256))
        elif kind == 1:
            changed[at : at + 8] = b"\xff" * 8
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 64))]
        else:
            del changed[at:]
            break
    return bytes(changed or b"\0")


def _damage_config(text: bytes, rng: np.random.Generator, number: int) -> bytes:
    if number < len(AWKWARD_TEXTS):
        return AWKWARD_TEXTS[number]
    kind = int(rng.integers(0, 5))
    if kind == 0:  # bytes
        changed = bytearray(text)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, len(changed)))
            changed[at] = int(rng.integers(0, 256))
        return bytes(changed[: int(rng.integers(0, len(changed) + 1))] if rng.uniform() < 0.3 else changed)
    values = json.loads(text)
    target = values["hubert"] if values.get("hubert") and rng.uniform() < 0.4 else values
    names = list(target)
    name = names[int(rng.integers(len(names)))]
    if kind == 1:
        del target[name]
    elif kind == 2:
        target[name[:-1] or "x"] = target.pop(name)
    elif isinstance(target[name], list) and target[name] and rng.uniform() < 0.5:
        target[name][int(rng.integers(len(target[name])))] = AWKWARD[int(rng.integers(len(AWKWARD)))]
    else:
        target[name] = AWKWARD[int(rng.integers(len(AWKWARD)))]
    return json.dumps(values).encode()


def _damage_weights(data: bytes, rng: np.random.Generator) -> bytes:
    changed, kind = bytearray(data), int(rng.integers(0, 6))
    header = int.from_bytes(data[:8], "little")
    if kind == 0:  # the length of the header
        changed[:8] = int(rng.choice([0, 1, 7, header - 1, header + 1, 10**8, 2**62, 2**63 - 1])).to_bytes(
            8, "little"
        )
    elif kind == 1:
        del changed[int(rng.integers(0, len(changed))) :]
    elif kind == 2:  # bytes of the header
        for _ in range(int(rng.integers(1, 4))):
            changed[8 + int(rng.integers(0, header))] = int(rng.integers(32, 127))
    elif kind == 3:  # a value of a tensor
        at = 8 + header + 4 * int(rng.integers(0, (len(data) - 8 - header) // 4))
        number = rng.choice([np.nan, np.inf, 1e38, -1e38])
        changed[at : at + 4] = np.float32(number).tobytes()
    elif kind == 4:
        changed += bytes(int(rng.integers(1, 9)))
    else:
        changed[int(rng.integers(0, len(changed)))] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def _peak_bytes() -> float:
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
