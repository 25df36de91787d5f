# SPDX-License-Identifier: Apache-2.0
"""The two training stages of the vertex family, from a data set's folder to a checkpoint that streams.

`train_codec` leaves the run's folder `codec`; `train_generator` reads it and leaves `generator`, which
`Talker.load` reads. Both resume from their folders, and run under `accelerate launch`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex import checkpoint
from streamingtalker_ros.model.vertex.codec import Codec
from streamingtalker_ros.model.vertex.config import SUBJECTS, VertexConfig
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.model.vertex.template import read_template
from streamingtalker_ros.output_files import atomic_folder, write_text
from streamingtalker_ros.training import distributed
from streamingtalker_ros.training.recipe_keys import stage_folder
from streamingtalker_ros.training.trainer import Trainer
from streamingtalker_ros.training.vertex.audio_context import AudioContextEncoder, load_hubert
from streamingtalker_ros.training.vertex.codec import CodecStage, evaluate_codec, initialize_codebook
from streamingtalker_ros.training.vertex.dataset import VertexClip, load_clips, read_templates
from streamingtalker_ros.training.vertex.generator import GeneratorStage, initialize_projections
from streamingtalker_ros.training.vertex.recipe import NEUTRAL, Recipe, hubert_arguments

CODEC_FILE, CONFIG_FILE, METRICS_FILE = "codec.safetensors", "config.json", "figures.json"
CODEC_FAMILY = "vertex codec"  # "family" in the config.json of a run's codec
MAX_EVALUATED_CLIPS = 8  # held-out clips that the trained network is measured on
CODEC_FIELDS = (
    "dataset",
    "vertices",
    "num_codebooks",
    "code_dim",
    "codebook_size",
    "codec_width",
    "codec_layers",
    "codec_heads",
    "codec_feedforward",
    "codec_slope",
    "codec_affine",
)


def train_codec(
    dataset: str,
    data: str | Path,
    out: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Stage 1: train the motion codec; leaves the run's folder `codec`.

    Args:
        dataset: "vocaset" or "biwi".
        data: the data set's folder.
        out: run folder.
        recipe: of `read_recipe`.
        start: checkpoint folder to begin with.
        device: see `distributed.get_process`.

    Returns:
        The held-out metrics, which are also written to the folder.
    """
    process, folder = distributed.get_process(device), Path(out) / "codec"
    clips = _load_training_clips(dataset, data, recipe, with_audio=False)
    config = recipe.config(ordered_subjects(clips), {})
    _check_vertices(clips, config, data)
    torch.manual_seed(recipe.codec.seed)
    codec = Codec(config)
    initialize_codebook(codec)
    if start:
        state = checkpoint.load(start).codec.state_dict()
        _load_weights(codec, state, start)
    codec.to(process.device).train()
    stage = CodecStage(codec, clips, recipe.segments, recipe.codec, process)
    trainer = Trainer(dict(codec.named_parameters()), recipe.codec, folder, "motion codec", process)
    trainer.run(stage)  # the last weights are kept: averaged codes would not fit averaged encodings
    held_out = load_clips(dataset, data, "validation", False, recipe.data.skip_incomplete)
    metrics = evaluate_codec(codec.eval(), held_out or clips[:MAX_EVALUATED_CLIPS], process.device)
    if process.rank == 0:
        values = {**config.to_json(), "family": CODEC_FAMILY}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in codec.state_dict().items()}
        with atomic_folder(folder) as partial:
            save_file(tensors, str(partial / CODEC_FILE))
            (partial / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n")
        _write_metrics(folder, metrics)
    return metrics


def train_generator(
    dataset: str,
    data: str | Path,
    out: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    device: str = "auto",
) -> Path:
    """Stage 2, after `train_codec` with the same folders; leaves the run's folder `generator`.

    Args:
        dataset: "vocaset" or "biwi".
        data: the data set's folder.
        out: run folder.
        recipe: of `read_recipe`.
        start: checkpoint folder whose HuBERT, predictor and head the run begins with.
        device: see `distributed.get_process`.

    Returns:
        The checkpoint folder.
    """
    process, folder = distributed.get_process(device), stage_folder(out, "generator")
    arguments = hubert_arguments(recipe.audio)
    clips = _load_training_clips(dataset, data, recipe)
    config = recipe.config(ordered_subjects(clips), arguments)
    _check_vertices(clips, config, data)
    torch.manual_seed(recipe.generator.seed)
    network = VertexNetwork(config)
    codec_folder = Path(out) / "codec"
    _load_weights(network.codec, read_codec_weights(codec_folder, config), codec_folder)
    initialize_projections(network)
    if not isinstance(recipe.audio.hubert, dict):
        load_hubert(network, recipe.audio.hubert)
    if start:
        _load_start(network, start)
    _set_template(network, data, recipe)
    network.to(process.device)
    audio_encoder = AudioContextEncoder(network.audio, config, recipe.audio, process.device)
    trained = [network.predictor, network.head]
    if recipe.learning.finetune_decoder:
        trained += [network.codec.pre, network.codec.decoder, network.codec.leave]
    for module in trained:
        module.requires_grad_(True)
    stage = GeneratorStage(network, audio_encoder.train(), clips, recipe, process)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    trainer = Trainer(parameters, recipe.generator, folder, "generator", process)
    trainer.run(stage)
    trainer.load_ema()
    network.eval()
    if process.rank == 0:
        checkpoint.save(folder, network)
        held_out = load_clips(dataset, data, "validation", True, recipe.data.skip_incomplete)
        _write_metrics(folder, evaluate_talker(network, held_out or clips, recipe, process.device))
    return folder


@torch.no_grad()
def evaluate_talker(
    network: VertexNetwork, clips: Sequence[VertexClip], recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """Error of streamed motion with the bounds it was trained for, over a few clips.

    A clip is generated in its subject's style where the network has it, else in the neutral one.

    Args:
        network: the network, in evaluation mode.
        clips: held-out clips.
        recipe: the recipe.
        device: where the talker runs.

    Returns:
        clips; distance, the mean distance of a vertex from its place; distance_at_rest, that of a face at
        rest.
    """
    talker = VertexTalker(
        network,
        str(device),
        chunk_frames=recipe.audio.chunk_frames,
        window=recipe.audio.window,
        context=recipe.audio.context,
        decode_frames=max(network.config.context_frames, recipe.audio.chunk_frames + 1),
    )
    errors: list[tuple[float, float]] = []
    template = network.template.cpu().numpy()
    for clip in clips[:MAX_EVALUATED_CLIPS]:
        stream = talker.open_stream(style=clip.subject if clip.subject in talker.styles else None)
        frames = (stream.accept(clip.pcm) + stream.finish())[: len(clip)]
        offsets = np.stack([frame.vertices for frame in frames]) / network.config.unit - template
        target = clip.rows(1, len(offsets)).reshape(offsets.shape)
        errors.append(
            (
                float(np.linalg.norm(offsets - target, axis=-1).mean()),
                float(np.linalg.norm(target, axis=-1).mean()),
            )
        )
    distance, rest_distance = np.mean(errors, 0)
    return {"clips": len(errors), "distance": float(distance), "distance_at_rest": float(rest_distance)}


def ordered_subjects(clips: Sequence[VertexClip]) -> list[str]:
    """The subjects of clips, in the data set's order."""
    present = {clip.subject for clip in clips}
    return [subject for known in SUBJECTS.values() for subject in known if subject in present]


def _load_training_clips(
    dataset: str, data: str | Path, recipe: Recipe, with_audio: bool = True
) -> list[VertexClip]:
    clips = load_clips(dataset, data, "train", with_audio, recipe.data.skip_incomplete)
    if not clips:
        example = "FaceTalk_170728_03272_TA_sentence01" if dataset == "vocaset" else "F2_e01"
        raise TalkerError(
            f"{data} holds no clip of {dataset}'s train subjects and sentences: are the files named "
            f"like {example}?"
        )
    return clips


def _check_vertices(clips: Sequence[VertexClip], config: VertexConfig, data: str | Path) -> None:
    """Raise TalkerError where a clip's face has another number of vertices than the network."""
    for clip in clips:
        if clip.template.size != 3 * config.vertices:
            raise TalkerError(
                f"{Path(data) / 'templates.pkl'}: the face of {clip.subject} has "
                f"{clip.template.size // 3} vertices, the recipe's model {config.vertices}"
            )


def read_codec_weights(folder: Path, config: VertexConfig) -> dict[str, torch.Tensor]:
    """Weights of a run's stage 1.

    Args:
        folder: the run's folder `codec`.
        config: the configuration that they have to fit.

    Raises:
        TalkerError: if the codec is missing, or of other sizes.
    """
    try:
        values = {**json.loads((folder / CONFIG_FILE).read_text()), "family": config.to_json()["family"]}
        weights = load_file(str(folder / CODEC_FILE))
    except (OSError, ValueError, SafetensorError):
        raise TalkerError(
            f"no codec at {folder}: run `streamingtalker train codec` with the same --out first"
        ) from None
    other = VertexConfig.from_json(values)
    for name in CODEC_FIELDS:
        if getattr(other, name) != getattr(config, name):
            raise TalkerError(
                f"the codec at {folder} has {name} {getattr(other, name)}, the recipe {getattr(config, name)}"
            )
    return weights


def _load_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], folder: str | Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise TalkerError(f"the weights in {folder} do not fit the recipe's model: {detail}") from None


def _load_start(network: VertexNetwork, folder: str | Path) -> None:
    """Load a checkpoint's HuBERT, predictor and head.

    A subject that it lacks, and the neutral style where it has none, begin as the mean of its styles.
    """
    other = checkpoint.load(folder)
    styles, known = other.predictor.identity.weight, other.config.identities
    rows = [
        styles[known.index(name)] if name in known else styles.mean(0) for name in network.config.identities
    ]
    for name in ("audio", "predictor", "head"):
        state = getattr(other, name).state_dict()
        if name == "predictor":
            state["identity.weight"] = torch.stack(rows)
        _load_weights(getattr(network, name), state, folder)


def _set_template(network: VertexNetwork, data: str | Path, recipe: Recipe) -> None:
    """Set the network's face at rest, and its triangles where a mesh of the release lies by the data."""
    faces, subject = read_templates(data), recipe.data.template
    if subject and subject not in faces:
        raise TalkerError(
            f"{Path(data) / 'templates.pkl'} has no subject {subject}, the recipe's template: it has "
            f"{', '.join(sorted(faces))}"
        )
    trained = [name for name in network.config.identities if name != NEUTRAL]
    face = faces[subject] if subject else np.mean([faces[name] for name in trained], 0)
    network.template.copy_(torch.from_numpy(np.asarray(face, np.float32)).view(-1, 3))
    for mesh in sorted(Path(data).glob("**/*.ply"))[:1]:
        network.triangles = torch.from_numpy(read_template(mesh, network.config.vertices)[1])


def _write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    write_text(folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
