# SPDX-License-Identifier: Apache-2.0
"""Reads WAV files that arrive in pieces: `WavStream` returns their samples and skips everything else.

RIFF, RIFX (big-endian), RF64 and BW64 (64-bit sizes); one file after another; headers cut at any byte; chunks
before and behind the samples. Time and memory are linear in the length of the input.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from streamingtalker_ros.audio.container import is_wav
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.wav_header import WavFormat, parse_format
from streamingtalker_ros.errors import TalkerError

_MAX_CHUNKS: Final = 1000  # before the samples; a file with more is rejected
_MAX_FORMAT_BYTES: Final = 4096  # of a fmt or ds64 chunk
_MIN_UNKNOWN_SIZE: Final = 0xFFFFFF00  # stated by streams, as 0 is: the samples continue to the end
_START_BYTES: Final = 16  # "RIFF", size, "WAVEfmt "
_TRAILING_CHUNKS: Final = frozenset(
    [
        b"LIST",
        b"INFO",
        b"list",
        b"id3 ",
        b"ID3 ",
        b"bext",
        b"cue ",
        b"smpl",
        b"inst",
        b"fact",
        b"PEAK",
        b"JUNK",
        b"junk",
        b"FLLR",
        b"PAD ",
        b"iXML",
        b"axml",
        b"_PMX",
        b"cart",
        b"LGWV",
        b"afsp",
        b"plst",
        b"acid",
        b"strc",
        b"umid",
        b"minf",
        b"elm1",
        b"regn",
        b"DISP",
        b"r64m",
        b"chna",
        b"SNDM",
        b"levl",
        b"MARK",
        b"XMP ",
        b"aXML",
        b"ovwf",
        b"muma",
        b"slnt",
    ]
)


class _State(enum.Enum):
    HEADER = enum.auto()  # the RIFF header
    CHUNKS = enum.auto()  # chunks before the samples
    SAMPLES = enum.auto()
    BEHIND = enum.auto()  # chunks behind the samples
    ENDED = enum.auto()


@dataclass(frozen=True)
class WavSegment:
    """Consecutive samples of one file.

    Attributes:
        format: their layout.
        pcm: their bytes; they may end within a sample, which the next segment continues.
        starts_file: whether they are the first of a file.
    """

    format: AudioFormat
    pcm: bytes
    starts_file: bool


class WavStream:
    """Reads consecutive WAV files.

    Stated sizes of 0 or near 2^32 are ignored. After the stated size there may be chunks, which are
    skipped, or another file. Anything else there are samples that the header, written before its stream, did
    not count.

    Args:
        is_file: whether the bytes are those of a file, whose stated size ends the samples.

    Attributes:
        is_coded: whether the reader stopped at samples that it cannot convert, such as ADPCM.
    """

    def __init__(self, is_file: bool = False) -> None:
        self._is_file = is_file
        self.is_coded = False
        self._held = b""  # bytes that are not parsed yet
        self._begin()

    def accept(self, payload: bytes) -> list[WavSegment]:
        """Read the next bytes.

        Args:
            payload: Bytes that follow those of the last call, any number; they may end anywhere in a file.

        Returns:
            The samples in them, one segment per file.

        Raises:
            TalkerError: if the file is damaged, or its samples cannot be converted.
        """
        data = self._held + payload if self._held else bytes(payload)
        segments: list[WavSegment] = []
        offset = 0
        while True:
            self._held = b""
            if self._skip:
                skipped = min(self._skip, len(data) - offset)
                self._skip -= skipped
                offset += skipped
            if offset >= len(data):
                return segments
            if self._state is _State.SAMPLES:
                consumed = self._read_samples(data, offset, segments)
            elif self._state is _State.BEHIND:
                consumed = self._read_behind(data, offset)
            elif self._state is _State.HEADER:
                consumed = self._read_header(data, offset)
            elif self._state is _State.CHUNKS:
                consumed = self._read_chunk(data, offset)
            else:
                return segments
            if consumed is None:
                self._held = data[offset:]
                return segments
            offset += consumed

    @property
    def is_incomplete(self) -> bool:
        """Whether the header has not been read to its end."""
        return self._state in (_State.HEADER, _State.CHUNKS)

    @property
    def format(self) -> AudioFormat | None:
        """Layout of the samples, None before the header has been read."""
        return self._format.output if self._format else None

    def _begin(self) -> None:
        self._state = _State.HEADER
        self._format: WavFormat | None = None
        self._skip = 0  # bytes
        self._chunks = 0  # read before the samples
        self._big_endian = False
        self._data_size: int | None = None  # of RF64
        self._remaining: int | None = None  # bytes of samples; None if their number is unknown
        self._pad = False  # whether a byte of padding may follow the samples
        self._rest = b""  # bytes of an incomplete sample that needs conversion
        self._is_first = True  # whether the next samples are the first of the file

    def _read_header(self, data: bytes, offset: int) -> int | None:
        if len(data) - offset < 12:
            return None
        if not is_wav(data[offset : offset + 12]):
            raise TalkerError("a WAV header is damaged: send whole WAV files, or bare PCM")
        self._big_endian = data[offset : offset + 4] == b"RIFX"
        self._state = _State.CHUNKS
        return 12

    def _read_chunk(self, data: bytes, offset: int) -> int | None:
        if len(data) - offset < 8:
            return None
        name, size = data[offset : offset + 4], self._size(data, offset)
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS or not (name.isascii() and name.decode("ascii").isprintable()):
            self._state = _State.ENDED
            raise TalkerError("a WAV header is damaged, its chunks lead to no samples: send whole WAV files")
        if name in (b"fmt ", b"ds64"):
            if not 16 <= size <= _MAX_FORMAT_BYTES:
                self._state = _State.ENDED
                raise TalkerError(
                    f"a WAV header is damaged, its {name.decode().strip()} chunk has {size} bytes"
                )
            if len(data) - offset < 8 + size + size % 2:
                self._chunks -= 1
                return None
            chunk = data[offset + 8 : offset + 8 + size]
            if name == b"fmt ":
                self.is_coded = True
                self._format = parse_format(chunk, self._big_endian)
                self.is_coded = False
            else:
                self._data_size = int.from_bytes(chunk[8:16], "little")
        if name == b"data":
            if self._format is None:
                self._state = _State.ENDED
                raise TalkerError("a WAV file has no fmt chunk before its samples: send whole WAV files")
            if size == 0xFFFFFFFF and self._data_size:
                size = self._data_size
                self._remaining = size
            else:
                self._remaining = size if 0 < size < _MIN_UNKNOWN_SIZE else None
            self._pad = bool(size % 2)
            self._state = _State.SAMPLES
            return 8
        self._skip = 8 + size + size % 2
        return 0

    def _read_samples(self, data: bytes, offset: int, segments: list[WavSegment]) -> int | None:
        end, hold = len(data), False
        if self._remaining is not None and self._remaining <= end - offset:
            end = offset + self._remaining
        else:  # another file may begin here, since the stated size may be wrong
            start = data.find(b"WAVEfmt ", offset)
            if start - 8 >= offset and is_wav(data[start - 8 : start + 4]):
                end = start - 8
            elif not self._is_file and (start := _find_partial_start(data, offset)) is not None:
                end, hold = start, True
        self._emit(data[offset:end], segments)
        if self._remaining is not None:
            self._remaining -= end - offset
        if hold:
            return None if end == offset else end - offset
        if end < len(data) or self._remaining == 0:
            self._state = _State.BEHIND
        return end - offset

    def _read_behind(self, data: bytes, offset: int) -> int | None:
        if self._pad and data[offset] == 0:
            self._pad = False
            return 1
        self._pad = False
        head = data[offset : offset + 12]
        if is_wav(head):
            self._begin()
            return 0
        if head[:3] == b"TAG":  # ID3v1
            self._skip = 128
            return 0
        if head[:4] in _TRAILING_CHUNKS and len(head) >= 8:
            size = self._size(data, offset)
            self._skip = 8 + size + size % 2
            return 0
        is_name = all(0x20 <= byte < 0x7F for byte in head[:4])
        if is_name and len(head) < (12 if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") else 8):
            return None
        if self._is_file:
            self._state = _State.ENDED
        else:
            self._state, self._remaining = _State.SAMPLES, None
        return 0

    def _emit(self, pcm: bytes, segments: list[WavSegment]) -> None:
        audio = self._format
        if audio is None or not pcm:
            return
        if audio.convert is not None:
            pcm = self._rest + pcm
            complete = len(pcm) - len(pcm) % audio.source_bytes
            self._rest = pcm[complete:]
            pcm = audio.convert(pcm[:complete])
        if segments and not self._is_first and segments[-1].format == audio.output:
            previous = segments.pop()
            segments.append(WavSegment(audio.output, previous.pcm + pcm, previous.starts_file))
        elif pcm:
            segments.append(WavSegment(audio.output, pcm, self._is_first))
        self._is_first = self._is_first and not pcm

    def _size(self, data: bytes, offset: int) -> int:
        return int.from_bytes(data[offset + 4 : offset + 8], "big" if self._big_endian else "little")


def _find_partial_start(data: bytes, offset: int) -> int | None:
    """Return where data end with the beginning of a WAV file that is cut within its first 16 bytes."""
    begin = max(offset, len(data) - _START_BYTES + 1)
    start = data.find(b"RIF", begin)
    if start < 0:
        length = 2 if data.endswith(b"RI") else int(data.endswith(b"R"))
        return len(data) - length if 0 < length <= len(data) - offset else None
    tail = data[start:]
    matches = b"RIFF".startswith(tail[:4]) and b"WAVEfmt ".startswith(tail[8:])
    return start if matches else None
