"""Which sources a project has: their names, kinds and settings, kept on the bus so that no database is asked.

Purpose     `SourceBook` is the one way to read and change them; `follow` tells of changes as they happen.
Reads       KV `sources`, one key for each source: `<project>.<source>`.
Writes      the same; each change is compare-and-set and one line of the log.
Guarantees  a name once given is kept by the arrivals that carry it, so a source is paused or changed, and its kind
            never. No secret is in a setting: credentials are named here and kept elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from todoku.bus.buckets import Watch
from todoku.bus.connection import Bus
from todoku.bus.errors import KeyExists
from todoku.bus.streams import SOURCES_BUCKET
from todoku.kernel.ids import require_subject_token
from todoku.sources.errors import BadSource, SourceExists, SourceUnknown

log = structlog.get_logger(__name__)

WEBHOOK: Final = "webhook"  # the kind that is called by its provider, where all others are looked at
SHORTEST_POLL_SECONDS: Final = 1.0
LONGEST_POLL_SECONDS: Final = 86_400.0
_OWN_NAMES: Final = ("smtp", "lmtp", "import", "webhook", "upload")  # ways in that nobody configures

OnSource = Callable[[str, "SourceEntry | None"], Awaitable[None]]


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a project.

    source: a subject token, its name for ever. kind: one of `kinds.KINDS`. settings: by the kind's own names.
    credential_ids: what it logs in with, in the order in which they are tried. shop_code, site: whose mails these are,
    None when the mails say so themselves. poll_seconds: at most so long between two looks.
    """

    project_id: str
    source: str
    kind: str
    settings: dict[str, str | int | float | bool]
    credential_ids: tuple[str, ...] = ()
    shop_code: str | None = None
    site: str | None = None
    paused: bool = False
    poll_seconds: float = 60.0

    @property
    def key(self) -> str:
        """Return its key in KV."""
        return f"{self.project_id}.{self.source}"


class SourceBook:
    """The sources of all projects; every call but `follow` is about one project."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.bucket(SOURCES_BUCKET)

    async def add(self, entry: SourceEntry) -> None:
        """Let there be a source more; raises SourceExists, BadSource, and the bus's transient errors."""
        _require_sound(entry)
        try:
            await self._bucket.create(entry.key, msgspec.msgpack.encode(entry))
        except KeyExists as error:
            raise SourceExists(f"there is a source named {entry.source} already", todo="choose another name") from error
        log.info("source.added", project_id=entry.project_id, source=entry.source, kind=entry.kind)

    async def change(self, entry: SourceEntry) -> None:
        """Replace what is known of a source; raises SourceUnknown, BadSource (another kind), RevisionConflict."""
        _require_sound(entry)
        found = await self._bucket.get(entry.key)
        if found is None:
            raise _unknown(entry.source)
        if _decoded(found.value).kind != entry.kind:
            raise BadSource(f"the source {entry.source} can't become another kind", todo="add a new one, pause this")
        await self._bucket.update(entry.key, msgspec.msgpack.encode(entry), found.revision)
        log.info("source.changed", project_id=entry.project_id, source=entry.source, paused=entry.paused)

    async def remove(self, project_id: str, source: str) -> None:
        """Forget a source; its mails stay. Raises SourceUnknown, RevisionConflict when somebody changed it just now."""
        key = _key(project_id, source)
        found = await self._bucket.get(key)
        if found is None:
            raise _unknown(source)
        await self._bucket.delete_revision(key, found.revision)
        log.info("source.removed", project_id=project_id, source=source)

    async def get(self, project_id: str, source: str) -> SourceEntry:
        """Return one source; raises SourceUnknown."""
        found = await self._bucket.get(_key(project_id, source))
        if found is None:
            raise _unknown(source)
        return _decoded(found.value)

    async def list(self, project_id: str) -> list[SourceEntry]:
        """Return a project's sources by name."""
        beginning = f"{project_id}."
        keys = [key for key in await self._bucket.keys() if key.startswith(beginning)]
        found = [await self._bucket.get(key) for key in keys]
        return [_decoded(entry.value) for entry in found if entry is not None]

    async def follow(self, on_source: OnSource, stop: asyncio.Event) -> Watch | None:
        """Call on_source(key, entry) for each source of every project now and at each change; None: it is removed.

        An entry that can't be read is logged and left as it was: a source is never stopped by a value nobody
        understands. A bus that is away is waited for; None when stop came first.
        """

        async def changed(key: str, value: bytes | None) -> None:
            try:
                entry = _decoded(value) if value is not None else None
            except BadSource as error:
                log.error("source.unreadable", key=key, error=error.what)
                return
            await on_source(key, entry)

        return await self._bucket.follow(changed, stop)


def _require_sound(entry: SourceEntry) -> None:
    _key(entry.project_id, entry.source)
    if entry.source in _OWN_NAMES or entry.source.startswith("_"):
        raise BadSource(f"the name {entry.source} is taken by Todoku itself", todo="choose another name")
    if not SHORTEST_POLL_SECONDS <= entry.poll_seconds <= LONGEST_POLL_SECONDS:
        raise BadSource(f"a look every {entry.poll_seconds:g} seconds is not possible", todo="choose 1-86400")


def _key(project_id: str, source: str) -> str:
    try:
        return f"{require_subject_token(project_id)}.{require_subject_token(source)}"
    except ValueError as error:
        raise BadSource(str(error), todo="give it a short name such as imap-ginza") from error


def _decoded(value: bytes) -> SourceEntry:
    try:
        return msgspec.msgpack.decode(value, type=SourceEntry)
    except msgspec.MsgspecError as error:
        raise BadSource(f"what the bus has about a source can't be read: {error}") from error


def _unknown(source: str) -> SourceUnknown:
    return SourceUnknown(f"there is no source named {source} in this project")
