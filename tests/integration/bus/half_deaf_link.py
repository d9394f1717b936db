"""A connection to NATS on which questions pass and answers wait."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit


class HalfDeafLink:
    """Listens on a loopback port; `answers` set: what the server says passes."""

    def __init__(self, url: str) -> None:
        self._given = urlsplit(url)
        self.answers = asyncio.Event()
        self.answers.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Return the URL that leads through the link."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login, _, _ = self._given.netloc.rpartition("@")
        return f"nats://{login}@127.0.0.1:{port}" if login else f"nats://127.0.0.1:{port}"

    def cut(self) -> None:
        """Break all connections; what waits in them is lost. New ones are taken."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        """Cut everything and end."""
        assert self._server is not None
        self._server.close()
        self.cut()
        self.answers.set()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        far_reader, far_writer = await asyncio.open_connection(self._given.hostname, self._given.port)
        both = {writer, far_writer}
        self._writers |= both
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await asyncio.gather(self._pump(reader, far_writer, deaf=False), self._pump(far_reader, writer, deaf=True))
        self._writers -= both
        for one in both:
            one.transport.abort()
        self._carrying.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, deaf: bool) -> None:
        while octets := await reader.read(65_536):
            if deaf:
                await self.answers.wait()
            writer.write(octets)
            await writer.drain()
        writer.transport.abort()
