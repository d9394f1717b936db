"""Guests for benches, made by the database itself: a million in seconds."""

from __future__ import annotations

_NAMES = "ARRAY['佐藤','髙橋','見本','青山','川端','森下','東雲','小田切']"
_STATEMENTS = (
    f"""
    INSERT INTO guests_guest (id, project_id, name, kana, imported_name, imported_kana, time_zone)
    SELECT (md5(%(project)s || n))::uuid, %(project)s, ({_NAMES})[1 + n %% 8] || ' ' || n, '', '', '', ''
    FROM generate_series(1, %(count)s) AS n
    """,  # noqa: S608 - a list of our own
    """
    INSERT INTO guests_guestidentity (project_id, guest_id, kind, value, written)
    SELECT %(project)s, (md5(%(project)s || n))::uuid, 'email', 'guest.' || n || '@' || %(domain)s,
        'guest.' || n || '@' || %(domain)s
    FROM generate_series(1, %(count)s) AS n
    """,
    """
    INSERT INTO guests_consent (project_id, comparable, address, given_at, source, wording)
    SELECT %(project)s, 'guest.' || n || '@' || %(domain)s, 'guest.' || n || '@' || %(domain)s, now(), 'bench', 'yes'
    FROM generate_series(1, %(count)s) AS n
    """,
)


def make_guests(project_id: str, count: int) -> None:
    """Give the project so many people who agreed to mails: guest.1@<project>.example and so on."""
    from django.db import connection, transaction

    values: dict[str, str | int] = {"project": project_id, "count": count, "domain": f"{project_id}.example"}
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in _STATEMENTS:
            cursor.execute(statement, values)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE guests_guest, guests_guestidentity, guests_consent")
