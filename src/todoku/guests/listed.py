"""People by a list of addresses that were mailed before: their values now, and whether they may still be mailed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from todoku.guests.types import AudienceMember
from todoku.kernel.addresses import comparable_address

# As in the audience: a person's own word holds for all addresses of that person, a bounce for one. Who was merged
# meanwhile is who they are now; whose guest or consent is gone has agreed to nothing.
_LISTED = """
SELECT coalesce(g.id, l.guest_id), l.written, coalesce(g.name, ''), coalesce(v.visits, 0),
    (v.last_visit AT TIME ZONE %(zone)s)::date, coalesce(v.last_shop, ''),
    coalesce(own.reason, s.reason, CASE WHEN g.id IS NULL OR c.id IS NULL THEN 'no_consent' ELSE '' END),
    coalesce(g.time_zone, '')
FROM unnest(%(guests)s::uuid[], %(addresses)s::text[], %(comparables)s::text[])
    WITH ORDINALITY AS l(guest_id, written, comparable, place)
LEFT JOIN guests_guest was ON was.project_id = %(project)s AND was.id = l.guest_id
LEFT JOIN guests_guest g ON g.project_id = %(project)s AND g.id = coalesce(was.merged_into, was.id)
LEFT JOIN guests_consent c
    ON c.project_id = %(project)s AND c.comparable = l.comparable AND c.withdrawn_at IS NULL
LEFT JOIN guests_suppression s
    ON s.project_id = %(project)s AND s.comparable = l.comparable AND s.lifted_at IS NULL
LEFT JOIN LATERAL (
    SELECT max(s2.reason) AS reason
    FROM guests_guestidentity i
    JOIN guests_suppression s2 ON s2.project_id = %(project)s AND s2.comparable = i.value AND s2.lifted_at IS NULL
    WHERE i.guest_id = g.id AND i.project_id = %(project)s AND i.kind = 'email' AND s2.reason <> 'bounced'
) own ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS visits, max(start) AS last_visit,
        (array_agg(shop_code ORDER BY start DESC, reservation_id DESC) FILTER (WHERE shop_code IS NOT NULL))[1]
            AS last_shop
    FROM guests_visit
    WHERE guest_id = g.id AND project_id = %(project)s AND counts_as_visit AND start < %(until)s
) v ON true
ORDER BY l.place
"""


def listed_people(
    project_id: str,
    people: Sequence[tuple[UUID, str]],
    *,
    until_utc: datetime,
    time_zone: str,
    shop_names: dict[str, str],
) -> list[AudienceMember]:
    """Return one row for each (guest id, address), in order; one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            _LISTED,
            {
                "project": project_id,
                "guests": [guest_id for guest_id, _ in people],
                "addresses": [address for _, address in people],
                "comparables": [comparable_address(address) for _, address in people],
                "zone": time_zone,
                "until": until_utc,
            },
        )
        return [
            AudienceMember(guest_id, written, name, visits, day, shop_names.get(shop, shop), why_not, zone)
            for guest_id, written, name, visits, day, shop, why_not, zone in cursor.fetchall()
        ]
