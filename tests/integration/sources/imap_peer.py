"""Servers that misbehave on purpose: an IMAP and a POP3 server of a few lines, each answer replaceable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from tests.integration.sources.imap_bench import password_of

from todoku.kernel.clock import SystemClock
from todoku.sources.conformance import NotedKeyring
from todoku.sources.credentials import Credential
from todoku.sources.imap import ImapSettings, ImapSource
from todoku.sources.tls import Encryption

Answer = Callable[["Client", bytes], Awaitable[None]]


class Client:
    """A connection as the server sees it. tag: of the command that is being answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.tag = b""

    def say(self, text: bytes) -> None:
        self.writer.write(text)

    def end(self, text: bytes = b"OK done") -> None:
        self.say(self.tag + b" " + text + b"\r\n")

    async def line(self) -> bytes:
        return (await self.reader.readuntil(b"\r\n"))[:-2]

    def reset(self) -> None:
        self.writer.transport.abort()


class Peer:
    """What both protocols share. heard: every line of every client, in order."""

    greeting = b""

    def __init__(self, answers: Mapping[bytes, Answer]) -> None:
        self.answers = dict(answers)
        self.heard: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._clients: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Peer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1024 * 1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self.connections += 1
        client = Client(reader, writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                client.say(self.greeting)
                while not writer.is_closing():
                    line = await client.line()
                    self.heard.append(line)
                    await self.answer(client, line)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self._clients.discard(task)

    async def answer(self, client: Client, line: bytes) -> None:
        raise NotImplementedError


class ImapPeer(Peer):
    """Knows LOGIN, EXAMINE and UID FETCH. answers: by command, such as b"UID FETCH 2 " or b"LOGIN"."""

    def __init__(
        self,
        mails: Mapping[int, bytes] | None = None,
        answers: Mapping[bytes, Answer] | None = None,
        capabilities: bytes = b"IMAP4rev1",
    ) -> None:
        super().__init__(answers or {})
        self.mails = dict(mails or {})
        self.capabilities = capabilities
        self.greeting = b"* OK [CAPABILITY " + capabilities + b"] ready\r\n"

    async def answer(self, client: Client, line: bytes) -> None:
        client.tag, _, command = line.partition(b" ")
        for name, answer in self.answers.items():
            if command.startswith(name):
                await answer(client, command)
                return
        if command.startswith(b"EXAMINE"):
            client.say(b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 900] x\r\n" % len(self.mails))
        elif command == b"CAPABILITY":
            client.say(b"* CAPABILITY " + self.capabilities + b"\r\n")
        elif command.startswith(b"UID FETCH 1:*"):
            for sequence, (uid, raw) in enumerate(self.mails.items(), start=1):
                date = b'"01-Feb-2026 09:30:00 +0900"'
                client.say(b"* %d FETCH (UID %d INTERNALDATE %s RFC822.SIZE %d)\r\n" % (sequence, uid, date, len(raw)))
        elif command.startswith(b"UID FETCH"):
            self.give(client, int(command.split()[2]))
        client.end()

    def give(self, client: Client, uid: int) -> None:
        if uid in self.mails:
            raw = self.mails[uid]
            client.say(b"* 1 FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, len(raw), raw))


class Pop3Peer(Peer):
    """Knows USER and PASS, STAT, LIST, UIDL and RETR. mails: (UIDL, bytes as they travel, with a line end)."""

    greeting = b"+OK ready\r\n"

    def __init__(
        self, mails: list[tuple[bytes, bytes]] | None = None, answers: Mapping[bytes, Answer] | None = None
    ) -> None:
        super().__init__(answers or {})
        self.mails = list(mails or [])

    async def answer(self, client: Client, line: bytes) -> None:
        for name, answer in self.answers.items():
            if line.startswith(name):
                await answer(client, line)
                return
        numbered = list(enumerate(self.mails, start=1))
        if line == b"CAPA":
            client.say(b"-ERR what\r\n")
        elif line == b"STAT":
            client.say(b"+OK %d %d\r\n" % (len(numbered), sum(len(raw) for _, raw in self.mails)))
        elif line == b"LIST":
            rows = (b"%d %d\r\n" % (number, len(raw)) for number, (_, raw) in numbered)
            client.say(b"+OK\r\n" + b"".join(rows) + b".\r\n")
        elif line == b"UIDL":
            rows = (b"%d %s\r\n" % (number, uidl) for number, (uidl, _) in numbered if uidl)
            client.say(b"+OK\r\n" + b"".join(rows) + b".\r\n")
        elif line.startswith(b"RETR "):
            raw = self.mails[int(line[5:]) - 1][1]
            client.say(b"+OK\r\n" + raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        else:
            client.say(b"+OK\r\n")


def say(text: bytes, end: bytes = b"OK done") -> Answer:
    async def answer(client: Client, _command: bytes) -> None:
        client.say(text)
        if end:
            client.end(end)

    return answer


MAILS = {uid: f"Subject: {uid}\r\n\r\nx\r\n".encode() for uid in (1, 2, 3)}
SECRET = "very secret 予約"


@asynccontextmanager
async def imap_source(
    peer: ImapPeer,
    *credentials: Credential,
    encryption: Encryption = Encryption.NONE,
    folder: str = "INBOX",
    seconds: float = 5.0,
) -> AsyncIterator[tuple[ImapSource, NotedKeyring]]:
    keyring = NotedKeyring(list(credentials) or [password_of("ginza", SECRET)])
    async with peer.running():
        settings = ImapSettings(
            host="127.0.0.1", port=peer.port, encryption=encryption, folder=folder, timeout_seconds=seconds
        )
        source = ImapSource(settings, keyring, SystemClock(), idle_seconds=0.02, poll_seconds=0.02)
        yield source, keyring
        await source.close()


async def keys_of(source: ImapSource) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def all_of(source: ImapSource) -> list[bytes | BaseException]:
    keys = await keys_of(source)
    return await asyncio.gather(*(source.fetch(key) for key in keys), return_exceptions=True)
