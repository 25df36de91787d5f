# SPDX-License-Identifier: Apache-2.0
"""The shape of a default-family talker, as one flat dataclass that is stored as JSON beside its weights."""

from dataclasses import asdict, dataclass, fields

from streamingtalker_ros.errors import TalkerError


@dataclass(frozen=True)
class TalkerConfig:
    """Every number that the network needs to be rebuilt; a reason per field."""

    name: str = "default"
    family: str = "default"  # "published" checkpoints have a reader of their own
    # time
    sample_rate: int = 16000
    hop: int = 640  # samples of audio per motion frame: 25 frames/s
    lookahead_frames: int = 2  # frame n hears audio up to frame n + 2: 80 ms
    # audio encoder
    mels: int = 64  # bands of the log-mel spectrum, four columns per motion frame
    audio_width: int = 224
    column_blocks: int = (
        0  # at 100 columns/s, where the bursts of p, t and k are told apart; dilations 1, 1, 2, 4, 8
    )
    audio_blocks: int = 4  # dilations 1, 2, 4, 8, then again from 1: four reach 1.2 s into the past
    # motion codec
    motion_dim: int = 55  # 52 blendshape weights, then the head's rotation vector (rad)
    slots: int = 8  # H: codes per frame
    codes: int = 256  # N: entries of the codebook
    code_dim: int = 16  # C: latent = slots x code_dim
    codec_width: int = 160
    # condition predictor
    width: int = 256
    heads: int = 4
    layers: int = 2
    feedforward: int = 512
    history: int = 50  # h: past frames that attention sees, 2 s
    period: int = 25  # of the positional encoding
    styles: tuple = ("neutral",)  # names of the style embedding's rows
    # ear for p, b, m: probabilities at which the lips begin to be pressed together and are; () for a model without it
    closure: tuple = ()
    openness: tuple = ()  # the same for open vowels and the lips' being kept apart
    opening: float = (
        0.0  # share of the lips' opening that an ear for it tells, the rest is the sample's; 0: no such ear
    )
    lip_width: float = 0.0  # the same for the mouth's width
    # diffusion head
    head_width: int = 256
    head_blocks: int = 3
    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    steps: int = 4  # DDIM steps at inference, trailing spacing
    temperature: float = (
        1.0  # scale of the noise that sampling begins with; below 1 nearer to the likely motion
    )

    @property
    def latent_dim(self):
        return self.slots * self.code_dim

    @property
    def frame_rate(self):
        return self.sample_rate / self.hop

    def to_json(self):
        return asdict(self)

    @classmethod
    def from_json(cls, values):
        """Raises TalkerError on a field that this version does not know."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise TalkerError(
                f"the checkpoint's config.json has unknown fields {sorted(unknown)}: "
                "it was written by a newer version, upgrade streamingtalker_ros"
            )
        values = dict(values)
        for name in ("styles", "closure", "openness"):
            values[name] = tuple(values.get(name, getattr(cls, name)))
        return cls(**values)
