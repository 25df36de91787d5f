# SPDX-License-Identifier: Apache-2.0
"""The two stages of the published family, from a data set's folder to a checkpoint that streams.

`train_codec(dataset, data, out, recipe)` leaves `out/codec/`, `train_talker` takes it and leaves `out/talker/`, which
`Talker.load` reads. Both resume from their run folders, and run under `accelerate launch`.
"""

import json
from pathlib import Path

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
from streamingtalker_ros.training import distributed
from streamingtalker_ros.training.trainer import Loop
from streamingtalker_ros.training.vertex import codec as stage1
from streamingtalker_ros.training.vertex import generator as stage2
from streamingtalker_ros.training.vertex.audio_context import Hearing, load_hubert
from streamingtalker_ros.training.vertex.dataset import load_clips, read_templates
from streamingtalker_ros.training.vertex.recipe import NEUTRAL, hubert_arguments

CODEC, CONFIG, FIGURES = "codec.safetensors", "config.json", "figures.json"
SCORED = 8  # held-out clips that the trained pair is measured on


def train_codec(dataset, data, out, recipe, start=None, device="auto"):
    """Stage 1. dataset: "vocaset" or "biwi"; data, out: folders; recipe: from `read_recipe`; start: a checkpoint folder
    to begin with; device: see `machines.find`. Returns the figures that it leaves in codec/figures.json."""
    machine, out = distributed.find(device), Path(out) / "codec"
    clips = _clips(dataset, data, "train", recipe, sound=False)
    config = recipe.config(subjects(clips), {})
    _same_size(clips, config, data)
    torch.manual_seed(recipe.codec.seed)
    codec = Codec(config)
    stage1.prepare(codec)
    if start:
        _fill(codec, _state(start, "codec."), start)
    codec.to(machine.device).train()
    stage = stage1.CodecStage(codec, clips, recipe.pieces, recipe.codec, machine)
    loop = Loop(dict(codec.named_parameters()), recipe.codec, out, "motion codec", machine)
    loop.run(stage)  # its last weights: an average would part the codes from what is coded
    held = _clips(dataset, data, "validation", recipe, sound=False, needed=False)
    figures = stage1.codec_figures(codec.eval(), held or clips[:SCORED], machine.device)
    if machine.rank == 0:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in codec.state_dict().items()},
            str(out / CODEC),
        )
        (out / CONFIG).write_text(
            json.dumps({**config.to_json(), "family": "published codec"}, indent=2) + "\n"
        )
        _write_figures(out, figures)
    return figures


def train_talker(dataset, data, out, recipe, start=None, device="auto"):
    """Stage 2, after `train_codec` with the same folders. start: a checkpoint folder whose HuBERT, predictor and head
    it begins with. Returns the checkpoint folder."""
    machine, out = distributed.find(device), Path(out)
    arguments = hubert_arguments(recipe.audio)
    clips = _clips(dataset, data, "train", recipe)
    config = recipe.config(subjects(clips), arguments)
    _same_size(clips, config, data)
    torch.manual_seed(recipe.talker.seed)
    network = VertexNetwork(config)
    _fill(network.codec, _read_codec(out / "codec", config), out / "codec")
    stage2.prepare(network)
    if not isinstance(recipe.audio.hubert, dict):
        load_hubert(network, recipe.audio.hubert)
    if start:
        _begin(network, start)
    _dress(network, data, recipe)
    network.to(machine.device)
    hearing = Hearing(network.audio, config, recipe.audio, machine.device)
    for part in (network.predictor, network.head):
        part.requires_grad_(True)
    if recipe.learning.finetune_decoder:
        for part in (network.codec.pre, network.codec.decoder, network.codec.leave):
            part.requires_grad_(True)
    stage = stage2.TalkerStage(network, hearing.train(), clips, recipe, machine)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    loop = Loop(parameters, recipe.talker, out / "talker", "talker", machine)
    loop.run(stage)
    loop.adopt_average()
    network.eval()
    if machine.rank == 0:
        checkpoint.save(out / "talker", network)
        held = _clips(dataset, data, "validation", recipe, needed=False)
        _write_figures(out / "talker", talker_figures(network, held or clips, recipe, machine.device))
    return out / "talker"


@torch.no_grad()
def talker_figures(network, clips, recipe, device):
    """Streamed with the bounds it was trained for, in the subject's style where it is known, else the neutral one: mean
    distance of a vertex from its place, and that of a face at rest, over a few clips."""
    bounds = dict(chunk_frames=recipe.audio.hop, window=recipe.audio.window, context=recipe.audio.context)
    decode = max(network.config.context_frames, recipe.audio.hop + 1)
    model, made = VertexTalker(network, device, decode_frames=decode, **bounds), []
    for clip in clips[:SCORED]:
        stream = model.open_stream(style=clip.subject if clip.subject in model.styles else None)
        frames = (stream.accept(clip.pcm) + stream.finish())[: len(clip)]
        said = (
            np.stack([frame.vertices for frame in frames]) / network.config.unit
            - network.template.cpu().numpy()
        )
        truth = clip.rows(1, len(said)).reshape(said.shape)
        made.append((np.linalg.norm(said - truth, axis=-1).mean(), np.linalg.norm(truth, axis=-1).mean()))
    distance, still = np.mean(made, 0)
    return {"clips": len(made), "distance": float(distance), "distance_at_rest": float(still)}


def subjects(clips):
    """The subjects of clips, in the order of the data set's."""
    there = {clip.subject for clip in clips}
    return [subject for known in SUBJECTS.values() for subject in known if subject in there]


def _clips(dataset, data, split, recipe, sound=True, needed=True):
    clips = load_clips(dataset, data, split, sound, recipe.data.incomplete)
    if needed and not clips:
        raise TalkerError(
            f"{data} holds no clip of {dataset}'s {split} subjects and sentences: are the files named "
            f"like {'FaceTalk_170728_03272_TA_sentence01' if dataset == 'vocaset' else 'F2_e01'}?"
        )
    return clips


def _same_size(clips, config, data) -> None:
    """Raises TalkerError where a clip's face has another number of vertices than the network."""
    for clip in clips:
        if clip.template.size != 3 * config.vertices:
            raise TalkerError(
                f"{Path(data) / 'templates.pkl'}: the face of {clip.subject} has "
                f"{clip.template.size // 3} vertices, the recipe's model {config.vertices}"
            )


def _read_codec(folder, config):
    """Stage 1's codec. Raises TalkerError when it is missing, or of other sizes."""
    try:
        values = {**json.loads((folder / CONFIG).read_text()), "family": "vertex"}
        weights = load_file(str(folder / CODEC))
    except (OSError, ValueError, SafetensorError):
        raise TalkerError(
            f"no codec at {folder}: run `streamingtalker train codec` with the same --out first"
        ) from None
    theirs = VertexConfig.from_json(values)
    for name in (
        "dataset",
        "vertices",
        "slots",
        "code_dim",
        "codes",
        "codec_width",
        "codec_layers",
        "codec_heads",
        "codec_ff",
        "codec_slope",
        "codec_affine",
    ):
        if getattr(theirs, name) != getattr(config, name):
            raise TalkerError(
                f"the codec at {folder} has {name} {getattr(theirs, name)}, the recipe "
                f"{getattr(config, name)}"
            )
    return weights


def _state(folder, prefix):
    state = checkpoint.load(folder).state_dict()
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def _fill(module, weights, folder) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise TalkerError(f"the weights in {folder} do not fit the recipe's model: {detail}") from None


def _begin(network, folder) -> None:
    """Begin with a checkpoint's HuBERT, predictor and head; a subject it does not know, and the neutral style where it
    has none, begin as the mean of its styles."""
    other = checkpoint.load(folder)
    styles, known = other.predictor.identity.weight, other.config.identities
    rows = [
        styles[known.index(name)] if name in known else styles.mean(0) for name in network.config.identities
    ]
    for part in ("audio", "predictor", "head"):
        state = getattr(other, part).state_dict()
        if part == "predictor":
            state["identity.weight"] = torch.stack(rows)
        _fill(getattr(network, part), state, folder)


def _dress(network, data, recipe) -> None:
    """Give the network its face at rest, and the triangles of a mesh of the release where one lies by the data."""
    faces, wanted = read_templates(data), recipe.data.template
    if wanted and wanted not in faces:
        raise TalkerError(
            f"{Path(data) / 'templates.pkl'} has no subject {wanted}, the recipe's template: it knows "
            f"{', '.join(sorted(faces))}"
        )
    told = [name for name in network.config.identities if name != NEUTRAL]
    face = faces[wanted] if wanted else np.mean([faces[name] for name in told], 0)
    network.template.copy_(torch.from_numpy(np.asarray(face, np.float32)).view(-1, 3))
    for mesh in sorted(Path(data).glob("**/*.ply"))[:1]:
        network.triangles = torch.from_numpy(read_template(mesh, network.config.vertices)[1])


def _write_figures(folder, figures) -> None:
    (folder / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
