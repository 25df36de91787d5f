# SPDX-License-Identifier: Apache-2.0
"""One voice: audio chunks in, frames of face motion out, the same for every way of splitting the audio.

stream = talker.open_stream(seed=0)
frames = stream.accept(pcm)  # float32 mono 16 kHz, any length
frames += stream.finish()
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.pcm import as_mono_float32
from streamingtalker_ros.config_files import describe
from streamingtalker_ros.conversation.commands import (
    ConversationCommand,
    Express,
    Gesture,
    LookAt,
    PartnerAudio,
)
from streamingtalker_ros.conversation.emotion_table import parse_emotion
from streamingtalker_ros.conversation.layer import ConversationLayer
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.model.stream_checks import NotCopyable, check_seed
from streamingtalker_ros.streaming.controls import CONTROL_NAMES, Controls, ControlSmoother
from streamingtalker_ros.streaming.eye_motion import EyeMotionState
from streamingtalker_ros.streaming.lip_constraints import LipTargets
from streamingtalker_ros.streaming.mouth_asymmetry import MAX_STEP, draw_asymmetry
from streamingtalker_ros.streaming.noise_floor import NoiseFloorEstimator
from streamingtalker_ros.streaming.parted_rest import VOICE_PROBABILITY, PartedRest
from streamingtalker_ros.streaming.voice_gate import VadGateState
from streamingtalker_ros.streaming.voice_preview import PREVIEW_HOPS, VoicePreview

if TYPE_CHECKING:
    from streamingtalker_ros.streaming.talker import Talker


class Stream(NotCopyable):
    """State of one voice of a Talker. Implements `model.protocol.StreamProtocol`.

    Opened by `Talker.open_stream`, which documents the options. `seed`, `steps`, `style` and the controls may
    change at any time; the frames that follow use the new value. Methods may be called from any thread, one
    after the other takes effect; the order of audio is the caller's matter.

    Args:
        talker: Owner of the weights.
        seed: Of the noise.
        style: Name, or None for the first.
        steps: Diffusion steps per frame, or None for the talker's.
        context_frames: Frames of past motion that count, or None for all that the model keeps.
        controls: Initial controls.
        eye_motion: Whether the rules of `eye_motion` apply.
    """

    def __init__(
        self,
        talker: Talker,
        seed: int,
        style: str | None,
        steps: int | None,
        context_frames: int | None,
        controls: Controls,
        eye_motion: bool = True,
    ) -> None:
        self.talker = talker
        self.context_frames, self.eye_motion = context_frames, bool(eye_motion)
        self.style, self.steps = style, steps
        self.vad_gate = VadGateState.create(talker.config.lookahead_frames)
        self.eye_motion_state = EyeMotionState()
        self.conversation = ConversationLayer()
        self.noise_floor = NoiseFloorEstimator(talker.frame_rate)
        self.parted_rest = PartedRest(talker.frame_rate)
        self.voice_preview = VoicePreview(talker)
        self.controls, self.smoother = controls, ControlSmoother(controls)
        self._set_conversation(controls)
        self.conversation.reset()  # the lasting emotion is there from the first frame on
        self.uncond_row: int | None = None  # of the unconditional branch, where there is guidance
        self._buffer = np.zeros(talker.hop, np.float32)  # the hop that is being filled
        self._clear(seed)
        # last, so that nothing raises while the row has no owner: garbage collection frees it
        self.row = talker.open_row()
        weakref.finalize(self, talker.release, self.row)
        self._update_guidance()

    @property
    def seed(self) -> int:
        """Seed of the noise; may be set at any time."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = check_seed(seed)
        self.mouth_asymmetry = draw_asymmetry(self._seed)

    @property
    def context_frames(self) -> int | None:
        """Frames of past motion that count, or None for all that the model keeps; may be set at any time."""
        return self._context_frames

    @context_frames.setter
    def context_frames(self, frames: int | None) -> None:
        limit = self.talker.config.context_frames
        is_whole = isinstance(frames, (int, np.integer)) and not isinstance(frames, bool)
        if frames is not None and not (is_whole and 0 <= frames <= limit):
            raise TalkerError(
                f"context_frames is {describe(frames)}: this model keeps 0 to {limit} past frames"
            )
        self._context_frames = None if frames is None else int(frames)

    @property
    def steps(self) -> int:
        """Diffusion steps per frame; may be set at any time, None for the talker's."""
        return self._steps

    @steps.setter
    def steps(self, steps: int | None) -> None:
        steps = self.talker.check_steps(self.talker.steps if steps is None else steps)
        self.talker.prepare_steps(steps)  # prepared here, not between two frames
        self._steps = steps

    @property
    def style(self) -> str:
        """Name of the speaking style; may be set at any time, None or "" for the first."""
        return self._style

    @style.setter
    def style(self, style: str | None) -> None:
        self.speaking_style = self.talker.speaking_style(style)
        self._style = style or self.talker.styles[0]

    def set(self, **controls: Any) -> None:
        """Change controls, such as mouth_expressiveness=1.2, from the next frame on.

        They are the fields of `controls.Controls`. Gains and the expression ramp in over
        `controls.RAMP_FRAMES` frames.

        Raises:
            TalkerError: For an unknown name or a value out of range; nothing is changed then.
        """
        for name in controls:
            if name not in CONTROL_NAMES:
                raise TalkerError(
                    f"{name} is not a control of a stream: choose from {', '.join(CONTROL_NAMES)}"
                )
        with self.talker.lock:
            changed = self.controls.replace(**controls)
            self.controls = changed
            self.smoother.set_target(changed)
            self._set_conversation(changed)
            self._update_guidance()

    def next_asymmetry(self) -> float:
        """Advance by one frame to the asymmetry of seed and control, in small steps; return the new value."""
        change = self.controls.asymmetry * self.mouth_asymmetry - self._asymmetry
        self._asymmetry += min(max(change, -MAX_STEP), MAX_STEP)
        return self._asymmetry

    def _set_conversation(self, controls: Controls) -> None:
        self.conversation.gestures.liveliness = controls.liveliness
        self.conversation.emotion.set_lasting(*parse_emotion(controls.emotion))

    def apply(self, command: ConversationCommand) -> None:
        """Apply a command of the conversation from the next frame on.

        Args:
            command: Such as `LookAt((0.5, 0.0, 0.0))`; the methods below construct them.

        Raises:
            TalkerError: If it cannot be carried out; nothing is changed then.
        """
        with self.talker.lock:
            self.conversation.apply(command)

    def look_at(self, point: Sequence[float] | None, *, aversion: bool = False) -> None:
        """Turn the gaze, eyes and head, to a point from the next frame on, and hold it there.

        Args:
            point: (x, y, z) in metres: x out of the face, y to the person's left, z up, from the point
                between the eyes in the neutral pose of the head. None releases the gaze.
            aversion: Whether the gaze is averted at times, as from a partner in conversation: at the start of
                a turn, and now and then within it and while listening.

        Raises:
            TalkerError: If the point is not three finite numbers, or has no direction.
        """
        self.apply(LookAt(point, aversion=aversion))

    def hear_partner(self, pcm: np.ndarray) -> None:
        """Hear the partner: the face attends to the voice, and does not move its mouth to it.

        Each frame hears as much of this audio as it lasts, in order; where nothing is left it hears silence.
        Pass it along with the audio of the face, of which silence is enough.

        Args:
            pcm: (n,) floats, mono, 16 kHz, in -1..1, which continue the partner's audio before; values that
                are not finite count as silence.

        Raises:
            TalkerError: If the array is not one-dimensional floats, or ten minutes wait for their frames.
        """
        self.apply(PartnerAudio(as_mono_float32(pcm)))

    @property
    def partner_voice_s(self) -> float:
        """Seconds since the partner's voice began, as of the newest frame; 0 while the partner is silent."""
        return self.conversation.listening.partner_voice_s

    def express(
        self,
        name: str | None,
        strength: float = 1.0,
        valence: float | None = None,
        arousal: float | None = None,
        decay_s: float | None = None,
    ) -> None:
        """Show an emotion from the next frame on; it blends in over half a second. Closures stay closed.

        Args:
            name: neutral, happy, sad, angry, afraid, surprised, disgusted or thinking, or another name of
                `conversation.emotion_table.SYNONYMS`; None for valence and arousal alone, or, without them,
                to return to the emotion of the control `emotion`.
            strength: 0 to 1.
            valence: -1 (displeasure) to 1 (pleasure); None for that of the emotion.
            arousal: -1 (sleepy) to 1 (excited); None for that of the emotion.
            decay_s: Seconds after which the emotion has faded; None: it stays.

        Raises:
            TalkerError: If the name is unknown or a number is out of range; nothing is changed then.
        """
        self.apply(Express("" if name is None else name, strength, valence, arousal, decay_s))

    def gesture(self, name: str, amplitude: float | None = None, count: int | None = None) -> None:
        """Move the head, beginning with the next frame; a gesture of the same axis waits for its end.

        Args:
            name: nod, shake, tilt or lean.
            amplitude: Degrees, peak to peak, -30 to 30; below 0 to the other side; None for the usual.
            count: Repetitions, 1 to 10; None for the usual.

        Raises:
            TalkerError: If the name is unknown or a number is out of range; nothing is changed then.
        """
        self.apply(Gesture(name, amplitude, count))

    @property
    def mouth_at_rest(self) -> npt.NDArray[np.float32]:
        """(52,) float32: rest pose of the mouth, zeros unless an expression or emotion moves its shapes."""
        emotion = self.conversation.emotion
        if not emotion.is_active:
            return self.smoother.mouth_at_rest
        return self.smoother.apply_to_mouth(emotion.mouth_at_rest)

    def _update_guidance(self) -> None:
        """Open or release the unconditional branch according to the guidance scale."""
        needed = self.controls.guidance != 1.0
        if needed and self.uncond_row is None:
            frame = max(self.hops - self.talker.config.lookahead_frames, 0)
            self.uncond_row = self.talker.open_uncond(frame)
            self._release_uncond = weakref.finalize(self, self.talker.release_uncond, self.uncond_row)
        elif not needed and self.uncond_row is not None:
            self._release_uncond()
            self.uncond_row = None

    def accept(self, pcm: np.ndarray) -> list[BlendshapeFrame]:
        """Process audio and return the frames that it completes, in order.

        Frame n is returned by the call that brings sample (n + 1)·hop + look-ahead.

        Args:
            pcm: (n,) floats, mono, 16 kHz, in -1..1, any n; values that are not finite count as silence.

        Raises:
            TalkerError: After `finish` or a failure of the model (call `reset`), or if the array is not
                one-dimensional floats.
        """
        return self.talker.accept([self], [pcm])[0]

    @property
    def preview_samples(self) -> int:
        """Samples that an announcement needs to change the next frame; 0 if none would change it."""
        has_voice = self.vad_gate.activity[-1] > VOICE_PROBABILITY  # which is in the look-ahead already
        if has_voice or not self.controls.parted_rest or not self.parted_rest.awaits_voice:
            return 0
        return PREVIEW_HOPS * self.talker.hop - self._filled

    def announce(self, pcm: np.ndarray) -> None:
        """Announce the audio that follows: the lips part up to 280 ms before a voice in it.

        The announcement holds for the next hop that is accepted, and changes frames without voice alone.

        Args:
            pcm: (n,) floats, mono, 16 kHz, in -1..1, what `accept` will get next; `preview_samples` of it
                count. Values that are not finite count as silence.

        Raises:
            TalkerError: If the array is not one-dimensional floats.
        """
        pcm = as_mono_float32(pcm)[: self.preview_samples]
        with self.talker.lock:
            audio = np.concatenate((self._buffer[: self._filled], pcm))
            self.voice_preview.update(audio, self.hops, self.noise_floor.floor_power)

    def finish(self) -> list[BlendshapeFrame]:
        """Pad the stream with silence and return its last frames: ceil(samples / hop) in all."""
        with self.talker.lock:
            if self._finished:
                return []
            hop = self.talker.hop
            total = -(-self._accepted // hop)
            lookahead_frames = self.talker.config.lookahead_frames
            padding = (total + lookahead_frames) * hop - self._accepted if total else 0
            frames = self.accept(np.zeros(padding, np.float32))
            self._finished = True
            return frames

    def reset(self, seed: int | None = None, *, keep_conversation: bool = False) -> None:
        """Start over at frame 0, in place.

        Args:
            seed: Replaces the seed of the noise unless it is None.
            keep_conversation: Whether gaze and the rest of the conversation's state go on.
        """
        seed = self.seed if seed is None else check_seed(seed)
        with self.talker.lock:
            self.talker.reset_state(self.row, self.uncond_row)
            self.vad_gate.reset()
            self.eye_motion_state.reset()
            self.noise_floor.reset()
            self.parted_rest.reset()
            self.voice_preview.reset()
            self.smoother.reset()
            if not keep_conversation:
                self.conversation.reset()
            self._buffer[:] = 0.0
            self._clear(seed)

    def _clear(self, seed: int) -> None:
        self.lip_targets = LipTargets()  # of the newest hop
        self.seed = seed
        self._asymmetry = self.controls.asymmetry * self.mouth_asymmetry  # of the newest frame
        self.hops = 0  # encoded so far
        self._filled = 0  # samples in the buffer
        self._accepted = 0  # samples
        self._finished = False
        self._failed = False  # the model raised in the middle of a call

    def validate(self, pcm: np.ndarray) -> npt.NDArray[np.float32]:
        """Return the audio as finite float32 (n,). Raises TalkerError as `accept` says.

        Args:
            pcm: (n,) floats, mono, 16 kHz, in -1..1, any n; values that are not finite count as silence.
        """
        if self._finished:
            raise TalkerError("this stream is finished: call reset() before it accepts new audio")
        if self._failed:
            raise TalkerError("the model failed on this stream: call reset() before it accepts new audio")
        return as_mono_float32(pcm)

    def mark_failed(self) -> None:
        """Accept no audio until `reset`: its state is that of the middle of a step. Called by the talker."""
        self._failed = True

    def pop_hops(self, pcm: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each hop that validated audio completes, a view that the next one overwrites.

        Args:
            pcm: (n,) float32, mono, 16 kHz, as `validate` returns it; a remainder shorter than a hop stays in
                the buffer.
        """
        start, hop = 0, self.talker.hop
        self._accepted += len(pcm)
        while start < len(pcm):
            count = min(hop - self._filled, len(pcm) - start)
            self._buffer[self._filled : self._filled + count] = pcm[start : start + count]
            start, self._filled = start + count, self._filled + count
            if self._filled == hop:
                self._filled = 0
                yield self._buffer
