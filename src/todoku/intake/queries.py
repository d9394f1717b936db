"""Reads of the intake room; every one is of one project ("_unrouted" is the project of mail for nobody)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet

from todoku.intake.errors import MailMissing
from todoku.intake.models import IncomingMail
from todoku.intake.types import END_STATES, IntakeBalance, MailDetail, MailRow, MailState, OnTheBus
from todoku.projects import queries as project_queries


def balance(project_id: str, on_bus: OnTheBus | None) -> IntakeBalance:
    """Return the balance of intake: how many arrived, and how many of them ended in which state; the rest is pending.

    on_bus: as the bus counts (`counting.count_on_bus`), so that the two sides are independent; None when it can't be
    asked, and then nothing is known to be pending. Count the bus first: a mail that comes in between is then neither
    pending nor too many for long. Mails that have left the bus by age are counted by the book on both sides.
    """
    rows = IncomingMail.objects.filter(project_id=project_id)
    left = rows.filter(stream_sequence__lt=on_bus.first_sequence).count() if on_bus is not None else 0
    counted = dict(rows.values_list("state").annotate(count=Count("arrival_id")))
    arrived = on_bus.mails + left if on_bus is not None else sum(counted.values())
    return IntakeBalance(arrived=arrived, states={state: counted.get(state.value, 0) for state in END_STATES})


def list_mails(
    project_id: str, *, state: MailState | None = None, limit: int = 100, before: UUID | None = None
) -> list[MailRow]:
    """Return arrived mails, newest first. before: a mail; only those that follow it, to go on with a list."""
    rows = _of_state(project_id, state)
    if before is not None:
        rows = rows.filter(_older_than(project_id, before))
    names = _shop_names(project_id)
    return [_row(row, names) for row in rows.order_by("-arrived_at", "-arrival_id")[:limit]]


def neighbours(project_id: str, arrival_id: UUID, state: MailState | None) -> tuple[UUID | None, UUID | None]:
    """Return the mails of a state right before and behind a mail in time: (newer, older)."""
    rows = _of_state(project_id, state).exclude(arrival_id=arrival_id)
    older = _older_than(project_id, arrival_id)
    ids = rows.values_list("arrival_id", flat=True)
    return (
        ids.exclude(older).order_by("arrived_at", "arrival_id").first(),
        ids.filter(older).order_by("-arrived_at", "-arrival_id").first(),
    )


def _of_state(project_id: str, state: MailState | None) -> QuerySet[IncomingMail]:
    rows = IncomingMail.objects.filter(project_id=project_id)
    return rows if state is None else rows.filter(state=state.value)


def _older_than(project_id: str, arrival_id: UUID) -> Q:
    """Return what holds of the mails behind this one in a list; of several of one moment ids decide."""
    found = IncomingMail.objects.filter(project_id=project_id, arrival_id=arrival_id)
    at_utc = found.values_list("arrived_at", flat=True).first()
    if at_utc is None:
        return Q()
    return Q(arrived_at__lt=at_utc) | Q(arrived_at=at_utc, arrival_id__lt=arrival_id)


def get_mail(project_id: str, arrival_id: UUID) -> MailDetail:
    """Return one arrived mail; raises MailMissing. Its bytes are in the vault under vault_key."""
    row = IncomingMail.objects.filter(project_id=project_id, arrival_id=arrival_id).first()
    if row is None:
        raise MailMissing(f"there is no mail {arrival_id} in this project")
    return MailDetail(
        row=_row(row, _shop_names(project_id)),
        vault_key=row.vault_key,
        size_bytes=row.size_bytes,
        rcpt_to=row.rcpt_to,
        issued_at_utc=row.issued_at,
        lossy_characters=row.lossy_characters,
        rules=row.rules,
    )


def mails_of_reservation(project_id: str, reservation_id: UUID) -> list[MailRow]:
    """Return the mails that speak of this reservation, newest first."""
    rows = IncomingMail.objects.filter(project_id=project_id, reservation_id=reservation_id)
    names = _shop_names(project_id)
    return [_row(row, names) for row in rows.order_by("-arrived_at", "-arrival_id")]


def counts_since(project_id: str, since_utc: datetime) -> dict[tuple[str | None, MailState], int]:
    """Return how many mails arrived since the moment, by site (None = no site's) and state; one statement."""
    rows = IncomingMail.objects.filter(project_id=project_id, arrived_at__gte=since_utc).order_by()
    counted = rows.values_list("site", "state").annotate(count=Count("arrival_id"))
    return {(site, MailState(state)): count for site, state, count in counted}


def arrivals_per_source(project_id: str) -> dict[str, tuple[int, datetime]]:
    """Return of each source how many of its mails are in the books and when the newest arrived; one statement."""
    rows = IncomingMail.objects.filter(project_id=project_id).order_by().values_list("source")
    counted = rows.annotate(count=Count("arrival_id"), last=Max("arrived_at"))
    return {source: (count, last) for source, count, last in counted}


def last_arrival_per_site(project_id: str) -> dict[str, datetime]:
    """Return when the newest mail of each site arrived; a site that never wrote is not in it."""
    rows = IncomingMail.objects.filter(project_id=project_id, site__isnull=False)
    return {
        site: last
        for site, last in rows.order_by().values_list("site").annotate(last=Max("arrived_at"))
        if site is not None
    }


def _shop_names(project_id: str) -> dict[str, str]:
    return {shop.code: shop.name for shop in project_queries.list_shops(project_id)}


def _row(row: IncomingMail, shop_names: dict[str, str]) -> MailRow:
    return MailRow(
        arrival_id=row.arrival_id,
        source=row.source,
        site=row.site,
        shop_name=shop_names.get(row.shop_code or "") or row.shop_text,
        subject=row.subject,
        sender=row.sender,
        state=MailState(row.state),
        reason=row.reason,
        arrived_at_utc=row.arrived_at,
        reservation_id=row.reservation_id,
    )
