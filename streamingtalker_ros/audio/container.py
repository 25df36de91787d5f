# SPDX-License-Identifier: Apache-2.0
"""Identifies the format of a payload or a file by the signature in its first bytes (`identify`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Reader = Literal["wav", "mp3", "stream", "file", "none"]
"""How a format is decoded: by our WAV or MP3 reader, by a demuxer fed in pieces, as a whole file, or not."""

HEAD_BYTES: Final = 512
"""Bytes that `identify` looks at."""

_MIN_TEXT_BYTES: Final = 32
_MIN_TEXT_CHARACTERS: Final = 8  # different ones: a constant PCM signal may consist of printable bytes
_TEXT_STARTS: Final = (b"{", b"[", b"<", b"data:", b"event:", b"HTTP/", b"error", b"Error", b"ERROR")
_WHITESPACE: Final = b" \t\r\n"


@dataclass(frozen=True)
class Container:
    """A format with a signature.

    Attributes:
        name: for the user, such as "Ogg".
        reader: how it is decoded.
        demuxer: FFmpeg's name of the demuxer that decodes it in pieces, None if none can.
    """

    name: str
    reader: Reader
    demuxer: str | None = None


TEXT: Final = Container("text", "none")
_SIGNATURES: Final[tuple[tuple[int, bytes, Container], ...]] = (  # offset, bytes, format
    (0, b"OggS", Container("Ogg", "stream", "ogg")),
    (0, b"\x1aE\xdf\xa3", Container("WebM (Matroska)", "stream", "matroska")),
    (0, b"fLaC", Container("FLAC", "file")),
    (0, b"ID3", Container("MP3 with ID3 tags", "mp3")),
    (0, b".snd", Container("AU", "file", "au")),
    (0, b"caff\x00\x01", Container("CAF", "file", "caf")),
    (4, b"ftyp", Container("MP4 (M4A)", "file")),
    (4, b"moov", Container("MP4 (M4A)", "file")),
    (4, b"styp", Container("MP4 (M4A)", "file")),
    (0, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", Container("Wave64", "file", "w64")),
    (0, b"0&\xb2u\x8ef\xcf\x11", Container("ASF (WMA)", "file")),
    (0, b"#!AMR", Container("AMR", "file")),
    (0, b"#!SILK", Container("SILK", "none")),
    (0, b"\x02#!SILK", Container("SILK", "none")),
    (0, b"NIST_1A\n", Container("NIST SPHERE", "file")),
    (0, b"Creative Voice File", Container("VOC", "file")),
    (0, b"MAC ", Container("Monkey's Audio", "file")),
    (0, b"wvpk", Container("WavPack", "file")),
    (0, b"TTA1", Container("TTA", "file")),
    (0, b"FLV\x01", Container("FLV", "file")),
    (0, b"ADIF", Container("AAC (ADIF)", "none")),
    (0, b"MThd", Container("MIDI", "none")),
    (0, b"PK\x03\x04", Container("ZIP", "none")),
    (0, b"\x1f\x8b\x08", Container("gzip", "none")),
    (0, b"\x89PNG\r\n", Container("PNG", "none")),
    (0, b"\xff\xd8\xff\xe0", Container("JPEG", "none")),
    (0, b"%PDF-", Container("PDF", "none")),
    (0, b"\x7fELF", Container("ELF", "none")),
    (0, b"UklGR", Container("base64 text of a WAV file", "none")),
)
# to find at once that data have none, as almost every packet
_STARTS: Final = tuple(signature for offset, signature, _ in _SIGNATURES if not offset)
_INNER: Final = tuple((offset, signature) for offset, signature, _ in _SIGNATURES if offset)
_CONTROL_BYTES: Final = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))  # in no text, but in almost all PCM
_RIFF_MAGICS: Final = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_SIGNATURE_BYTES: Final = 12
_MAX_CUT_BYTES: Final = 3  # of a character of UTF-8 at an end of a text
_FORM_TYPES: Final = {b"AIFF": "AIFF", b"AIFC": "AIFF-C", b"8SVX": "8SVX"}


def is_wav(data: bytes) -> bool:
    """Return whether data begin with a WAV header: RIFF, RIFX (big-endian), RF64 or BW64 (64-bit)."""
    return data[:4] in _RIFF_MAGICS and data[8:12] == b"WAVE"


def could_be_container(data: bytes) -> bool:
    """Return whether data shorter than a signature are the beginning of one."""
    if not 0 < len(data) < _SIGNATURE_BYTES:
        return False
    starts = [signature for offset, signature, _ in _SIGNATURES if not offset]
    magics = (*_RIFF_MAGICS, b"FORM")
    return any(signature.startswith(data) for signature in starts) or (
        any(magic.startswith(data[:4]) for magic in magics)
        and any(kind.startswith(data[8:12]) for kind in (b"WAVE", *_FORM_TYPES))
    )


def identify(data: bytes) -> Container | None:
    """Return the format that data begin with by their own signature, None for anything else, such as PCM."""
    head = data[:HEAD_BYTES]
    if head[:4] in _RIFF_MAGICS and len(head) >= 12:
        if head[8:12] == b"WAVE":
            return Container("WAV", "wav")
        if head[8:12].isalnum() or head[8:12] == b"AVI ":
            return Container(f"RIFF {head[8:12].decode('ascii').strip()}", "file")
    if head[:4] == b"FORM" and head[8:12] in _FORM_TYPES:
        return Container(_FORM_TYPES[head[8:12]], "file", "aiff" if head[8:11] == b"AIF" else None)
    if head.startswith(_STARTS) or any(head.startswith(signature, offset) for offset, signature in _INNER):
        for offset, signature, container in _SIGNATURES:
            if head.startswith(signature, offset):
                return container
    if _begins_adts(data):
        return Container("AAC (ADTS)", "file")
    return identify_text(head)


def identify_text(data: bytes) -> Container | None:
    """Return the kind of text of the data, None if they are not text."""
    text = data[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    start = text.lstrip(_WHITESPACE)
    if not start or not _is_printable(text):
        return None
    has_start = start.startswith(_TEXT_STARTS) and len(start) >= _MIN_TEXT_BYTES // 4
    if not has_start and (len(text) < _MIN_TEXT_BYTES or len(set(text)) < _MIN_TEXT_CHARACTERS):
        return None
    if start[:1] in (b"{", b"["):
        return Container("JSON text", "none")
    if start[:1] == b"<":
        lowered = start[:64].lower()
        return Container("HTML text" if b"html" in lowered else "XML text", "none")
    return TEXT


def _is_printable(data: bytes) -> bool:
    """Return whether bytes are printable text of UTF-8, possibly cut within a character at either end."""
    whole = data[:-_MAX_CUT_BYTES]
    if len(whole.translate(None, _CONTROL_BYTES)) < len(whole) or min(data, default=0xFF) >= 0x80:
        return False
    for skipped in range(_MAX_CUT_BYTES + 1):  # continuation bytes of a character that began before
        for missing in range(_MAX_CUT_BYTES + 1):
            try:
                text = data[skipped : len(data) - missing].decode("utf-8")
            except UnicodeDecodeError:
                continue
            return all(character.isprintable() or character in "\t\r\n" for character in text)
        if not data[skipped : skipped + 1] or data[skipped] & 0xC0 != 0x80:
            return False
    return False


def _begins_adts(data: bytes) -> bool:
    """Return whether data begin with two frames of AAC with ADTS headers (ISO/IEC 13818-7) of one kind."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return False
    length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    following = data[length : length + 4]
    return (
        length > 7
        and len(following) == 4
        and following[:3] == data[:3]
        and following[3] & 0xFC == data[3] & 0xFC
    )


def is_text_fragment(data: bytes) -> bool:
    """Return whether data may continue a text."""
    return _is_printable(data[:HEAD_BYTES])


def stated_bytes(data: bytes, container: Container) -> int | None:
    """Return the length that a file states by its first bytes, None if it does not tell.

    Args:
        data: First bytes of the file, at least 24; for CAF and MP4, chunks that begin in them are counted.
        container: Format of the file.

    Returns:
        Length of the file in bytes; for CAF and MP4, the end of the last chunk that begins in `data`. None if
        it is unknown.
    """
    if len(data) < 24:
        return None
    if container.name in ("AIFF", "AIFF-C", "8SVX"):
        return 8 + int.from_bytes(data[4:8], "big")
    if container.name == "AU":
        offset, size = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
        return offset + size if 0 < size < 0xFFFFFF00 else None
    if container.name == "Wave64":
        return int.from_bytes(data[16:24], "little")
    if container.name.startswith(("RIFF", "WAV")):
        size = int.from_bytes(data[4:8], "little")
        return 8 + size if 0 < size < 0xFFFFFF00 else None
    if container.name == "CAF":
        return _sum_sizes(data, 8, 12, lambda at: 12 + int.from_bytes(data[at + 4 : at + 12], "big"))
    if container.name == "MP4 (M4A)":
        return _sum_sizes(data, 0, 16, lambda at: _mp4_box_bytes(data, at))
    return None


def _mp4_box_bytes(data: bytes, offset: int) -> int:
    size = int.from_bytes(data[offset : offset + 4], "big")
    return int.from_bytes(data[offset + 8 : offset + 16], "big") if size == 1 else size


def _sum_sizes(data: bytes, offset: int, header: int, measure: Callable[[int], int]) -> int | None:
    """Return the offset behind the last chunk that begins in the data, None if one is of unknown size."""
    while offset + header <= len(data):
        size = measure(offset)
        if not 8 <= size < 1 << 62:
            return None
        offset += size
    return offset


def flac_sample_count(data: bytes) -> int:
    """Return the samples per channel that STREAMINFO of a FLAC file states, 0 if they are unknown.

    Args:
        data: First bytes of the file, from its signature; 26 are needed.
    """
    return (data[21] & 0x0F) << 32 | int.from_bytes(data[22:26], "big") if len(data) >= 26 else 0
