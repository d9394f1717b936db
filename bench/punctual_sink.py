"""The sink of bench/punctual.py: takes everything and notes when the first message of each run ended.

    python bench/punctual_sink.py PORT

Prints its port when it listens. XSTAT answers one JSON line: {"total", "different", "firsts": {run id: UTC seconds}};
different counts pairs of run and recipient.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

import uvloop

RUN_OF = re.compile(rb"^Feedback-ID: *([0-9a-f]{32})", re.MULTILINE)


class Arrivals:
    """What came, and when each run's first message did."""

    def __init__(self) -> None:
        self.total = 0
        self.different: set[tuple[bytes, bytes]] = set()
        self.firsts: dict[str, float] = {}

    def take(self, recipient: bytes, content: bytes) -> None:
        """Count one finished message."""
        found = RUN_OF.search(content[:4_096])
        run = found[1] if found else b"?"
        self.total += 1
        self.different.add((run, recipient))
        if run.decode() not in self.firsts:
            self.firsts[run.decode()] = time.time()


class SinkProtocol(asyncio.Protocol):
    """One connection; DATA and BDAT (RFC 3030), pipelined."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._recipient = b""
        self._chunk_octets = -1  # of a BDAT chunk that is still coming
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position = 0
        answers: list[bytes] = []
        while position < len(data):
            taken = self._step(data, position, answers)
            if taken == 0:
                break
            position += taken
        self._rest = data[position:]
        if answers:
            self._transport.write(b"".join(answers))

    def _step(self, data: bytes, position: int, answers: list[bytes]) -> int:
        """Take one command or one content; return its octets, 0 when it is not whole yet."""
        if self._chunk_octets >= 0:
            if len(data) - position < self._chunk_octets:
                return 0
            octets, self._chunk_octets = self._chunk_octets, -1
            return self._content(data[position : position + octets], octets, answers)
        if self._in_data:
            lone = data.startswith(b".\r\n", position)
            end = position if lone else data.find(b"\r\n.\r\n", position)
            if end < 0:
                return 0
            self._in_data = False
            return self._content(data[position:end], end - position + (3 if lone else 5), answers)
        end = data.find(b"\r\n", position)
        if end < 0:
            return 0
        line = data[position:end]
        answers.append(self._answer(line.upper().split(b" "), line))
        return end + 2 - position

    def _content(self, content: bytes, octets: int, answers: list[bytes]) -> int:
        self._arrivals.take(self._recipient, content)
        answers.append(b"250 2.0.0 ok\r\n")
        return octets

    def _answer(self, words: list[bytes], line: bytes) -> bytes:
        word = words[0]
        if word == b"RCPT":
            self._recipient = line[8:]
        elif word == b"DATA":
            self._in_data = True
            return b"354 go on\r\n"
        elif word == b"BDAT":
            self._chunk_octets = int(words[1])  # our own client sends each message as one chunk, the last one
            return b""
        elif word in (b"EHLO", b"HELO"):
            return b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 104857600\r\n"
        elif word == b"XSTAT":
            arrivals = self._arrivals
            counts = {"total": arrivals.total, "different": len(arrivals.different), "firsts": arrivals.firsts}
            return b"250 " + json.dumps(counts).encode() + b"\r\n"
        elif word == b"QUIT":
            self._transport.write(b"221 2.0.0 bye\r\n")
            self._transport.close()
            return b""
        return b"250 2.0.0 ok\r\n"


async def _serve(port: int) -> None:
    arrivals = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: SinkProtocol(arrivals), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
