# SPDX-License-Identifier: Apache-2.0
"""HuBERT's features of the frames of a window, heard as a stream hears them or as the published training does.

`stream`: the very passes of bounded streaming (chunking.py): windows of audio under a running normalisation, frame and
feature centres aligned. `utterance`: the whole clip, normalised by its own level, stretched onto the clip's frames.
The convolutions never learn (paper); what they give, or all of a frozen HuBERT, is computed once per pass and kept.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.model.vertex import hubert
from streamingtalker_ros.model.vertex.chunking import SAMPLE_RATE, ChunkSchedule
from streamingtalker_ros.model.vertex.streaming import RunningNormalizer

SPAN = 10  # features hidden together, as HuBERT was trained


@dataclass
class Pass:
    """One run of HuBERT: `key` names it, `pcm` (n,) normalised; `places` of the wanted frames among its features."""

    key: tuple
    pcm: np.ndarray
    places: torch.Tensor


class Hearing:
    """Features of clips. model: a HubertModel; audio: the recipe's section; config: the VertexConfig."""

    def __init__(self, model, config, audio, device) -> None:
        self.model, self.config, self.audio, self.device = model, config, audio, device
        self.stride, self.reach = hubert.geometry(model)
        self.schedule = ChunkSchedule.create(
            config.frame_rate,
            config.audio_fps,
            self.stride,
            self.reach,
            audio.hop,
            audio.window,
            audio.context,
        )
        self._kept, self._sums = {}, {}
        model.requires_grad_(not audio.freeze)
        model.feature_extractor.requires_grad_(False)

    def train(self, mode=True):
        """Dropout and hidden spans on or off; a frozen HuBERT has neither."""
        self.model.train(mode and not self.audio.freeze)
        return self

    def __call__(self, clips, first, count):
        """clips: B of them; first: their first frames; count: frames -> (B, count, audio_dim)."""
        plan = self._stream if self.audio.hear == "stream" else self._utterance
        passes = [plan(clip, start, count) for clip, start in zip(clips, first)]
        groups = {}  # of passes as long
        for p in (p for row in passes for p in row):
            groups.setdefault(len(p.pcm), {})[p.key] = p
        features = {}
        for group in groups.values():
            features.update(zip(group, self._encode(list(group.values()))))
        return torch.stack(
            [
                torch.cat(
                    [
                        hubert.gather_features(features[p.key][None], p.places.to(self.device)[None])[0]
                        for p in row
                    ]
                )
                for row in passes
            ]
        )

    def _stream(self, clip, first, count):
        hop, made = self.schedule.chunk_frames, []
        for k in range(first // hop, (first + count - 1) // hop + 1):
            start, stop = self.schedule.window_span(k)
            pcm = np.zeros(stop - start, np.float32)  # silence after the clip's end
            heard = clip.pcm[start:stop]
            pcm[: len(heard)] = heard
            places = torch.tensor(self.schedule.feature_positions(k), dtype=torch.float32)
            wanted = slice(max(first - k * hop, 0), min(first + count - k * hop, hop))
            made.append(
                Pass(
                    (clip.name, k),
                    self._loudness(clip, self.schedule.samples_needed(k)).normalize(pcm),
                    places[wanted],
                )
            )
        return made

    def _loudness(self, clip, end):
        """The running normalisation of a stream that has heard `end` samples."""
        if clip.name not in self._sums:
            pcm = clip.pcm.astype(np.float64)
            self._sums[clip.name] = [
                np.concatenate(([0.0], np.cumsum(values))) for values in (pcm, pcm * pcm)
            ]
        total, squares = (float(sums[min(end, len(clip.pcm))]) for sums in self._sums[clip.name])
        return RunningNormalizer(end, total, squares)

    def _utterance(self, clip, first, count):
        features = (len(clip.pcm) - self.reach) // self.stride + 1
        if features < 1:
            raise TalkerError(
                f"clip {clip.name} holds {len(clip.pcm) / SAMPLE_RATE:.3f} s of sound: too little"
            )
        places = torch.linspace(0, features - 1, len(clip))[first : first + count]
        pcm = hubert.normalize(torch.from_numpy(clip.pcm)).numpy()
        return [Pass((clip.name, "all"), pcm, places)]

    def _encode(self, passes):
        """Passes of one length -> features (len(passes), N, audio_dim)."""
        if self.audio.freeze:
            return self._frozen(passes, lambda pcm: self._rest(self._front(pcm), hide=False))
        return self._rest(self._frozen(passes, self._front), hide=self.model.training)

    @torch.no_grad()
    def _frozen(self, passes, compute):
        """What does not learn. To be kept it is computed pass by pass: who shares a batch may change the last bits, and
        a resumed run must meet the same ones."""
        if not self.audio.cache:
            return compute(np.stack([p.pcm for p in passes]))
        for p in passes:
            if p.key not in self._kept:
                self._kept[p.key] = compute(p.pcm[None])[0].cpu()
        return torch.stack([self._kept[p.key] for p in passes]).to(self.device)

    def _front(self, pcm):  # (B, n) -> (B, N, channels of the last convolution)
        with torch.autocast(self.device.type, enabled=False):
            return self.model.feature_extractor(torch.from_numpy(pcm).to(self.device)).transpose(1, 2)

    def _rest(self, front, hide):  # -> (B, N, audio_dim)
        x = self.model.feature_projection(front)
        if hide and self.audio.hidden and x.shape[1] > SPAN and hasattr(self.model, "masked_spec_embed"):
            begins = (torch.rand(x.shape[:2], device=x.device) < self.audio.hidden / SPAN).float()
            covered = F.max_pool1d(F.pad(begins, (SPAN - 1, 0)), SPAN, 1)  # (B, N)
            x = torch.where(covered[..., None] > 0, self.model.masked_spec_embed.to(x.dtype), x)
        return self.model.encoder(x)[0].float()


def load_hubert(network, folder) -> None:
    """Fill the network's audio encoder from a local transformers folder. Nothing is downloaded.

    Raises TalkerError naming the folder when it holds no HuBERT weights, or some are missing.
    """
    transformers = require("transformers", "the published models' audio encoder")
    folder = Path(folder)
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise TalkerError(f"{folder} holds no weights of HuBERT (model.safetensors or pytorch_model.bin)")
    transformers.logging.set_verbosity_error()
    try:
        model, report = transformers.HubertModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
        network.audio.load_state_dict(model.state_dict())
    except Exception as error:  # its readers raise kinds of their own
        raise TalkerError(f"HuBERT in {folder} cannot be read: {str(error).splitlines()[0]}") from None
