# SPDX-License-Identifier: Apache-2.0
"""Header pages of Ogg streams: whole ones pass, any damage of a byte is found before a library reads it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.file_decoder import decode_file
from streamingtalker_ros.audio.ogg import check_header_pages, page_checksum


def ogg(codec: str, comment: str = "") -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 48_000, 1, format="OGG", subtype=codec) as sound:
        if comment:
            sound.comment = comment
        sound.write(0.1 * np.random.default_rng(0).normal(size=24_000))
    return file.getvalue()


def header_bytes(data: bytes) -> int:
    """Bytes of the pages before the first one with audio."""
    offset = 0
    while not int.from_bytes(data[offset + 6 : offset + 14], "little"):
        offset += 27 + data[offset + 26] + sum(data[offset + 27 : offset + 27 + data[offset + 26]])
    return offset


@pytest.mark.parametrize("comment", ["", "c" * 100_000], ids=["short", "over two pages"])
@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_whole_headers_pass_and_are_decoded(codec: str, comment: str) -> None:
    data = ogg(codec, comment)
    check_header_pages(data)
    check_header_pages(b"before" + data, 6)
    samples, rate = decode_file(data, "the file")
    assert rate == 48_000 and abs(len(samples) - 24_000) < 2_000


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_a_change_of_any_byte_and_a_cut_anywhere_are_found(codec: str) -> None:
    data = ogg(codec)
    size = header_bytes(data)
    for position in range(0, size, max(1, size // 150)):
        changed = bytearray(data)
        changed[position] ^= 0x20
        with pytest.raises(ValueError, match="header pages"):
            check_header_pages(bytes(changed))
        with pytest.raises(ValueError, match="header pages"):
            check_header_pages(data[: max(position, 1)])


def test_the_checksum_is_that_of_the_standard() -> None:
    data = ogg("VORBIS")
    assert page_checksum(data[:58]) == int.from_bytes(data[22:26], "little")
