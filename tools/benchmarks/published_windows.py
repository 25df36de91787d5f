# SPDX-License-Identifier: Apache-2.0
"""How far bounded streaming of a published checkpoint is from the published order of computation.

    python tools/benchmarks/published_windows.py DIR [--audio FILE] [--seconds 7.5] [--identity NAME]

DIR is a converted checkpoint. Prints the two Markdown tables of docs/published.md: what each bound alone
costs, and the whole at several windows. Errors are those of the offsets from the template, relative to the
exact ones: root mean square over frames and vertices, and the largest.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.cli.demo import VOICE
from streamingtalker_ros.model.ddim import frame_noise
from streamingtalker_ros.model.vertex import checkpoint, hubert, offline
from streamingtalker_ros.model.vertex.streaming import VertexTalker


def errors(ours, theirs, scale):
    difference = (ours - theirs).double()
    return (
        f"{float(difference.square().mean().sqrt() / scale.square().mean().sqrt()):.1e}",
        f"{float(difference.abs().max() / scale.abs().max()):.1e}",
    )


@torch.inference_mode()
def from_features(model, features, who, noise):
    """Offsets (L, 3V) of the bounded predictor, head and decoder on given features (L, audio_dim)."""
    state, head, hop = model.init_state(), model.sampler(model.steps), model.schedule.chunk_frames
    features, noise, who = features[None], noise[None], torch.tensor([who])
    rows = [
        model.generate_chunk(features[:, n : n + hop], [state], who, noise[:, n : n + hop], head)
        for n in range(0, features.shape[1], hop)
    ]
    return torch.cat(rows, 1)[0]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--audio", default=str(VOICE))
    parser.add_argument("--seconds", type=float, default=7.5)
    parser.add_argument("--identity")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = checkpoint.load(args.folder)
    c = network.config
    pcm = to_16k(*read_audio(args.audio))
    pcm = np.resize(pcm, int(args.seconds * 16000)).astype(np.float32)  # a short voice is repeated
    who = VertexTalker(network).style_row(args.identity)
    normal = hubert.normalize(torch.from_numpy(pcm))
    count = hubert.frame_count(hubert.encode(network.audio, normal[None]).shape[1], c.audio_fps, c.frame_rate)
    noise = torch.from_numpy(np.stack([frame_noise(0, n, (c.latent_dim,)) for n in range(count)]))
    truth = offline.generate(network, normal, who, noise, template=torch.zeros_like(network.template))
    motion = truth.frames.reshape(count, -1)  # (L, 3V)
    raw, features = truth.audio_encoder_output[None], truth.audio_features

    print(f"{count} frames, history {c.context_frames}\n\n| what alone differs | rms | largest |\n|---|---|---|")
    free = VertexTalker(network, chunk_frames=1, window=2.0, decode_frames=count + 2)
    ratio = c.audio_fps / c.frame_rate
    places = ((torch.arange(count) + 0.5) * ratio - 0.5).clamp(0, raw.shape[1] - 1)
    centred = hubert.gather_features(raw, places[None])[0]
    rows = [
        ("a ring of h rows in the predictor", from_features(free, features, who, noise)),
        ("places of frames without the utterance's end", from_features(free, centred, who, noise)),
    ]
    for decode in (24, c.context_frames):
        bounded = VertexTalker(network, chunk_frames=1, window=2.0, decode_frames=decode)
        rows.append((f"the ring, and {decode} rows decoded", from_features(bounded, features, who, noise)))
    batch = VertexTalker(network, chunk_frames=12, window=2.0)
    whole = count // 12 * 12
    rows.append(
        (
            f"the ring, {c.context_frames} rows decoded, 12 frames per pass",
            from_features(batch, features[:whole], who, noise[:whole]),
        )
    )
    for name, ours in rows:
        print(f"| {name} | {' | '.join(errors(ours, motion[: len(ours)], motion))} |")

    ring, marks = rows[0][1], [n for n in (60, 120, 200) if n < count]
    print("\n| frame | " + " | ".join(map(str, marks)) + " |\n|---|" + "---|" * len(marks))
    largest = [errors(ring[n], motion[n], motion)[1] for n in marks]
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
        heard = []
        model.encode_windows = lambda *pass_: (
            heard.append(VertexTalker.encode_windows(model, *pass_)) or heard[-1]
        )
        stream = model.open_stream(seed=0, style=args.identity)
        frames = (stream.accept(pcm) + stream.finish())[:count]
        ours = torch.from_numpy(np.stack([f.vertices for f in frames])) / c.unit - network.template
        there = errors(torch.cat(heard, 1)[0, :count], features, features)[0]
        print(
            f"| {hop} | {window:g} | {context:g} | {model.lookahead:.2f} | {there} | "
            f"{' | '.join(errors(ours.reshape(count, -1), motion, motion))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
