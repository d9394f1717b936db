"""The sink of bench/send.py: a relay that takes everything, does as little as it can, and counts recipients.

    python bench/counting_sink.py PORT

Prints its port when it listens. Two commands of its own: XSTAT answers one JSON line {"total", "different"},
XRESET begins anew. It pipelines (RFC 2920), so that both senders meet the same server.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop


class Tally:
    """Recipients of completed messages."""

    def __init__(self) -> None:
        self.total = 0
        self.different: set[bytes] = set()


class SinkProtocol(asyncio.Protocol):
    """One connection: answers a whole packet of commands with one write."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._rest = b""
        self._in_content = False
        self._recipients: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        position, answers = 0, []
        while True:
            if self._in_content:
                if data.startswith(b".\r\n", position):
                    position += 3
                else:
                    end = data.find(b"\r\n.\r\n", position)
                    if end < 0:
                        break
                    position = end + 5
                self._in_content = False
                self._tally.total += len(self._recipients)
                self._tally.different.update(self._recipients)
                self._recipients = []
                answers.append(b"250 2.0.0 ok\r\n")
            else:
                end = data.find(b"\r\n", position)
                if end < 0:
                    break
                answers.append(self._answer(data[position : position + 4].upper(), data[position:end]))
                position = end + 2
        self._rest = data[position:]
        if answers:
            self._transport.write(b"".join(answers))

    def _answer(self, word: bytes, line: bytes) -> bytes:
        if word == b"MAIL":
            return b"250 2.1.0 ok\r\n"
        if word == b"RCPT":
            self._recipients.append(line[8:])
            return b"250 2.1.5 ok\r\n"
        if word == b"DATA":
            self._in_content = True
            return b"354 go on\r\n"
        if word in (b"EHLO", b"HELO"):
            return b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n"
        if word == b"XSTA":
            counts = {"total": self._tally.total, "different": len(self._tally.different)}
            return b"250 " + json.dumps(counts).encode() + b"\r\n"
        if word == b"XRES":
            self._tally.total = 0
            self._tally.different.clear()
        elif word == b"RSET":
            self._recipients = []
        elif word == b"QUIT":
            self._transport.write(b"221 2.0.0 bye\r\n")
            self._transport.close()
            return b""
        return b"250 2.0.0 ok\r\n"


async def _serve(port: int) -> None:
    tally = Tally()
    server = await asyncio.get_running_loop().create_server(lambda: SinkProtocol(tally), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
