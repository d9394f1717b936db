"""The only writes of the reservations room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q

from todoku.kernel.clock import Clock
from todoku.projects import queries as project_queries
from todoku.reservations import store
from todoku.reservations.cleaning import clean_notification
from todoku.reservations.fold import Folded, admit, fold, settle
from todoku.reservations.models import SHOWN, Reservation
from todoku.reservations.shops import ShopBook
from todoku.reservations.types import Applied, Corrected, Effect, Notification, Settled

log = structlog.get_logger(__name__)


def require_possible(notification: Notification) -> Notification:
    """Return the notification as the book would hold it; raises ImpossibleFacts when it can't. Changes nothing."""
    return clean_notification(notification)


def apply_many(project_id: str, notifications: Sequence[Notification]) -> list[Applied]:
    """Put notifications into the book, all or none; returns one answer each, in the order given.

    One transaction (joins an outer one), at most 9 statements for any number. May be called by several readers at
    once and again with the same arrivals: a known arrival_id gets the answer it had, and nothing changes. The book is
    the same whatever the order of arrival; `stale` means issued before what is applied: it is put in its place.
    Raises ImpossibleFacts (permanent) when one of them can't be held; then none is applied.
    """
    if not notifications:
        return []
    cleaned = [clean_notification(notification) for notification in notifications]
    shops = ShopBook(project_queries.list_shops(project_id))
    with transaction.atomic():
        desk = _Desk()
        answers = _take_new(project_id, desk, cleaned, shops)
        rest = [item for item in cleaned if item.arrival_id not in answers]
        if rest:
            rows = store.lock(project_id, map(_key, rest))
            desk.open(rows, store.stored_facts(project_id, [row.id for row in rows.values()], _arrivals(rest)))
            answers.update((item.arrival_id, desk.take(item)) for item in rest)
        _write(project_id, desk, shops)
    log.debug("reservations.applied", project_id=project_id, count=len(cleaned))
    return [answers[item.arrival_id] for item in cleaned]


def correct(project_id: str, arrival_id: UUID, notification: Notification | None) -> Corrected | None:
    """Let the book hold what reading an arrival again gives; None = it says nothing about a reservation any more.

    Returns None when the book holds nothing of this arrival: `apply_many` is for those. One transaction (joins an outer
    one). The reservation that it spoke of, and the one that it speaks of now, are folded again from all that is said of
    them; every arrival there gets the effect that it would have had. Doing it again changes nothing. A reservation that
    changes visibly waits for a person again. Raises ImpossibleFacts (permanent), and then nothing is changed.
    """
    now = [clean_notification(notification)] if notification is not None else []
    shops = ShopBook(project_queries.list_shops(project_id))
    with transaction.atomic():
        before = [fact.notification for fact in store.stored_facts(project_id, [], [arrival_id])]
        if not before:
            return None
        keys = {_key(item) for item in before + now}
        store.insert(project_id, {key: store.new_row() for key in keys})
        rows = store.lock(project_id, keys)
        known = {
            fact.notification.arrival_id: fact
            for fact in store.stored_facts(project_id, [row.id for row in rows.values()], [])
        }
        said = [fact.notification for key, fact in known.items() if key != arrival_id]
        facts = _settled_facts(rows, said + now)
        moved = [fact for fact in facts if known.get(fact.notification.arrival_id) != fact]
        store.replace_facts(project_id, [arrival_id] if not now else [], moved)
        shown = _write_folds(project_id, _pages(rows, facts), shops)
    log.info("reservation.corrected", project_id=project_id, arrival_id=str(arrival_id), facts=len(moved))
    return Corrected(
        settled={
            fact.notification.arrival_id: Settled(
                fact.effect, fact.reservation_id if fact.reservation_id in shown else None
            )
            for fact in facts
        },
        shown=tuple(sorted(shown)),
        hidden=tuple(sorted(row.id for row in rows.values() if row.id not in shown)),
    )


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


def _take_new(
    project_id: str, desk: _Desk, notifications: Sequence[Notification], shops: ShopBook
) -> dict[UUID, Applied]:
    """Write the reservations of which nothing was known, and return the answers to what speaks of them.

    Inserted as they are decided: a row that is inserted empty and then updated costs two versions of itself and of its
    indexes. With a key another reader may have been first; what speaks of that is left for when its row is locked.
    """
    there = store.present(project_id, map(_key, notifications))
    about_new = [item for item in notifications if _key(item) not in there]
    if not about_new:
        return {}
    known = {fact.notification.arrival_id for fact in store.stored_facts(project_id, [], _arrivals(about_new))}
    about_new = [item for item in about_new if item.arrival_id not in known]
    if not about_new:
        return {}
    desk.open({_key(item): store.new_row() for item in about_new}, [])
    answers = {item.arrival_id: desk.take(item) for item in about_new}
    rows = {
        key: store.ClaimedRow(page.row.id, store.folded_columns(_fold(page.counting, shops)))
        for key, page in desk.by_key().items()
    }
    inserted = store.insert(project_id, rows)
    desk.settle(inserted)
    return {item.arrival_id: answers[item.arrival_id] for item in about_new if _key(item) in inserted}


def _arrivals(notifications: Iterable[Notification]) -> list[UUID]:
    return [item.arrival_id for item in notifications]


def _key(notification: Notification) -> store.Key:
    return notification.site, notification.facts.reference


@dataclass(slots=True)
class _Page:
    """One reservation while a batch is applied. counting: its facts without duplicates."""

    row: store.ClaimedRow
    counting: list[Notification] = field(default_factory=list)
    held: list[UUID] = field(default_factory=list)
    touched: bool = False


class _Desk:
    """Decide a batch in memory, on rows that are locked or about to be inserted."""

    def __init__(self) -> None:
        self.pages: dict[UUID, _Page] = {}
        self._ids: dict[store.Key, UUID] = {}
        self._known: dict[UUID, store.StoredFact] = {}
        self.added: dict[UUID, store.StoredFact] = {}
        self.released: list[UUID] = []

    def open(self, rows: Mapping[store.Key, store.ClaimedRow], facts: Sequence[store.StoredFact]) -> None:
        """Lay these reservations on the desk, with all that is known of them."""
        for key, row in rows.items():
            self._ids[key] = row.id
            self.pages[row.id] = _Page(row)
        for fact in facts:
            self._file(fact)

    def by_key(self) -> dict[store.Key, _Page]:
        """Return the reservations on the desk."""
        return {key: self.pages[row_id] for key, row_id in self._ids.items()}

    def settle(self, inserted: set[store.Key]) -> None:
        """Note which of the reservations on the desk are written as they are, and take the others off it."""
        for key, page in self.by_key().items():
            page.touched = False
            if key not in inserted:
                del self._ids[key], self.pages[page.row.id]
                for arrival_id in [one for one, fact in self.added.items() if fact.reservation_id == page.row.id]:
                    del self.added[arrival_id], self._known[arrival_id]

    def take(self, notification: Notification) -> Applied:
        known = self._known.get(notification.arrival_id)
        if known is not None:
            return self._answer(known)
        page = self.pages[self._ids[_key(notification)]]
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
    _write_folds(project_id, [(page.row, page.counting) for page in desk.pages.values() if page.touched], shops)


def _settled_facts(rows: Mapping[store.Key, store.ClaimedRow], said: Sequence[Notification]) -> list[store.StoredFact]:
    """Return what is said of each of these reservations, with the effect that it has among the others."""
    facts = []
    for key, row in rows.items():
        items = [item for item in said if (item.site, item.facts.reference) == key]
        effects = settle(items)
        facts += [store.StoredFact(item, effects[item.arrival_id], row.id) for item in items]
    return facts


def _pages(
    rows: Mapping[store.Key, store.ClaimedRow], facts: Sequence[store.StoredFact]
) -> list[tuple[store.ClaimedRow, list[Notification]]]:
    counting = [fact for fact in facts if fact.effect is not Effect.DUPLICATE]
    return [(row, [fact.notification for fact in counting if fact.reservation_id == row.id]) for row in rows.values()]


def _write_folds(
    project_id: str, pages: Iterable[tuple[store.ClaimedRow, Sequence[Notification]]], shops: ShopBook
) -> frozenset[UUID]:
    """Fold each reservation from the notifications that count and write what differs; return those that are shown."""
    changed = []
    shown = set()
    for row, counting in pages:
        folded = _fold(counting, shops)
        columns = store.folded_columns(folded)
        if folded.state is not None:
            shown.add(row.id)
        if columns != row.columns:
            changed.append((row, columns))
    if changed:
        store.update_reservations(project_id, changed)
    return frozenset(shown)


def _fold(counting: Sequence[Notification], shops: ShopBook) -> Folded:
    return fold(replace(item, shop_code=shops.code_of(item)) for item in counting)
