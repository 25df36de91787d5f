# SPDX-License-Identifier: Apache-2.0
"""A text-to-speech command: text in, the audio that it writes to its standard output out, as it is written.

    command = TtsCommand.parse("piper --model en_US-lessac-medium.onnx --output-raw")
    with command.start("Hello") as run:
        for data in run:
            ...

The text replaces `{text}` in an argument, else it goes to the command's standard input. No shell reads it.
The output is PCM (signed 16-bit, mono) or anything with a signature: WAV, Ogg, MP3.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import selectors
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFormat
from streamingtalker_ros.child_processes import Program
from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError, one_line

DEFAULT_TTS_RATE: Final = 22_050
"""Samples per second of PCM without a header: piper's medium voices and espeak-ng."""

DEFAULT_TTS_COMMAND: Final = "espeak-ng --stdin --stdout"
"""Command of `streamingtalker say`."""

MAX_TEXT_CHARS: Final = 10_000
"""Longest text of one utterance."""

_PLACEHOLDER: Final = "{text}"
_MAX_COMMAND_CHARS: Final = 1000
_KNOWN_PROGRAMS: Final = (
    "espeak-ng",
    "espeak",
    "piper",
    "flite",
    "pico2wave",
    "festival",
    "text2wave",
    "mimic3",
    "edge-tts",
    "say",
)
_SHELLS: Final = frozenset(  # and what passes its arguments to one
    [
        "sh",
        "bash",
        "dash",
        "zsh",
        "ksh",
        "fish",
        "ash",
        "busybox",
        "csh",
        "tcsh",
        "eval",
        "ssh",
        "su",
        "script",
        "watch",
        "parallel",
        "xargs",
        "awk",
        "gawk",
        "mawk",
    ]
)
_INTERPRETER: Final = re.compile(r"(python|perl|ruby|node|lua|php)[0-9.]*")
_CODE_OPTIONS: Final = frozenset(["-c", "-e", "-E", "-r", "--eval", "--command"])
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]+")
_READ_BYTES: Final = 4096  # at once: less than a tenth of a second of speech
_POLL_S: Final = 0.05  # interval at which a reader looks whether it is to stop
_MAX_SILENT_S: Final = 30.0  # without output; large voices take seconds to load
_END_S: Final = 2.0  # from the end of the output to the end of the command
_MAX_ERROR_BYTES: Final = 4096
_MAX_ERROR_CHARS: Final = 300


def check_text(text: object) -> str:
    """Return a text to speak on one line, without control characters.

    Args:
        text: What somebody wants to have spoken.

    Raises:
        TalkerError: If there is nothing to speak, or too much.
    """
    spoken = _CONTROLS.sub(" ", str(text)).encode("utf-8", "ignore").decode().strip()
    if not spoken:
        raise TalkerError("there is nothing to say: give a text")
    if len(spoken) > MAX_TEXT_CHARS:
        raise TalkerError(
            f"a text of {len(spoken)} characters is too long to say: give at most {MAX_TEXT_CHARS}, a few "
            "sentences at a time"
        )
    return spoken


def _runs_code(arguments: Sequence[str]) -> bool:
    """Return whether a command lets a shell or an interpreter read an argument."""
    names = [os.path.basename(argument) for argument in arguments]
    if any(name in _SHELLS for name in names):
        return True
    return any(map(_INTERPRETER.fullmatch, names)) and any(name in _CODE_OPTIONS for name in names)


@dataclass(frozen=True)
class TtsCommand:
    """A command that speaks a text.

    Attributes:
        arguments: The program and its arguments; `{text}` in them stands for the text.
        audio_format: Format of PCM that the command writes without a header.
    """

    arguments: tuple[str, ...]
    audio_format: AudioFormat

    @classmethod
    def parse(cls, command: str, sample_rate: int = DEFAULT_TTS_RATE) -> TtsCommand:
        """Parse a command line; quotes work as in a shell, nothing else does.

        Args:
            command: The program and its arguments.
            sample_rate: Hz of PCM that it writes without a header.

        Raises:
            TalkerError: If it cannot be a command, or would let a shell read the text.
        """
        shown = shorten(command)
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise TalkerError(
                f"a text-to-speech rate of {sample_rate} Hz is out of range: give {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE}"
            )
        if len(command) > _MAX_COMMAND_CHARS or not command.isprintable():
            raise TalkerError(
                f"the text-to-speech command {shown!r} is too long or not printable: give at most "
                f"{_MAX_COMMAND_CHARS} characters, or a script of yours"
            )
        try:
            arguments = tuple(shlex.split(command))
        except ValueError as error:
            raise TalkerError(
                f"the text-to-speech command {shown!r} cannot be read ({error}): correct its quotes"
            ) from None
        if not arguments:
            raise TalkerError(
                f"the text-to-speech command is empty: give one, such as {DEFAULT_TTS_COMMAND!r}"
            )
        if _PLACEHOLDER in arguments[0]:
            raise TalkerError(
                f"the text-to-speech command {shown!r} begins with {_PLACEHOLDER}: name a program first"
            )
        if any(_PLACEHOLDER in argument for argument in arguments) and _runs_code(arguments):
            raise TalkerError(
                f"the text-to-speech command {shown!r} would let a shell or an interpreter read the text, so "
                f"that whoever sends text could run programs: leave out {_PLACEHOLDER}, the text then "
                "goes to the command's standard input"
            )
        return cls(arguments, AudioFormat(sample_rate, 1, "s16"))

    def check_installed(self) -> None:
        """Raise TalkerError if the program is not there."""
        program = self.arguments[0]
        if shutil.which(program) is not None:
            return
        there = [name for name in _KNOWN_PROGRAMS if shutil.which(name)]
        near = difflib.get_close_matches(os.path.basename(program), there, 1)
        hint = f"did you mean {near[0]}?" if near else "install it, or give its full path"
        others = f"; here are {', '.join(there)}" if there and not near else ""
        raise TalkerError(f"the text-to-speech program {shorten(program)!r} is not installed: {hint}{others}")

    def start(self, text: str) -> TtsRun:
        """Start the command on a text.

        Args:
            text: As `check_text` returns it.

        Raises:
            TalkerError: If the command cannot be started.
        """
        has_place = any(_PLACEHOLDER in argument for argument in self.arguments)
        arguments: list[str] = []
        for argument in self.arguments:
            filled = argument.replace(_PLACEHOLDER, text)
            # a text that begins like an option is none
            arguments.append(
                f" {filled}" if argument.startswith(_PLACEHOLDER) and text.startswith("-") else filled
            )
        self.check_installed()
        try:
            program = Program(arguments)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TalkerError(
                f"the text-to-speech program {shorten(self.arguments[0])!r} cannot be started ({reason}): "
                "try it in a terminal"
            ) from None
        return TtsRun(program, "" if has_place else f"{text}\n", shorten(os.path.basename(self.arguments[0])))


class TtsRun:
    """A running text-to-speech command; iterating returns its output in pieces, as it is written.

    Args:
        program: The program.
        text: What it gets on its standard input.
        name: Its name, for messages.
    """

    def __init__(self, program: Program, text: str, name: str) -> None:
        self._program = program
        self._name = name
        self._errors = b""
        stdin = program.process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # it does not read its input; a pipe holds any text
            os.write(stdin.fileno(), text.encode())
        with contextlib.suppress(OSError):
            stdin.close()

    def __enter__(self) -> TtsRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._program.stop()

    def __iter__(self) -> Iterator[bytes]:
        return self.read(lambda: False)

    def read(self, is_cancelled: Callable[[], bool]) -> Iterator[bytes]:
        """Return the output of the command in pieces.

        Args:
            is_cancelled: Whether to stop; it is asked twenty times a second.

        Yields:
            Bytes of any number.

        Raises:
            TalkerError: If the command fails, or writes nothing.
        """
        process = self._program.process
        assert process.stdout is not None and process.stderr is not None
        size, deadline = 0, time.monotonic() + _MAX_SILENT_S
        with selectors.DefaultSelector() as selector:
            output, errors = process.stdout.fileno(), process.stderr.fileno()
            selector.register(output, selectors.EVENT_READ)
            selector.register(errors, selectors.EVENT_READ)
            while output in selector.get_map():
                if is_cancelled():
                    return
                for key, _ in selector.select(_POLL_S):
                    data = os.read(key.fd, _READ_BYTES)
                    if not data:
                        selector.unregister(key.fd)
                    elif key.fd == errors:
                        self._errors = (self._errors + data)[-_MAX_ERROR_BYTES:]
                    else:
                        size += len(data)
                        yield data  # the caller may take its time: the command waits then
                        deadline = time.monotonic() + _MAX_SILENT_S
                if time.monotonic() > deadline:
                    raise TalkerError(
                        f"the text-to-speech program {self._name} has written nothing for "
                        f"{_MAX_SILENT_S:g} s: try it in a terminal"
                    )
        code = self._end(errors)
        if is_cancelled():
            return
        if code:
            ending = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            raise TalkerError(
                f"the text-to-speech program {self._name} failed ({ending}): {self._last_error()}"
            )
        if not size:
            raise TalkerError(
                f"the text-to-speech program {self._name} has written no audio to its standard output: "
                f"{self._last_error()}"
            )

    def _end(self, errors: int) -> int:
        """Wait for the end of the command; return its exit code."""
        has_ended = self._program.wait(_END_S)
        self._read_errors(errors)
        code = self._program.stop()
        return code if has_ended else 0  # its audio is complete

    def _read_errors(self, errors: int) -> None:
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(errors, selectors.EVENT_READ)
                data = os.read(errors, _READ_BYTES) if selector.select(0.0) else b""
            if not data:
                return
            self._errors = (self._errors + data)[-_MAX_ERROR_BYTES:]

    def _last_error(self) -> str:
        """Return the last line of the command's error output, or advice."""
        lines = [line for line in self._errors.decode("utf-8", "replace").splitlines() if line.strip()]
        return one_line(lines[-1].strip())[:_MAX_ERROR_CHARS] if lines else "try it in a terminal"
