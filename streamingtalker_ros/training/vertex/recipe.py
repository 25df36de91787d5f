# SPDX-License-Identifier: Apache-2.0
"""The YAML recipe of a published training: sections of flat values, each a dataclass whose defaults are sound.

`read_recipe(path, dataset)` gives a Recipe; `model` begins with the sizes of the paper's network for that data set.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex.config import VertexConfig, read_hubert_json
from streamingtalker_ros.training.trainer import LoopConfig
from streamingtalker_ros.training.vertex.dataset import layout_of

NEUTRAL = "neutral"  # the style that needs no identity: the first row of the embedding, a stream's default
SIZES = {
    "vocaset": dict(
        num_codebooks=16,
        code_dim=64,
        codebook_size=256,
        width=768,
        feedforward=1024,
        activation="relu",
        positional_period=30,
        context_frames=60,
    ),
    "biwi": dict(
        num_codebooks=8,
        code_dim=128,
        codebook_size=512,
        width=1024,
        feedforward=2048,
        activation="gelu",
        positional_period=25,
        context_frames=120,
    ),
}
CODEC = dict(
    codec_width=1024, codec_layers=6, codec_heads=8, codec_feedforward=1536, codec_slope=0.2, codec_affine=False
)


@dataclass(frozen=True)
class Data:
    incomplete: bool = False  # leave out clips that lack their sound or their motion, instead of stopping
    template: str = ""  # whose face the checkpoint wears at rest; empty: the mean of the training subjects'


@dataclass(frozen=True)
class Pieces:
    """Stage 1: what of a clip the codec codes at once. It looks over all of its rows, so it must know many lengths."""

    whole: float = (
        0.5  # chance of whole clips, as in the paper; else pieces of 2 … frames rows, begun anywhere
    )
    frames: int = 60
    cut: float = 0.5  # chance that the decoder sees only a part of the coded rows, as it does while streaming
    restart: int = (
        0  # steps after which codes that went unused are moved onto data; 0: never, as in the paper
    )


@dataclass(frozen=True)
class Windows:
    """Stage 2: `frames` learned frames after `lead` frames of real history."""

    frames: int = 60
    lead: int = 30
    at_start: float = 0.15  # chance to begin where the clip does, without history


@dataclass(frozen=True)
class History:
    """Chances per window that the past is not the true one, against drift; 0 turns one off."""

    drop: float = 0.1  # all of it is rest
    cut: float = 0.15  # it reaches 1 … h frames back
    blur: float = 0.4  # most noise added to it, in units of its spread
    own: float = 0.5  # it is partly the network's own
    own_from: float = 0.3  # of the run: when that begins
    frames: float = 0.5  # share of its frames that are then the network's own


@dataclass(frozen=True)
class Audio:
    """What HuBERT hears, and what of it learns."""

    hubert: object = (
        None  # a local folder of it, or a dict of HubertConfig arguments: random weights of that shape
    )
    hear: str = "stream"  # "stream": the passes of a stream of the three numbers below; "utterance": all, as published
    hop: int = 12  # frames per pass
    window: float = 1.0  # seconds of audio that a pass hears
    context: float = 0.1  # of these, after its last frame
    freeze: bool = False  # True: HuBERT does not learn; False: all but its convolutions does, as in the paper
    cache: bool = True  # keep what the frozen part of it gives, per clip
    hidden: float = 0.05  # share of features hidden from it (SpecAugment, Park et al. 2019)


@dataclass(frozen=True)
class Learning:
    dropout: float = 0.2  # of the predictor
    neutral: float = 0.2  # chance per window that its subject is not told
    finetune_decoder: bool = False  # the codec's decoder learns on in stage 2


@dataclass(frozen=True)
class Recipe:
    dataset: str
    model: dict
    data: Data = Data()
    pieces: Pieces = Pieces()
    windows: Windows = Windows()
    history: History = History()
    audio: Audio = Audio()
    learning: Learning = Learning()
    codec: LoopConfig = LoopConfig()
    talker: LoopConfig = LoopConfig()

    def config(self, identities, hubert):
        """The network's VertexConfig. identities: names of the training subjects; hubert: dict of its arguments."""
        layout = layout_of(self.dataset)
        sizes = {
            **CODEC,
            "heads": 4,
            "layers": 2,
            "vertices": layout.vertices,
            "frame_rate": layout.frame_rate,
            **SIZES[self.dataset],
            **self.model,
        }
        made = VertexConfig(
            dataset=self.dataset,
            identities=(NEUTRAL, *identities),
            hubert=hubert,
            audio_dim=hubert.get("hidden_size", 768),
            **sizes,
        )
        if self.dataset == "vocaset" and made.latent_dim != made.codec_width:
            raise TalkerError(
                f"the recipe's model has num_codebooks · code_dim {made.latent_dim} and codec_width "
                f"{made.codec_width}: for vocaset they must be equal"
            )
        for width, heads in (("width", "heads"), ("codec_width", "codec_heads")):
            if not getattr(made, heads) or getattr(made, width) % getattr(made, heads):
                raise TalkerError(
                    f"the recipe's model has {width} {getattr(made, width)} and {heads} "
                    f"{getattr(made, heads)}, which do not divide"
                )
        return made


def read_recipe(path, dataset):
    """The recipe of a training on `dataset`. Raises TalkerError naming the file and what it does not know."""
    try:
        sections = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise TalkerError(f"the recipe {path} cannot be read ({error.strerror or error})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = getattr(error, "problem", None) or "not text"
        raise TalkerError(f"the recipe {path} is not valid YAML ({problem})") from None
    known = {f.name: f.type for f in fields(Recipe) if f.name != "dataset"}
    if not isinstance(sections, dict) or set(sections) - set(known):
        unknown = sorted(map(str, set(sections) - set(known))) if isinstance(sections, dict) else ["no names"]
        raise TalkerError(
            f"the recipe {path} has unknown sections ({', '.join(unknown)}): it may have {', '.join(known)}"
        )
    made = {}
    for name, values in sections.items():
        where = f"the recipe {path}, section {name}"
        if not isinstance(values or {}, dict):
            raise TalkerError(f"{where}, is not a table of names and values")
        made[name] = (
            _model(values or {}, where) if name == "model" else _fill(known[name], values or {}, where)
        )
    layout_of(dataset)
    recipe = Recipe(dataset, made.pop("model", {}), **made)
    if recipe.audio.hear not in ("stream", "utterance"):
        raise TalkerError(
            f"the recipe {path}: audio.hear is {recipe.audio.hear!r}, it may be stream or utterance"
        )
    return recipe


def _model(values, where):
    """Overrides of VertexConfig's sizes."""
    fixed = ("dataset", "identities", "hubert", "audio_dim")
    sizes = {f.name: f for f in fields(VertexConfig) if f.name not in fixed}
    for name, value in values.items():
        if name not in sizes:
            raise TalkerError(f"{where}, has the unknown size {name!r}: it may have {', '.join(sizes)}")
        _typed(value, sizes[name].type, f"{where}: {name}")
    return dict(values)


def _fill(kind, values, where):
    known = {f.name: f for f in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise TalkerError(f"{where}, has the unknown entry {name!r}: it may have {', '.join(known)}")
        _typed(value, known[name].type, f"{where}: {name}")
    return kind(**values)


def _typed(value, kind, where) -> None:
    fits = {
        int: isinstance(value, int) and not isinstance(value, bool),
        bool: isinstance(value, bool),
        float: isinstance(value, (int, float)) and not isinstance(value, bool),
        str: isinstance(value, str),
    }
    if not fits.get(kind, True):
        raise TalkerError(f"{where} is {value!r}, it must be of type {kind.__name__}")
    if kind in (int, float) and value < 0:
        raise TalkerError(f"{where} is {value}, it must not be negative")


def hubert_arguments(audio):
    """HubertConfig arguments of a recipe's section audio. Raises TalkerError where it names no HuBERT."""
    if isinstance(audio.hubert, dict):
        return dict(audio.hubert)
    if not audio.hubert:
        raise TalkerError(
            "stage 2 needs HuBERT: give --hubert a local folder with its config.json and weights"
        )
    return read_hubert_json(Path(audio.hubert) / "config.json")
