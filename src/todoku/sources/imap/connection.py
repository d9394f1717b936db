"""One connection to an IMAP server: commands in a pipeline, answers told apart by tag and UID.

STRATEGY  Whoever sends a command waits for its turn to read, in the order of sending, and on its turn reads until its
          own end is there; what belongs to others is put aside for them. So several fetches share one connection
          without a task of their own, and each wait has its limit. A connection that says one wrong thing is closed:
          after that nobody knows what an answer belongs to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from todoku.sources.errors import CannotFetch, CannotLook, Cause
from todoku.sources.imap.responses import (
    BadResponse,
    Fetched,
    Status,
    fetched_of,
    literal_size,
    modified_utf7,
    quoted,
    status_of,
)
from todoku.sources.line_stream import LineStream, Pace, words
from todoku.sources.mailbox_files import MAX_MAIL_BYTES

_MAX_LITERALS: Final = 16  # in one response; a mail is one
_MAX_SMALL_BYTES: Final = 1024 * 1024  # of all literals but the mail
_NUMBER_LENGTH: Final = 10  # of 32 bits
_NOT_NOW_CODES: Final = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"})  # RFC 5530

OnMore = Callable[[bytes], bytes]


class TooLarge(CannotLook):
    """The server announced more than MAX_MAIL_BYTES; nothing of it was read, and the connection is closed."""

    def __init__(self, host: str) -> None:
        super().__init__(Cause.PROTOCOL, f"{host} announces more than {MAX_MAIL_BYTES // 1024**2} MB at once")


class Folder(NamedTuple):
    """How a folder stands. uid_validity: changes when its UIDs begin anew (RFC 9051 section 2.3.1.1)."""

    uid_validity: int
    exists: int
    uid_next: int


@dataclass(slots=True)
class _Wanted:
    """One mail that was asked for. several: the server has different mails under this UID."""

    answered: bool = False
    body: bytes | None = None
    several: bool = False


class ImapConnection:
    """A connection, from the greeting on. `capabilities`: what the server said last that it can."""

    def __init__(self, wire: LineStream) -> None:
        self.wire = wire
        self.capabilities: frozenset[str] = frozenset()
        self.exists = 0
        self.expunges = 0
        self.broken = False
        self._uid_validity = 0
        self._uid_next = 0
        self._sticky = True
        self._turn = asyncio.Lock()  # fair: turns come in the order of asking
        self._count = 0
        self._ended: dict[bytes, Status] = {}  # by tag: ends that were read on somebody else's turn
        self._wanted: dict[int, list[_Wanted]] = {}
        self._strays = 0

    async def greeting(self) -> Status:
        """Read the server's first word; raises CannotLook, also when the server sends us away."""
        async with self._turn:
            try:
                line = await self.wire.line()
                status = status_of(line.removeprefix(b"* ")) if line.startswith(b"* ") else None
                if status is None or status.word not in {"OK", "PREAUTH", "BYE"}:
                    raise BadResponse("no greeting of IMAP")
                self._heed(status)
                return status
            except BadResponse as error:
                self.close()
                raise self._nonsense(error) from error
            except BaseException:
                self.close()
                raise

    async def command(self, text: bytes, on_more: OnMore | None = None) -> Status:
        """Send a command and return its end. on_more: gives the answer to each `+` of the server; raises CannotLook.

        text: holds no CR, LF or NUL, which is looked at here, because a line end would begin another command.
        """
        return await self._until(self._send(text), on_more)

    async def examine(self, name: str) -> Folder:
        """Open a folder for reading only, and return how it stands now; raises CannotLook."""
        if "UTF8=ACCEPT" in self.capabilities or "UTF8=ONLY" in self.capabilities:  # enabled at login
            raw = name.encode("utf-8", "replace")
            if any(byte < 0x20 or byte == 0x7F for byte in raw):
                raise CannotLook(Cause.MISSING, "no folder can have a control character in its name")
        else:
            raw = modified_utf7(name)
        self._uid_validity = self._uid_next = self.exists = 0
        self._sticky = True
        status = await self.command(b"EXAMINE " + quoted(raw))
        if status.word != "OK":
            raise self._not_opened(name, status)
        if not self._uid_validity or not self._sticky:
            self.close()
            raise CannotLook(
                Cause.PROTOCOL, f"{self.wire.host} gives no UIDVALIDITY, so its mails have no lasting names"
            )
        return Folder(self._uid_validity, self.exists, self._uid_next)

    async def list_all(self, what: bytes) -> AsyncIterator[Fetched]:
        """Give what the server says of every mail in the folder, as it comes. what: such as `(UID)`.

        The connection belongs to the caller until the end. Raises CannotLook; CannotFetch when the server says NO.
        """
        tag = self._send(b"UID FETCH 1:* " + what)
        try:
            async with self._turn:
                loop, pace = asyncio.get_running_loop(), Pace(self.wire)
                while True:
                    began = loop.time()
                    segments, literals = await self._response()
                    pace.note(loop.time() - began)
                    if not segments[0].startswith(b"* "):
                        ended, status = self._end(segments[0])
                        if ended == tag:
                            break
                        continue
                    fetched = self._untagged(segments, literals)
                    if fetched is not None and fetched.uid:
                        yield fetched
        except BadResponse as error:
            self.close()
            raise self._nonsense(error) from error
        except BaseException:  # also when the caller goes away in the middle
            self.close()
            raise
        if status.word != "OK":
            raise CannotFetch(f"{self.wire.host} does not list its mails: {words(status.text)}")

    async def fetch(self, uid: int) -> bytes | None:
        """Return a mail, None when there is none under this UID; flags stay as they are.

        Raises CannotFetch when the server has it and does not give it, CannotLook, TooLarge.
        """
        wanted, strays = _Wanted(), self._strays
        self._wanted.setdefault(uid, []).append(wanted)
        try:
            status = await self.command(b"UID FETCH %d (UID BODY.PEEK[])" % uid)
        finally:
            self._wanted[uid].remove(wanted)
            if not self._wanted[uid]:
                del self._wanted[uid]
        host = self.wire.host
        if wanted.several:
            raise CannotFetch(f"{host} has different mails under UID {uid}", kept="all of them", todo="tell its owner")
        if wanted.body is not None:
            return wanted.body
        if status.word != "OK" and status.code != "EXPUNGEISSUED":
            raise CannotFetch(f"{host} does not give UID {uid}: {words(status.text)}", kept="the mail, at the server")
        if not wanted.answered and self._strays != strays:
            raise CannotFetch(f"{host} was asked for UID {uid} and gave another mail", kept="the mail, at the server")
        return None

    async def idle(self, seconds: float) -> bool:
        """Wait until the folder changes or so many seconds are over; False when the server does not know IDLE.

        RFC 2177; the caller keeps seconds below 29 minutes. Raises CannotLook.
        """
        exists, expunges = self.exists, self.expunges
        tag = self._send(b"IDLE")
        async with self._turn:
            try:
                while not (line := await self.wire.line()).startswith(b"+"):
                    if line.startswith(tag + b" "):
                        return False
                    self._in_idle(line)
                loop = asyncio.get_running_loop()
                end = loop.time() + seconds
                while self.exists == exists and self.expunges == expunges and (left := end - loop.time()) > 0:
                    try:
                        self._in_idle(await self.wire.line(seconds=left))
                    except TimeoutError:
                        break
                self.wire.send(b"DONE\r\n")
                while not (line := await self.wire.line()).startswith(tag + b" "):
                    self._in_idle(line)
            except BadResponse as error:
                self.close()
                raise self._nonsense(error) from error
            except BaseException:
                self.close()
                raise
        return True

    def close(self) -> None:
        """Let go of it. Idempotent."""
        self.broken = True
        self.wire.close()

    def _send(self, text: bytes) -> bytes:
        if any(end in text for end in (b"\r", b"\n", b"\0")):
            raise ValueError("a command must not hold a line end or NUL")
        self._count += 1
        tag = b"T%d" % self._count
        if not self.broken:
            self.wire.send(tag + b" " + text + b"\r\n")
        return tag

    async def _until(self, tag: bytes, on_more: OnMore | None) -> Status:
        try:
            async with self._turn:
                while tag not in self._ended:
                    if self.broken:
                        raise CannotLook(Cause.UNREACHABLE, f"the connection to {self.wire.host} is closed")
                    segments, literals = await self._response()
                    if segments[0].startswith(b"* "):
                        self._untagged(segments, literals)
                    elif not segments[0].startswith(b"+"):
                        other, status = self._end(segments[0])
                        self._ended[other] = status
                    elif on_more is not None:
                        self.wire.send(on_more(segments[0][1:].strip()) + b"\r\n")
                    else:
                        raise BadResponse("it asks for more where nothing follows")
                return self._ended.pop(tag)
        except BadResponse as error:
            self.close()
            raise self._nonsense(error) from error
        except BaseException:
            self.close()
            raise

    async def _response(self) -> tuple[list[bytes], list[bytes]]:
        """Read one response: its text, cut at the literals, and these."""
        segments, literals, small_bytes = [await self.wire.line()], list[bytes](), 0
        while (size := literal_size(segments[-1])) is not None:
            if size > MAX_MAIL_BYTES:
                raise TooLarge(self.wire.host)
            if literals:
                small_bytes += min(size, len(literals[-1]))
            if len(literals) >= _MAX_LITERALS or small_bytes > _MAX_SMALL_BYTES:
                raise BadResponse("more in one answer than was asked for")
            literals.append(await self.wire.counted(size))
            segments.append(await self.wire.line())
        return segments, literals

    def _in_idle(self, line: bytes) -> None:
        if not line.startswith(b"* ") or literal_size(line) is not None:
            raise BadResponse(f"{words(line[:80])!r} during IDLE")
        self._untagged([line], [])

    def _untagged(self, segments: list[bytes], literals: list[bytes]) -> Fetched | None:
        """Take in what the server says by itself (`* …`); return it when it is about one mail."""
        rest = segments[0].removeprefix(b"* ")
        if (status := status_of(rest)) is not None:
            self._heed(status)
            return None
        first, _, second = rest.partition(b" ")
        if first.isdigit() and len(first) <= _NUMBER_LENGTH:
            name = second.partition(b" ")[0].upper()
            if name == b"EXISTS":
                self.exists = int(first)
            elif name == b"EXPUNGE":
                self.exists -= 1
                self.expunges += 1
            elif name == b"FETCH":
                return self._fetched([rest, *segments[1:]], literals)
        elif first.upper() == b"VANISHED":
            self.expunges += 1
        elif first.upper() == b"CAPABILITY":
            self._learn(second)
        return None

    def _fetched(self, segments: list[bytes], literals: list[bytes]) -> Fetched | None:
        fetched = fetched_of(segments, literals)
        if fetched is None or not fetched.has_body:
            return fetched
        slots = self._wanted.get(fetched.uid)
        if not slots:
            self._strays += 1
            return fetched
        free = next((slot for slot in slots if not slot.answered), None)
        if free is not None:
            free.answered, free.body = True, fetched.body
        elif all(slot.body != fetched.body for slot in slots):
            for slot in slots:
                slot.several = True
        return fetched

    def _heed(self, status: Status) -> None:
        if status.word == "BYE":
            raise CannotLook(Cause.UNREACHABLE, f"{self.wire.host} ends the connection: {words(status.text)}")
        if status.code == "CAPABILITY":
            self._learn(status.argument)
        elif status.code == "UIDNOTSTICKY":  # RFC 4315 section 4
            self._sticky = False
        elif status.code in {"UIDVALIDITY", "UIDNEXT"}:
            if not status.argument.isdigit() or len(status.argument) > _NUMBER_LENGTH:
                raise BadResponse(f"{status.code} that is no number")
            if status.code == "UIDVALIDITY":
                self._uid_validity = int(status.argument)
            else:
                self._uid_next = int(status.argument)

    def _learn(self, names: bytes) -> None:
        self.capabilities = frozenset(name.decode("ascii", "replace").upper() for name in names.split())

    def _end(self, line: bytes) -> tuple[bytes, Status]:
        tag, _, rest = line.partition(b" ")
        status = status_of(rest)
        if status is None or not tag.startswith(b"T") or not tag[1:].isdigit() or int(tag[1:]) > self._count:
            raise BadResponse(f"{words(line[:80])!r}")
        if status.code:
            self._heed(status)
        return tag, status

    def _nonsense(self, error: BadResponse) -> CannotLook:
        return CannotLook(Cause.PROTOCOL, f"{self.wire.host} says what IMAP does not know: {error}")

    def _not_opened(self, name: str, status: Status) -> CannotLook:
        said = words(status.text)
        if status.code in _NOT_NOW_CODES:
            return CannotLook(Cause.UNREACHABLE, f"{self.wire.host} can't open the folder {name} now: {said}")
        if status.code == "NOPERM":
            return CannotLook(Cause.CREDENTIAL, f"the folder {name} must not be read by this user: {said}")
        if status.word == "BAD":
            return CannotLook(Cause.PROTOCOL, f"{self.wire.host} does not understand EXAMINE: {said}")
        return CannotLook(
            Cause.MISSING, f"there is no folder {name}: {said}", todo="name a folder as the mail program shows it"
        )
