"""Reads of the reservations room; every one is of one project, and none shows what is held."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import Count, Q, QuerySet

from todoku.extraction.types import Event
from todoku.projects import queries as project_queries
from todoku.reservations.cleaning import decode_facts
from todoku.reservations.errors import ReservationMissing
from todoku.reservations.fold import site_key
from todoku.reservations.models import HELD, SHOWN, Reservation, ReservationFact
from todoku.reservations.shops import ShopBook
from todoku.reservations.types import (
    BookedVisit,
    Effect,
    HistoryEntry,
    Notification,
    ReservationDetail,
    ReservationRow,
    ReservationState,
)

COMING = (ReservationState.BOOKED.value, ReservationState.REQUESTED.value, ReservationState.TENTATIVE.value)


def online(
    project_id: str,
    *,
    shop_code: str | None = None,
    site: str | None = None,
    unhandled_only: bool = False,
    limit: int = 100,
) -> list[ReservationRow]:
    """Return what came in: unhandled first, then newest arrival first."""
    rows = _shown(project_id)
    if shop_code is not None:
        rows = rows.filter(shop_code=shop_code)
    if site is not None:
        rows = rows.filter(site=site)
    if unhandled_only:
        rows = rows.filter(handled=False)
    return _rows(project_id, rows.order_by("handled", "-last_arrived_at", "-id")[:limit])


def get(project_id: str, reservation_id: UUID) -> ReservationDetail:
    """Return one reservation with its history in the order in which the site spoke; raises ReservationMissing."""
    row = _shown(project_id).filter(id=reservation_id).first()
    if row is None:
        raise ReservationMissing(f"there is no reservation {reservation_id} in this project")
    facts = ReservationFact.objects.filter(project_id=project_id, reservation_id=reservation_id)
    told = sorted(((_notification(fact), Effect(fact.effect)) for fact in facts), key=lambda pair: site_key(pair[0]))
    history = tuple(
        HistoryEntry(
            arrival_id=item.arrival_id,
            event=item.facts.event,
            effect=effect,
            issued_at_utc=item.issued_at_utc,
            received_at_utc=item.received_at_utc,
            facts=item.facts,
        )
        for item, effect in told
    )
    return ReservationDetail(row=_row(row, _shops(project_id)), history=history)


def upcoming(project_id: str, *, day: date, time_zone: str) -> list[ReservationRow]:
    """Return who comes on that calendar day of that zone, by start; cancelled and declined ones are left out."""
    return coming(project_id, (day, day), time_zone=time_zone)


def coming(
    project_id: str, days: tuple[date, date], *, time_zone: str, shop_code: str | None = None
) -> list[ReservationRow]:
    """Return who comes from the first to the last of these calendar days, both included, by start."""
    zone = ZoneInfo(time_zone)
    begin = datetime.combine(days[0], time.min, tzinfo=zone)
    end = datetime.combine(days[1] + timedelta(days=1), time.min, tzinfo=zone)
    rows = Reservation.objects.filter(project_id=project_id, state__in=COMING, start__gte=begin, start__lt=end)
    if shop_code is not None:
        rows = rows.filter(shop_code=shop_code)
    return _rows(project_id, rows.order_by("start", "id"))


def search(project_id: str, text: str, limit: int = 50) -> list[ReservationRow]:
    """Return reservations whose reference, guest, phone or mail address holds the text; latest start first.

    A phone may be typed as people do: 090-0000-1234 finds +819000001234. An empty text finds nothing.
    """
    wanted = text.replace("\x00", "").strip()
    if not wanted:
        return []
    match = Q()
    for form in {wanted, unicodedata.normalize("NFKC", wanted)}:
        match |= Q(reference__icontains=form) | Q(guest_name__icontains=form)
        match |= Q(guest_kana__icontains=form) | Q(guest_email__icontains=form)
    digits = phone_digits(wanted)
    if digits:
        match |= Q(guest_phone__contains=digits)
    rows = _shown(project_id).filter(match).order_by("-start", "-id")
    return _rows(project_id, rows[:limit])


def count_by_state(project_id: str) -> dict[ReservationState, int]:
    """Return how many reservations stand in each state; every state is named."""
    counted = dict(_shown(project_id).values_list("state").annotate(count=Count("id")))
    return {state: counted.get(state.value, 0) for state in ReservationState}


def count_unhandled(project_id: str) -> int:
    """Return how many reservations wait for a person."""
    return _shown(project_id).filter(handled=False).count()


def count_held(project_id: str) -> int:
    """Return for how many references only changes or cancels have come."""
    return Reservation.objects.filter(project_id=project_id, state=HELD).count()


def stated_by(project_id: str, arrival_ids: Sequence[UUID]) -> dict[UUID, Notification]:
    """Return what the book holds of these arrivals, as they were read; one that said nothing is not in it."""
    facts = ReservationFact.objects.filter(project_id=project_id, arrival_id__in=list(arrival_ids))
    return {fact.arrival_id: _notification(fact) for fact in facts}


def visit_facts(project_id: str, reservation_ids: Sequence[UUID]) -> list[BookedVisit]:
    """Return what these reservations say about their guests, in order of id; held ones say nothing yet."""
    rows = _shown(project_id).filter(id__in=list(reservation_ids)).order_by("id")
    columns = rows.values_list(
        "id", "site", "reference", "shop_code", "start", "party_size", "state",
        "guest_name", "guest_kana", "guest_phone", "guest_email",
    )  # fmt: skip
    return [
        BookedVisit(
            reservation_id=reservation_id,
            site=site,
            reference=reference,
            shop_code=shop_code,
            start=start,
            party_size=party_size,
            counts_as_visit=state in COMING,
            name=name,
            kana=kana,
            phone=phone,
            email=email,
        )
        for (
            reservation_id, site, reference, shop_code, start, party_size, state, name, kana, phone, email,
        ) in columns
    ]  # fmt: skip


def phone_digits(text: str) -> str:
    """Return the digits by which a typed phone is looked for, without its leading 0; "" when it is no phone."""
    plain = unicodedata.normalize("NFKC", text)
    if not re.fullmatch(r"[\d\s()+\-‐-―−.]+", plain):
        return ""
    digits = re.sub(r"\D", "", plain)
    return digits.removeprefix("0") if len(digits) >= 4 else ""


def _shown(project_id: str) -> QuerySet[Reservation]:
    return Reservation.objects.filter(SHOWN, project_id=project_id)


def _shops(project_id: str) -> ShopBook:
    return ShopBook(project_queries.list_shops(project_id))


def _rows(project_id: str, rows: QuerySet[Reservation]) -> list[ReservationRow]:
    shops = _shops(project_id)
    return [_row(row, shops) for row in rows]


def _notification(fact: ReservationFact) -> Notification:
    return Notification(
        arrival_id=fact.arrival_id,
        site=fact.site,
        facts=decode_facts(msgspec.json.encode(fact.facts)),
        issued_at_utc=fact.issued_at,
        received_at_utc=fact.received_at,
        content_sha256=fact.content_sha256,
        shop_code=fact.shop_code,
    )


def _row(row: Reservation, shops: ShopBook) -> ReservationRow:
    assert row.last_arrival_id is not None, "a shown reservation has a newest event"
    assert row.last_arrived_at is not None, "a shown reservation has arrived"
    return ReservationRow(
        id=row.id,
        project_id=row.project_id,
        site=row.site,
        reference=row.reference,
        shop_code=row.shop_code,
        shop_name=shops.name_of(row.shop_code) or row.shop_text,
        state=ReservationState(row.state),
        last_event=Event(row.last_event),
        start=row.start,
        end=row.end,
        party_size=row.party_size,
        guest_name=row.guest_name,
        guest_kana=row.guest_kana,
        guest_phone=row.guest_phone,
        guest_email=row.guest_email,
        course=row.course,
        seat=row.seat,
        requests=row.requests,
        amount_minor=row.amount_minor,
        currency=row.currency,
        cancel_reason=row.cancel_reason,
        link=row.link,
        changed=tuple(row.changed),
        previous_start=row.previous_start,
        previous_party_size=row.previous_party_size,
        handled_at_utc=row.handled_at,
        handled_by=row.handled_by,
        last_arrival_id=row.last_arrival_id,
        last_arrived_at_utc=row.last_arrived_at,
        version=row.version,
    )
