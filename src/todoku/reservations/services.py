"""The only writes of the reservations room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q

from todoku.kernel.clock import Clock
from todoku.projects import queries as project_queries
from todoku.reservations import store
from todoku.reservations.cleaning import clean_notification
from todoku.reservations.fold import admit, fold
from todoku.reservations.models import SHOWN, Reservation
from todoku.reservations.shops import ShopBook
from todoku.reservations.types import Applied, Effect, Notification

log = structlog.get_logger(__name__)


def require_possible(notification: Notification) -> None:
    """Raise ImpossibleFacts when the book can't hold what this notification states; changes nothing."""
    clean_notification(notification)


def apply_many(project_id: str, notifications: Sequence[Notification]) -> list[Applied]:
    """Put notifications into the book, all or none; returns one answer each, in the order given.

    One transaction (joins an outer one), at most 7 statements for any number. May be called by several readers at
    once and again with the same arrivals: a known arrival_id gets the answer it had, and nothing changes. The book is
    the same whatever the order of arrival; `stale` means issued before what is applied: it is put in its place.
    Raises ImpossibleFacts (permanent) when one of them can't be held; then none is applied.
    """
    if not notifications:
        return []
    cleaned = [clean_notification(notification) for notification in notifications]
    shops = ShopBook(project_queries.list_shops(project_id))
    with transaction.atomic():
        rows = store.claim(project_id, ((item.site, item.facts.reference) for item in cleaned))
        facts = store.stored_facts(project_id, [row.id for row in rows.values()], [item.arrival_id for item in cleaned])
        desk = _Desk(rows, facts)
        answers = [desk.take(notification) for notification in cleaned]
        _write(project_id, desk, shops)
    log.debug("reservations.applied", project_id=project_id, count=len(answers))
    return answers


def refresh_statistics() -> None:
    """Let PostgreSQL count this room's tables again; for who has filled them quickly."""
    store.analyze()


def mark_handled(project_id: str, reservation_id: UUID, *, by: str, clock: Clock, version: int | None = None) -> bool:
    """Note that a person dealt with the reservation as it stands; True when this call was the one that did.

    version: what that person saw; when the book has moved on since, nothing is marked and False comes back.
    """
    same = Q(version=version) if version is not None else Q()
    rows = Reservation.objects.filter(SHOWN, same, project_id=project_id, id=reservation_id, handled=False)
    marked = rows.update(handled=True, handled_at=clock.now_utc(), handled_by=by[:254]) == 1
    if marked:
        log.info("reservation.handled", project_id=project_id, reservation_id=str(reservation_id), by=by)
    return marked


@dataclass(slots=True)
class _Page:
    """One reservation while a batch is applied. counting: its facts without duplicates."""

    row: store.ClaimedRow
    counting: list[Notification] = field(default_factory=list)
    held: list[UUID] = field(default_factory=list)
    touched: bool = False


class _Desk:
    """Decide a batch in memory, on rows that are locked."""

    def __init__(self, rows: dict[store.Key, store.ClaimedRow], facts: Sequence[store.StoredFact]) -> None:
        self.pages = {row.id: _Page(row) for row in rows.values()}
        self._ids = {key: row.id for key, row in rows.items()}
        self._known: dict[UUID, store.StoredFact] = {}
        self.added: dict[UUID, store.StoredFact] = {}
        self.released: list[UUID] = []
        for fact in facts:
            self._file(fact)

    def take(self, notification: Notification) -> Applied:
        known = self._known.get(notification.arrival_id)
        if known is not None:
            return self._answer(known)
        page = self.pages[self._ids[notification.site, notification.facts.reference]]
        admission = admit(page.counting, notification)
        fact = store.StoredFact(notification, admission.effect, page.row.id)
        for arrival_id in admission.released:
            self._release(arrival_id)
        page.held = [] if admission.released else page.held
        page.touched = page.touched or admission.effect is not Effect.DUPLICATE
        self._file(fact)
        self.added[notification.arrival_id] = fact
        return self._answer(fact, admission.released)

    def _file(self, fact: store.StoredFact) -> None:
        self._known[fact.notification.arrival_id] = fact
        page = self.pages.get(fact.reservation_id)
        if page is None or fact.effect is Effect.DUPLICATE:
            return
        page.counting.append(fact.notification)
        if fact.effect is Effect.HELD:
            page.held.append(fact.notification.arrival_id)

    def _release(self, arrival_id: UUID) -> None:
        freed = replace(self._known[arrival_id], effect=Effect.APPLIED)
        self._known[arrival_id] = freed
        if arrival_id in self.added:
            self.added[arrival_id] = freed
        else:
            self.released.append(arrival_id)

    def _answer(self, fact: store.StoredFact, released: tuple[UUID, ...] = ()) -> Applied:
        page = self.pages.get(fact.reservation_id)
        hidden = fact.effect is Effect.HELD or (page is not None and bool(page.held))
        return Applied(
            arrival_id=fact.notification.arrival_id,
            effect=fact.effect,
            reservation_id=None if hidden else fact.reservation_id,
            released=released,
        )


def _write(project_id: str, desk: _Desk, shops: ShopBook) -> None:
    if desk.added:
        store.insert_facts(project_id, list(desk.added.values()))
    if desk.released:
        store.release_facts(project_id, desk.released)
    changed = []
    for page in desk.pages.values():
        if not page.touched:
            continue
        folded = fold(replace(item, shop_code=shops.code_of(item)) for item in page.counting)
        columns = store.folded_columns(folded)
        if columns != page.row.columns:
            changed.append((page.row, columns))
    if changed:
        store.update_reservations(project_id, changed)
