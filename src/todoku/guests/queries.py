"""Reads of the guests room; every one is of one project. Rows of people who were merged are never shown."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Q, QuerySet
from psycopg import sql

from todoku.guests import audience as audiences
from todoku.guests import listed
from todoku.guests.errors import GuestMissing
from todoku.guests.models import Consent, Guest, GuestIdentity, Suppression, Visit
from todoku.guests.persons import EMAIL, PHONE
from todoku.guests.types import (
    Audience,
    AudienceCopy,
    AudienceCount,
    AudienceMember,
    ConsentRecord,
    GuestDetail,
    GuestRow,
    GuestVisit,
    SuppressionReason,
)
from todoku.kernel.addresses import comparable_address
from todoku.kernel.clock import Clock, SystemClock
from todoku.projects import queries as project_queries

_SYSTEM_CLOCK = SystemClock()


def search(
    project_id: str, text: str = "", *, limit: int = 50, offset: int = 0, clock: Clock = _SYSTEM_CLOCK
) -> list[GuestRow]:
    """Return people whose name, kana, phone or mail address holds the text (all when it is empty), newest first."""
    rows = _matching(project_id, text).order_by("-id")[offset : offset + limit]
    return _rows(project_id, list(rows), clock.now_utc())


def count(project_id: str, text: str = "") -> int:
    """Return how many people `search` would find without a limit."""
    return _matching(project_id, text).count()


def get(project_id: str, guest_id: UUID, *, clock: Clock = _SYSTEM_CLOCK) -> GuestDetail:
    """Return one person; the id of somebody who was merged leads to who it is now. Raises GuestMissing."""
    rows = Guest.objects.filter(project_id=project_id)
    guest = rows.filter(id=guest_id).first()
    if guest is not None and guest.merged_into is not None:
        guest = rows.filter(id=guest.merged_into).first()
    if guest is None:
        raise GuestMissing(f"there is no guest {guest_id} in this project")
    visits = Visit.objects.filter(project_id=project_id, guest_id=guest.id)
    addresses = GuestIdentity.objects.filter(project_id=project_id, guest_id=guest.id, kind=EMAIL)
    consents = Consent.objects.filter(project_id=project_id, comparable__in=addresses.values("value"))
    return GuestDetail(
        row=_rows(project_id, [guest], clock.now_utc())[0],
        visits=tuple(
            GuestVisit(
                reservation_id=visit.reservation_id,
                site=visit.site,
                shop_code=visit.shop_code,
                start=visit.start,
                party_size=visit.party_size,
                counts_as_visit=visit.counts_as_visit,
            )
            for visit in visits.order_by("-start", "-reservation_id")
        ),
        consents=tuple(
            ConsentRecord(row.address, row.given_at, row.source, row.wording, row.withdrawn_at)
            for row in consents.order_by("-given_at", "-id")
        ),
    )


def guest_of_reservation(project_id: str, reservation_id: UUID) -> UUID | None:
    """Return who comes with this reservation, or None when no visit is recorded for it."""
    rows = Visit.objects.filter(project_id=project_id, reservation_id=reservation_id)
    return rows.values_list("guest_id", flat=True).first()


def all_ids(project_id: str, guest_id: UUID) -> tuple[UUID, ...]:
    """Return this person's id and the ids of everybody merged into it, for rooms that wrote an older one down."""
    merged = Guest.objects.filter(project_id=project_id, merged_into=guest_id).order_by("id")
    return (guest_id, *merged.values_list("id", flat=True))


def suppressed_since(project_id: str, since_utc: datetime) -> list[tuple[str, str]]:
    """Return (address, reason) of the suppressions in force that began at or after the moment, oldest first."""
    rows = Suppression.objects.filter(project_id=project_id, since__gte=since_utc, lifted_at__isnull=True)
    return list(rows.order_by("since", "id").values_list("address", "reason"))


def count_audience(
    project_id: str, audience: Audience, *, today: date | None = None, clock: Clock = _SYSTEM_CLOCK
) -> AudienceCount:
    """Return how many people the audience has; planned = sendable + those who are named with a reason."""
    zone = project_queries.get_project(project_id).time_zone
    now = clock.now_utc()
    day = today or now.astimezone(ZoneInfo(zone)).date()
    return audiences.count_people(project_id, audience, audiences.as_of(day, now, zone))


def stream_audience(
    project_id: str, audience: Audience, *, today: date, clock: Clock = _SYSTEM_CLOCK
) -> Iterator[list[AudienceMember]]:
    """Yield the audience in chunks of at most 500, ordered by guest id, one row per person and address.

    today: the day in the project's zone as of which visits are counted; a reservation later than now is no visit.
    A person with several addresses is written to once: at the sendable one that was learned last.
    One streaming COPY on its own connection, constant memory; may be consumed from any one thread at a time.
    """
    zone = project_queries.get_project(project_id).time_zone
    shop_names = {shop.code: shop.name for shop in project_queries.list_shops(project_id)}
    moment = audiences.as_of(today, clock.now_utc(), zone)
    return audiences.stream_people(project_id, audience, moment, shop_names)


def audience_copy(project_id: str, audience: Audience, *, today: date, clock: Clock = _SYSTEM_CLOCK) -> AudienceCopy:
    """Return how to read the audience that `stream_audience` gives, in bulk and from another process.

    Two statements; no row is read here.
    """
    zone = project_queries.get_project(project_id).time_zone
    shop_names = {shop.code: shop.name for shop in project_queries.list_shops(project_id)}
    moment = audiences.as_of(today, clock.now_utc(), zone)
    return audiences.copy_people(project_id, audience, moment, shop_names)


def listed_people(
    project_id: str, people: Sequence[tuple[UUID, str]], *, clock: Clock = _SYSTEM_CLOCK
) -> list[AudienceMember]:
    """Return exactly these (guest id, address), each with values as of now and why it may not be mailed any more."""
    zone = project_queries.get_project(project_id).time_zone
    names = {shop.code: shop.name for shop in project_queries.list_shops(project_id)}
    return listed.listed_people(project_id, people, until_utc=clock.now_utc(), time_zone=zone, shop_names=names)


def undeliverable(project_id: str, addresses: Sequence[str]) -> dict[str, str]:
    """Return which of the addresses bounced or complained (address as given -> reason); one statement."""
    asked = {comparable_address(address): address for address in addresses}
    rows = Suppression.objects.filter(
        project_id=project_id,
        comparable__in=asked,
        lifted_at__isnull=True,
        reason__in=(SuppressionReason.BOUNCED, SuppressionReason.COMPLAINED),
    )
    return {asked[comparable]: reason for comparable, reason in rows.values_list("comparable", "reason")}


def suppressed_lately(since_utc: Mapping[str, datetime]) -> list[tuple[str, str, str]]:
    """Return (project id, address, reason) of the suppressions in force that began at or after each project's moment.

    For a role that looks after all projects; one statement whatever their number.
    """
    if not since_utc:
        return []
    ids = list(since_utc)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.project_id, s.address, s.reason FROM unnest(%s::text[], %s::timestamptz[]) AS p(id, since)"
            " JOIN guests_suppression s ON s.project_id = p.id AND s.since >= p.since AND s.lifted_at IS NULL"
            " ORDER BY s.since, s.id",
            [ids, [since_utc[project_id] for project_id in ids]],
        )
        return [(project_id, address, reason) for project_id, address, reason in cursor.fetchall()]


def _matching(project_id: str, text: str) -> QuerySet[Guest]:
    rows = Guest.objects.filter(project_id=project_id, merged_into__isnull=True)
    wanted = text.replace("\x00", "").strip()
    if not wanted:
        return rows
    proof = Q(kind=EMAIL, value__contains=wanted.casefold())
    digits = re.sub(r"\D", "", unicodedata.normalize("NFKC", wanted))
    if len(digits) >= 4 and "@" not in wanted:
        proof |= Q(kind=PHONE, value__contains=digits.removeprefix("0"))
    proven = GuestIdentity.objects.filter(proof, project_id=project_id).values("guest_id")
    return rows.filter(Q(name__icontains=wanted) | Q(kana__icontains=wanted) | Q(id__in=proven))


def _rows(project_id: str, guests: Sequence[Guest], now_utc: datetime) -> list[GuestRow]:
    ids = [guest.id for guest in guests]
    identities: dict[tuple[UUID, str], list[str]] = defaultdict(list)
    for guest_id, kind, written in (
        GuestIdentity.objects.filter(project_id=project_id, guest_id__in=ids)
        .order_by("id")
        .values_list("guest_id", "kind", "written")
    ):
        identities[guest_id, kind].append(written)
    visits: dict[UUID, list[Visit]] = defaultdict(list)
    for visit in Visit.objects.filter(project_id=project_id, guest_id__in=ids).order_by("start", "reservation_id"):
        visits[visit.guest_id].append(visit)
    reasons = _why_not(project_id, ids)
    return [
        _row(
            guest,
            phones=tuple(identities[guest.id, PHONE]),
            emails=tuple(identities[guest.id, EMAIL]),
            visits=visits[guest.id],
            why_not=reasons.get(guest.id, "no_address"),
            now_utc=now_utc,
        )
        for guest in guests
    ]


def _row(
    guest: Guest,
    *,
    phones: tuple[str, ...],
    emails: tuple[str, ...],
    visits: Sequence[Visit],
    why_not: str,
    now_utc: datetime,
) -> GuestRow:
    counting = [visit for visit in visits if visit.counts_as_visit]
    past = [visit.start for visit in counting if visit.start is not None and visit.start < now_utc]
    return GuestRow(
        id=guest.id,
        name=guest.name,
        kana=guest.kana,
        phones=phones,
        emails=emails,
        visits=len(past),
        upcoming=len(counting) - len(past),
        last_visit_at=max(past, default=None),
        sites=tuple(sorted({visit.site for visit in visits})),
        shop_codes=tuple(sorted({visit.shop_code for visit in visits if visit.shop_code})),
        may_be_mailed=why_not == "",
        why_not=why_not,
    )


def _why_not(project_id: str, guest_ids: Sequence[UUID]) -> dict[UUID, str]:
    whom = sql.SQL("i.guest_id = ANY({}::uuid[])").format(sql.Literal([str(guest_id) for guest_id in guest_ids]))
    with connection.cursor() as cursor:
        cursor.execute(audiences.addressed(project_id, whom).as_string(None))
        return {guest_id: why_not for guest_id, _written, why_not in cursor.fetchall()}
