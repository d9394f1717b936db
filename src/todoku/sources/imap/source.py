"""A folder at an IMAP server as a MailSource.

The protocol is our own: imaplib blocks and keeps every line of a listing, and a mail that is announced too large must
be refused before its first byte is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from todoku.kernel.clock import Clock
from todoku.sources.credentials import Credential, Keyring, log_in
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.imap.connection import Folder, ImapConnection, TooLarge
from todoku.sources.imap.login import ImapSettings, open_connection
from todoku.sources.imap.responses import Fetched
from todoku.sources.mailbox_files import MAX_MAIL_BYTES
from todoku.sources.types import Listed

log = structlog.get_logger(__name__)

IDLE_SECONDS: Final = 240.0  # below RFC 2177's 29 minutes, and below the 5 minutes after which NAT routers forget
POLL_SECONDS: Final = 10.0  # where there is no IDLE
_KEPT_OPEN: Final = 2
_LIST: Final = b"(UID INTERNALDATE RFC822.SIZE)"
_LIST_LESS: Final = b"(UID)"  # what a server can say of mails that it can't open


class ImapSource:
    """One folder. Keys: `<UIDVALIDITY>.<UID>.<8 hex digits of host, user and folder>`."""

    def __init__(
        self,
        settings: ImapSettings,
        keyring: Keyring,
        clock: Clock,
        *,
        idle_seconds: float = IDLE_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """idle_seconds: one IDLE at most. poll_seconds: between two looks at a server without IDLE."""
        self._settings = settings
        self._keyring = keyring
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._poll_seconds = poll_seconds
        self._free: list[_Opened] = []
        self._shared: _Opened | None = None  # the connection on which fetches run side by side
        self._sharing = 0
        self._opening = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._seen: Folder | None = None  # how the folder stood at the last listing
        self._large: dict[int, int] = {}  # by UID: size of what is not fetched at all
        self._can_idle = True

    async def list_mails(self) -> AsyncIterator[Listed]:
        """Give every mail in the folder, as it streams in; raises CannotLook."""
        opened = await self._take()
        folder = opened.folder
        sequences: dict[int, int] = {}
        large: dict[int, int] = {}
        doubles = 0
        try:
            if folder.exists:
                async for one in _listing(opened.connection):
                    if one.uid in sequences:
                        doubles += sequences[one.uid] != one.sequence
                        continue
                    sequences[one.uid] = one.sequence
                    if (one.size_bytes or 0) > MAX_MAIL_BYTES:
                        large[one.uid] = one.size_bytes or 0
                    yield Listed(opened.key(one.uid), one.at_utc)
        except BaseException:  # also when the caller stops in the middle: the rest of the answer is of no use
            opened.connection.close()
            raise
        if not opened.connection.expunges and (doubles or len(sequences) < folder.exists):
            log.warning(
                "imap.listing_odd", host=self._settings.host, exists=folder.exists, uids=len(sequences), doubles=doubles
            )
        self._seen, self._large = folder, large
        self._give_back(opened)

    async def fetch(self, key: str) -> bytes:
        """Return the mail; raises MailVanished, CannotFetch, CannotLook.

        A connection that breaks over it is not yet the mail's fault: it is asked for once more on a connection of its
        own, one such mail at a time, and is the mail's fault when that can be opened and breaks again.
        """
        validity, uid = _parts(key)
        if uid in self._large and self._seen is not None and self._seen.uid_validity == validity:
            raise self._too_large(uid)
        raw: bytes | None = None
        opened = await self._join()
        try:
            if opened.key(uid) == key:
                raw = await opened.connection.fetch(uid)
        except CannotLook:
            log.info("imap.fetched_again", host=self._settings.host, uid=uid)
        finally:
            self._leave(opened)
        return raw if raw is not None else await self._fetch_alone(key, uid)

    async def until_changed(self, seconds: float) -> None:
        """Return when a mail came or went, or after so many seconds; IDLE, and a look at the folder beside it."""
        deadline = self._clock.monotonic_seconds() + seconds
        while (left_seconds := deadline - self._clock.monotonic_seconds()) > 0:
            try:
                opened = await self._take()
                if opened.folder != self._seen:
                    self._give_back(opened)
                    return
                if self._can_idle and "IDLE" in opened.connection.capabilities:
                    self._can_idle = await opened.connection.idle(min(left_seconds, self._idle_seconds))
                    self._give_back(opened)
                    continue
                self._give_back(opened)
            except CannotLook as error:  # the next look says it
                log.info("imap.waiting_broke", host=self._settings.host, error=error.what)
                await asyncio.sleep(min(left_seconds, self._poll_seconds))
                return
            await asyncio.sleep(min(left_seconds, self._poll_seconds))

    async def close(self) -> None:
        """Close all connections."""
        for opened in [*self._free, *([self._shared] if self._shared else [])]:
            opened.connection.close()
        self._free, self._shared, self._sharing, self._seen = [], None, 0, None
        await asyncio.sleep(0)  # a connection that is cut off lets go of its socket in the loop's next turn

    async def _fetch_alone(self, key: str, uid: int) -> bytes:
        async with self._alone:
            opened = await self._take()
            if opened.key(uid) != key:  # the folder was numbered anew, or is another one
                self._give_back(opened)
                raise MailVanished(f"{key} is not in {self._settings.folder} any more")
            try:
                raw = await opened.connection.fetch(uid)
            except TooLarge:
                raise self._too_large(uid) from None
            except CannotLook as error:
                raise CannotFetch(
                    f"the connection broke twice over UID {uid}: {error.what}",
                    kept="the mail, at the server",
                    todo="look at this mail at the server",
                ) from error
            finally:
                self._give_back(opened)
        if raw is None:
            raise MailVanished(f"{key} is not in {self._settings.folder} any more")
        return raw

    async def _take(self) -> _Opened:
        """Return a connection for the caller alone, the folder opened on it anew; raises CannotLook."""
        while self._free:
            opened = self._free.pop()
            try:
                opened.folder = await opened.connection.examine(self._settings.folder)
            except CannotLook:
                opened.connection.close()  # left alone for too long; if it is the folder, the next one says so
                continue
            return opened
        return await log_in(self._keyring, self._open)

    async def _open(self, credential: Credential) -> _Opened:
        connection = await open_connection(self._settings, credential)
        try:
            folder = await connection.examine(self._settings.folder)
        except BaseException:
            connection.close()
            raise
        whose = (self._settings.host.lower(), credential.secret("username"), self._settings.folder)
        identity = hashlib.sha256("\0".join(whose).encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return _Opened(connection, folder, identity)

    def _give_back(self, opened: _Opened) -> None:
        if opened.connection.broken:
            return
        if len(self._free) < _KEPT_OPEN:
            self._free.append(opened)
        else:
            opened.connection.close()

    async def _join(self) -> _Opened:
        async with self._opening:
            if self._shared is None or self._shared.connection.broken:
                self._shared, self._sharing = await self._take(), 0
            self._sharing += 1
            return self._shared

    def _leave(self, opened: _Opened) -> None:
        if opened is not self._shared:
            return
        self._sharing -= 1
        if not self._sharing:
            self._shared = None
            self._give_back(opened)

    def _too_large(self, uid: int) -> CannotFetch:
        return CannotFetch(
            f"UID {uid} is larger than {MAX_MAIL_BYTES // 1024**2} MB",
            kept="the mail, at the server",
            todo="look at it there",
        )


class _Opened:
    """A connection and the folder that is open on it."""

    def __init__(self, connection: ImapConnection, folder: Folder, identity: str) -> None:
        self.connection = connection
        self.folder = folder
        self._identity = identity

    def key(self, uid: int) -> str:
        return f"{self.folder.uid_validity}.{uid}.{self._identity}"


async def _listing(connection: ImapConnection) -> AsyncIterator[Fetched]:
    """Give what the server lists; of mails that it can't open their UIDs, so that one such mail hides no other."""
    try:
        async for one in connection.list_all(_LIST):
            yield one
    except CannotFetch as error:
        log.warning("imap.listing_refused", host=connection.wire.host, error=error.what)
        try:
            async for one in connection.list_all(_LIST_LESS):
                yield one
        except CannotFetch as again:
            raise CannotLook(Cause.UNREACHABLE, again.what) from again


def _parts(key: str) -> tuple[int, int]:
    """Return UIDVALIDITY and UID of a key; raises MailVanished for what is no key of ours."""
    validity, _, rest = key.partition(".")
    uid = rest.partition(".")[0]
    if not validity.isdigit() or not uid.isdigit():
        raise MailVanished(f"{key!r} is not a mail of an IMAP folder")
    return int(validity), int(uid)
