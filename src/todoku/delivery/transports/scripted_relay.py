"""A relay that does what the recipient's name says: the peer of `check_transport`, and of tests that need a relay.

Real sockets, DATA and BDAT, STARTTLS and AUTH. `Behaviour` is one message's fate; `Fault` is what is wrong with the
relay itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from todoku.delivery.types import AnswerKind


class Behaviour(StrEnum):
    """What the relay does for a recipient (at MAIL: for a sender) whose local part begins with this word."""

    ACCEPT = "accept"
    SLOW = "slow"
    REFUSE_MAIL = "refuse-mail"
    DEFER_MAIL = "defer-mail"
    REFUSE_RCPT = "refuse-rcpt"
    DEFER_RCPT = "defer-rcpt"
    NEVER_RCPT = "never-rcpt"
    REFUSE_DATA = "refuse-data"
    REFUSE_FINAL = "refuse-final"
    DEFER_FINAL = "defer-final"
    DROP_AT_MAIL = "drop-at-mail"
    DROP_AT_RCPT = "drop-at-rcpt"
    DROP_BEFORE_END = "drop-before-end"
    DROP_AFTER_END = "drop-after-end"
    HALF_CLOSE_AFTER_END = "half-close-after-end"
    CLOSING_AT_MAIL = "closing-at-mail"
    CLOSING = "closing"
    CLOSING_AT_END = "closing-at-end"


EXPECTED: dict[Behaviour, AnswerKind] = {
    Behaviour.ACCEPT: AnswerKind.ACCEPTED,
    Behaviour.SLOW: AnswerKind.ACCEPTED,
    Behaviour.REFUSE_MAIL: AnswerKind.PERMANENT,
    Behaviour.DEFER_MAIL: AnswerKind.TEMPORARY,
    Behaviour.REFUSE_RCPT: AnswerKind.PERMANENT,
    Behaviour.DEFER_RCPT: AnswerKind.TEMPORARY,
    Behaviour.NEVER_RCPT: AnswerKind.PERMANENT,
    Behaviour.REFUSE_DATA: AnswerKind.PERMANENT,
    Behaviour.REFUSE_FINAL: AnswerKind.PERMANENT,
    Behaviour.DEFER_FINAL: AnswerKind.TEMPORARY,
    Behaviour.DROP_AT_MAIL: AnswerKind.TEMPORARY,
    Behaviour.DROP_AT_RCPT: AnswerKind.TEMPORARY,
    Behaviour.DROP_BEFORE_END: AnswerKind.TEMPORARY,
    Behaviour.DROP_AFTER_END: AnswerKind.UNKNOWN,
    Behaviour.HALF_CLOSE_AFTER_END: AnswerKind.UNKNOWN,
    Behaviour.CLOSING_AT_MAIL: AnswerKind.TEMPORARY,
    Behaviour.CLOSING: AnswerKind.TEMPORARY,
    Behaviour.CLOSING_AT_END: AnswerKind.TEMPORARY,
}
DROPS = frozenset(
    {
        Behaviour.DROP_AT_MAIL,
        Behaviour.DROP_AT_RCPT,
        Behaviour.DROP_BEFORE_END,
        Behaviour.DROP_AFTER_END,
        Behaviour.HALF_CLOSE_AFTER_END,
    }
)
_AT_MAIL = {
    Behaviour.REFUSE_MAIL: b"550 5.1.8 sender not wanted\r\n",
    Behaviour.DEFER_MAIL: b"451 4.7.1 slow down\r\n",
    Behaviour.CLOSING_AT_MAIL: b"421 4.3.2 closing\r\n",
}
_AT_RCPT = {
    Behaviour.REFUSE_RCPT: b"550-5.1.1 no such person\r\n550 5.1.1 here\r\n",
    Behaviour.DEFER_RCPT: b"450 4.2.0 come back later\r\n",
    Behaviour.NEVER_RCPT: b"450 5.1.1 no such person, by a relay that says it softly\r\n",
    Behaviour.CLOSING: b"421 4.3.2 closing\r\n",
}
_AT_END = {
    Behaviour.REFUSE_FINAL: b"554 5.7.1 not wanted\r\n",
    Behaviour.DEFER_FINAL: b"451 4.3.0 disk full\r\n",
    Behaviour.CLOSING_AT_END: b"421 4.3.2 closing\r\n",
}


class Fault(StrEnum):
    """What is wrong with the relay as a whole."""

    NONE = "none"
    SPLITS_REPLIES = "splits-replies"  # one octet a packet
    KEEPS_BDAT_OCTETS = "keeps-bdat-octets"  # offers CHUNKING and does not know BDAT
    LEAVES_TRANSACTIONS = "leaves-transactions"  # after a failed BDAT the recipients stay, until RSET
    BREAKS_PIPELINING = "breaks-pipelining"  # drops what has come behind a command that it refuses
    CLOSES_AFTER_421 = "closes-after-421"
    INJECTS_AFTER_STARTTLS = "injects-after-starttls"  # words in clear behind the 220
    GARBAGE_IN_HANDSHAKE = "garbage-in-handshake"
    REFUSES_STARTTLS = "refuses-starttls"


@dataclass(slots=True)
class Seen:
    """What one connection brought. encrypted, login: as its messages came."""

    encrypted: bool = False
    login: str = ""
    in_transaction: bool = False
    recipients: list[str] = field(default_factory=list)
    refused: bytes = b""
    chunks: bytearray = field(default_factory=bytearray)


class ScriptedRelay:
    """taken: recipients whose message it has, in order; commands: what it was told, in order, without secrets."""

    def __init__(
        self,
        *,
        pipelining: bool = True,
        eight_bit: bool = True,
        chunking: bool = False,
        greeting: str = "220 relay.example ESMTP",
        offers: tuple[str, ...] = (),
        fault: Fault = Fault.NONE,
    ) -> None:
        self.taken: list[str] = []
        self.contents: dict[str, bytes] = {}
        self.commands: list[str] = []
        self.connections = 0
        self.tls: ssl.SSLContext | None = None
        self.implicit_tls = False
        self.logins: Mapping[str, str] = {}
        self._greeting = greeting
        self.offers = [*["PIPELINING"] * pipelining, *["8BITMIME"] * eight_bit, *["CHUNKING"] * chunking, *offers]
        self._fault = fault
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> str:
        """Listen on loopback and return the relay's URL."""
        implicit = self.tls if self.implicit_tls else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=implicit)
        scheme = "smtps" if self.implicit_tls else "smtp"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the door and every connection."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await _Session(self, reader, writer).talk(self._greeting)
        self._writers.discard(writer)
        writer.transport.abort()

    @property
    def fault(self) -> Fault:
        """Return what is wrong with this relay."""
        return self._fault

    def offer(self, seen: Seen) -> bytes:
        """Return the EHLO answer."""
        lines = ["relay.example", *self.offers, "ENHANCEDSTATUSCODES"]
        if self.tls is not None and not seen.encrypted:
            lines.append("STARTTLS")
        if self.logins:
            lines.append("AUTH PLAIN LOGIN XOAUTH2")
        return b"".join(b"250-%b\r\n" % line.encode() for line in lines) + b"250 SIZE 50000000\r\n"


class _Session:
    def __init__(self, relay: ScriptedRelay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._reader = reader
        self._writer = writer
        self._seen = Seen(encrypted=relay.implicit_tls)

    async def talk(self, greeting: str) -> None:
        await self._say(greeting.encode() + b"\r\n")
        while True:
            command = await self._reader.readuntil(b"\r\n")
            word = command[:4].upper()
            shown = command.split()[:2] if word == b"AUTH" else [command.strip()]
            self._relay.commands.append(b" ".join(shown).decode("utf-8", "replace"))
            if word == b"QUIT":
                await self._say(b"221 2.0.0 bye\r\n")
                return
            await self._obey(word, command)

    async def _obey(self, word: bytes, command: bytes) -> None:
        seen = self._seen
        if word == b"EHLO":
            await self._say(self._relay.offer(seen))
        elif word == b"STAR" and self._relay.tls is not None:
            await self._start_tls(self._relay.tls)
        elif word == b"AUTH" and self._relay.logins:
            await self._log_in(command)
        elif word == b"MAIL":
            await self._mail(command)
        elif word == b"RCPT":
            await self._rcpt(command[9:-3].decode())
        elif word == b"DATA":
            await self._data()
        elif word == b"BDAT" and self._relay.fault is not Fault.KEEPS_BDAT_OCTETS:
            await self._bdat(command.split())
        elif word == b"RSET":
            self._reset()
            await self._say(b"250 2.0.0 ok\r\n")
        else:
            await self._say(b"500 5.5.2 what?\r\n")

    async def _mail(self, command: bytes) -> None:
        if self._seen.in_transaction:
            await self._say(b"503 5.5.1 nested MAIL\r\n")
            return
        behaviour = _behaviour_of(command.partition(b"<")[2].decode())
        if behaviour is Behaviour.DROP_AT_MAIL:
            raise ConnectionResetError
        self._reset()
        self._seen.in_transaction = behaviour not in _AT_MAIL
        await self._say(_AT_MAIL.get(behaviour, b"250 2.1.0 ok\r\n"))
        if behaviour is Behaviour.CLOSING_AT_MAIL and self._relay.fault is Fault.CLOSES_AFTER_421:
            raise ConnectionResetError

    async def _rcpt(self, recipient: str) -> None:
        behaviour = _behaviour_of(recipient)
        if behaviour is Behaviour.DROP_AT_RCPT:
            raise ConnectionResetError
        if not self._seen.in_transaction:
            await self._say(b"503 5.5.1 no MAIL\r\n")
            return
        if behaviour not in _AT_RCPT:
            self._seen.recipients.append(recipient)
        await self._say(_AT_RCPT.get(behaviour, b"250 2.1.5 ok\r\n"))
        if behaviour is Behaviour.CLOSING and self._relay.fault is Fault.CLOSES_AFTER_421:
            raise ConnectionResetError

    async def _data(self) -> None:
        if not self._seen.recipients:
            await self._say(b"554 5.5.1 no valid recipients\r\n")
            return
        behaviour = _behaviour_of(self._seen.recipients[0])
        if behaviour is Behaviour.DROP_BEFORE_END:
            raise ConnectionResetError
        if behaviour is Behaviour.REFUSE_DATA:
            await self._say(b"554 5.3.0 not now, not ever\r\n")
            return
        await self._say(b"354 go on\r\n")
        content = bytearray()
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            content += line[1:] if line.startswith(b".") else line
        await self._end(bytes(content))

    async def _bdat(self, words: list[bytes]) -> None:
        seen = self._seen
        first = seen.recipients[0] if seen.recipients else ""
        behaviour = _behaviour_of(first) if first else Behaviour.ACCEPT
        if behaviour is Behaviour.DROP_BEFORE_END:
            raise ConnectionResetError
        chunk = await self._reader.readexactly(int(words[1]))
        if not seen.recipients:
            await self._say(b"503 5.5.1 no valid recipients\r\n")
        elif behaviour is Behaviour.REFUSE_DATA:
            await self._say(b"554 5.3.0 not now, not ever\r\n")
            self._after_failed_bdat()
        else:
            seen.chunks += chunk
            if words[2:] == [b"LAST"]:
                await self._end(bytes(seen.chunks))
            else:
                await self._say(b"250 2.0.0 %d octets\r\n" % len(chunk))

    async def _end(self, content: bytes) -> None:
        behaviour = _behaviour_of(self._seen.recipients[0])
        if behaviour is Behaviour.SLOW:
            await asyncio.sleep(0.05)
        if behaviour in _AT_END:
            await self._say(_AT_END[behaviour])
            self._after_failed_bdat()
            return
        for recipient in self._seen.recipients:
            self._relay.taken.append(recipient)
            self._relay.contents[recipient] = content
        self._reset()
        if behaviour is Behaviour.DROP_AFTER_END:
            raise ConnectionResetError
        if behaviour is Behaviour.HALF_CLOSE_AFTER_END and self._writer.can_write_eof():
            self._writer.write_eof()
            await self._reader.read()  # listens on, takes nothing more, says nothing more
            raise ConnectionResetError
        await self._say(b"250 2.0.0 queued\r\n")

    def _after_failed_bdat(self) -> None:
        if self._relay.fault is Fault.LEAVES_TRANSACTIONS:
            self._seen.chunks.clear()
        else:
            self._reset()

    def _reset(self) -> None:
        self._seen.in_transaction = False
        self._seen.recipients.clear()
        self._seen.chunks.clear()

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        fault = self._relay.fault
        if fault is Fault.REFUSES_STARTTLS:
            await self._say(b"454 4.7.0 TLS not available now\r\n")
            return
        await self._say(b"220 2.0.0 go ahead\r\n" + b"250 2.0.0 injected\r\n" * (fault is Fault.INJECTS_AFTER_STARTTLS))
        if fault is Fault.GARBAGE_IN_HANDSHAKE:
            await self._reader.read(1)
            self._writer.write(b"this is no TLS\r\n" * 20)
            await self._writer.drain()
            raise ConnectionResetError
        await self._writer.start_tls(context)
        self._seen = Seen(encrypted=True)

    async def _log_in(self, command: bytes) -> None:
        words = command.split()
        if words[1].upper() == b"PLAIN":
            _, user, secret = base64.b64decode(words[2]).split(b"\0")
        elif words[1].upper() == b"LOGIN":
            answers = []
            for question in (b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"):
                await self._say(question)
                answers.append(base64.b64decode(await self._reader.readuntil(b"\r\n")))
            user, secret = answers
        else:
            fields = base64.b64decode(words[2]).split(b"\x01")
            user, secret = fields[0].removeprefix(b"user="), fields[1].removeprefix(b"auth=Bearer ")
        if self._relay.logins.get(user.decode()) == secret.decode():
            self._seen.login = user.decode()
            await self._say(b"235 2.7.0 welcome\r\n")
        else:
            if words[1].upper() == b"XOAUTH2":
                await self._say(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n")
                await self._reader.readuntil(b"\r\n")
            await self._say(b"535 5.7.8 wrong: " + secret + b"\r\n")  # some servers do repeat it

    async def _say(self, reply: bytes) -> None:
        if self._relay.fault is Fault.BREAKS_PIPELINING and reply[:1] in b"45":
            await asyncio.sleep(0)
            while True:
                try:
                    async with asyncio.timeout(0.01):
                        if not await self._reader.read(65_536):
                            break
                except TimeoutError:
                    break
        if self._relay.fault is Fault.SPLITS_REPLIES:
            for place in range(len(reply)):
                self._writer.write(reply[place : place + 1])
                await self._writer.drain()
                await asyncio.sleep(0)
        else:
            self._writer.write(reply)


def _behaviour_of(address: str) -> Behaviour:
    word = address.partition(".")[0]
    return Behaviour(word) if word in Behaviour.__members__.values() else Behaviour.ACCEPT
