"""A link carries everything, later when slowed, nothing when frozen, and breaks when cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from todoku.drills.tcp_link import TcpLink


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def link(echo_port: int) -> AsyncIterator[TcpLink]:
    wire = TcpLink("127.0.0.1", echo_port)
    await wire.start()
    yield wire
    await wire.stop()


async def test_what_goes_in_comes_out_whole_and_in_order(link: TcpLink) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    sent = bytes(range(256)) * 4_000
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_a_delay_holds_in_both_directions(link: TcpLink) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.delay_seconds = 0.15
    began = asyncio.get_running_loop().time()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    assert asyncio.get_running_loop().time() - began >= 0.3
    writer.close()


async def test_a_narrow_link_takes_its_time(link: TcpLink) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.bytes_per_second = 100_000.0
    began = asyncio.get_running_loop().time()
    writer.write(b"x" * 30_000)
    assert len(await reader.readexactly(30_000)) == 30_000
    assert asyncio.get_running_loop().time() - began >= 0.3
    writer.close()


async def test_frozen_nothing_passes_and_nothing_is_lost(link: TcpLink) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.freeze()
    writer.write(b"kept")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(4), 0.1)
    await link.restore()
    assert await reader.readexactly(4) == b"kept"
    writer.close()


async def test_cut_connections_break_and_new_ones_are_refused_until_it_is_restored(link: TcpLink) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"x")
    await reader.readexactly(1)
    await link.cut()
    try:
        assert await reader.read(1) == b""
    except ConnectionResetError:
        pass
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", link.port)
    await link.restore()
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"back")
    assert await reader.readexactly(4) == b"back"
    writer.close()
