"""The SQL of applying: a constant number of statements, whatever the size of the batch.

Lock order, the same for every reader: keys in (site, reference) order while they are inserted, then rows in id order.
A reader that waits in the first step holds no row of the second, so two readers can't wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection

from todoku.extraction.types import Event
from todoku.kernel.ids import new_id
from todoku.reservations.cleaning import decode_facts, encode_facts
from todoku.reservations.fold import Folded, Values
from todoku.reservations.models import EMPTY, HELD
from todoku.reservations.types import Effect, Notification

Key = tuple[str, str]

_VALUE_NAMES = tuple(field.name for field in fields(Values))
_FOLDED_NAMES = (
    "state", "last_event", *_VALUE_NAMES, "changed", "previous_start", "previous_party_size",
    "last_arrival_id", "last_arrived_at",
)  # fmt: skip
_OLD_VALUES = frozenset({"changed", "previous_start", "previous_party_size"})
_FOLDED_TYPES = {
    **dict.fromkeys(_FOLDED_NAMES, "text"),
    "start": "timestamptz",
    "end": "timestamptz",
    "party_size": "integer",
    "amount_minor": "bigint",
    "changed": "jsonb",
    "previous_start": "timestamptz",
    "previous_party_size": "integer",
    "last_arrival_id": "uuid",
    "last_arrived_at": "timestamptz",
}
_PRESENT = """
SELECT r.site, r.reference
FROM json_to_recordset(%s::json) AS k(site text, reference text)
JOIN reservations_reservation r ON r.project_id = %s AND r.site = k.site AND r.reference = k.reference
"""
_LOCK = f"""
SELECT r.id, r.site, r.reference, {", ".join(f'r."{name}"' for name in _FOLDED_NAMES)}
FROM json_to_recordset(%s::json) AS k(site text, reference text)
JOIN reservations_reservation r ON r.project_id = %s AND r.site = k.site AND r.reference = k.reference
ORDER BY r.id
FOR UPDATE OF r
"""  # noqa: S608 - column names of this module
_FACTS = """
SELECT f.arrival_id, f.reservation_id, f.site, f.effect, f.shop_code, f.content_sha256, f.issued_at, f.received_at,
       f.facts::text
FROM reservations_reservationfact f
WHERE f.project_id = %s
  AND (f.reservation_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid))
       OR f.arrival_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid)))
"""
_INSERT_FACTS = """
INSERT INTO reservations_reservationfact
    (arrival_id, project_id, reservation_id, site, reference, event, effect, shop_code, content_sha256,
     issued_at, received_at, facts)
SELECT n.arrival_id, %s, n.reservation_id, n.site, n.reference, n.event, n.effect, n.shop_code, n.content_sha256,
       n.issued_at, n.received_at, n.facts
FROM json_to_recordset(%s::json) AS n(arrival_id uuid, reservation_id uuid, site text, reference text, event text,
     effect text, shop_code text, content_sha256 text, issued_at timestamptz, received_at timestamptz, facts jsonb)
"""
_REMOVE_FACTS = """
DELETE FROM reservations_reservationfact WHERE project_id = %s
  AND arrival_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid))
"""
_RELEASE = "UPDATE reservations_reservationfact SET effect = %s WHERE project_id = %s AND arrival_id = ANY(%s)"
_INSERT = f"""
INSERT INTO reservations_reservation
    (id, project_id, site, reference, {", ".join(f'"{name}"' for name in _FOLDED_NAMES)}, handled, handled_by, version)
SELECT n.id, %s, n.site, n.reference, {", ".join(f'n."{name}"' for name in _FOLDED_NAMES)}, false, '', n.version
FROM json_to_recordset(%s::json)
     AS n(id uuid, site text, reference text, version integer,
          {", ".join(f'"{name}" {_FOLDED_TYPES[name]}' for name in _FOLDED_NAMES)})
ORDER BY n.site COLLATE "C", n.reference COLLATE "C"
ON CONFLICT (project_id, site, reference) DO NOTHING
RETURNING site, reference
"""  # noqa: S608 - column names of this module
_UPDATE = f"""
UPDATE reservations_reservation r
SET {", ".join(f'"{name}" = n."{name}"' for name in _FOLDED_NAMES)},
    version = r.version + 1,
    handled = r.handled AND n.quiet,
    handled_at = CASE WHEN n.quiet THEN r.handled_at END,
    handled_by = CASE WHEN n.quiet THEN r.handled_by ELSE '' END
FROM json_to_recordset(%s::json)
     AS n(id uuid, quiet boolean, {", ".join(f'"{name}" {_FOLDED_TYPES[name]}' for name in _FOLDED_NAMES)})
WHERE r.id = n.id AND r.project_id = %s
"""  # noqa: S608 - column names of this module


@dataclass(frozen=True, slots=True)
class StoredFact:
    """One notification as the book has it, with what it did when it came."""

    notification: Notification
    effect: Effect
    reservation_id: UUID


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """One reservation that is locked, or about to be inserted, with its folded columns as they are stored."""

    id: UUID
    columns: Mapping[str, Any]


def present(project_id: str, keys: Iterable[Key]) -> set[Key]:
    """Return the keys that have a row; a moment later there may be more."""
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT, [_keys(keys), project_id])
        return set(cursor.fetchall())


def lock(project_id: str, keys: Iterable[Key]) -> dict[Key, ClaimedRow]:
    """Lock the rows of these keys until the transaction ends; a key without a row is not in the answer."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [_keys(keys), project_id])
        return {
            (row[1], row[2]): ClaimedRow(row[0], dict(zip(_FOLDED_NAMES, _loaded(row[3:]), strict=True)))
            for row in cursor.fetchall()
        }


def new_row() -> ClaimedRow:
    """Return a row that is not in the database yet, of which nothing is said."""
    return ClaimedRow(new_id(), {**dict.fromkeys(_FOLDED_NAMES), "state": HELD, "last_event": "", "changed": []})


def insert(project_id: str, rows: Mapping[Key, ClaimedRow]) -> set[Key]:
    """Add rows as they are; return which were added, for another reader may have been first with a key."""
    encoded = [
        {"id": row.id, "site": site, "reference": reference, "version": _first_version(row.columns), **row.columns}
        for (site, reference), row in rows.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [project_id, _json(encoded)])
        return set(cursor.fetchall())


def stored_facts(project_id: str, reservation_ids: Sequence[UUID], arrival_ids: Sequence[UUID]) -> list[StoredFact]:
    """Return what is known of these reservations, and of these arrivals wherever they were applied."""
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, [project_id, _json(reservation_ids), _json(arrival_ids)])
        return [_stored_fact(row) for row in cursor.fetchall()]


def insert_facts(project_id: str, facts: Sequence[StoredFact]) -> None:
    """Add what was learned; one statement."""
    rows = [_fact_row(fact) for fact in facts]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_FACTS, [project_id, _json(rows)])


def replace_facts(project_id: str, removed: Sequence[UUID], facts: Sequence[StoredFact]) -> None:
    """Take out what these arrivals and those of the facts had said, and add the facts; two statements."""
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE_FACTS, [project_id, _json([*removed, *(one.notification.arrival_id for one in facts)])])
    if facts:
        insert_facts(project_id, facts)


def release_facts(project_id: str, arrival_ids: Sequence[UUID]) -> None:
    """Turn held facts into applied ones; one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, [Effect.APPLIED.value, project_id, list(arrival_ids)])


def update_reservations(project_id: str, rows: Sequence[tuple[ClaimedRow, Mapping[str, Any]]]) -> None:
    """Write changed folds: version + 1, and unhandled again unless nothing moved but the old values; one statement."""
    encoded = [{"id": row.id, "quiet": _quiet(row.columns, columns), **columns} for row, columns in rows]
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE, [_json(encoded), project_id])


def analyze() -> None:
    """Let PostgreSQL count its rows again."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE reservations_reservation, reservations_reservationfact")


def folded_columns(folded: Folded) -> dict[str, Any]:
    """Return the fold as columns of the table, comparable with ClaimedRow.columns."""
    newest = folded.newest
    shown = folded.state is not None
    columns: dict[str, Any] = {name: getattr(folded.values, name) if shown else None for name in _VALUE_NAMES}
    columns["state"] = folded.state.value if folded.state else HELD if newest else EMPTY
    columns["last_event"] = newest.facts.event.value if newest and shown else ""
    columns["changed"] = list(folded.changed) if shown else []
    columns["previous_start"] = folded.previous_start if shown else None
    columns["previous_party_size"] = folded.previous_party_size if shown else None
    columns["last_arrival_id"] = newest.arrival_id if newest and shown else None
    columns["last_arrived_at"] = folded.shown_since
    return columns


def _first_version(columns: Mapping[str, Any]) -> int:
    return 0 if columns["state"] in (HELD, EMPTY) else 1


def _quiet(older: Mapping[str, Any], newer: Mapping[str, Any]) -> bool:
    """Tell whether only what stood before has changed: a late mail in the middle of the history can do that."""
    return all(older[name] == newer[name] for name in _FOLDED_NAMES if name not in _OLD_VALUES)


def _loaded(values: Sequence[Any]) -> list[Any]:
    loaded = list(values)
    at = _FOLDED_NAMES.index("changed")
    loaded[at] = msgspec.json.decode(loaded[at]) if isinstance(loaded[at], str | bytes) else loaded[at]
    return loaded


def _stored_fact(row: Sequence[Any]) -> StoredFact:
    notification = Notification(
        arrival_id=row[0],
        site=row[2],
        facts=decode_facts(row[8]),
        issued_at_utc=row[6],
        received_at_utc=row[7],
        content_sha256=row[5],
        shop_code=row[4],
    )
    return StoredFact(notification, Effect(row[3]), row[1])


def _fact_row(fact: StoredFact) -> dict[str, Any]:
    notification = fact.notification
    event: Event = notification.facts.event
    return {
        "arrival_id": notification.arrival_id,
        "reservation_id": fact.reservation_id,
        "site": notification.site,
        "reference": notification.facts.reference,
        "event": event.value,
        "effect": fact.effect.value,
        "shop_code": notification.shop_code,
        "content_sha256": notification.content_sha256,
        "issued_at": notification.issued_at_utc,
        "received_at": notification.received_at_utc,
        "facts": msgspec.Raw(encode_facts(notification.facts)),
    }


def _keys(keys: Iterable[Key]) -> str:
    return _json([{"site": site, "reference": reference} for site, reference in set(keys)])


def _json(rows: Sequence[object]) -> str:
    """Sets travel as one JSON text: the driver writes arrays element by element, five times slower."""
    return msgspec.json.encode(rows).decode("utf-8")
