# SPDX-License-Identifier: Apache-2.0
"""Decodes a sound file of any format, from disk or from the bytes of a message.

`decode_file` returns it whole, `decode_blocks` in blocks of bounded size.

WAV is read by `WavStream`, formats of libsndfile by libsndfile, the rest (AAC, M4A, WebM, …) by FFmpeg
through `av` where it is installed. Files that were joined, one after another, are read to their end.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile

from streamingtalker_ros.audio import mp3
from streamingtalker_ros.audio.container import HEAD_BYTES, Container, identify
from streamingtalker_ros.audio.gap_filler import GapFiller
from streamingtalker_ros.audio.ogg import check_header_pages
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import bytes_to_float32
from streamingtalker_ros.audio.wav_stream import WavStream
from streamingtalker_ros.errors import TalkerError, require

MIN_FILE_RATE: Final = 1_000  # Hz
MAX_FILE_RATE: Final = 768_000  # Hz
MAX_FILE_SECONDS: Final = 43_200.0
_MP3: Final = Container("MP3", "mp3")
_MP3_HEAD_BYTES: Final = 4096  # more than two frames
_BLOCK_BYTES: Final = 1 << 20
_BLOCK_FRAMES: Final = 1 << 16
_MAX_BLOCK_SAMPLES: Final = 1 << 27
# bytes at the start of a file that recur if another one of its kind is joined to it, and not by chance
_JOINED_SIGNATURE_BYTES: Final = {"FLAC": 8, "AU": 8, "CAF": 12, "Wave64": 16}
_OGG_BEGIN_OF_STREAM: Final = 2  # flag of a page, RFC 3533

_stderr_lock = threading.Lock()

Samples: TypeAlias = npt.NDArray[np.float32]  # (n, channels)


class AudioTooLongError(TalkerError):
    """The audio is longer than the caller accepts."""


def decode_file(source: str | bytes, name: str, max_seconds: float = MAX_FILE_SECONDS) -> tuple[Samples, int]:
    """Decode a sound file.

    Args:
        source: path of the file, or its bytes.
        name: of the file, for messages.
        max_seconds: longer audio is rejected, so that a small file cannot fill the memory.

    Returns:
        (n, channels) float32, as the file holds them, and the sample rate in Hz.

    Raises:
        AudioTooLongError: if it is longer than `max_seconds`.
        TalkerError: if the file is not audio, cannot be decoded or holds no samples.
    """
    try:
        container = _identify(source, name)
        parts = _decode(source, container, name, max_seconds)
    except TalkerError:
        raise
    except Exception as error:  # of a library, on what the file holds
        raise _unreadable(name, container=None, error=error) from None
    parts = [(samples, rate) for samples, rate in parts if len(samples)]
    if not parts:
        raise TalkerError(f"{name} holds no audio: give a file with at least one sample")
    rate, channels = parts[0][1], parts[0][0].shape[1]
    if any((part_rate, samples.shape[1]) != (rate, channels) for samples, part_rate in parts):
        raise TalkerError(
            f"{name} joins audio of different sample rates or channels: convert it to one WAV file"
        )
    _check_rate(rate, name)
    return parts[0][0] if len(parts) == 1 else np.concatenate([samples for samples, _ in parts]), rate


def decode_blocks(
    source: str | bytes, name: str, max_seconds: float = MAX_FILE_SECONDS
) -> Iterator[tuple[Samples, int]]:
    """Decode a sound file block by block, into the samples of `decode_file`.

    A reader that fails at the beginning is replaced by the next, as in `decode_file`; one that fails later
    ends the decoding.

    Args:
        source: path of the file, or its bytes.
        name: of the file, for messages.
        max_seconds: longer audio is rejected when it is reached.

    Yields:
        (n, channels) float32 with n from 1 to some 10^6, and the sample rate in Hz; channels and rate are
        those of the first block.

    Raises:
        AudioTooLongError: if it is longer than `max_seconds`.
        TalkerError: if the file is not audio, cannot be decoded or holds no samples.
    """
    layout: tuple[int, int] | None = None
    seconds = 0.0
    try:
        container = _identify(source, name)
        for samples, rate in _first_blocks(source, container):
            if layout is None:
                _check_rate(rate, name)
                layout = rate, samples.shape[1]
            if layout != (rate, samples.shape[1]):
                raise TalkerError(
                    f"{name} joins audio of different sample rates or channels: convert it to one WAV file"
                )
            seconds += len(samples) / rate
            if seconds > max_seconds:
                raise AudioTooLongError(f"{name} holds more than {max_seconds:g} s of audio: cut it")
            yield samples, rate
    except TalkerError:
        raise
    except Exception as error:  # of a library, on what the file holds
        raise _unreadable(name, container=None, error=error) from None
    if layout is None:
        raise TalkerError(f"{name} holds no audio: give a file with at least one sample")


def stated_seconds(source: str | bytes) -> float | None:
    """Return the duration that a file states, for a progress bar; None if it states none or an absurd one.

    Args:
        source: path of the file, or its bytes.
    """
    try:
        with _open_with_soundfile(source) as sound:
            seconds = sound.frames / sound.samplerate
    except Exception:  # of a library, on what the file holds
        return None
    return seconds if 0.0 < seconds <= MAX_FILE_SECONDS else None


def _first_blocks(source: str | bytes, container: Container | None) -> Iterator[tuple[Samples, int]]:
    """Yield the blocks of the first reader that gives one."""
    readers: list[Callable[[], Iterator[tuple[Samples, int]]]] = [
        lambda: _soundfile_blocks(source, container)
    ]
    if container is not None and container.reader == "wav":
        readers = [lambda: _wav_blocks(source), *readers]
    elif container is not None:
        coded = container

        def from_av() -> Iterator[tuple[Samples, int]]:
            return _av_blocks(source, coded)

        joined = container.reader == "mp3" and _is_joined_mp3(source)
        readers = [from_av, *readers] if joined else [*readers, from_av]
    first_error: Exception | None = None
    for reader in readers:
        blocks = (block for block in reader() if len(block[0]))
        try:
            first = next(blocks, None)
        except Exception as error:
            first_error = first_error or error
            continue
        if first is not None:
            yield first
            yield from blocks
            return
    if first_error is not None:
        raise first_error


def _identify(source: str | bytes, name: str) -> Container | None:
    """Return the container of a file; raise TalkerError for one that is empty or no audio."""
    with _open(source) as file:
        head = file.read(_MP3_HEAD_BYTES)
    container = identify(head[:HEAD_BYTES]) or (_MP3 if mp3.begins_mp3(head) else None)
    if not head:
        raise TalkerError(f"{name} is empty, it holds no audio: give a file with at least one sample")
    if container is not None and container.reader == "none":
        raise TalkerError(f"{name} holds {container.name}, not audio: give a WAV, FLAC, OGG or MP3 file")
    return container


def _check_rate(rate: int, name: str) -> None:
    if not MIN_FILE_RATE <= rate <= MAX_FILE_RATE:
        raise TalkerError(
            f"{name} states a sample rate of {rate} Hz: give a file of {MIN_FILE_RATE} to {MAX_FILE_RATE} Hz"
        )


def _open(source: str | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _decode(
    source: str | bytes, container: Container | None, name: str, max_seconds: float
) -> list[tuple[Samples, int]]:
    """Decode with the first reader that can."""
    readers: list[Callable[[], list[tuple[Samples, int]]]] = [
        lambda: [_read_with_soundfile(part, max_seconds) for part in _split(source, container)]
    ]
    if container is not None and container.reader == "wav":
        readers.insert(0, lambda: _read_wav(source, max_seconds))
    elif container is not None and container.reader == "mp3" and _is_joined_mp3(source):
        readers.insert(0, lambda: [_read_with_av(source, container, max_seconds)])
    first_error: Exception | None = None
    for reader in readers:
        try:
            parts = reader()
        except _TooLongError as error:
            raise AudioTooLongError(f"{name} {error}") from None
        except Exception as error:
            first_error = first_error or error
            continue
        if any(len(samples) for samples, _ in parts) or container is None:
            return parts
    if container is None or container.reader == "wav":
        if first_error is None:
            return []
        raise _unreadable(name, container, first_error)
    try:
        return [_read_with_av(source, container, max_seconds)]
    except _TooLongError as error:
        raise AudioTooLongError(f"{name} {error}") from None
    except TalkerError as error:  # av is not installed
        raise TalkerError(f"{name} holds {container.name}; {error}") from None
    except Exception as error:
        raise _unreadable(name, container, first_error or error) from None


class _TooLongError(Exception):
    """The audio is longer than the caller accepts."""


def _unreadable(name: str, container: Container | None, error: Exception) -> TalkerError:
    if isinstance(error, TalkerError):
        reason = str(error).partition(":")[0]
    else:
        reason = " ".join(str(error).rpartition(": ")[2].split()).rstrip(".")[:200] or type(error).__name__
    kind = f" ({container.name})" if container else ""
    if container is None:
        # libsndfile says of bytes without an MP3 frame that the file does not exist
        is_unknown = "recogni" in reason or "does not exist" in reason
        reason = "it names no known format; bare PCM has no header" if is_unknown else reason
    return TalkerError(f"{name}{kind} cannot be read as audio ({reason}): convert it to WAV first")


def _check_length(frames: int, rate: int, max_seconds: float) -> None:
    if frames > max_seconds * max(rate, MIN_FILE_RATE):
        raise _TooLongError(f"holds more than {max_seconds:g} s of audio: cut it")


def _read_wav(source: str | bytes, max_seconds: float) -> list[tuple[Samples, int]]:
    stream = WavStream(is_file=True)
    parts: list[tuple[AudioFormat, list[bytes]]] = []
    frames = 0
    with _open(source) as file:
        while block := file.read(_BLOCK_BYTES):
            for segment in stream.accept(block):
                if segment.starts_file or not parts:
                    parts.append((segment.format, []))
                parts[-1][1].append(segment.pcm)
                frames += len(segment.pcm) // segment.format.frame_bytes
                _check_length(frames, segment.format.sample_rate, max_seconds)
    if stream.is_incomplete:
        raise TalkerError("it ends before its samples: give a whole file")
    decoded: list[tuple[Samples, int]] = []
    for audio_format, blocks in parts:
        data = b"".join(blocks)
        data = data[: len(data) - len(data) % audio_format.frame_bytes]
        samples = bytes_to_float32(data, audio_format.encoding).reshape(-1, audio_format.channels)
        decoded.append((samples, audio_format.sample_rate))
    return decoded


def _wav_blocks(source: str | bytes) -> Iterator[tuple[Samples, int]]:
    stream = WavStream(is_file=True)
    carried, last = b"", None
    with _open(source) as file:
        while block := file.read(_BLOCK_BYTES):
            for segment in stream.accept(block):
                audio_format = segment.format
                data = segment.pcm if segment.starts_file or audio_format != last else carried + segment.pcm
                end = len(data) - len(data) % audio_format.frame_bytes
                carried, last = data[end:], audio_format
                samples = bytes_to_float32(data[:end], audio_format.encoding)
                yield samples.reshape(-1, audio_format.channels), audio_format.sample_rate
    if stream.is_incomplete:
        raise TalkerError("it ends before its samples: give a whole file")


def _soundfile_blocks(source: str | bytes, container: Container | None) -> Iterator[tuple[Samples, int]]:
    for part in _split(source, container):
        with _open_with_soundfile(part) as sound:
            if sound.seekable():
                sound.seek(0)  # as soundfile.read does: libmpg123 rounds otherwise after it
            while len(block := _read_block(sound, _BLOCK_FRAMES)):
                yield block, int(sound.samplerate)


def _av_blocks(source: str | bytes, container: Container) -> Iterator[tuple[Samples, int]]:
    av = require("av", f"decoding {container.name}")
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
        if not opened.streams.audio:
            raise TalkerError("it has no sound: give a file with an audio track")
        resampler: Any = None
        filler: GapFiller | None = None
        for frame in opened.decode(audio=0):
            if resampler is None or filler is None:
                rate = int(frame.sample_rate)
                resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=rate)
                filler = GapFiller(rate)
            time = frame.time
            for converted in resampler.resample(frame):
                for samples in filler.place(frame_to_samples(converted), time):
                    yield samples, int(resampler.rate)
                time = None  # what follows of the same frame


def _open_with_soundfile(source: str | bytes) -> soundfile.SoundFile:
    # soundfile takes a name that ends in .raw for bare PCM, a file object not
    opened: Any = source
    if isinstance(source, bytes):
        opened = _SeekableBytes(source)
    elif source.lower().endswith(".raw"):
        with open(source, "rb") as file:
            opened = _SeekableBytes(file.read())
    with _without_notes():
        return soundfile.SoundFile(opened)


def _read_block(sound: soundfile.SoundFile, frames: int) -> Samples:
    with _without_notes() if sound.format == "MP3" else contextlib.nullcontext():
        return np.asarray(sound.read(frames, dtype="float32", always_2d=True), np.float32)


@contextlib.contextmanager
def _without_notes() -> Generator[None, None, None]:
    """Drop what C libraries write to stderr: libmpg123 reports damaged frames there by itself."""
    try:
        stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # stderr is closed
        yield
        return
    with _stderr_lock:
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            os.close(null)


def _read_with_soundfile(source: str | bytes, max_seconds: float) -> tuple[Samples, int]:
    with _open_with_soundfile(source) as sound:
        if sound.seekable():
            sound.seek(0)  # as soundfile.read does: libmpg123 rounds otherwise after it
        blocks: list[Samples] = []
        frames = 0
        # the length may be unknown, or a lie
        is_stated = 0 < sound.frames * sound.channels <= _MAX_BLOCK_SAMPLES
        is_short = sound.frames <= max_seconds * max(sound.samplerate, MIN_FILE_RATE)
        size = sound.frames if is_stated and is_short else _BLOCK_FRAMES
        while len(block := _read_block(sound, size)):
            blocks.append(block)
            frames += len(block)
            _check_length(frames, sound.samplerate, max_seconds)
        channels, rate = sound.channels, sound.samplerate
    return np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32), int(rate)


class _SeekableBytes(io.BytesIO):
    """A file in memory; libsndfile, misled by a damaged file, may seek to before its start."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return -1


def _read_with_av(source: str | bytes, container: Container, max_seconds: float) -> tuple[Samples, int]:
    blocks: list[Samples] = []
    frames, rate = 0, 0
    for samples, rate in _av_blocks(source, container):
        blocks.append(samples)
        frames += len(samples)
        _check_length(frames, rate, max_seconds)
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32), rate


def frame_to_samples(frame: Any) -> Samples:
    """Return the samples of a packed float frame of `av`, (n, channels).

    Packed, because `av` reads beyond the planes of planar frames of eight or more channels.
    """
    return np.array(frame.to_ndarray(), np.float32).reshape(-1, frame.layout.nb_channels)


def _split(source: str | bytes, container: Container | None) -> Iterator[str | bytes]:
    """Split a file into the files that were joined to it, which libsndfile would not read."""
    if container is None or container.name not in ("Ogg", "AIFF", "AIFF-C", *_JOINED_SIGNATURE_BYTES):
        yield source
        return
    with _open(source) as file:
        data = source if isinstance(source, bytes) else file.read()
    starts = _find_ogg_chains(data) if container.name == "Ogg" else _find_joined(data, container)
    if container.name == "Ogg":
        for start in starts:
            check_header_pages(data, start)
    if len(starts) == 1:
        yield source
        return
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        yield data[start:end]


def _find_ogg_chains(data: bytes) -> list[int]:
    """Return where the links of a chained Ogg begin: at first pages of a stream behind other pages."""
    starts, offset, in_headers = [0], 0, True
    while (offset := data.find(b"OggS", offset)) >= 0 and offset + 27 <= len(data):
        begins = bool(data[offset + 5] & _OGG_BEGIN_OF_STREAM)
        if begins and not in_headers:
            starts.append(offset)
        in_headers = begins
        segments = data[offset + 26]
        offset += 27 + segments + sum(data[offset + 27 : offset + 27 + segments])
    return starts


def _find_joined(data: bytes, container: Container) -> list[int]:
    """Return where files of the same format begin, the first at 0."""
    starts = [0]
    if container.name in _JOINED_SIGNATURE_BYTES:
        signature = data[: _JOINED_SIGNATURE_BYTES[container.name]]
        while (start := data.find(signature, starts[-1] + len(signature))) > 0:
            starts.append(start)
        return starts
    while len(data) - starts[-1] >= 12:  # AIFF
        start = starts[-1] + 8 + int.from_bytes(data[starts[-1] + 4 : starts[-1] + 8], "big")
        start += start % 2 and data[start : start + 1] == b"\0"
        following = identify(data[start : start + HEAD_BYTES])
        if following is None or not following.name.startswith("AIFF"):
            break
        starts.append(start)
    return starts


def _is_joined_mp3(source: str | bytes) -> bool:
    """Return whether an MP3 holds the tags of more than one file; libmpg123 would end with the first."""
    with _open(source) as file:
        data = source if isinstance(source, bytes) else file.read()
    return data.count(b"Xing") + data.count(b"Info") > 1
