"""The SQL of the mail rows: a constant number of statements, whatever the size of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import connection

from todoku.intake.models import IncomingMail
from todoku.intake.types import GIVEN_BY_THE_BOOK, MailState

_KNOWN = """
SELECT arrival_id, stream_sequence FROM intake_incomingmail
WHERE project_id = %s AND arrival_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::uuid))
"""
_CONTENTS = """
SELECT DISTINCT sha256 FROM intake_incomingmail
WHERE project_id = %s AND sha256 = ANY(ARRAY(SELECT json_array_elements_text(%s::json))) AND state <> %s
"""
_INSERT = """
INSERT INTO intake_incomingmail
    (arrival_id, project_id, source, stream_sequence, state, reason, site, shop_code, shop_text, subject, sender,
     rcpt_to, vault_key, sha256, size_bytes, arrived_at, issued_at, lossy_characters, reservation_id,
     cursor, at_source, rules)
SELECT n.arrival_id, n.project_id, n.source, n.stream_sequence, n.state, n.reason, n.site, n.shop_code, n.shop_text,
    n.subject, n.sender, n.rcpt_to, n.vault_key, n.sha256, n.size_bytes, n.arrived_at, n.issued_at,
    n.lossy_characters, n.reservation_id, n.cursor, n.at_source, n.rules
FROM json_to_recordset(%s::json) AS n(arrival_id uuid, project_id text, source text, stream_sequence bigint,
    state text, reason text, site text, shop_code text, shop_text text, subject text, sender text, rcpt_to text,
    vault_key text, sha256 text, size_bytes bigint, arrived_at timestamptz, issued_at timestamptz,
    lossy_characters integer, reservation_id uuid, cursor text, at_source timestamptz,
    rules text)
ON CONFLICT (arrival_id) DO NOTHING
"""
_RELEASE = """
UPDATE intake_incomingmail m SET state = %s, reservation_id = n.reservation_id
FROM json_to_recordset(%s::json) AS n(arrival_id uuid, reservation_id uuid)
WHERE m.project_id = %s AND m.arrival_id = n.arrival_id AND m.state = %s
"""
_SETTLE = """
UPDATE intake_incomingmail m SET state = n.state, reservation_id = n.reservation_id
FROM json_to_recordset(%s::json) AS n(arrival_id uuid, state text, reservation_id uuid)
WHERE m.project_id = %s AND m.arrival_id = n.arrival_id AND m.state = ANY(%s)
  AND (m.state, m.reservation_id) IS DISTINCT FROM (n.state, n.reservation_id)
"""
_NOTE_RULES = """
UPDATE intake_incomingmail m SET rules = n.rules
FROM json_to_recordset(%s::json) AS n(arrival_id uuid, rules text)
WHERE m.project_id = %s AND m.arrival_id = n.arrival_id AND m.rules <> n.rules
"""
_BY_THE_BOOK = [state.value for state in GIVEN_BY_THE_BOOK]


class MailLine(msgspec.Struct, kw_only=True):
    """One row of the table, with texts that PostgreSQL can hold."""

    arrival_id: UUID
    project_id: str
    source: str
    stream_sequence: int
    state: MailState
    reason: str
    site: str | None
    shop_code: str | None
    shop_text: str | None
    subject: str
    sender: str
    rcpt_to: str
    vault_key: str
    sha256: str
    size_bytes: int
    arrived_at: datetime
    issued_at: datetime | None
    lossy_characters: int
    reservation_id: UUID | None
    cursor: str
    at_source: datetime | None
    rules: str


def known_arrivals(project_id: str, arrival_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return those arrivals that have a row, with the stream sequence they had."""
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, [project_id, _json(arrival_ids)])
        return dict(cursor.fetchall())


def known_contents(project_id: str, contents: Sequence[str]) -> set[str]:
    """Return those SHA-256 whose bytes have arrived before; what was quarantined does not count."""
    with connection.cursor() as cursor:
        cursor.execute(_CONTENTS, [project_id, _json(contents), MailState.QUARANTINED.value])
        return {sha256 for (sha256,) in cursor.fetchall()}


def insert(lines: Sequence[MailLine]) -> None:
    """Add rows; one whose arrival has a row already stays as it is."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [_json(lines)])


def lock(project_id: str, arrival_id: UUID) -> MailState | None:
    """Return a row's state and hold the row until the transaction ends; None when there is no such row."""
    rows = IncomingMail.objects.select_for_update().filter(project_id=project_id, arrival_id=arrival_id)
    state = rows.values_list("state", flat=True).first()
    return MailState(state) if state is not None else None


def replace(line: MailLine) -> None:
    """Write over what reading said of a mail; what its arrival said stays."""
    IncomingMail.objects.filter(project_id=line.project_id, arrival_id=line.arrival_id).update(
        state=line.state.value,
        reason=line.reason,
        site=line.site,
        shop_text=line.shop_text,
        subject=line.subject,
        sender=line.sender,
        issued_at=line.issued_at,
        lossy_characters=line.lossy_characters,
        reservation_id=line.reservation_id,
        rules=line.rules,
    )


def release(project_id: str, released: Mapping[UUID, UUID | None]) -> None:
    """Turn held mails (arrival -> reservation) into applied ones."""
    rows = [{"arrival_id": arrival, "reservation_id": reservation} for arrival, reservation in released.items()]
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, [MailState.APPLIED.value, _json(rows), project_id, MailState.HELD.value])


def settle(project_id: str, settled: Mapping[UUID, tuple[MailState, UUID | None]]) -> None:
    """Give mails of which the book decides (arrival -> state and reservation) what it says now."""
    rows = [
        {"arrival_id": arrival, "state": state.value, "reservation_id": reservation}
        for arrival, (state, reservation) in settled.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, [_json(rows), project_id, _BY_THE_BOOK])


def note_rules(project_id: str, rules: Mapping[UUID, str]) -> None:
    """Note which rules have read these mails, when they say the same as those before."""
    rows = [{"arrival_id": arrival, "rules": version} for arrival, version in rules.items()]
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_RULES, [_json(rows), project_id])


def counted_rows() -> int:
    """Return how many rows PostgreSQL believes there are; -1 when it never looked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = 'intake_incomingmail'::regclass")
        return int(cursor.fetchone()[0])


def analyze() -> None:
    """Let PostgreSQL count its rows again."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE intake_incomingmail")


def _json(values: object) -> str:
    return msgspec.json.encode(values).decode("utf-8")
