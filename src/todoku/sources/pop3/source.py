"""A POP3 mailbox as a MailSource.

The protocol is our own: poplib blocks, keeps a mail as a list of lines, and refuses lines above 2,048 bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import structlog

from todoku.kernel.clock import Clock
from todoku.sources.credentials import Credential, Keyring, log_in
from todoku.sources.errors import CannotFetch, CannotLook, MailVanished
from todoku.sources.mailbox_files import MAX_MAIL_BYTES
from todoku.sources.pop3.session import LargerThanSaid, Pop3Session, Pop3Settings, Refused
from todoku.sources.types import Listed

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 10.0
UNUSED_SECONDS: Final = 5.0  # a session that nobody fetches from keeps others out for so long
_LONGEST_UIDL: Final = 200  # RFC 1939 section 7 says 70


class _Mail(NamedTuple):
    number: int
    size_bytes: int | None


class Pop3Source:
    """One mailbox. Keys: `<8 hex digits of host and user>.<UIDL>`, and more where a UIDL is not one mail's alone."""

    def __init__(
        self,
        settings: Pop3Settings,
        keyring: Keyring,
        clock: Clock,
        *,
        poll_seconds: float = POLL_SECONDS,
        unused_seconds: float = UNUSED_SECONDS,
    ) -> None:
        """poll_seconds: between two logins to see what is new. unused_seconds: a session stays open so long."""
        self._settings = settings
        self._keyring = keyring
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._unused_seconds = unused_seconds
        self._lock = asyncio.Lock()
        self._session: Pop3Session | None = None
        self._identity = ""
        self._mails: dict[str, _Mail] = {}  # by key: what the session has
        self._seen: tuple[int, int] | None = None  # STAT at the last listing
        self._timer: asyncio.TimerHandle | None = None

    async def list_mails(self) -> AsyncIterator[Listed]:
        """Give every mail in the mailbox; raises CannotLook."""
        async with self._lock:
            await self._look()
            keys = list(self._mails)
            self._leave()
        for key in keys:
            yield Listed(key)

    async def fetch(self, key: str) -> bytes:
        """Return the mail; raises MailVanished, CannotFetch, CannotLook.

        A session that breaks over it is not yet the mail's fault: it is asked for once more in a new one.
        """
        async with self._lock:
            try:
                return await self._fetch(key)
            finally:
                self._leave()

    async def until_changed(self, seconds: float) -> None:
        """Return when STAT says something else than at the last listing, or after so many seconds."""
        deadline = self._clock.monotonic_seconds() + seconds
        async with self._lock:
            self._end()
        if self._seen is None:
            return
        pause_seconds = self._poll_seconds
        while (left_seconds := deadline - self._clock.monotonic_seconds()) > 0:
            await asyncio.sleep(min(left_seconds, pause_seconds))
            if left_seconds <= pause_seconds:
                return
            try:
                async with self._lock:
                    session = await self._open()
                    try:
                        pause_seconds = max(pause_seconds, session.login_delay_seconds)
                        if await session.stat() != self._seen:
                            return
                    finally:
                        self._end()
            except CannotLook as error:  # the next look says it
                log.info("pop3.waiting_broke", host=self._settings.host, error=error.what)
                return

    async def close(self) -> None:
        """End the session."""
        async with self._lock:
            self._end()
            self._seen = None
        await asyncio.sleep(0)  # a connection that is cut off lets go of its socket in the loop's next turn

    async def _fetch(self, key: str) -> bytes:
        looked = False
        if self._session is None or self._session.broken or key not in self._mails:
            await self._look()
            looked = True
        for last in (False, True):
            mail = self._mails.get(key)
            if mail is None:
                raise MailVanished(f"{key} is not in the mailbox any more")
            if mail.size_bytes is not None and mail.size_bytes > MAX_MAIL_BYTES:
                raise self._too_large(key)
            assert self._session is not None
            try:
                return await self._session.retrieve(mail.number, mail.size_bytes)
            except LargerThanSaid:
                raise self._too_large(key) from None
            except (Refused, CannotLook) as error:
                if last or (looked and isinstance(error, Refused)):
                    raise CannotFetch(
                        f"{self._settings.host} does not give {key}: {error.what}",
                        kept="the mail, at the server",
                        todo="look at this mail at the server",
                    ) from error
                log.info("pop3.fetched_again", host=self._settings.host, key=key)
            await self._look()
        raise AssertionError("the second try returns or raises")

    async def _look(self) -> None:
        """Begin a new session and take in what it has: a session never sees what came after it began."""
        self._end()
        session = await self._open()
        try:
            self._mails, self._seen = {}, await session.stat()
            count = self._seen[0]
            uidls: dict[int, str] = {}
            sizes: dict[int, int | None] = {}
            if count:
                async for number, size in session.lines(b"LIST", count):
                    sizes[number] = int(size) if size.isdigit() and len(size) < 20 else None
                async for number, uidl in session.lines(b"UIDL", count):
                    uidls[number] = uidl.decode("ascii", "backslashreplace")[:_LONGEST_UIDL]
            self._take_in(uidls, sizes)
        except BaseException:
            self._end()
            raise

    def _take_in(self, uidls: dict[int, str], sizes: dict[int, int | None]) -> None:
        """Give each mail its key."""
        numbers = sorted(uidls.keys() | sizes.keys())
        counts = Counter(uidls.get(number, "") for number in numbers)
        groups: dict[str, list[int]] = {}
        for number in numbers:
            uidl = uidls.get(number, "")
            if uidl and counts[uidl] == 1:
                self._mails[f"{self._identity}.{uidl}"] = _Mail(number, sizes.get(number))
            else:
                groups.setdefault(uidl, []).append(number)
        for uidl, members in groups.items():
            of = ",".join(str(sizes.get(number)) for number in members)
            mark = hashlib.sha256(of.encode()).hexdigest()[:8]  # changes when one of them comes or goes
            for place, number in enumerate(members, start=1):
                key = f"{self._identity}.{uidl} {mark} {place}/{len(members)}"  # no UIDL has a space in it
                self._mails[key] = _Mail(number, sizes.get(number))
        if groups:
            alike = sum(len(members) for members in groups.values())
            log.warning("pop3.uidl_not_unique", host=self._settings.host, cause="protocol", mails=alike)

    async def _open(self) -> Pop3Session:
        async def attempt(credential: Credential) -> Pop3Session:
            session = await Pop3Session.open(self._settings, credential)
            whose = (self._settings.host.lower(), credential.secret("username"))
            self._identity = hashlib.sha256("\0".join(whose).encode("utf-8", "surrogatepass")).hexdigest()[:8]
            return session

        self._session = await log_in(self._keyring, attempt)
        return self._session

    def _leave(self) -> None:
        """Let the session end when nobody asks for a while."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._unused_seconds, self._end_unused)

    def _end_unused(self) -> None:
        if not self._lock.locked():  # else whoever has the session sets the time anew
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session is not None:
            self._session.close()
        self._session, self._mails = None, {}

    def _too_large(self, key: str) -> CannotFetch:
        return CannotFetch(
            f"{key} is larger than {MAX_MAIL_BYTES // 1024**2} MB",
            kept="the mail, at the server",
            todo="look at it there",
        )
