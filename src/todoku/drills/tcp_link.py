"""A wire between a program and its engine that can be slowed, frozen and cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

_CHUNK_BYTES = 65_536
_BROKEN = (ConnectionError, OSError, RuntimeError)  # RuntimeError: written to after it was aborted


class TcpLink:
    """Listen on a loopback port and carry everything to `host:port`, as badly as asked for.

    host: a name or address, or the path of a Unix socket; port counts for nothing then.

    delay_seconds: each chunk arrives so much later, in each direction, in order; a slow engine, seen from outside.
    bytes_per_second: 0 = no limit, else of each direction of each connection. Faults hold for bytes that come from
    now on and for connections that are open. Used from one event loop.
    """

    def __init__(self, host: str, port: int) -> None:
        self.delay_seconds = 0.0
        self.bytes_per_second = 0.0
        self.port = 0
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> int:
        """Begin to listen; return the port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        """Cut everything and end."""
        await self.cut()
        self.delay_seconds = 0.0
        self._flowing.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self) -> None:
        """Break all connections and refuse new ones: the engine is gone. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def restore(self) -> None:
        """Let everything flow again, at full speed, on the same port. Idempotent."""
        self.delay_seconds = self.bytes_per_second = 0.0
        self._flowing.set()
        if self._server is None:
            await self.start()

    def freeze(self) -> None:
        """Keep connections and take new ones, but carry nothing: an engine that hangs, or a cable that is out."""
        self._flowing.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            far_reader, far_writer = await self._open()
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            for one in (writer, far_writer):
                self._writers.discard(one)
                one.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target
        if host.startswith("/"):
            return await asyncio.open_unix_connection(host)
        return await asyncio.open_connection(host, port)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read at once and write when it is time, so that a delay does not become a limit of throughput."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)

        async def read() -> None:
            free_at_seconds = 0.0
            while True:
                data = await reader.read(_CHUNK_BYTES)
                if self.bytes_per_second:
                    free_at_seconds = max(free_at_seconds, loop.time()) + len(data) / self.bytes_per_second
                await waiting.put((max(free_at_seconds, loop.time() + self.delay_seconds), data))
                if not data:
                    return

        async def write() -> None:
            while True:
                at_seconds, data = await waiting.get()
                await asyncio.sleep(max(0.0, at_seconds - loop.time()))
                await self._flowing.wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        with suppress(*_BROKEN):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(read())
                    group.create_task(write())
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
