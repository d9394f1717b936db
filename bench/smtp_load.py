"""A quick SMTP client for benches: some connections, each pipelines the next envelope behind the mail in hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import cast

OnAnswer = Callable[[bytes, float], None]


class LoadClient(asyncio.Protocol):
    """One connection. Takes mails from a shared iterator until it is empty, then quits."""

    def __init__(self, mails: Iterator[tuple[bytes, bytes]], on_answer: OnAnswer) -> None:
        """Prepare. mails: (recipient, dot-stuffed text with its CR LF). on_answer: the 250 line, time.monotonic()."""
        self.done = asyncio.get_running_loop().create_future()
        self._mails = mails
        self._on_answer = on_answer
        self._rest = b""
        self._next: bytes | None = None
        self._wait_for_ready = True
        self.refused: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"EHLO bench.example\r\n")

    def data_received(self, data: bytes) -> None:
        """Follow the replies."""
        data = self._rest + data
        lines = data.split(b"\r\n")
        self._rest = lines.pop()
        for line in lines:
            self._reply(line)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        if not self.done.done():
            self.done.set_result(None)

    def _reply(self, line: bytes) -> None:
        if line[3:4] == b"-":
            return
        if self._wait_for_ready:
            if line.startswith(b"250"):
                self._wait_for_ready = False
                self._transport.write(self._envelope())
            return
        if line.startswith(b"354"):
            content = self._next or b""
            self._transport.write(content + b".\r\n" + self._envelope())
        elif line.startswith(b"250 2.0.0"):
            self._on_answer(line, time.monotonic())
        elif line.startswith(b"221"):
            self._transport.close()
        elif not line.startswith(b"250"):
            self.refused.append(line)
            self._transport.close()

    def _envelope(self) -> bytes:
        mail = next(self._mails, None)
        if mail is None:
            return b"QUIT\r\n"
        rcpt_to, self._next = mail
        return b"MAIL FROM:<yoyaku@site.example>\r\nRCPT TO:<" + rcpt_to + b">\r\nDATA\r\n"


async def send_all(
    port: int, mails: Iterator[tuple[bytes, bytes]], connections: int, on_answer: OnAnswer
) -> list[bytes]:
    """Send the mails over that many connections; return the replies that refused something."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: LoadClient(mails, on_answer), "127.0.0.1", port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    return [line for client in clients for line in client.refused]
