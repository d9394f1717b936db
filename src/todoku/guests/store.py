"""The SQL of joining people: a constant number of statements, whatever the size of the batch.

One writer per project at a time, by an advisory lock that ends with the transaction: which rows a merge touches is
known only while it is under way, so no order of row locks would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection

from todoku.guests.persons import Identity
from todoku.guests.types import VisitFact

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_VISITS = """
SELECT reservation_id, guest_id FROM guests_visit
WHERE project_id = %s AND reservation_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid))
"""
_IDENTITIES = """
SELECT i.kind, i.value, i.guest_id
FROM json_to_recordset(%s::json) AS k(kind text, value text)
JOIN guests_guestidentity i ON i.project_id = %s AND i.kind = k.kind AND i.value = k.value
"""
_INSERT_GUESTS = """
INSERT INTO guests_guest (id, project_id, name, kana, imported_name, imported_kana, time_zone)
SELECT n.id, %s, '', '', '', '', '' FROM json_to_recordset(%s::json) AS n(id uuid)
"""
_INSERT_IDENTITIES = """
INSERT INTO guests_guestidentity (project_id, guest_id, kind, value, written)
SELECT %s, n.guest_id, n.kind, n.value, n.written
FROM json_to_recordset(%s::json) AS n(guest_id uuid, kind text, value text, written text)
"""
_MOVES = (
    """
WITH m AS (SELECT * FROM json_to_recordset(%s::json) AS x(lost uuid, kept uuid))
UPDATE guests_visit v SET guest_id = m.kept FROM m WHERE v.guest_id = m.lost
""",
    """
WITH m AS (SELECT * FROM json_to_recordset(%s::json) AS x(lost uuid, kept uuid))
UPDATE guests_guestidentity i SET guest_id = m.kept FROM m WHERE i.guest_id = m.lost
""",
    """
WITH m AS (SELECT * FROM json_to_recordset(%s::json) AS x(lost uuid, kept uuid)),
     given AS (SELECT m.kept, max(g.imported_name) AS name, max(g.imported_kana) AS kana,
                      max(g.time_zone) AS time_zone
               FROM m JOIN guests_guest g ON g.id = m.lost GROUP BY m.kept)
UPDATE guests_guest g
SET imported_name = coalesce(nullif(g.imported_name, ''), given.name),
    imported_kana = coalesce(nullif(g.imported_kana, ''), given.kana),
    time_zone = coalesce(nullif(g.time_zone, ''), given.time_zone)
FROM given WHERE g.id = given.kept
""",
    """
WITH m AS (SELECT * FROM json_to_recordset(%s::json) AS x(lost uuid, kept uuid))
UPDATE guests_guest g SET merged_into = m.kept FROM m WHERE g.id = m.lost OR g.merged_into = m.lost
""",
)
_UPSERT_VISITS = """
INSERT INTO guests_visit (reservation_id, project_id, guest_id, site, reference, shop_code, start, party_size,
                          counts_as_visit, name, kana, phone, email)
SELECT n.reservation_id, %s, n.guest_id, n.site, n.reference, n.shop_code, n.start, n.party_size, n.counts_as_visit,
       n.name, n.kana, n.phone, n.email
FROM json_to_recordset(%s::json) AS n(reservation_id uuid, guest_id uuid, site text, reference text, shop_code text,
     start timestamptz, party_size integer, counts_as_visit boolean, name text, kana text, phone text, email text)
ON CONFLICT (reservation_id) DO UPDATE
SET guest_id = EXCLUDED.guest_id, site = EXCLUDED.site, reference = EXCLUDED.reference,
    shop_code = EXCLUDED.shop_code, start = EXCLUDED.start, party_size = EXCLUDED.party_size,
    counts_as_visit = EXCLUDED.counts_as_visit, name = EXCLUDED.name, kana = EXCLUDED.kana,
    phone = EXCLUDED.phone, email = EXCLUDED.email
WHERE guests_visit.project_id = EXCLUDED.project_id
"""
_REMOVE_VISITS = """
DELETE FROM guests_visit
WHERE project_id = %s AND reservation_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid))
RETURNING guest_id
"""
_IMPORTED_NAMES = """
UPDATE guests_guest g
SET imported_name = coalesce(nullif(n.name, ''), g.imported_name),
    imported_kana = coalesce(nullif(n.kana, ''), g.imported_kana),
    time_zone = coalesce(nullif(n.time_zone, ''), g.time_zone)
FROM json_to_recordset(%s::json) AS n(id uuid, name text, kana text, time_zone text)
WHERE g.id = n.id AND g.project_id = %s
"""
_NAMES = """
UPDATE guests_guest g SET name = n.name, kana = n.kana
FROM (
    SELECT t.id,
        coalesce((SELECT v.name FROM guests_visit v WHERE v.guest_id = t.id AND v.name <> ''
                  ORDER BY v.start DESC NULLS LAST, v.reservation_id DESC LIMIT 1), t.imported_name) AS name,
        coalesce((SELECT v.kana FROM guests_visit v WHERE v.guest_id = t.id AND v.kana <> ''
                  ORDER BY v.start DESC NULLS LAST, v.reservation_id DESC LIMIT 1), t.imported_kana) AS kana
    FROM guests_guest t WHERE t.project_id = %s AND t.id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid))
) n
WHERE g.id = n.id AND (g.name <> n.name OR g.kana <> n.kana)
"""
_CONSENTS = """
INSERT INTO guests_consent (project_id, comparable, address, given_at, source, wording)
SELECT DISTINCT ON (n.comparable) %s, n.comparable, n.address, n.given_at, n.source, n.wording
FROM json_to_recordset(%s::json) AS n(comparable text, address text, given_at timestamptz, source text, wording text)
WHERE NOT EXISTS (SELECT 1 FROM guests_consent c
                  WHERE c.project_id = %s AND c.comparable = n.comparable
                    AND (c.withdrawn_at IS NULL OR c.withdrawn_at >= n.given_at))
ORDER BY n.comparable, n.given_at DESC
ON CONFLICT DO NOTHING
"""


def lock_project(project_id: str) -> None:
    """Wait until no other transaction joins people of this project; held until this transaction ends."""
    _run(_LOCK, [f"todoku:guests:{project_id}"])


def guests_of_visits(project_id: str, reservation_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Return reservation -> guest for those that are known."""
    with connection.cursor() as cursor:
        cursor.execute(_VISITS, [project_id, _json(reservation_ids)])
        return dict(cursor.fetchall())


def guests_of_identities(project_id: str, identities: Sequence[Identity]) -> dict[Identity, UUID]:
    """Return identity -> guest for those that are known."""
    wanted = [{"kind": identity.kind, "value": identity.value} for identity in identities]
    with connection.cursor() as cursor:
        cursor.execute(_IDENTITIES, [_json(wanted), project_id])
        return {Identity(kind, value, value): guest for kind, value, guest in cursor.fetchall()}


def insert_guests(project_id: str, guests: Sequence[UUID]) -> None:
    """Make these people; their names come later."""
    _run(_INSERT_GUESTS, [project_id, _json([{"id": guest} for guest in guests])])


def insert_identities(project_id: str, identities: Mapping[Identity, UUID]) -> None:
    """Note these proofs."""
    rows = [
        {"guest_id": guest, "kind": identity.kind, "value": identity.value, "written": identity.written}
        for identity, guest in identities.items()
    ]
    _run(_INSERT_IDENTITIES, [project_id, _json(rows)])


def move_merged(merged: Mapping[UUID, UUID]) -> None:
    """Hand everything of the people who are no more to those who stay; the old rows lead to them."""
    pairs = _json([{"lost": lost, "kept": kept} for lost, kept in merged.items()])
    for statement in _MOVES:
        _run(statement, [pairs])


def upsert_visits(project_id: str, visits: Mapping[UUID, tuple[VisitFact, UUID]]) -> None:
    """Write visits with their guests; what was there under the same reservation is replaced."""
    rows = [
        {**{name: getattr(visit, name) for name in VisitFact.__dataclass_fields__}, "guest_id": guest}
        for visit, guest in visits.values()
    ]
    _run(_UPSERT_VISITS, [project_id, _json(rows)])


def remove_visits(project_id: str, reservation_ids: Sequence[UUID]) -> list[UUID]:
    """Delete the visits of these reservations and return whose they were."""
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE_VISITS, [project_id, _json(reservation_ids)])
        return sorted({guest for (guest,) in cursor.fetchall()})


def note_imported(project_id: str, given: Mapping[UUID, tuple[str, str, str]]) -> None:
    """Keep name, kana and time zone from a list; an empty one alters nothing, and a visit's name goes before."""
    rows = [
        {"id": guest, "name": name, "kana": kana, "time_zone": time_zone}
        for guest, (name, kana, time_zone) in given.items()
    ]
    _run(_IMPORTED_NAMES, [_json(rows), project_id])


def refresh_names(project_id: str, guests: Sequence[UUID]) -> None:
    """Give these people the name of their latest visit that has one, else the imported one."""
    _run(_NAMES, [project_id, _json(guests)])


def insert_consents(project_id: str, consents: Sequence[Mapping[str, Any]]) -> None:
    """Note proofs of consent; one that is older than a withdrawal, or beside one in force, adds nothing."""
    _run(_CONSENTS, [project_id, _json(consents), project_id])


def _run(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def _json(rows: Sequence[object]) -> str:
    """Sets travel as one JSON text: the driver writes arrays element by element, five times slower."""
    return msgspec.json.encode(rows).decode("utf-8")


def analyze() -> None:
    """Let PostgreSQL count after a bulk import: 1,200 people took 2 s to count without statistics, 5 ms with them."""
    _run("ANALYZE guests_guest, guests_guestidentity, guests_consent, guests_visit", [])
