# SPDX-License-Identifier: Apache-2.0
"""Accuracy of bounded streaming of a vertex checkpoint against the published order of computation.

    python tools/benchmarks/vertex_windows.py DIR [--audio FILE] [--seconds 7.5] [--identity NAME]

DIR is a converted checkpoint. It prints the two Markdown tables of docs/vertex.md: the error of each bound
alone, and of all of them at several windows. Errors are those of the offsets from the template, relative to
the exact ones: root mean square over frames and vertices, and maximum.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.model.ddim import frame_noise
from streamingtalker_ros.model.vertex import checkpoint, hubert, offline
from streamingtalker_ros.model.vertex.streaming import VertexStreamState, VertexTalker
from streamingtalker_ros.resources import DEMO_AUDIO


def relative_errors(result: torch.Tensor, reference: torch.Tensor, scale: torch.Tensor) -> tuple[str, str]:
    """Return the RMS and the maximum error of a tensor, relative to `scale`, as text."""
    difference = (result - reference).double()
    return (
        f"{float(difference.square().mean().sqrt() / scale.square().mean().sqrt()):.1e}",
        f"{float(difference.abs().max() / scale.abs().max()):.1e}",
    )


@torch.inference_mode()
def generate_from_features(
    model: VertexTalker, features: torch.Tensor, style_row: int, noise: torch.Tensor
) -> torch.Tensor:
    """Return offsets (L, 3V) of the bounded predictor, head and decoder for features (L, audio_dim)."""
    state, head, hop = model.init_state(), model.sampler(model.steps), model.schedule.chunk_frames
    features, noise, styles = features[None], noise[None], torch.tensor([style_row])
    rows = [
        model.generate_chunk(features[:, n : n + hop], [state], styles, noise[:, n : n + hop], head)
        for n in range(0, features.shape[1], hop)
    ]
    return torch.cat(rows, 1)[0]


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--audio", default=str(DEMO_AUDIO))
    parser.add_argument("--seconds", type=float, default=7.5)
    parser.add_argument("--identity")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = checkpoint.load(args.folder)
    c = network.config
    pcm = to_16k(*read_audio(args.audio))
    pcm = np.resize(pcm, int(args.seconds * 16000)).astype(np.float32)  # a short voice is repeated
    style_row = VertexTalker(network).style_row(args.identity)
    normal = hubert.normalize(torch.from_numpy(pcm))
    count = hubert.frame_count(hubert.encode(network.audio, normal[None]).shape[1], c.audio_fps, c.frame_rate)
    noise = torch.from_numpy(np.stack([frame_noise(0, n, (c.latent_dim,)) for n in range(count)]))
    truth = offline.generate(network, normal, style_row, noise, template=torch.zeros_like(network.template))
    motion = truth.frames.reshape(count, -1)  # (L, 3V)
    raw, features = truth.audio_encoder_output[None], truth.audio_features

    print(f"{count} frames, history {c.context_frames}\n\n| only difference | rms | largest |\n|---|---|---|")
    free = VertexTalker(network, chunk_frames=1, window=2.0, decode_frames=count + 2)
    ratio = c.audio_fps / c.frame_rate
    places = ((torch.arange(count) + 0.5) * ratio - 0.5).clamp(0, raw.shape[1] - 1)
    centred = hubert.gather_features(raw, places[None])[0]
    rows = [
        ("a ring of h rows in the predictor", generate_from_features(free, features, style_row, noise)),
        (
            "places of frames without the utterance's end",
            generate_from_features(free, centred, style_row, noise),
        ),
    ]
    for decode in (24, c.context_frames):
        bounded = VertexTalker(network, chunk_frames=1, window=2.0, decode_frames=decode)
        rows.append(
            (
                f"the ring, and {decode} rows decoded",
                generate_from_features(bounded, features, style_row, noise),
            )
        )
    batch = VertexTalker(network, chunk_frames=12, window=2.0)
    whole = count // 12 * 12
    rows.append(
        (
            f"the ring, {c.context_frames} rows decoded, 12 frames per pass",
            generate_from_features(batch, features[:whole], style_row, noise[:whole]),
        )
    )
    for name, result in rows:
        print(f"| {name} | {' | '.join(relative_errors(result, motion[: len(result)], motion))} |")

    ring, marks = rows[0][1], [n for n in (60, 120, 200) if n < count]
    print("\n| frame | " + " | ".join(map(str, marks)) + " |\n|---|" + "---|" * len(marks))
    largest = [relative_errors(ring[n], motion[n], motion)[1] for n in marks]
    print("| largest error of the ring alone | " + " | ".join(largest) + " |")

    print(
        "\n| hop | HuBERT window, s | context, s | look-ahead, s | features rms | motion rms | largest |\n"
        "|---|---|---|---|---|---|---|"
    )
    for hop, window, context in (
        (1, 0.5, 0.1),
        (1, 1.0, 0.1),
        (1, 2.0, 0.1),
        (1, 4.0, 0.1),
        (1, 2.0, 0.5),
        (12, 1.0, 0.1),
        (12, 2.0, 0.1),
        (12, 4.0, 0.1),
    ):
        model = VertexTalker(network, chunk_frames=hop, window=window, context=context)
        encoded: list[torch.Tensor] = []
        encode = model.encode_windows

        def record(
            chunks: Sequence[int],
            states: Sequence[VertexStreamState],
            encode: Any = encode,
            encoded: list[torch.Tensor] = encoded,
        ) -> torch.Tensor:
            encoded.append(encode(chunks, states))
            return encoded[-1]

        model.encode_windows = record
        stream = model.open_stream(seed=0, style=args.identity)
        frames = (stream.accept(pcm) + stream.finish())[:count]
        result = torch.from_numpy(np.stack([f.vertices for f in frames])) / c.unit - network.template
        feature_error = relative_errors(torch.cat(encoded, 1)[0, :count], features, features)[0]
        print(
            f"| {hop} | {window:g} | {context:g} | {model.lookahead:.2f} | {feature_error} | "
            f"{' | '.join(relative_errors(result.reshape(count, -1), motion, motion))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
