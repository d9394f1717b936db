"""Replaced intake addresses as intake sees them: until when their mail is read, and who still writes to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from todoku.projects import queries as project_queries
from todoku.sources.routes import local_part_of

# One mail published twice has two rows (`fates.repeat_id`) and is one use.
_USES = """
SELECT used.local_part, count(*), max(used.arrived_at)
FROM (
    SELECT split_part(lower(regexp_replace(rcpt_to, '@[^@]*$', '')), '+', 1) AS local_part, arrived_at
    FROM intake_incomingmail
    WHERE project_id = %s AND arrived_at >= %s AND reason <> 'published_twice'
) AS used
WHERE used.local_part = ANY(%s)
GROUP BY used.local_part
"""


@dataclass(frozen=True, slots=True)
class AddressUse:
    """How much came to an address. last_at_utc: when the newest of these mails arrived."""

    mails: int
    last_at_utc: datetime


def ends_of_addresses(project_id: str, rcpt_tos: Iterable[str]) -> dict[str, datetime]:
    """Return, by recipient as written, until when its address is accepted; those without an end are left out.

    Case and `+extension` do not matter, as at the door. One statement, whatever the number.
    """
    parts = {rcpt_to: local_part_of(rcpt_to) for rcpt_to in set(rcpt_tos) if rcpt_to}
    wanted = {form for part in parts.values() for form in (part, part.partition("+")[0])}
    ends = project_queries.ends_of_intake_addresses(project_id, wanted) if wanted else {}
    found = {rcpt_to: ends.get(part) or ends.get(part.partition("+")[0]) for rcpt_to, part in parts.items()}
    return {rcpt_to: end for rcpt_to, end in found.items() if end is not None}


def uses_of_addresses(project_id: str, local_parts: Sequence[str], *, since_utc: datetime) -> dict[str, AddressUse]:
    """Return what came to these addresses from the moment on; one to which nothing came is left out.

    Reads the project's mails since then (there is no index by recipient): ask from the rotation on, not from the start.
    """
    with connection.cursor() as cursor:
        cursor.execute(_USES, [project_id, since_utc, [part.casefold() for part in local_parts]])
        return {local_part: AddressUse(mails, last) for local_part, mails, last in cursor.fetchall()}
