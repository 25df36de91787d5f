"""The two stages from a corpus folder to a checkpoint folder.

`train_codec(corpus, out)` leaves `out/codec/` (a checkpoint whose codec is trained), `train_talker(corpus, out)` takes
that codec and leaves `out/talker/`, which `Talker.load` reads. Both resume from their run folders.
"""
import json
from pathlib import Path

import numpy as np
import torch
import yaml

from ..errors import TalkerError
from ..face.arkit import INDEX
from ..face.rig import default_rig
from ..model import checkpoint
from ..model.config import TalkerConfig
from ..model.network import TalkerNetwork
from .augment import augment
from .codec import CodecStage, LipGap, measure_latents, measure_motion
from .corpora import load_corpus
from .loop import Loop, LoopConfig
from .talker import HistoryConfig, TalkerStage
from .windows import Windows, motion_of

SECTIONS = {"model": TalkerConfig, "windows": None, "codec": LoopConfig, "talker": LoopConfig, "history": HistoryConfig}


def read_recipe(path):
    """The YAML recipe as {section: values}. Raises TalkerError on what it does not know."""
    try:
        recipe = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise TalkerError(f"the recipe {path} cannot be read: {error}") from None
    unknown = set(recipe) - set(SECTIONS)
    if unknown:
        raise TalkerError(f"the recipe {path} has unknown sections {sorted(unknown)}: it may have {sorted(SECTIONS)}")
    for name, kind in SECTIONS.items():
        recipe[name] = recipe.get(name) or {}
        if kind is not None:
            try:
                kind(**recipe[name])
            except TypeError as error:
                raise TalkerError(f"the recipe {path}, section {name}: {error}") from None
    return recipe


def make_windows(clips, recipe, config, dirty=True):
    """The Windows of a recipe over clips."""
    values = {"frames": 80, "lead": 32, "lives": 1, "augment": 0.75, **recipe["windows"]}
    share = values.pop("augment")
    talk = [clip.pcm for clip in clips[::max(len(clips) // 40, 1)]]  # what babbles in the background

    def dirt(pcm, rng):
        return augment(pcm, rng.integers(2 ** 31), talk) if rng.random() < share else pcm

    return Windows(clips, lookahead=config.lookahead_frames, augment=dirt if dirty and share else None, **values)


def train_codec(corpus, out, recipe, start=None):
    """Stage 1. corpus, out: folders; recipe: from `read_recipe`; start: a checkpoint folder to begin with.
    Returns the figures that it leaves in codec/figures.json."""
    clips = load_corpus(corpus, "train")
    config = TalkerConfig(**recipe["model"])
    torch.manual_seed(0)
    network = checkpoint.load(start).train() if start else TalkerNetwork(config)
    codec, out = network.codec, Path(out) / "codec"
    settings = LoopConfig(**recipe["codec"])
    windows = make_windows(clips, recipe, config, dirty=False)
    motions = [motion for lives in windows.motion for motion in lives]
    measure_motion(codec, motions)
    stage = CodecStage(codec, windows, LipGap(default_rig()), settings.batch)
    loop = Loop(dict(codec.named_parameters()), settings, out, "motion codec")
    loop.run(stage)
    figures = measure_latents(codec, motions)
    figures.update(codec_error(codec, load_corpus(corpus, "validation")))
    checkpoint.save(out, network)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


@torch.no_grad()
def codec_error(codec, clips):
    """Held-out reconstruction: mean absolute error of the weights, of the lip gap in parts of a wide-open mouth, and
    the correlation of what moves rarely or little, lids and head."""
    gap = LipGap(default_rig())
    truth = [torch.from_numpy(motion_of(clip)) for clip in clips]
    made = torch.cat([codec.decode(codec.encode(motion[None]))[0] for motion in truth])
    truth = torch.cat(truth)

    def r(columns):
        return float(np.mean([np.corrcoef(truth[:, i], made[:, i])[0, 1] for i in columns]))

    return {"weights_error": float((made - truth)[:, :52].abs().mean()),
            "lip_gap_error": float((gap(made) - gap(truth)).abs().mean()),
            "lids_r": r([INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]), "head_r": r(range(52, 55))}


def train_talker(corpus, out, recipe, start=None):
    """Stage 2, after `train_codec` with the same folders. start: a checkpoint folder whose encoder, predictor and
    head it begins with. Returns the checkpoint folder."""
    out = Path(out)
    if not (out / "codec" / checkpoint.WEIGHTS).exists():
        raise TalkerError(f"no codec at {out / 'codec'}: run `streamingtalker train codec` with the same --out first")
    network = checkpoint.load(out / "codec").train()
    if start:
        weights = checkpoint.load(start).state_dict()
        network.load_state_dict({name: t for name, t in weights.items() if not name.startswith("codec.")}, strict=False)
    network.codec.requires_grad_(False)
    settings = LoopConfig(**recipe["talker"])
    windows = make_windows(load_corpus(corpus, "train"), recipe, network.config)
    stage = TalkerStage(network, windows, LipGap(default_rig()), settings.batch, settings.steps,
                        HistoryConfig(**recipe["history"]), mixed=settings.mixed)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    parameters.update({f"probe.{name}": p for name, p in stage.probe.named_parameters()})
    loop = Loop(parameters, settings, out / "talker", "talker")
    loop.run(stage)
    loop.adopt_average()
    checkpoint.save(out / "talker", network)
    return out / "talker"
