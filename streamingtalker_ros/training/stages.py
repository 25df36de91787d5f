# SPDX-License-Identifier: Apache-2.0
"""The training stages of the blendshape family, from corpus folders to a checkpoint.

Each stage reads the checkpoint of the previous stage from the run folder and writes its own: `codec` the
motion codec, `encoder` a pre-trained audio encoder, `generator` the complete talker, which `Talker.load`
reads, `articulation_heads` the same with trained articulation heads and their thresholds. All resume from
their folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamingtalker_ros.corpus.storage import Clip, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.lip_shape import LipShape
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.codec import MotionCodec
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.output_files import atomic_output, write_text
from streamingtalker_ros.training import distributed
from streamingtalker_ros.training.articulation_heads import (
    ArticulationHeadStage,
    closure_thresholds,
    open_vowel_thresholds,
    score_heads,
)
from streamingtalker_ros.training.batches import WindowSampler, clip_motion
from streamingtalker_ros.training.codec import CodecStage, measure_latents, measure_motion
from streamingtalker_ros.training.encoder import EncoderPretraining
from streamingtalker_ros.training.generator import GeneratorConfig, GeneratorStage, HistoryConfig
from streamingtalker_ros.training.mixture import load_mixture
from streamingtalker_ros.training.recipe import WINDOW_DEFAULTS, Recipe
from streamingtalker_ros.training.recipe_keys import stage_folder
from streamingtalker_ros.training.speaker_amplitude import style_amplitudes
from streamingtalker_ros.training.trainer import Trainer, TrainerConfig

PROBE_FILE, METRICS_FILE = "probe.pt", "figures.json"
MIN_CLOSURE_RECALL = (
    0.90  # fraction of held-out p, b, m that the head detects; predicted apertures close more
)
MAX_FALSE_CLOSURES = 0.10  # fraction of held-out open vowels that may be closed by mistake
MAX_HINDERED_CLOSURES = 0.03  # fraction of held-out p, b and m that the open-vowel head may keep open
MIN_THRESHOLD_PHONES = 20  # least closures, and open vowels, of a corpus that counts for the thresholds

Folders = Sequence[str | Path]


def make_sampler(
    corpora: Folders,
    split: str,
    recipe: Recipe,
    network: TalkerNetwork | None = None,
    device: str | torch.device = "cpu",
) -> WindowSampler:
    """The window sampler of a recipe over corpus folders.

    Args:
        corpora: corpus folders.
        split: "train", "validation" or "test".
        recipe: of `recipe.read_recipe`.
        network: whose feature extractor is used; without it windows carry motion alone.
        device: where the windows lie.
    """
    clips, probs = load_mixture(corpora, split, recipe["mixture"])
    config = network.config if network else TalkerConfig(**recipe["model"])
    return WindowSampler(
        clips,
        lookahead=config.lookahead_frames,
        log_mel=network.encoder.log_mel if network else None,
        clip_weights=probs,
        styles=config.styles,
        progress=True,
        device=device,
        **{**WINDOW_DEFAULTS, "num_workers": os.cpu_count() or 1, **recipe["windows"]},
    )


def initialize_network(recipe: Recipe, start: str | Path | None = None) -> TalkerNetwork:
    """The network that a run begins with.

    Where the recipe's network is larger than that of `start`, the additions begin without effect: residual
    blocks add nothing, every style is the checkpoint's first.

    Args:
        recipe: of `recipe.read_recipe`.
        start: checkpoint folder whose weights are loaded; None for random weights.
    """
    network = TalkerNetwork(TalkerConfig(**recipe["model"]))
    if start:
        load_matching_weights(network, checkpoint.load(start))
    return network.train()


@torch.no_grad()
def load_matching_weights(network: TalkerNetwork, other: TalkerNetwork, skip: Sequence[str] = ()) -> None:
    """Copy weights of a network of the same or a smaller architecture.

    Args:
        network: changed in place.
        other: the source.
        skip: prefixes of the weights that stay as they are.

    Raises:
        TalkerError: if a weight that both have differs in shape.
    """
    source = other.state_dict()
    for name, tensor in network.state_dict().items():
        if name.startswith(tuple(skip)):
            continue
        if name == "predictor.style.weight":
            tensor.copy_(source[name][:1].expand_as(tensor))
        elif name in source:
            if source[name].shape != tensor.shape:
                raise TalkerError(
                    f"the checkpoint to start with does not fit the recipe's model at {name}: "
                    f"{tuple(source[name].shape)} against {tuple(tensor.shape)}"
                )
            tensor.copy_(source[name])
        elif "blocks." in name and ".out." in name:
            tensor.zero_()


def train_codec(
    corpora: Folders,
    out: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Stage 1: train the motion codec; leaves the run's folder `codec`.

    Args:
        corpora: corpus folders.
        out: run folder.
        recipe: of `recipe.read_recipe`.
        start: checkpoint folder to begin with.
        device: see `distributed.get_process`.

    Returns:
        The held-out metrics, which are also written to the folder.
    """
    process = distributed.get_process(device)
    torch.manual_seed(0)
    network = initialize_network(recipe, start)
    codec, folder = network.codec, Path(out) / "codec"
    config = TrainerConfig(**recipe["codec"])
    sampler = make_sampler(corpora, "train", recipe, device=process.device)
    motions = list(sampler.motions())
    measure_motion(codec, motions)
    codec.to(process.device)
    stage = CodecStage(codec, sampler, LipShape(default_rig(), process.device), config.batch_size)
    trainer = Trainer(dict(codec.named_parameters()), config, folder, "motion codec", process)
    trainer.run(stage)
    codec.cpu()
    metrics = measure_latents(codec, motions)
    metrics.update(evaluate_codec(codec, load_held_out(corpora)))
    if process.rank == 0:
        checkpoint.save(folder, network)
        write_text(folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return metrics


def load_held_out(corpora: Folders) -> list[Clip]:
    """Clips for evaluation: of validation, else of test, else of training.

    Args:
        corpora: Corpus folders.

    Returns:
        The clips of the first of these splits that any corpus has.
    """
    splits = {clip["split"] for folder in corpora for clip in read_index(folder)["clips"]}
    return load_mixture(corpora, next(split for split in ("validation", "test", "train") if split in splits))[
        0
    ]


def load_held_out_per_corpus(corpora: Folders) -> list[list[Clip]]:
    """Held-out clips of each corpus that has some; where none has, all training clips in one list.

    Args:
        corpora: Corpus folders.

    Returns:
        One list per corpus with validation clips, or else test clips, in the order of the folders.
    """
    result: list[list[Clip]] = []
    for folder in corpora:
        splits = {clip["split"] for clip in read_index(folder)["clips"]}
        split = next((split for split in ("validation", "test") if split in splits), None)
        if split:
            result.append(load_mixture([folder], split)[0])
    return result or [load_held_out(corpora)]


@torch.no_grad()
def evaluate_codec(codec: MotionCodec, clips: Sequence[Clip]) -> dict[str, float]:
    """Reconstruction error of the codec on clips.

    Args:
        codec: the codec, on the CPU.
        clips: held-out clips.

    Returns:
        weights_error, mean absolute error of the weights; lip_gap_error, in units of a wide-open mouth;
        lids_r and head_r, correlation of lids and head, which move rarely or little.
    """
    lips = LipShape(default_rig())
    motions = [torch.from_numpy(clip_motion(clip)) for clip in clips]
    decoded = torch.cat([codec.decode(codec.encode(motion[None]))[0] for motion in motions])
    target = torch.cat(motions)

    def mean_correlation(columns: Sequence[int]) -> float:
        return float(np.mean([np.corrcoef(target[:, i], decoded[:, i])[0, 1] for i in columns]))

    return {
        "weights_error": float((decoded - target)[:, :52].abs().mean()),
        "lip_gap_error": float((lips.gap(decoded) - lips.gap(target)).abs().mean()),
        "lids_r": mean_correlation([INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]),
        "head_r": mean_correlation(range(52, 55)),
    }


def train_encoder(
    corpora: Folders,
    out: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    device: str = "auto",
    sampler: WindowSampler | None = None,
) -> Path:
    """Pre-train the audio encoder, before stage 2; leaves the run's folder `encoder`.

    Args:
        corpora: corpus folders.
        out: run folder, in which the codec is trained.
        recipe: of `recipe.read_recipe`.
        start: checkpoint folder of everything but the codec.
        device: see `distributed.get_process`.
        sampler: of `make_sampler`, where it exists already.

    Returns:
        The checkpoint folder.
    """
    process = distributed.get_process(device)
    folder = stage_folder(out, "encoder")
    network = _load_codec_run(out, start)
    config = TrainerConfig(**recipe["encoder"])
    sampler = sampler or make_sampler(corpora, "train", recipe, network, process.device)
    network.to(process.device)
    stage = EncoderPretraining(
        network.encoder,
        network.codec,
        network.config.lookahead_frames,
        sampler,
        LipShape(default_rig(), process.device),
        config.batch_size,
        config.mixed_precision,
    )
    parameters = {f"encoder.{name}": p for name, p in network.encoder.named_parameters()}
    _train(network, stage, stage.probe, parameters, config, folder, process)
    if process.rank == 0:
        with atomic_output(folder / PROBE_FILE) as partial, partial.open("wb") as file:
            torch.save(stage.probe.cpu().state_dict(), file)
    return folder


def train_generator(
    corpora: Folders,
    out: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    device: str = "auto",
    sampler: WindowSampler | None = None,
) -> Path:
    """Stage 2: train predictor, diffusion head and encoder; leaves the run's folder `generator`.

    The encoder is the pre-trained one where the run has it.

    Args:
        corpora: corpus folders.
        out: run folder, in which the codec is trained.
        recipe: of `recipe.read_recipe`.
        start: checkpoint folder of predictor and head.
        device: see `distributed.get_process`.
        sampler: of `make_sampler`, where it exists already.

    Returns:
        The checkpoint folder.
    """
    process = distributed.get_process(device)
    folder, encoder_folder = stage_folder(out, "generator"), stage_folder(out, "encoder")
    network = _load_codec_run(out, start)
    probe_state: dict[str, torch.Tensor] | None = None
    if (encoder_folder / checkpoint.WEIGHTS).exists():
        network.encoder.load_state_dict(checkpoint.load(encoder_folder).encoder.state_dict())
        probe_state = torch.load(encoder_folder / PROBE_FILE, weights_only=True)
    network.codec.requires_grad_(False)
    config = GeneratorConfig(**recipe["generator"])
    network.encoder.requires_grad_(config.train_encoder)
    sampler = sampler or make_sampler(corpora, "train", recipe, network, process.device)
    network.to(process.device)
    stage = GeneratorStage(
        network, sampler, LipShape(default_rig(), process.device), config, HistoryConfig(**recipe["history"])
    )
    stage.probe.requires_grad_(config.train_encoder)
    if probe_state:
        stage.probe.load_state_dict(probe_state)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    _train(network, stage, stage.probe, parameters, config, folder, process)
    return folder


def train_articulation_heads(
    corpora: Folders,
    out: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    device: str = "auto",
) -> Path:
    """Train the articulation and voice-activity heads on the frozen encoder; leaves `articulation_heads`.

    They learn from the recipe's `head_mixture`, in which people who were filmed can weigh more than in the
    encoder's training, which would learn their few clips by heart. The thresholds of closure and open vowels
    are chosen on held-out clips.

    Args:
        corpora: corpus folders.
        out: run folder.
        recipe: of `recipe.read_recipe`.
        start: checkpoint folder to begin with; the run's generator when None.
        device: see `distributed.get_process`.

    Returns:
        The checkpoint folder.

    Raises:
        TalkerError: if neither `start` is given nor the run has a generator.
    """
    process = distributed.get_process(device)
    folder, generator_folder = stage_folder(out, "articulation_heads"), stage_folder(out, "generator")
    if not start and not (generator_folder / checkpoint.WEIGHTS).exists():
        raise TalkerError(
            f"no generator at {generator_folder}: run `streamingtalker train generator` with the same "
            "--out first"
        )
    torch.manual_seed(0)
    talker = checkpoint.load(start or generator_folder)
    config = talker.config
    network = TalkerNetwork(
        replace(
            config,
            bilabial_thresholds=config.bilabial_thresholds or (0.1, 0.2),
            open_vowel_thresholds=config.open_vowel_thresholds or (0.5, 0.75),
        )
    )
    network.eval().load_state_dict(talker.state_dict(), strict=False)  # only heads may be new
    settings = TrainerConfig(**recipe["articulation_heads"])
    mixture = {"mixture": recipe["head_mixture"] or recipe["mixture"]}
    sampler = make_sampler(corpora, "train", {**recipe, **mixture}, network, process.device)
    network.to(process.device)
    stage = ArticulationHeadStage(
        network.encoder,
        network.config.lookahead_frames,
        sampler,
        LipShape(default_rig(), process.device),
        settings.batch_size,
    )
    heads = network.encoder.auxiliary_heads
    parameters = {name: p for name, p in network.encoder.named_parameters() if name.split(".")[0] in heads}
    trainer = Trainer(parameters, settings, folder, "articulation heads", process)
    trainer.run(stage)
    trainer.load_ema()
    network.cpu()
    network.config = replace(
        _choose_thresholds(network, load_held_out_per_corpus(corpora)),
        style_amplitudes=style_amplitudes(corpora, network.config.styles),
    )
    if process.rank == 0:
        checkpoint.save(folder, network)
    return folder


def _choose_thresholds(network: TalkerNetwork, corpora: Sequence[Sequence[Clip]]) -> TalkerConfig:
    """The network's configuration with thresholds chosen on held-out clips, one list per corpus."""
    scores = [score_heads(network, clips) for clips in corpora]
    scores = [arrays for arrays in scores if min(map(len, arrays)) >= MIN_THRESHOLD_PHONES] or scores
    in_closures, in_vowels, openness = zip(*scores, strict=True)
    if not (min(map(len, in_closures)) and min(map(len, in_vowels))):
        return network.config
    return replace(
        network.config,
        bilabial_thresholds=closure_thresholds(
            in_closures, in_vowels, MIN_CLOSURE_RECALL, MAX_FALSE_CLOSURES
        ),
        open_vowel_thresholds=open_vowel_thresholds(openness, MAX_HINDERED_CLOSURES),
    )


def export_checkpoint(out: str | Path, folder: str | Path) -> None:
    """Write the checkpoint that ships: the run's last stage.

    Args:
        out: run folder.
        folder: checkpoint folder to write.
    """
    checkpoint.save(folder, checkpoint.load(stage_folder(out, "articulation_heads")))


def _train(
    network: TalkerNetwork,
    stage: EncoderPretraining | GeneratorStage,
    probe: torch.nn.Module,
    parameters: Mapping[str, torch.Tensor],
    config: TrainerConfig,
    folder: Path,
    process: distributed.SingleProcess,
) -> None:
    """Train parameters and the stage's probe; leave the network with averaged weights in its folder."""
    parameters = {**parameters, **{f"probe.{name}": p for name, p in probe.named_parameters()}}
    trainer = Trainer(parameters, config, folder, folder.name, process)
    trainer.run(stage)
    trainer.load_ema()
    if process.rank == 0:
        checkpoint.save(folder, network)


def _load_codec_run(out: str | Path, start: str | Path | None) -> TalkerNetwork:
    """The network of a run whose codec is trained; `start` gives everything but the codec.

    Raises:
        TalkerError: if the run has no codec.
    """
    folder = Path(out) / "codec"
    if not (folder / checkpoint.WEIGHTS).exists():
        raise TalkerError(
            f"no codec at {folder}: run `streamingtalker train codec` with the same --out first"
        )
    torch.manual_seed(0)  # weights that a stage adds begin alike in every run
    network = checkpoint.load(folder)
    if start:
        load_matching_weights(network, checkpoint.load(start), skip=("codec.",))
    return network.train()
