# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker say`: text to speech by any command, published as an audio topic as it is written."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioPacket
from streamingtalker_ros.cli.argument_types import integer
from streamingtalker_ros.cli.audio_topic_options import add_audio_topic_options
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import print_line, print_warning
from streamingtalker_ros.speech_synthesis.command import DEFAULT_TTS_COMMAND, DEFAULT_TTS_RATE, TtsCommand
from streamingtalker_ros.supervision import Supervisor

if TYPE_CHECKING:
    from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
    from streamingtalker_ros.dds.audio_player import AudioPublisher
    from streamingtalker_ros.speech_synthesis.speaker import Speaker, SpeechStatus

HELP = "let the face say a text, by any text-to-speech command"

_POLL_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Lets a text-to-speech command speak, and publishes what it writes on the ROS 2 topic `audio`, as it "
        "is written, for a talker (`streamingtalker talk`, or the ROS node) to move its lips to. Without "
        "TEXT, each line of the standard input is said. The command gets the text in place of {text} in its "
        "arguments, else on its standard input, never through a shell, and writes WAV or bare PCM (16-bit, "
        "mono) to its standard output. Ctrl-C ends the speech."
    )
    parser.add_argument("text", nargs="*", metavar="TEXT", help="what to say; several words are joined")
    parser.add_argument(
        "--tts",
        metavar="COMMAND",
        default=DEFAULT_TTS_COMMAND,
        help="the text-to-speech command, such as 'piper --model en_US-lessac-medium.onnx --output-raw'",
    )
    parser.add_argument(
        "--rate",
        type=integer(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        default=DEFAULT_TTS_RATE,
        help="samples per second of PCM without a header",
    )
    add_audio_topic_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.
    """
    command = TtsCommand.parse(args.tts, args.rate)
    command.check_installed()
    from streamingtalker_ros.dds.audio_player import AudioPublisher
    from streamingtalker_ros.speech_synthesis.speaker import Speaker

    failures: list[str] = []

    def report(status: SpeechStatus) -> None:
        if status.message:
            failures.append(status.message)

    with Supervisor() as supervisor:
        publisher = AudioPublisher(
            args.rate, args.lineage, args.topic, args.namespace, args.domain, frame_id="speech"
        )
        speaker = Speaker(command, _Push(publisher), lambda: None, FRAME_RATE, report)
        speaker.start()
        try:
            if not publisher.wait_for_subscriber(args.wait):
                print_line(f"no subscriber after {args.wait:g} s: speaking anyway")
            spoken = _say_all([" ".join(args.text)] if args.text else _stdin_lines(), speaker, supervisor)
        finally:
            speaker.close()
            publisher.close()
    if supervisor.exit_code or not failures:
        print_line(f"said {spoken} text{'' if spoken == 1 else 's'} on {args.topic}")
        return supervisor.exit_code
    for message in dict.fromkeys(failures[:-1]):
        print_warning(message)
    raise TalkerError(failures[-1])


def _say_all(texts: Sequence[str] | Iterator[str], speaker: Speaker, supervisor: Supervisor) -> int:
    """Say texts one after another until the command is to stop; return how many were said."""
    spoken = 0
    lines = _Lines(texts)
    while not supervisor.wait(0.0):
        text = lines.next(supervisor)
        if text is None:
            break
        utterance = speaker.say(text)
        while not utterance.wait(_POLL_S):
            if supervisor.wait(0.0):
                return spoken
        spoken += not utterance.status.message
    return spoken


def _stdin_lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line


class _Lines:
    """Texts of an iterator that may block, such as a terminal; a signal ends the wait for the next one."""

    def __init__(self, texts: Sequence[str] | Iterator[str]) -> None:
        self._texts = iter(texts)
        self._is_file = not isinstance(texts, list)
        self._text: str | None = None

    def next(self, supervisor: Supervisor) -> str | None:
        """Return the next text; None at the end, and when the command is to stop."""
        if not self._is_file:
            return next(self._texts, None)
        self._text = None
        thread = threading.Thread(target=self._read, name="stdin", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_S)
            if supervisor.wait(0.0):
                return None
        return self._text

    def _read(self) -> None:
        try:
            self._text = next(self._texts, None)
        except (OSError, ValueError):  # closed, or no text
            self._text = None


class _Push:
    """Publishes the packets of a speaker as 16-bit mono, at the rate that the command speaks with."""

    def __init__(self, publisher: AudioPublisher) -> None:
        self._publisher = publisher
        self._decoder: PcmDecoder | None = None

    def __call__(self, packets: Sequence[AudioPacket]) -> None:
        from streamingtalker_ros.audio.pcm import to_int16
        from streamingtalker_ros.audio.pcm_decoder import PcmDecoder

        for packet in packets:
            assert packet.format is not None and packet.stamp is not None
            if self._decoder is None or self._decoder.format != packet.format:
                self._decoder = PcmDecoder(packet.format)
                self._publisher.set_rate(packet.format.sample_rate)
            self._publisher.publish(to_int16(self._decoder.decode(packet.payload)), packet.stamp)
