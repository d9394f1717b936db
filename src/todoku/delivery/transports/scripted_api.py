"""An HTTP API that does what the recipient's name says: the peer of `check_http_transport`.

Real sockets and a small HTTP/1.1 of its own, so that it shares no mistake with the client. How requests and answers of
one provider look is its `Dialect`; `ApiBehaviour` is one message's fate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from todoku.delivery.types import AnswerKind


class ApiBehaviour(StrEnum):
    """What the API does for a recipient whose local part begins with this word."""

    ACCEPT = "accept"
    SLOW = "slow"
    REFUSE = "refuse"  # for this message
    THROTTLE = "throttle"  # too many requests
    HOLD = "hold"  # the account is at fault: keys, quota, a person paused it
    BUSY = "busy"  # the service says that it did not take it
    GATEWAY = "gateway"  # somebody in between says that the service did not answer; it has the message
    REDIRECT = "redirect"
    DROP_UNTAKEN = "drop-untaken"
    DROP_AFTER_END = "drop-after-end"
    HALF_CLOSE_AFTER_END = "half-close-after-end"
    HANG = "hang"
    DRIP = "drip"  # an answer that comes octet by octet and never ends
    CUT_ANSWER = "cut-answer"  # accepted, and the connection dies within the answer's body


TAKEN = frozenset(
    {
        ApiBehaviour.ACCEPT,
        ApiBehaviour.SLOW,
        ApiBehaviour.GATEWAY,
        ApiBehaviour.DROP_AFTER_END,
        ApiBehaviour.HALF_CLOSE_AFTER_END,
        ApiBehaviour.HANG,
        ApiBehaviour.DRIP,
        ApiBehaviour.CUT_ANSWER,
    }
)
_SAME_IN_ALL = {
    ApiBehaviour.GATEWAY: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 11\r\n\r\nbad gateway",
    ApiBehaviour.REDIRECT: b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /accept\r\nContent-Length: 0\r\n\r\n",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. headers: names in lower case."""

    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one provider speaks. answer: the whole answer to ACCEPT, REFUSE, THROTTLE, HOLD or BUSY for a recipient.

    cut_answer: what an answer means that begins with success and breaks off.
    """

    recipient_of: Callable[[Request], str]
    answer: Callable[[ApiBehaviour, str], bytes]
    cut_answer: AnswerKind = AnswerKind.ACCEPTED


def answer_of(status: int, body: str, **headers: str) -> bytes:
    """Return a whole HTTP answer; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status} scripted", f"Content-Length: {len(body.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()


class ScriptedApi:
    """A provider on loopback. taken: recipients whose message it has, in order; requests: all that came whole.

    hanging: released once for each request that hangs.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.taken: list[str] = []
        self.requests: dict[str, Request] = {}
        self.hanging = asyncio.Semaphore(0)
        self._dialect = dialect
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> str:
        """Listen and return the origin, http://127.0.0.1:port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 24)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the door and every connection."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    def drop_idle(self) -> None:
        """Close every connection, as a provider does with those that were silent for long."""
        for writer in tuple(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                await self._answer(await self._read(reader), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        assert "transfer-encoding" not in headers, "a body of unknown length"
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(head[0].split(" ")[1], headers, body)

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = self._dialect.recipient_of(request)
        behaviour = ApiBehaviour(recipient.partition(".")[0])
        self.requests[recipient] = request
        if behaviour in TAKEN:
            self.taken.append(recipient)
        if behaviour in (ApiBehaviour.DROP_UNTAKEN, ApiBehaviour.DROP_AFTER_END):
            raise ConnectionResetError
        if behaviour is ApiBehaviour.HALF_CLOSE_AFTER_END:
            writer.write_eof()
            await reader.read()
            raise ConnectionResetError
        if behaviour is ApiBehaviour.HANG:
            self.hanging.release()
            await reader.read()  # until the client gives up
            raise ConnectionResetError
        if behaviour is ApiBehaviour.DRIP:
            writer.write(b"HTTP/1.1 200 ")
            while True:
                writer.write(b"o")
                await writer.drain()
                await asyncio.sleep(0.05)
        if behaviour is ApiBehaviour.SLOW:
            await asyncio.sleep(0.05)
        if behaviour is ApiBehaviour.CUT_ANSWER:
            writer.write(self._dialect.answer(ApiBehaviour.ACCEPT, recipient).partition(b"\r\n\r\n")[0] + b"\r\n\r\n{")
            await writer.drain()
            writer.close()
            raise ConnectionResetError
        kind = ApiBehaviour.ACCEPT if behaviour is ApiBehaviour.SLOW else behaviour
        writer.write(_SAME_IN_ALL.get(kind) or self._dialect.answer(kind, recipient))
        await writer.drain()
