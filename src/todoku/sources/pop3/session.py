"""One POP3 session, from the greeting to the transactions; one command at a time."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from typing import Annotated, Final, NamedTuple

import msgspec

from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CannotLook, Cause, CredentialRefused
from todoku.sources.line_stream import LineStream, Pace, words
from todoku.sources.mailbox_files import MAX_MAIL_BYTES
from todoku.sources.sasl import Exchange, challenge_words, choose, is_not_now, require_clean
from todoku.sources.tls import Encryption, client_context

_NOT_NOW_CODES: Final = ("IN-USE", "LOGIN-DELAY", "SYS/")  # RFC 2449 section 8, RFC 3206
_LOCKED = re.compile(r"\block|in use|busy|already", re.IGNORECASE)
_CODE = re.compile(rb"\[([A-Za-z0-9/-]+)\] ?(.*)\Z", re.DOTALL)
_COMMAND_BYTES: Final = 255  # RFC 2449 section 4, RFC 5034 section 4
_MAX_CAPABILITIES: Final = 200


class Pop3Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the mailbox is.

    ca_pem: authorities to believe instead of the system's. timeout_seconds: how long one answer, or 64 kB of a mail,
    may take.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 995
    encryption: Encryption = Encryption.TLS
    ca_pem: str = ""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0


class Answer(NamedTuple):
    """What the server says of one command."""

    ok: bool
    code: str
    text: bytes


class Refused(Exception):
    """The server said -ERR to a RETR. what: its words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class LargerThanSaid(Exception):
    """More than MAX_MAIL_BYTES came, whatever LIST said; the session is closed."""


class Pop3Session:
    """A session. `login_delay_seconds`: how long the server wants between two logins."""

    def __init__(self, wire: LineStream) -> None:
        self.wire = wire
        self.broken = False
        self.login_delay_seconds = 0.0
        self._capabilities: dict[str, list[str]] = {}

    @classmethod
    async def open(cls, settings: Pop3Settings, credential: Credential) -> Pop3Session:
        """Return a session that is logged in; raises CredentialRefused, CannotLook."""
        require_clean(credential)
        context: ssl.SSLContext | None = None
        if settings.encryption is not Encryption.NONE:
            own = (credential.secret("certificate_pem"), credential.secret("key_pem"))
            context = client_context(settings.ca_pem, *own)
        at_once = context if settings.encryption is Encryption.TLS else None
        session = cls(await LineStream.open(settings.host, settings.port, at_once, settings.timeout_seconds))
        try:
            greeting = await session._answer()
            if not greeting.ok:
                raise session._not_now(greeting)
            if settings.encryption is Encryption.STARTTLS and context is not None:
                await session._encrypt(context)
            await session._ask_capabilities()
            if "UTF8" in session._capabilities:  # before the login; without it mails may be rewritten (RFC 6856)
                await session.command(b"UTF8")
            await session._prove(credential, settings)
        except BaseException:
            session.close()
            raise
        return session

    async def command(self, text: bytes) -> Answer:
        """Send a command and return the first line of its answer; raises CannotLook."""
        if any(end in text for end in (b"\r", b"\n", b"\0")):
            raise ValueError("a command must not hold a line end or NUL")
        try:
            self.wire.send(text + b"\r\n")
            return await self._answer()
        except BaseException:
            self.close()
            raise

    async def stat(self) -> tuple[int, int]:
        """Return how many mails there are, and of how many bytes; raises CannotLook."""
        answer = await self.command(b"STAT")
        numbers = answer.text.split()
        if not answer.ok:
            raise self._not_now(answer)
        if len(numbers) < 2 or not all(_is_number(number) for number in numbers[:2]):
            raise self._nonsense(answer.text)
        return int(numbers[0]), int(numbers[1])

    async def lines(self, command: bytes, limit: int) -> AsyncIterator[tuple[int, bytes]]:
        """Give (number of the mail, the rest) of LIST or UIDL. Raises CannotLook, also for more lines than limit."""
        answer = await self.command(command)
        if not answer.ok:
            raise CannotLook(
                Cause.PROTOCOL,
                f"{self.wire.host} does not know {command.decode()}, so its mails can't be told apart: "
                f"{words(answer.text)}",
                todo="fetch this mailbox by IMAP, or let its mails be forwarded",
            )
        try:
            count, loop, pace = 0, asyncio.get_running_loop(), Pace(self.wire)
            began = loop.time()
            while (line := await self.wire.line()) != b".":
                pace.note(loop.time() - began)
                count += 1
                number, _, rest = line.partition(b" ")
                if count > limit or not _is_number(number):
                    raise self._nonsense(line)
                yield int(number), rest.split(b" ")[0]
                began = loop.time()
        except BaseException:
            self.close()
            raise

    async def retrieve(self, number: int, size_bytes: int | None) -> bytes:
        """Return a mail. size_bytes: as LIST says it; raises Refused, LargerThanSaid, CannotLook.

        POP3 ends a mail with a line end even if it has none. LIST then says two bytes less; a server that counts line
        ends as one byte is wrong by the number of lines, which is two only for a mail of two lines.
        """
        answer = await self.command(b"RETR %d" % number)
        if not answer.ok:
            raise Refused(words(answer.text))
        try:
            raw = await self.wire.dotted(MAX_MAIL_BYTES + 2)
        except BaseException:
            self.close()
            raise
        if raw is None:
            self.close()
            raise LargerThanSaid
        return raw[:-2] if size_bytes is not None and len(raw) == size_bytes + 2 and raw.endswith(b"\r\n") else raw

    def close(self) -> None:
        """End it without QUIT, so that nothing changes at the server. Idempotent."""
        self.broken = True
        self.wire.close()

    async def _answer(self) -> Answer:
        return self._read(await self.wire.line())

    def _read(self, line: bytes) -> Answer:
        word, _, text = line.partition(b" ")
        if word.upper() not in {b"+OK", b"-ERR"}:
            raise self._nonsense(line)
        found = _CODE.match(text)
        code = found[1].decode().upper() if found else ""
        return Answer(word.upper() == b"+OK", code, found[2] if found else text)

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        answer = await self.command(b"STLS")
        if not answer.ok:
            raise CannotLook(
                Cause.PROTOCOL,
                f"{self.wire.host} does not begin TLS: {words(answer.text)}",
                todo="choose encryption from the start (tls), mostly at port 995",
            )
        await self.wire.start_tls(context)

    async def _ask_capabilities(self) -> None:
        self._capabilities = {}
        if not (await self.command(b"CAPA")).ok:
            return  # older than RFC 2449
        count = 0
        while (line := await self.wire.line()) != b".":
            count += 1
            if count > _MAX_CAPABILITIES:
                raise self._nonsense(line)
            name, *values = line.decode("ascii", "replace").upper().split()[:50] or [""]
            self._capabilities[name] = values
        delay = self._capabilities.get("LOGIN-DELAY", ["0"])
        if delay and delay[0].isdigit() and len(delay[0]) < 6:
            self.login_delay_seconds = float(delay[0])

    async def _prove(self, credential: Credential, settings: Pop3Settings) -> None:
        if credential.kind is CredentialKind.CLIENT_CERTIFICATE and not self.wire.encrypted:
            raise CredentialRefused("a client certificate can be shown with TLS only")
        exchange = choose(credential, self._capabilities.get("SASL", []), settings.host, settings.port)
        challenge = b""
        if exchange is not None:
            answer, challenge = await self._authenticate(exchange)
        elif credential.kind is CredentialKind.PASSWORD:
            answer = await self.command(b"USER " + credential.secret("username").encode())
            if answer.ok:
                answer = await self.command(b"PASS " + credential.secret("password").encode())
        else:
            raise CredentialRefused(
                f"{settings.host} offers no way to log in with a credential of the kind {credential.kind}",
                todo="choose another kind",
            )
        if answer.ok:
            return
        said = words(b" ".join(part for part in (answer.text, challenge) if part), *credential.secrets.values())
        without_code = not answer.code and (is_not_now(said) or _LOCKED.search(said))
        if answer.code.startswith(_NOT_NOW_CODES) or without_code:
            raise CannotLook(Cause.UNREACHABLE, f"{settings.host} can't let us in now: {said}")
        raise CredentialRefused(f"{settings.host} says: {said}")

    async def _authenticate(self, exchange: Exchange) -> tuple[Answer, bytes]:
        """Return the end and what the server said of a refused token."""
        command = b"AUTH " + exchange.mechanism.encode()
        at_once = command + b" " + exchange.first_base64
        answers = [exchange.first_base64, exchange.after_base64, b"*"]
        if len(at_once) + 2 <= _COMMAND_BYTES:
            command = at_once
            answers.pop(0)
        challenge = b""
        self.wire.send(command + b"\r\n")
        while (line := await self.wire.line()).startswith(b"+ ") or line == b"+":
            challenge = challenge_words(line[1:].strip()) or challenge
            if not answers:
                raise self._nonsense(line)
            answer = answers.pop(0)
            self.wire.send((b"" if answer == b"=" else answer) + b"\r\n")
        return self._read(line), challenge

    def _not_now(self, answer: Answer) -> CannotLook:
        return CannotLook(Cause.UNREACHABLE, f"{self.wire.host} says: {words(answer.text)}")

    def _nonsense(self, line: bytes) -> CannotLook:
        self.close()
        return CannotLook(Cause.PROTOCOL, f"{self.wire.host} says what POP3 does not know: {words(line[:80])!r}")


def _is_number(raw: bytes) -> bool:
    return raw.isdigit() and len(raw) <= 19
