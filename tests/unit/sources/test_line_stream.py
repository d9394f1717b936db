"""Lines and counted bytes, however they are cut on their way."""

from __future__ import annotations

import asyncio

import pytest

from todoku.sources.errors import CannotLook, Cause
from todoku.sources.line_stream import CHUNK_BYTES, LineStream, Pace


class _Nowhere(asyncio.Transport):
    def is_closing(self) -> bool:
        return True


def _wire(*pieces: bytes) -> LineStream:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    writer = asyncio.StreamWriter(_Nowhere(), asyncio.StreamReaderProtocol(reader), reader, loop)
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return LineStream(reader, writer, "mail.example.jp", 5.0)


@pytest.mark.parametrize("shift", range(-4, 5))
async def test_an_end_that_is_cut_in_two_is_an_end(shift: int) -> None:
    """A line longer than a chunk is taken in pieces; CR may be the last byte of one and LF the first of the next."""
    raw = b"x" * (CHUNK_BYTES + shift) + b"\r\n"
    wire = _wire(raw + b".\r\n+OK next\r\n")
    assert await wire.dotted(10**6) == raw
    assert await wire.line() == b"+OK next"


async def test_a_mail_without_end_is_given_up() -> None:
    assert await _wire(b"x" * 500_000).dotted(300_000) is None


async def test_counted_bytes_may_hold_anything() -> None:
    raw = bytes(range(256)) * 1_000
    wire = _wire(raw, b")\r\n")
    assert await wire.counted(len(raw)) == raw
    assert await wire.line() == b")"
    with pytest.raises(CannotLook, match="in the middle") as caught:
        await wire.counted(1)
    assert caught.value.cause is Cause.UNREACHABLE


async def test_a_listing_in_drops_is_given_up() -> None:
    pace = Pace(_wire())
    for _ in range(200):
        pace.note(0.04)  # 5 seconds for 100 lines are allowed
    pace = Pace(_wire())
    pace.note(4.9)
    with pytest.raises(CannotLook, match="only in drops"):
        pace.note(4.9)
