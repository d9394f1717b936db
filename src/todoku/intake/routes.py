"""The mirror of the intake addresses on the bus, from which the SMTP door knows whose mail it takes."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from django.db import DatabaseError, InterfaceError, connection

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET
from todoku.intake.errors import BookUnavailable
from todoku.projects import queries as project_queries
from todoku.sources.types import Route

log = structlog.get_logger(__name__)


async def publish_addresses(bus: Bus) -> int:
    """Make KV `addresses` say what the database says; returns how many keys were changed.

    Only differences are written. A replaced or retired address stays, with the moment until which it is accepted, so
    that its mail is never taken for nobody's. A key is removed when its project is ours and the address is gone; keys
    of projects that this database does not know are left alone. Killed half-way, the next call does the rest. Raises
    BookUnavailable, BusUnavailable.
    """
    wanted, projects = await asyncio.to_thread(_addresses)
    bucket = bus.bucket(ADDRESSES_BUCKET)
    present = {
        bucket.key_of(message.subject): message.payload
        async for message, deleted in bus.messages_with_headers(bucket.stream, bucket.every_subject)
        if not deleted
    }
    changed = 0
    for key, value in wanted.items():
        if present.get(key) != value:
            await bucket.put(key, value)
            changed += 1
    for key in present.keys() - wanted.keys():
        if _project_of(present[key]) in projects:
            await bucket.delete(key)
            changed += 1
    if changed:
        log.info("intake.addresses_mirrored", addresses=len(wanted), changed=changed)
    return changed


def _addresses() -> tuple[dict[str, bytes], frozenset[str]]:
    try:
        rows = project_queries.list_intake_addresses(with_replaced=True)
        projects = frozenset(project_queries.list_project_ids())
    except (DatabaseError, InterfaceError) as error:
        raise BookUnavailable("the database is away", kept="the addresses that the bus has") from error
    finally:
        connection.close()  # any thread of the pool may be asked next, and each would keep one open
    wanted = {
        row.local_part.casefold(): msgspec.msgpack.encode(
            Route(
                project_id=row.project_id,
                shop_code=row.shop_code,
                site=row.site,
                accepted_until_utc=row.accepted_until_utc,
            )
        )
        for row in rows
    }
    return wanted, projects


def _project_of(value: bytes) -> str:
    try:
        return msgspec.msgpack.decode(value, type=Route).project_id
    except msgspec.MsgspecError:
        return ""
