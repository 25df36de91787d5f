# SPDX-License-Identifier: Apache-2.0
"""A track and its sound cut into clips on the grid of motion frames, 25 a second.

`cut(track, pcm)` gives the spans in which one face was followed; `on_grid(face, span)` the face in them. Motion
frame n stands for the middle of its 640 samples, at (n + 0.5) / 25 s.
"""

from dataclasses import replace

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH
from streamingtalker_ros.corpus.video.neutral_pose import loudness
from streamingtalker_ros.errors import TalkerError

BRIDGED = 0.13  # s without a face that are filled in; longer ones end the clip
SHORTEST = 1.0  # s
LONGEST, USUAL = 15.0, 8.0  # s; longer spans are cut where it is quiet, into pieces of about the usual length
FOLLOWED = 0.5  # share of its frames in which a video must show the face


def cut(track, pcm):
    """Spans (first, last + 1) of motion frames in which one face was followed, each 1 to 15 s.

    pcm: (n,) the sound at 16 kHz. Raises TalkerError with the reason where there is nothing to use.
    """
    if not track.found.any():
        raise TalkerError("no face was found in it")
    if track.faces > 1:
        raise TalkerError(f"{track.faces} faces are in it: one speaker at a time can be followed")
    if track.found.mean() < FOLLOWED:
        raise TalkerError(
            f"the track was lost: a face in only {100 * track.found.mean():.0f} % of the frames"
        )
    times = track.times[track.found]
    breaks = np.flatnonzero(np.diff(times) > BRIDGED)
    starts, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(times) - 1]])
    spans = []
    for start, end in zip(times[starts], times[ends]):
        first = max(0, int(np.ceil((start - 1e-3) * FRAME_RATE - 0.5)))
        last = min(int(np.floor((end + 1e-3) * FRAME_RATE - 0.5)) + 1, -(-len(pcm) // HOP_LENGTH))
        if last - first >= SHORTEST * FRAME_RATE:
            spans += pieces(first, last, pcm)
    if not spans:
        raise TalkerError(f"it is too short: no {SHORTEST:g} s of one face with sound")
    return spans


def pieces(first, last, pcm):
    """Motion frames first to last, cut at quiet frames into spans of at most LONGEST seconds: [(first, last + 1)]."""
    if last - first <= LONGEST * FRAME_RATE:
        return [(first, last)]
    usual = int(USUAL * FRAME_RATE)
    near = np.arange(first + usual // 2, min(first + 3 * usual // 2, last - usual // 4))
    quiet = int(near[np.argmin(loudness(pcm, near / FRAME_RATE, 0.12))])
    return [(first, quiet)] + pieces(quiet, last, pcm)


def filled(track):
    """The track with only the frames in which the face was found; `on_grid` draws lines over the rest."""
    return replace(
        track,
        points=track.points[track.found],
        times=track.times[track.found],
        found=track.found[track.found],
    )


def on_grid(face, span):
    """The Face at the motion frames of a span: lines between the video's frames, ends held."""
    times = (np.arange(*span) + 0.5) / FRAME_RATE
    at = np.interp(times, face.times, np.arange(len(face.times)))
    left = np.minimum(at.astype(int), len(face.times) - 1)
    right = np.minimum(left + 1, len(face.times) - 1)
    share = np.where(np.abs(at - left) < 1e-2, 0.0, at - left)  # a video of 25 frames a second stays as it is
    return replace(
        face,
        points=_between(face.points, left, right, share),
        head=_between(face.head, left, right, share),
        times=times - span[0] / FRAME_RATE,
    )


def _between(values, left, right, share):
    share = share.reshape(-1, *(1,) * (values.ndim - 1)).astype(np.float32)
    return values[left] * (1 - share) + values[right] * share


def sound_of(pcm, span):
    """The sound of a span, exactly 640 samples a frame, silence where it ends early: (640 T,) float32."""
    piece = pcm[span[0] * HOP_LENGTH : span[1] * HOP_LENGTH]
    return np.pad(piece, (0, (span[1] - span[0]) * HOP_LENGTH - len(piece))).astype(np.float32)
