"""What every source makes of a mail: an Arrival on the MAIL stream, after the vault has the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable
from uuid import UUID

import msgspec


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A mail has arrived; the message body on `mail.<project>.<source>` (msgpack).

    arrival_id: one handing-over, made before the first publish and used as Nats-Msg-Id. vault_key: where the raw bytes
    are. rcpt_to: envelope recipient, "" for imports. shop_code / site: what the address was made for, None when the
    address says nothing. cursor: the source's own name for the mail (path, UID, key), "" for SMTP. at_source_utc: when
    the source got it, by its own clock, None when it does not say.
    """

    arrival_id: UUID
    project_id: str
    source: str
    vault_key: str
    sha256: str
    size_bytes: int
    received_at_utc: datetime
    mail_from: str = ""
    rcpt_to: str = ""
    shop_code: str | None = None
    site: str | None = None
    cursor: str = ""
    at_source_utc: datetime | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What an intake address stands for; the value in KV `addresses` under the case-folded local part (msgpack).

    accepted_until_utc: None = it is the one in use; else another has taken its place, and mail that comes later than
    this is still the project's and quarantined there. Values written before this field was there have None.
    """

    project_id: str
    shop_code: str | None = None
    site: str | None = None
    accepted_until_utc: datetime | None = None


class Listed(NamedTuple):
    """One mail as its source lists it. key: the source's own name for it, the same for ever, never given twice.

    at_utc: when the source got it, None when it does not say.
    """

    key: str
    at_utc: datetime | None = None


class Fetch(StrEnum):
    """What a look came to: three words that are never mixed, the third being that there is no look at all."""

    FETCHED = "fetched"
    COULD_NOT = "could_not"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a source, and what came of it.

    listed: mails that the source says it has, None when it could not be asked or told only of some. fresh: those that
    had not arrived before = arrived + vanished + len(failed) + left. vanished: listed, and gone when they were asked
    for. failed: (key, why) of mails that could not be fetched now. left: not tried, because vault or bus took nothing
    more, or it was time to stop. why: of COULD_NOT, and of what was left.
    """

    project_id: str
    source: str
    began_at_utc: datetime
    ended_at_utc: datetime
    outcome: Fetch
    listed: int | None = None
    fresh: int = 0
    arrived: int = 0
    vanished: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    left: int = 0
    why: str = ""


@runtime_checkable
class NoticingSource(Protocol):
    """A source that is told of single mails, so that not all of it need be listed each time."""

    async def noticed(self) -> list[Listed] | None:
        """Return what may have come since the last look, None when all is to be listed; raises CannotLook."""
        ...


class MailSource(Protocol):
    """A place where mails lie and are fetched from. Every kind passes `check_source`; looking changes nothing there."""

    def list_mails(self) -> AsyncIterator[Listed]:
        """Give every mail that is there, in any order; raises CannotLook."""
        ...

    async def fetch(self, key: str) -> bytes:
        """Return the mail byte for byte; raises MailVanished, CannotFetch (the next mail may work), CannotLook."""
        ...

    async def until_changed(self, seconds: float) -> None:
        """Return when a mail may have come, or after so many seconds. Raises nothing of its own."""
        ...

    async def close(self) -> None:
        """Release connections; the source may be used again afterwards. Idempotent."""
        ...
