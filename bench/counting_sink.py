"""The sink of bench/send.py: a relay that takes everything, does as little as it can, and counts recipients.

    python bench/counting_sink.py PORT

Prints its port when it listens. Two commands of its own: XSTAT answers one JSON line {"total", "different"},
XRESET begins anew. It pipelines (RFC 2920) and takes BDAT (RFC 3030); smtp-source knows neither and uses DATA. The
usual group of a message by BDAT is read with one look, and its octets are passed over where they lie.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

import uvloop

_USUAL_GROUP = re.compile(rb"RSET\r\nMAIL FROM:[^\r\n]*\r\nRCPT TO:(<[^\r\n]*)\r\nBDAT (\d+) LAST\r\n")
_USUAL_ANSWERS = b"250 2.0.0 ok\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.0.0 ok\r\n"
_EHLO_ANSWER = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 104857600\r\n"


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
        self._chunk_left = 0
        self._chunk_answer = b""
        self._chunk_is_last = True
        self._recipients: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self._chunk_left > len(data):
            self._chunk_left -= len(data)
            return
        position, answers = 0, []
        if self._chunk_answer:
            position, self._chunk_left = self._chunk_left, 0
            answers.append(self._end_chunk())
        elif self._rest:
            data = self._rest + data
        size = len(data)
        while True:
            if not self._in_content and (usual := _USUAL_GROUP.match(data, position)) is not None:
                self._recipients = [usual[1]]
                position = usual.end() + int(usual[2])
                if position > size:
                    self._chunk_left, self._chunk_answer = position - size, _USUAL_ANSWERS
                    position = size
                    break
                self._tally.total += 1
                self._tally.different.add(usual[1])
                answers.append(_USUAL_ANSWERS)
                continue
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
                word, line, position = data[position : position + 4].upper(), data[position:end], end + 2
                if word != b"BDAT":
                    answers.append(self._answer(word, line))
                    continue
                words = line.split()
                self._chunk_answer = b"250 2.0.0 ok\r\n"
                self._chunk_is_last = words[2:] == [b"LAST"]
                position += int(words[1])
                if position > size:
                    self._chunk_left = position - size
                    position = size
                    break
                answers.append(self._end_chunk())
        self._rest = data[position:]
        if answers:
            self._transport.write(b"".join(answers))

    def _end_chunk(self) -> bytes:
        answer, self._chunk_answer = self._chunk_answer, b""
        if self._chunk_is_last:
            self._tally.total += len(self._recipients)
            self._tally.different.update(self._recipients)
            self._recipients = []
        self._chunk_is_last = True
        return answer

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
            return _EHLO_ANSWER
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
