"""Whom a campaign goes to: one SQL statement for counting and for streaming, so that both always agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import psycopg
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from todoku.guests.types import Audience, AudienceCopy, AudienceCount, AudienceMember

CHUNK_PEOPLE = 500
_LIBPQ_KEYS = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey", "options")
_NOTICE_DEATH = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "client_encoding": "UTF8",
}

# Why each address may not be mailed. A person's own word (unsubscribed, complained, manual) holds for all addresses
# of that person; a bounce is about one address only.
ADDRESSED = """
SELECT DISTINCT ON (a.guest_id) a.guest_id, a.written, a.why_not
FROM (
    SELECT i.guest_id, i.id, i.written,
        coalesce(
            max(s.reason) FILTER (WHERE s.reason <> 'bounced') OVER (PARTITION BY i.guest_id),
            s.reason,
            CASE WHEN c.id IS NULL THEN 'no_consent' ELSE '' END
        ) AS why_not
    FROM guests_guestidentity i
    LEFT JOIN guests_suppression s
        ON s.project_id = i.project_id AND s.comparable = i.value AND s.lifted_at IS NULL
    LEFT JOIN guests_consent c
        ON c.project_id = i.project_id AND c.comparable = i.value AND c.withdrawn_at IS NULL
    WHERE i.project_id = {project} AND i.kind = 'email' AND {whom}
) a
ORDER BY a.guest_id, (a.why_not = '') DESC, a.id DESC
"""
_AUDIENCE = """
WITH visited AS (
    SELECT v.guest_id,
        count(*) FILTER (WHERE v.counts_as_visit AND v.start < {until}) AS visits,
        max(v.start) FILTER (WHERE v.counts_as_visit AND v.start < {until}) AS last_visit,
        (array_agg(v.shop_code ORDER BY v.start DESC, v.reservation_id DESC)
            FILTER (WHERE v.counts_as_visit AND v.start < {until} AND v.shop_code IS NOT NULL))[1] AS last_shop,
        bool_or(v.counts_as_visit AND v.site = ANY({sites}::text[])) AS at_site,
        bool_or(v.counts_as_visit AND v.shop_code = ANY({shops}::text[])) AS at_shop
    FROM guests_visit v
    WHERE v.project_id = {project}
    GROUP BY v.guest_id
), addressed AS ({addressed}), people AS (
    SELECT g.id, a.written, g.name, coalesce(p.visits, 0) AS visits,
        (p.last_visit AT TIME ZONE {zone})::date AS last_visit_on, coalesce(p.last_shop, '') AS last_shop, a.why_not,
        g.time_zone
    FROM addressed a
    JOIN guests_guest g ON g.id = a.guest_id AND g.project_id = {project} AND g.merged_into IS NULL
    LEFT JOIN visited p ON p.guest_id = g.id
    WHERE ({no_sites} OR p.at_site) AND ({no_shops} OR p.at_shop)
)
SELECT {columns} FROM people
WHERE ({min_visits}::bigint IS NULL OR visits >= {min_visits}::bigint)
  AND ({max_visits}::bigint IS NULL OR visits <= {max_visits}::bigint)
  AND ({on_or_after}::date IS NULL OR last_visit_on >= {on_or_after}::date)
  AND ({before}::date IS NULL OR last_visit_on < {before}::date)
"""

_COLUMNS = ("id", "written", "name", "visits", "last_visit_on", "last_shop", "why_not", "time_zone")


@dataclass(frozen=True, slots=True)
class Moment:
    """From where an audience is looked at: visits that began before until_utc have happened; days are of time_zone."""

    until_utc: datetime
    time_zone: str


def as_of(today: date, now_utc: datetime, time_zone: str) -> Moment:
    """Return the moment of an audience "today": now, or the end of that day when it is over already."""
    tomorrow = datetime.combine(today + timedelta(days=1), time.min, tzinfo=ZoneInfo(time_zone))
    return Moment(min(now_utc, tomorrow.astimezone(UTC)), time_zone)


def count_people(project_id: str, audience: Audience, moment: Moment) -> AudienceCount:
    """Return how many people the audience has, and why some of them can't be sent to."""
    query = _statement(project_id, audience, moment, sql.SQL("why_not, count(*)")) + sql.SQL(" GROUP BY why_not")
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(None))
        counted = dict(cursor.fetchall())
    sendable = counted.pop("", 0)
    return AudienceCount(sendable + sum(counted.values()), sendable, dict(sorted(counted.items())))


def copy_people(project_id: str, audience: Audience, moment: Moment, shop_names: dict[str, str]) -> AudienceCopy:
    """Return how to read the audience from anywhere, one row a person, in the order of guest ids."""
    query = _statement(project_id, audience, moment, sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)))
    statement = sql.SQL("COPY ({} ORDER BY id) TO STDOUT").format(query).as_string(None)
    return AudienceCopy(_connection_text(), statement, _COLUMNS, shop_names)


def stream_people(
    project_id: str, audience: Audience, moment: Moment, shop_names: dict[str, str]
) -> Iterator[list[AudienceMember]]:
    """Yield the audience in chunks of at most 500, in the order of guest ids, from one COPY on its own connection.

    One snapshot, constant memory on both sides. The connection is its own, so that the caller may use the database
    (and another thread) between two chunks; it is closed when the iteration ends or is dropped.
    """
    source = copy_people(project_id, audience, moment, shop_names)
    with psycopg.connect(source.connection) as stream, stream.cursor() as cursor, cursor.copy(source.statement) as copy:
        copy.set_types(["uuid", "text", "text", "int8", "date", "text", "text", "text"])
        chunk: list[AudienceMember] = []
        for guest_id, written, name, visits, last_visit_on, last_shop, why_not, zone in copy.rows():
            shop_name = shop_names.get(last_shop, last_shop)
            chunk.append(AudienceMember(guest_id, written, name, visits, last_visit_on, shop_name, why_not, zone))
            if len(chunk) == CHUNK_PEOPLE:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def addressed(project_id: str, whom: sql.Composable) -> sql.Composed:
    """Return the SQL that names, per guest, the address to use and why it may not be; whom: a condition on `i`."""
    return sql.SQL(ADDRESSED).format(project=sql.Literal(project_id), whom=whom)


def _statement(project_id: str, audience: Audience, moment: Moment, columns: sql.Composable) -> sql.Composed:
    return sql.SQL(_AUDIENCE).format(
        project=sql.Literal(project_id),
        until=sql.Literal(moment.until_utc),
        zone=sql.Literal(moment.time_zone),
        addressed=addressed(project_id, sql.SQL("true")),
        sites=sql.Literal(_texts(audience.sites)),
        shops=sql.Literal(_texts(audience.shop_codes)),
        no_sites=sql.Literal(not audience.sites),
        no_shops=sql.Literal(not audience.shop_codes),
        min_visits=sql.Literal(audience.min_visits),
        max_visits=sql.Literal(audience.max_visits),
        on_or_after=sql.Literal(audience.last_visit_on_or_after),
        before=sql.Literal(audience.last_visit_before),
        columns=columns,
    )


def _connection_text() -> str:
    """Return Django's connection as libpq reads it; a dead server or wire is noticed within a minute."""
    given = connection.get_connection_params()
    parameters = {key: given[key] for key in _LIBPQ_KEYS if given.get(key) not in (None, "")}
    return make_conninfo(**{**_NOTICE_DEATH, **parameters})


def _texts(values: tuple[str, ...]) -> list[str]:
    return [value.replace("\x00", "") for value in values]
