"""Applying to a real PostgreSQL: effects, repetition, versions, tenants, statements."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from todoku.extraction.types import Amount, Event, Previous
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.reservations import queries, services, store
from todoku.reservations.errors import ImpossibleFacts, ReservationMissing
from todoku.reservations.types import Applied, Effect, Notification, ReservationDetail, ReservationState

Said = Callable[..., Notification]
DINNER = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


def apply(project_id: str, *told: Notification) -> list[Applied]:
    return services.apply_many(project_id, told)


def only(project_id: str) -> ReservationDetail:
    (row,) = queries.online(project_id)
    return queries.get(project_id, row.id)


def book(project_id: str) -> dict[str, tuple[Any, ...]]:
    """The whole book without ids that depend on who came first."""
    return {
        row.reference: (
            row.state, row.last_event, row.start, row.end, row.party_size, row.guest_name, row.course, row.changed,
            row.previous_start, row.previous_party_size, row.shop_code, row.last_arrived_at_utc,
        )
        for row in queries.online(project_id, limit=10_000)
    }  # fmt: skip


def test_a_booking_a_change_and_a_cancel_leave_one_reservation_with_its_history(
    tenants: tuple[str, str], said: Said
) -> None:
    mine, _ = tenants
    booked = said(
        Event.BOOKED, start=DINNER, party_size=2, name="髙橋", shop="届屋　銀座本店", amount=Amount(5000, "JPY")
    )
    changed = said(Event.CHANGED, minute=5, party_size=4, previous=Previous(party_size=2))
    cancelled = said(Event.CANCELLED, minute=9, cancel_reason="体調不良")
    assert [answer.effect for answer in apply(mine, booked, changed, cancelled)] == [Effect.APPLIED] * 3
    detail = only(mine)
    assert detail.row.state is ReservationState.CANCELLED
    assert (detail.row.guest_name, detail.row.party_size, detail.row.cancel_reason) == ("髙橋", 4, "体調不良")
    assert (detail.row.shop_code, detail.row.shop_name) == ("ginza", "届屋 銀座本店")
    assert (detail.row.amount_minor, detail.row.currency, detail.row.version) == (5000, "JPY", 1)
    assert [entry.event for entry in detail.history] == [Event.BOOKED, Event.CHANGED, Event.CANCELLED]
    assert detail.history[1].facts == changed.facts


def test_a_change_shows_what_it_altered(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    apply(mine, said(Event.BOOKED, start=DINNER, party_size=2))
    apply(mine, said(Event.CHANGED, minute=5, start=DINNER + timedelta(hours=1), party_size=2))
    row = only(mine).row
    assert (row.changed, row.previous_start, row.previous_party_size, row.version) == (("start",), DINNER, None, 2)


def test_the_same_arrivals_again_get_the_same_answers_and_change_nothing(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    told = [
        said(Event.CANCELLED, "early", minute=3),
        said(Event.BOOKED, "plain"),
        said(Event.CHANGED, "plain", minute=5, party_size=3),
        said(Event.CHANGED, "plain", minute=2, party_size=9),
    ]
    first = apply(mine, *told)
    before = only(mine)
    assert [answer.effect for answer in first] == [Effect.HELD, Effect.APPLIED, Effect.APPLIED, Effect.STALE]
    assert apply(mine, *told) == first
    assert only(mine) == before


def test_a_held_cancel_is_shown_nowhere_and_applied_when_its_booking_comes(
    tenants: tuple[str, str], said: Said
) -> None:
    mine, _ = tenants
    cancelled = said(Event.CANCELLED, minute=9)
    (held,) = apply(mine, cancelled)
    assert (held.effect, held.reservation_id) == (Effect.HELD, None)
    assert (queries.online(mine), queries.count_unhandled(mine), queries.count_held(mine)) == ([], 0, 1)
    assert sum(queries.count_by_state(mine).values()) == 0
    (applied,) = apply(mine, said(Event.BOOKED, minute=0, start=DINNER))
    assert (applied.effect, applied.released) == (Effect.APPLIED, (cancelled.arrival_id,))
    assert only(mine).row.state is ReservationState.CANCELLED
    (again,) = apply(mine, cancelled)
    assert (again.effect, again.reservation_id) == (Effect.APPLIED, applied.reservation_id)
    assert queries.count_held(mine) == 0


def test_held_and_released_within_one_batch(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    changed, booked = said(Event.CHANGED, minute=5, party_size=3), said(Event.BOOKED, party_size=2)
    answers = apply(mine, changed, booked)
    assert [answer.effect for answer in answers] == [Effect.HELD, Effect.APPLIED]
    assert answers[1].released == (changed.arrival_id,)
    assert only(mine).row.party_size == 3


def test_the_same_bytes_under_another_arrival_are_a_duplicate(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    booked = said(Event.BOOKED, start=DINNER)
    apply(mine, booked)
    before = only(mine).row
    (answer,) = apply(mine, replace(booked, arrival_id=new_id()))
    assert (answer.effect, answer.reservation_id) == (Effect.DUPLICATE, before.id)
    after = only(mine)
    assert after.row == before
    assert [entry.effect for entry in after.history] == [Effect.APPLIED, Effect.DUPLICATE]


def test_sites_do_not_share_references(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    apply(mine, said(Event.BOOKED, "1"), said(Event.CANCELLED, "1", minute=5, site="gnavi"))
    assert only(mine).row.state is ReservationState.BOOKED


def test_any_order_and_any_batches_make_the_same_book(tenants: tuple[str, str], said: Said) -> None:
    mine, other = tenants
    events = [Event.BOOKED, Event.CHANGED, Event.CANCELLED, Event.REQUESTED, Event.CHANGED, Event.BOOKED]
    told = [
        said(event, f"R{number % 17}", minute=number, party_size=1 + number % 5, start=DINNER + timedelta(hours=number))
        for number, event in enumerate(events * 15)
    ]
    apply(mine, *told)
    chance = random.Random(7)
    again = [replace(notification, arrival_id=new_id()) for notification in told]
    again += [replace(notification, arrival_id=new_id()) for notification in told[:20]]
    chance.shuffle(again)
    while again:
        size = chance.randrange(1, 30)
        apply(other, *again[:size])
        del again[:size]
    assert book(other) == book(mine)
    assert len(book(mine)) == 17


def test_one_impossible_notification_leaves_the_whole_batch_unapplied(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    with pytest.raises(ImpossibleFacts):
        apply(mine, said(Event.BOOKED, "good"), said(Event.BOOKED, "bad", party_size=10**12))
    assert queries.online(mine) == []


def test_texts_keep_their_characters_and_lose_their_nul(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    apply(mine, said(Event.BOOKED, name="髙\x00﨑", course="①㈱", requests="\x00", kana="タカ\x00サキ"))
    row = only(mine).row
    assert (row.guest_name, row.course, row.requests, row.guest_kana) == ("髙﨑", "①㈱", None, "タカサキ")


def test_handled_belongs_to_a_version(tenants: tuple[str, str], said: Said, clock: VirtualClock) -> None:
    mine, other = tenants
    apply(mine, said(Event.BOOKED, party_size=2))
    row = only(mine).row
    assert not services.mark_handled(other, row.id, by="b@example.com", clock=clock)
    assert not services.mark_handled(mine, row.id, by="b@example.com", clock=clock, version=row.version + 1)
    assert services.mark_handled(mine, row.id, by="a@example.com", clock=clock, version=row.version)
    assert not services.mark_handled(mine, row.id, by="b@example.com", clock=clock)
    handled = only(mine).row
    assert (handled.handled_by, handled.handled_at_utc, handled.version) == ("a@example.com", clock.now_utc(), 1)
    assert queries.count_unhandled(mine) == 0
    apply(mine, said(Event.CHANGED, minute=5, party_size=2))
    moved = only(mine).row
    assert (moved.handled_at_utc, moved.handled_by, moved.version) == (None, "", 2)


def test_a_late_mail_that_alters_only_what_stood_before_needs_no_second_look(
    tenants: tuple[str, str], said: Said, clock: VirtualClock
) -> None:
    mine, _ = tenants
    apply(mine, said(Event.BOOKED, party_size=2), said(Event.CHANGED, minute=9, party_size=4))
    row = only(mine).row
    services.mark_handled(mine, row.id, by="a@example.com", clock=clock)
    assert apply(mine, said(Event.CHANGED, minute=5, party_size=3))[0].effect is Effect.STALE
    after = only(mine).row
    assert (after.party_size, after.previous_party_size, after.version) == (4, 3, row.version + 1)
    assert after.handled_at_utc is not None


def test_tenants_never_see_each_other(tenants: tuple[str, str], said: Said) -> None:
    mine, other = tenants
    booked = said(Event.BOOKED, "R1", start=DINNER, name="髙橋", phone="+819000000001", email="a@example.com")
    apply(mine, booked)
    row = only(mine).row
    assert queries.online(other) == []
    assert queries.search(other, "髙橋") == []
    assert queries.upcoming(other, day=DINNER.date(), time_zone="Asia/Tokyo") == []
    assert queries.count_unhandled(other) == queries.count_held(other) == 0
    assert sum(queries.count_by_state(other).values()) == 0
    assert queries.visit_facts(other, [row.id]) == []
    with pytest.raises(ReservationMissing):
        queries.get(other, row.id)
    (answer,) = apply(other, said(Event.CANCELLED, "R1", minute=5))
    assert answer.effect is Effect.HELD
    assert only(mine).row.state is ReservationState.BOOKED


@pytest.mark.parametrize("size", [1, 200])
def test_the_number_of_statements_does_not_depend_on_the_batch(tenants: tuple[str, str], said: Said, size: int) -> None:
    mine, _ = tenants
    apply(mine, *(said(Event.CANCELLED, f"R{number}", minute=5) for number in range(size)))
    batch = [said(Event.BOOKED, f"R{number}") for number in range(size)]
    with CaptureQueriesContext(connection) as captured:
        apply(mine, *batch)
    transaction_words = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    statements = [query["sql"] for query in captured if not query["sql"].startswith(transaction_words)]
    assert len(statements) == 7  # shops, present, lock, facts, insert, release, update
    with CaptureQueriesContext(connection) as captured:
        apply(mine, *(said(Event.BOOKED, f"N{number}") for number in range(size)))
    statements = [query["sql"] for query in captured if not query["sql"].startswith(transaction_words)]
    assert len(statements) == 5  # shops, present, known arrivals, insert, insert facts


def test_who_is_not_first_with_a_new_reservation_reads_what_the_first_one_wrote(
    tenants: tuple[str, str], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = tenants
    told = [said(Event.BOOKED, "R1"), said(Event.CANCELLED, "R1", minute=5), said(Event.BOOKED, "R2")]
    look = store.present
    answers: list[Applied] = []

    def first() -> None:
        try:
            answers.extend(apply(mine, told[0]))
        finally:
            connections.close_all()

    def overtaken(project_id: str, keys: Iterable[store.Key]) -> set[store.Key]:
        monkeypatch.setattr(store, "present", look)
        found = look(project_id, list(keys))
        other = threading.Thread(target=first)
        other.start()
        other.join()
        return found

    monkeypatch.setattr(store, "present", overtaken)
    mine_answers = apply(mine, *told)
    assert [one.effect for one in answers] == [Effect.APPLIED]
    assert [one.effect for one in mine_answers] == [Effect.APPLIED] * 3
    assert mine_answers[0] == answers[0]
    assert {row.reference: (row.state, row.version) for row in queries.online(mine)} == {
        "R1": (ReservationState.CANCELLED, 2),
        "R2": (ReservationState.BOOKED, 1),
    }
    assert {len(queries.get(mine, row.id).history) for row in queries.online(mine)} == {1, 2}


def test_two_readers_at_once_on_the_same_reservations(tenants: tuple[str, str], said: Said) -> None:
    """Batches overlap in keys and come in opposite orders: no deadlock, nothing doubled, nothing lost."""
    mine, _ = tenants
    told = [
        said(event, f"R{number}", minute=minute, party_size=minute + 1)
        for number in range(40)
        for minute, event in enumerate([Event.BOOKED, Event.CHANGED, Event.CHANGED, Event.CANCELLED])
    ]
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def read(seed: int) -> None:
        chance = random.Random(seed)
        mails = list(told)
        chance.shuffle(mails)
        start.wait()
        try:
            while mails:
                apply(mine, *mails[:20])
                del mails[:20]
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)
        finally:
            connections.close_all()

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert failures == []
    rows = queries.online(mine, limit=1000)
    assert len(rows) == 40
    assert {(row.state, row.party_size) for row in rows} == {(ReservationState.CANCELLED, 4)}
    assert {len(queries.get(mine, row.id).history) for row in rows} == {4}
