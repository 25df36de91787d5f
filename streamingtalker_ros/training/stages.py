# SPDX-License-Identifier: Apache-2.0
"""The stages from corpus folders to a checkpoint folder.

`train_codec` leaves `out/codec/` (a checkpoint whose codec is trained), `train_listener` takes it and leaves
`out/listener/` (its encoder has learned to listen), `train_talker` takes the last of the two that is there and leaves
`out/talker/`, which `Talker.load` reads; `train_closure` adds an ear for p, b and m to that and leaves `out/closure/`,
whose lips close more surely. All resume from their run folders.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml

from streamingtalker_ros.corpus.storage import read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.lip_shape import LipShape
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.training import distributed, motion_gain
from streamingtalker_ros.training.articulation_heads import (
    ClosureStage,
    closure_thresholds,
    open_vowel_thresholds,
    probabilities,
)
from streamingtalker_ros.training.batches import WindowSampler, motion_of
from streamingtalker_ros.training.codec import CodecStage, measure_latents, measure_motion
from streamingtalker_ros.training.encoder import ListenerLoopConfig, ListenerStage
from streamingtalker_ros.training.generator import HistoryConfig, TalkerLoopConfig, TalkerStage
from streamingtalker_ros.training.mixture import gather
from streamingtalker_ros.training.trainer import Loop, LoopConfig

SECTIONS = {
    "corpora": None,
    "model": TalkerConfig,
    "mix": None,
    "windows": None,
    "codec": LoopConfig,
    "listener": ListenerLoopConfig,
    "talker": TalkerLoopConfig,
    "closure": LoopConfig,
    "history": HistoryConfig,
    "gains": None,
}

CAUGHT, FALSE = 0.92, 0.10  # shares of p, b, m and of open vowels, in held-out clips, that the ears press
ENOUGH = 20  # p, b and m, and open vowels, that a corpus must have to be heeded in that
HINDERED = 0.03  # share of p, b, m, in held-out clips, that the ear for open vowels may hinder


def read_recipe(path):
    """The YAML recipe as {section: values}. Raises TalkerError on what it does not know."""
    try:
        recipe = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise TalkerError(f"the recipe {path} cannot be read: {error}") from None
    unknown = set(recipe) - set(SECTIONS)
    if unknown:
        raise TalkerError(
            f"the recipe {path} has unknown sections {sorted(unknown)}: it may have {sorted(SECTIONS)}"
        )
    for name, kind in SECTIONS.items():
        recipe[name] = recipe.get(name) or {}
        if kind is not None:
            try:
                kind(**recipe[name])
            except TypeError as error:
                raise TalkerError(f"the recipe {path}, section {name}: {error}") from None
    motion_gain.check(recipe["gains"])
    return recipe


def make_windows(corpora, split, recipe, network=None, device="cpu"):
    """The WindowSampler of a recipe over corpus folders; without a network they carry motion alone. device: where they lie."""
    clips, chances = gather(corpora, split, recipe["mix"])
    values = {
        "frames": 80,
        "lead": 32,
        "lives": 2,
        "versions": 3,
        "jobs": os.cpu_count() or 1,
        **recipe["windows"],
    }
    config = network.config if network else TalkerConfig(**recipe["model"])
    log_mel = network.encoder.log_mel if network else None
    return WindowSampler(
        clips,
        lookahead=config.lookahead_frames,
        log_mel=log_mel,
        chances=chances,
        styles=config.styles,
        progress=True,
        device=device,
        **values,
    )


def begin(recipe, start=None):
    """The network that a run begins with: fresh, or with the weights of the checkpoint folder `start`.

    Where the recipe's network is larger than the checkpoint's, what is new begins without effect: residual blocks add
    nothing, every style is the checkpoint's first.
    """
    network = TalkerNetwork(TalkerConfig(**recipe["model"]))
    if start:
        adopt(network, checkpoint.load(start))
    return network.train()


@torch.no_grad()
def adopt(network, other, skip=()) -> None:
    """Copy into `network` the weights of `other`, of the same shape or smaller; skip: prefixes left as they are."""
    theirs = other.state_dict()
    for name, mine in network.state_dict().items():
        if name.startswith(tuple(skip)):
            continue
        if name == "predictor.style.weight":
            mine.copy_(theirs[name][:1].expand_as(mine))
        elif name in theirs:
            if theirs[name].shape != mine.shape:
                raise TalkerError(
                    f"the checkpoint to start with does not fit the recipe's model at {name}: "
                    f"{tuple(theirs[name].shape)} against {tuple(mine.shape)}"
                )
            mine.copy_(theirs[name])
        elif "blocks." in name and ".out." in name:
            mine.zero_()


def train_codec(corpora, out, recipe, start=None, device="auto"):
    """Stage 1. corpora: list of folders; out: run folder; recipe: from `read_recipe`; start: a checkpoint folder to
    begin with; device: see `machines.find`. Returns the figures that it leaves in codec/figures.json."""
    machine = distributed.find(device)
    torch.manual_seed(0)
    network = begin(recipe, start)
    codec, out = network.codec, Path(out) / "codec"
    settings = LoopConfig(**recipe["codec"])
    windows = make_windows(corpora, "train", recipe, device=machine.device)
    motions = list(windows.motions())
    measure_motion(codec, motions)
    codec.to(machine.device)
    stage = CodecStage(codec, windows, LipShape(default_rig(), machine.device), settings.batch)
    loop = Loop(dict(codec.named_parameters()), settings, out, "motion codec", machine)
    loop.run(stage)
    codec.cpu()
    figures = measure_latents(codec, motions)
    figures.update(codec_error(codec, held_out(corpora)))
    if machine.rank == 0:  # of several processes one writes
        checkpoint.save(out, network)
        (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def held_out(corpora):
    """Clips to measure with: validation's, test's of corpora that have none, at worst those of the training."""
    splits = {clip["split"] for folder in corpora for clip in read_index(folder)["clips"]}
    return gather(corpora, next(split for split in ("validation", "test", "train") if split in splits))[0]


def held_out_each(corpora):
    """Clips to measure with, a list for each corpus that held some out; where none did, those of all its training."""
    out = []
    for folder in corpora:
        splits = {clip["split"] for clip in read_index(folder)["clips"]}
        split = next((split for split in ("validation", "test") if split in splits), None)
        out += [gather([folder], split)[0]] if split else []
    return out or [held_out(corpora)]


@torch.no_grad()
def codec_error(codec, clips):
    """Held-out reconstruction: mean absolute error of the weights, of the lip gap in parts of a wide-open mouth, and
    the correlation of what moves rarely or little, lids and head."""
    gap = LipShape(default_rig()).gap
    truth = [torch.from_numpy(motion_of(clip)) for clip in clips]
    made = torch.cat([codec.decode(codec.encode(motion[None]))[0] for motion in truth])
    truth = torch.cat(truth)

    def r(columns):
        return float(np.mean([np.corrcoef(truth[:, i], made[:, i])[0, 1] for i in columns]))

    return {
        "weights_error": float((made - truth)[:, :52].abs().mean()),
        "lip_gap_error": float((gap(made) - gap(truth)).abs().mean()),
        "lids_r": r([INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]),
        "head_r": r(range(52, 55)),
    }


def train_listener(corpora, out, recipe, start=None, device="auto", windows=None):
    """Before stage 2: the encoder of the run's codec checkpoint, or of `start`, learns to listen. windows: of
    `make_windows`, where they are made already. Returns the checkpoint folder."""
    machine, out = distributed.find(device), Path(out)
    network = _after_codec(out, start)
    settings = ListenerLoopConfig(**recipe["listener"])
    windows = windows or make_windows(corpora, "train", recipe, network, machine.device)
    network.to(machine.device)
    stage = ListenerStage(
        network.encoder,
        network.codec,
        network.config.lookahead_frames,
        windows,
        LipShape(default_rig(), machine.device),
        settings.batch,
        settings.mixed,
        settings.steady,
    )
    parameters = {f"encoder.{name}": p for name, p in network.encoder.named_parameters()}
    before = [p.detach().clone() for p in parameters.values()]
    _learn(network, stage, parameters, settings, out / "listener", machine)
    if machine.rank == 0:
        if settings.keep:
            with torch.no_grad():
                for parameter, old in zip(parameters.values(), before):
                    parameter.lerp_(old, settings.keep)
            checkpoint.save(out / "listener", network)
        torch.save(stage.probe.cpu().state_dict(), out / "listener" / "probe.pt")
    return out / "listener"


def train_talker(corpora, out, recipe, start=None, device="auto", windows=None):
    """Stage 2, after `train_codec` with the same folders. start: a checkpoint folder whose predictor and head it
    begins with. Its encoder is the listener's where the run has one. Returns the checkpoint folder."""
    machine, out = distributed.find(device), Path(out)
    network = _after_codec(out, start)
    probe = None
    if (out / "listener" / checkpoint.WEIGHTS).exists():
        network.encoder.load_state_dict(checkpoint.load(out / "listener").encoder.state_dict())
        probe = torch.load(out / "listener" / "probe.pt", weights_only=True)
    network.codec.requires_grad_(False)
    settings = TalkerLoopConfig(**recipe["talker"])
    network.encoder.requires_grad_(settings.listens)
    windows = windows or make_windows(corpora, "train", recipe, network, machine.device)
    network.to(machine.device)
    stage = TalkerStage(
        network,
        windows,
        LipShape(default_rig(), machine.device),
        settings,
        HistoryConfig(**recipe["history"]),
    )
    stage.probe.requires_grad_(settings.listens)
    if probe:
        stage.probe.load_state_dict(probe)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    _learn(network, stage, parameters, settings, out / "talker", machine)
    return out / "talker"


def train_closure(corpora, out, recipe, start=None, device="auto", windows=None):
    """After stage 2: the ears, that for a voice among them, on the frozen encoder of the run's talker, or of `start`; the
    closure_thresholds of those for p, b, m and for open vowels are chosen on held-out clips. Returns the checkpoint folder."""
    machine, out = distributed.find(device), Path(out)
    if not start and not (out / "talker" / checkpoint.WEIGHTS).exists():
        raise TalkerError(
            f"no talker at {out / 'talker'}: run `streamingtalker train talker` with the same --out first"
        )
    torch.manual_seed(0)
    talker = checkpoint.load(start or out / "talker")
    known = talker.config
    network = TalkerNetwork(
        replace(
            known,
            bilabial_thresholds=known.bilabial_thresholds or (0.1, 0.2),
            open_vowel_thresholds=known.open_vowel_thresholds or (0.5, 0.75),
        )
    )
    network.eval().load_state_dict(talker.state_dict(), strict=False)  # an ear is what it may lack
    settings = LoopConfig(**recipe["closure"])
    windows = windows or make_windows(corpora, "train", recipe, network, machine.device)
    network.to(machine.device)
    stage = ClosureStage(
        network.encoder,
        network.config.lookahead_frames,
        windows,
        LipShape(default_rig(), machine.device),
        settings.batch,
    )
    parameters = {
        name: p
        for name, p in network.encoder.named_parameters()
        if name.split(".")[0] in network.encoder.auxiliary_heads
    }
    loop = Loop(parameters, settings, out / "closure", "closure", machine)
    loop.run(stage)
    loop.adopt_average()
    network.cpu()
    heard = [probabilities(network, clips) for clips in held_out_each(corpora)]
    heard = [parts for parts in heard if min(map(len, parts)) >= ENOUGH] or heard
    closed, opened, spared = zip(*heard)
    if min(map(len, closed)) and min(map(len, opened)):
        network.config = replace(
            network.config,
            bilabial_thresholds=closure_thresholds(closed, opened, CAUGHT, FALSE),
            open_vowel_thresholds=open_vowel_thresholds(spared, HINDERED),
        )
    if machine.rank == 0:
        checkpoint.save(out / "closure", network)
    return out / "closure"


def finish(out, recipe, folder) -> None:
    """The checkpoint that ships, from the run's last stage: what it decodes made as lively as the recipe's `gains` say."""
    network = checkpoint.load(Path(out) / "closure")
    motion_gain.scale_motion(network, recipe["gains"])
    checkpoint.save(folder, network)


def _learn(network, stage, parameters, settings, folder, machine) -> None:
    """Train the parameters and the stage's probe; leave the network with averaged weights in its run folder."""
    parameters = {**parameters, **{f"probe.{name}": p for name, p in stage.probe.named_parameters()}}
    loop = Loop(parameters, settings, folder, folder.name, machine)
    loop.run(stage)
    loop.adopt_average()
    if machine.rank == 0:
        checkpoint.save(folder, network)


def _after_codec(out, start):
    """The network of a run whose codec is trained; start: a checkpoint folder that gives everything but the codec."""
    if not (out / "codec" / checkpoint.WEIGHTS).exists():
        raise TalkerError(
            f"no codec at {out / 'codec'}: run `streamingtalker train codec` with the same --out first"
        )
    torch.manual_seed(0)  # what the stage adds of its own begins alike in every run
    network = checkpoint.load(out / "codec")
    if start:
        adopt(network, checkpoint.load(start), skip=("codec.",))
    return network.train()
