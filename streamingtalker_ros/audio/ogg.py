# SPDX-License-Identifier: Apache-2.0
"""Checks the header pages of an Ogg stream (RFC 3533) before libsndfile reads them.

libsndfile loses some kilobytes of memory at each Vorbis stream whose headers it cannot read.
"""

from __future__ import annotations

from typing import Final

_PAGE_HEAD_BYTES: Final = 27
_CRC_OFFSET: Final = 22
_MAX_HEADER_BYTES: Final = 1 << 20  # of comments with a picture; what follows is not checked
_POLYNOMIAL: Final = 0x04C11DB7


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_TABLE: Final = _crc_table()


def page_checksum(page: bytes) -> int:
    """Return the CRC-32 of a page, in which its own checksum counts as 0."""
    value = 0
    for byte in page[:_CRC_OFFSET] + bytes(4) + page[_CRC_OFFSET + 4 :]:
        value = ((value << 8) & 0xFFFFFFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value


def check_header_pages(data: bytes, start: int = 0) -> None:
    """Check the pages up to the first one with audio.

    Args:
        data: The file.
        start: Where its stream begins.

    Raises:
        ValueError: If one of them is cut short or does not have its checksum.
    """
    offset, end = start, start + _MAX_HEADER_BYTES
    while offset < end:
        head = data[offset : offset + _PAGE_HEAD_BYTES]
        if len(head) < _PAGE_HEAD_BYTES or head[:4] != b"OggS":
            raise ValueError("its header pages are incomplete")
        lacing = data[offset + _PAGE_HEAD_BYTES : offset + _PAGE_HEAD_BYTES + head[26]]
        size = _PAGE_HEAD_BYTES + head[26] + sum(lacing)
        page = data[offset : offset + size]
        has_audio = int.from_bytes(head[6:14], "little") > 0  # the position of its last sample
        if has_audio and len(page) < size:
            return  # audio that is cut short is decoded as far as it goes
        if len(page) < size or page_checksum(page) != int.from_bytes(head[22:26], "little"):
            raise ValueError("its header pages are damaged")
        offset += size
        if has_audio or offset == len(data):
            return
