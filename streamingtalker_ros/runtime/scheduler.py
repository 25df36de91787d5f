# SPDX-License-Identifier: Apache-2.0
"""Times of one stream: when a frame may be published, and how playback follows the sender's clock.

Times are seconds on the session's clock, positions are samples at 16 kHz from frame 0 of the stream.
"""

from __future__ import annotations

from typing import Final

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.runtime.timeline import AudioSegment, AudioTimeline

MAX_DRIFT_RATIO: Final = 0.002  # of real time, by which the pace follows a sender whose clock drifts
MAX_START_LAG_S: Final = 0.25  # by which a stream that begins while another is played may wait for its end,
CATCH_UP_RATIO: Final = 0.1  # and catch up by this fraction of real time
MAX_NETWORK_DELAY_S: Final = 2.0  # that audio may be delayed by the network and still be caught up with


class FrameScheduler:
    """Maps positions of a stream to the times of their playback.

    Args:
        timeline: Positions of the stream.
        lookahead_samples: Samples after a frame's own that it depends on.
        paced: Whether frames wait for their time of playback.
    """

    def __init__(self, timeline: AudioTimeline, lookahead_samples: int, paced: bool) -> None:
        self.paced = paced
        self._timeline = timeline
        self._lead = lookahead_samples + timeline.hop  # samples consumed before a frame is complete
        self.reset()

    def reset(self) -> None:
        """Discard the stream."""
        self.last_audio_time = 0.0  # when audio was received last
        self.silence_start_time = 0.0  # from which the generated silence follows the clock
        self._start_time = 0.0  # when position 0 is played
        self._start_lag = 0.0  # s of that by which the stream waits for the end of the one before

    def start(self, arrival: float, network_delay: float = 0.0, not_before: float = 0.0) -> None:
        """Start a stream.

        Args:
            arrival: When its first audio was received.
            network_delay: s by which the network delayed that audio more than the audio before.
            not_before: When the stream before has been played.
        """
        self._start_time = max(arrival - network_delay, not_before)
        self._start_lag = self._start_time - (arrival - network_delay)

    def due_time(self, frame: int) -> float:
        """Earliest time at which a frame may be published; 0 if frames are not paced."""
        return self.position_time(self._timeline.frame_position(frame)) if self.paced else 0.0

    def position_time(self, position: int) -> float:
        """Time at which a position is played."""
        return self._start_time + position / SAMPLE_RATE

    def playback_time(self, position: int) -> float:
        """Time at which the audio of a position has to be consumed for the frame before it to be in time."""
        return self._start_time + (position - self._lead) / SAMPLE_RATE

    def playback_position(self, now: float) -> float:
        """Position up to which audio has to be consumed now."""
        return (now - self._start_time) * SAMPLE_RATE + self._lead

    def silence_time(self, position: int) -> float:
        """Time at which generated silence reaches a position."""
        return self.silence_start_time + (position - self._timeline.silence_start) / SAMPLE_RATE

    def network_delay(self, segment: AudioSegment) -> float:
        """Seconds by which the network delayed a new stream's first audio more than the audio of this stream.

        By the stamps; 0 if a stream has none, or if they indicate no delay.

        Args:
            segment: First received audio of the new stream.

        Returns:
            s, 0 or more and below `MAX_NETWORK_DELAY_S`.
        """
        clock = self._timeline.clock
        if (
            clock is None
            or segment.clock.arrival
            or clock.arrival
            or segment.arrival - self.last_audio_time > MAX_NETWORK_DELAY_S
        ):
            return 0.0
        delay = segment.arrival - (self._start_time + self._timeline.stamp_offset(segment.clock))
        return delay if 0.0 < delay < MAX_NETWORK_DELAY_S else 0.0

    def track_clock_drift(self, segment: AudioSegment, position: int) -> None:
        """Let the pace follow the sender.

        Clocks of live senders drift by some ppm, and one live stream after another waits a little longer if
        its packets arrive unevenly. A burst of early audio changes nothing.

        Args:
            segment: Received audio.
            position: Where it begins.
        """
        early = self.position_time(position) - segment.arrival
        seconds = len(segment.pcm) / SAMPLE_RATE
        if abs(early) < MAX_START_LAG_S and segment.arrival - self.last_audio_time > seconds / 2:
            max_drift = MAX_DRIFT_RATIO * seconds
            max_step = max_drift if self._start_lag <= 0.0 else min(self._start_lag, CATCH_UP_RATIO * seconds)
            step = min(max(early, -max_drift), max_step)
            self._start_time -= step
            self._start_lag -= max(step, 0.0)
        self.last_audio_time = segment.arrival
