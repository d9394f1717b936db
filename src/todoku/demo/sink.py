"""A mail server that delivers nothing: it takes every message, keeps it, and counts.

    python -m todoku.demo.sink FOLDER HOST PORT

prints one JSON line {"host", "port", "count"} when it listens, and runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final, cast

import structlog

from todoku.demo.sink_log import SinkLog, SinkMessage, SinkReader, make_record, newest_messages, read_message
from todoku.kernel.clock import Clock, SystemClock
from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, MessageReceived, ServerDialogue

__all__ = ["CountingSink", "SinkReader"]

log = structlog.get_logger(__name__)

_TAKEN: Final = say.make_reply(250, "2.0.0", "counted")
_NOT_WRITTEN: Final = say.make_reply(451, "4.3.0", "could not be written")
_LIMITS: Final = DialogueLimits(max_recipients=1_000, max_errors=1_000, max_idle_commands=100_000)
_GATHER_BYTES: Final = 4 * 1024 * 1024


class _TakeAll:
    """Everybody may write to everybody."""

    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        """Take every sender."""
        return None

    def recipient(self, rcpt_to: str) -> bytes | None:
        """Take every recipient."""
        return None


_TAKE_ALL: Final = _TakeAll()


class CountingSink:
    """Take messages by SMTP and count them, one for each recipient.

    A message is in the file before its 250, so that the count survives a kill -9 of this process; counts of earlier
    runs on the same folder are loaded. Holds the folder from construction to `stop`: raises SinkInUse when another
    process has it.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._log = SinkLog(folder)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._arrived: list[tuple[_Connection, MessageReceived]] = []
        self._arrived_bytes = 0

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the real port. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, loop), host, port, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close connections and file; idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._write()
        for connection in list(self._connections):
            connection.close()
        self._log.close()

    def count(self) -> int:
        """Return how many messages were accepted, one for each recipient."""
        return len(self._log.index.offsets)

    def doubled(self) -> int:
        """Return how many of them had come before, told by X-Todoku-Recipient or by Message-ID and recipient."""
        return self._log.index.doubled

    def messages(self, limit: int = 50, offset: int = 0) -> list[SinkMessage]:
        """Return up to `limit` messages, newest first, after leaving out `offset` of them."""
        return newest_messages(self._log.descriptor, self._log.index, limit, offset)

    def message(self, number: int) -> bytes:
        """Return one message as received; raises IndexError."""
        if not 0 <= number < self.count():
            raise IndexError(f"the sink has {self.count()} messages, no number {number}")
        return read_message(self._log.descriptor, self._log.index, number).raw

    # ---- for connections

    def join(self, connection: _Connection) -> None:
        """Count a connection in."""
        self._connections.add(connection)

    def leave(self, connection: _Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def take(self, connection: _Connection, message: MessageReceived, loop: asyncio.AbstractEventLoop) -> None:
        """Put the message to those that are written together when every ready socket was read."""
        if not self._arrived:
            loop.call_soon(self._write)
        self._arrived.append((connection, message))
        self._arrived_bytes += len(message.content)
        if self._arrived_bytes > _GATHER_BYTES:
            self._write()

    def _write(self) -> None:
        arrived, self._arrived = self._arrived, []
        self._arrived_bytes = 0
        if not arrived or self._log.descriptor < 0:
            return
        now = self._clock.now_utc().timestamp()
        records = [
            make_record(message.content, message.mail_from.encode(), rcpt_to.encode(), now)
            for _, message in arrived
            for rcpt_to in message.rcpt_tos
        ]
        reply = _TAKEN
        try:
            self._log.append(records)
        except OSError as error:
            log.error("sink.not_written", error=str(error))
            reply = _NOT_WRITTEN
        for connection, _ in arrived:
            connection.settle(reply)


class _Connection(asyncio.Protocol):
    def __init__(self, sink: CountingSink, loop: asyncio.AbstractEventLoop) -> None:
        self._sink = sink
        self._loop = loop
        self._dialogue = ServerDialogue(_LIMITS, "sink.todoku.example", _TAKE_ALL)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's
        self._sink.join(self)
        self._flush(None)

    def data_received(self, data: bytes) -> None:
        self._flush(self._dialogue.feed(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.leave(self)
        self._transport = None

    def settle(self, reply: bytes) -> None:
        """Answer the message that was handed over, and go on."""
        self._flush(self._dialogue.settle(reply))

    def close(self) -> None:
        """Close after what is left to send."""
        self._dialogue.request_close(at_once=True)
        self._flush(None)

    def _flush(self, message: MessageReceived | None) -> None:
        if message is not None:
            self._sink.take(self, message, self._loop)
        if self._transport is None:
            return
        output = self._dialogue.take_output()
        if output:
            self._transport.write(output)
        if self._dialogue.closing:
            self._transport.close()


async def _serve(folder: Path, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sink = CountingSink(folder)
    real_port = await sink.start(host, port)
    ready = json.dumps({"host": host, "port": real_port, "count": sink.count()})
    os.write(sys.stdout.fileno(), f"{ready}\n".encode("ascii"))  # at once: who started us waits for this line
    await stop.wait()
    await sink.stop()


def main(arguments: list[str]) -> int:
    """Run the sink as a process of its own; return the exit code."""
    if len(arguments) != 3 or not arguments[2].isdigit():
        os.write(sys.stderr.fileno(), b"usage: python -m todoku.demo.sink FOLDER HOST PORT\n")
        return 2
    import uvloop

    uvloop.run(_serve(Path(arguments[0]), arguments[1], int(arguments[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
