# SPDX-License-Identifier: Apache-2.0
"""Steps any number of sessions as one batch: the one loop body of node, web server and bag replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.protocol import AnyFrame, TalkerProtocol
from streamingtalker_ros.runtime.frames import Clock
from streamingtalker_ros.runtime.session import VoiceSession


@dataclass(frozen=True)
class BatchResult:
    """Result of `run_batch`.

    Attributes:
        hops: Hops that went through the model; 0 if no session had one due.
        model_seconds: Duration of the model step.
        error: Exception of the model, or None.
    """

    hops: int
    model_seconds: float = 0.0
    error: Exception | None = None


def run_batch(
    talker: TalkerProtocol,
    sessions: Sequence[VoiceSession],
    clock: Clock = time.monotonic,
    on_fault: Callable[[VoiceSession, Exception], None] | None = None,
) -> BatchResult:
    """Run one hop of each session that has one due through the model, as one batch.

    Args:
        talker: The model of all sessions.
        sessions: The sessions.
        clock: Their time.
        on_fault: Receives an unexpected exception of one session, so that it does not affect the others;
            default raise it. An exception of the model is none: `VoiceSession.on_model_error` handles it.

    Returns:
        What was done; if it holds hops, call again at once.
    """
    ready: list[tuple[VoiceSession, npt.NDArray[np.float32]]] = []
    for session in sessions:
        try:
            hop = session.next_hop(clock())
        except Exception as fault:
            if on_fault is None:
                raise
            on_fault(session, fault)
            continue
        if hop is not None:
            ready.append((session, hop))
    if not ready:
        return BatchResult(0)
    begin = clock()
    error: Exception | None = None
    batch: Sequence[Sequence[AnyFrame]] = [[] for _ in ready]
    try:
        batch = talker.accept([session.stream for session, _ in ready], [hop for _, hop in ready])
    except Exception as model_error:
        error = model_error
    model_seconds = clock() - begin
    for (session, _), frames in zip(ready, batch, strict=True):
        try:
            if error is not None:
                session.on_model_error(error)
            else:
                session.deliver(frames, model_seconds)
        except Exception as fault:
            if on_fault is None:
                raise
            on_fault(session, fault)
    return BatchResult(len(ready), model_seconds, error)
