"""Correcting what one mail had said: the book is then what it would be had the mail been read so from the start."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from todoku.extraction.types import Event
from todoku.kernel.clock import VirtualClock
from todoku.kernel.ids import new_id
from todoku.reservations import queries, services
from todoku.reservations.errors import ImpossibleFacts
from todoku.reservations.types import Effect, Notification, ReservationState

from .test_applying import apply, book, only

Said = Callable[..., Notification]
DINNER = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


def read_as(notification: Notification, **facts: object) -> Notification:
    return replace(notification, facts=msgspec.structs.replace(notification.facts, **facts))


def test_a_value_that_was_misread_is_put_right_and_waits_for_a_person(
    tenants: tuple[str, str], said: Said, clock: VirtualClock
) -> None:
    mine, _ = tenants
    booked = said(Event.BOOKED, start=DINNER, party_size=20)
    changed = said(Event.CHANGED, minute=5, start=DINNER + timedelta(hours=1))
    apply(mine, booked, changed)
    services.mark_handled(mine, only(mine).row.id, by="owner@shop.example", clock=clock)
    corrected = services.correct(mine, booked.arrival_id, read_as(booked, party_size=2))
    row = only(mine).row
    assert corrected is not None
    assert (corrected.shown, corrected.hidden) == ((row.id,), ())
    assert {one.effect for one in corrected.settled.values()} == {Effect.APPLIED}
    assert (row.party_size, row.start, row.handled_at_utc) == (2, DINNER + timedelta(hours=1), None)
    version = row.version
    assert services.correct(mine, booked.arrival_id, read_as(booked, party_size=2)) is not None
    assert only(mine).row.version == version, "the same again changes nothing"


def test_a_reference_that_was_misread_moves_the_mail_to_its_reservation(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    booked, other = said(Event.BOOKED, "right", start=DINNER), said(Event.BOOKED, "other", start=DINNER)
    cancelled = said(Event.CANCELLED, "other", minute=9)
    apply(mine, booked, other, cancelled)
    services.correct(mine, cancelled.arrival_id, read_as(cancelled, reference="right"))
    assert {row.reference: row.state for row in queries.online(mine)} == {
        "right": ReservationState.CANCELLED,
        "other": ReservationState.BOOKED,
    }


def test_what_says_nothing_any_more_leaves_no_reservation_behind(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    promotion = said(Event.BOOKED, start=DINNER)
    apply(mine, promotion)
    corrected = services.correct(mine, promotion.arrival_id, None)
    assert corrected is not None
    assert (corrected.shown, len(corrected.hidden), corrected.settled) == ((), 1, {})
    assert (queries.online(mine), queries.count_held(mine)) == ([], 0)
    assert services.correct(mine, promotion.arrival_id, None) is None, "nothing is known of it now"
    (again,) = apply(mine, said(Event.BOOKED, minute=3, start=DINNER))
    assert (again.effect, only(mine).row.state) == (Effect.APPLIED, ReservationState.BOOKED)


def test_a_cancel_is_held_again_when_its_booking_turns_out_to_be_none(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    booked, cancelled = said(Event.BOOKED, start=DINNER), said(Event.CANCELLED, minute=9)
    apply(mine, booked, cancelled)
    corrected = services.correct(mine, booked.arrival_id, None)
    assert corrected is not None
    settled = corrected.settled[cancelled.arrival_id]
    assert (settled.effect, settled.reservation_id) == (Effect.HELD, None)
    assert (queries.online(mine), queries.count_held(mine)) == ([], 1)


def test_a_mail_that_repeats_another_counts_when_the_other_says_something_else(
    tenants: tuple[str, str], said: Said
) -> None:
    mine, _ = tenants
    first = said(Event.BOOKED, start=DINNER)
    second = replace(said(Event.BOOKED, start=DINNER), arrival_id=new_id(), content_sha256="b" * 64)
    assert [one.effect for one in apply(mine, first, second)] == [Effect.APPLIED, Effect.DUPLICATE]
    corrected = services.correct(mine, first.arrival_id, read_as(first, reference="elsewhere"))
    assert corrected is not None
    assert corrected.settled[second.arrival_id].effect is Effect.APPLIED
    assert {row.reference for row in queries.online(mine)} == {first.facts.reference, "elsewhere"}


def test_what_can_not_be_is_refused_and_changes_nothing(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    booked = said(Event.BOOKED, start=DINNER, party_size=2)
    apply(mine, booked)
    with pytest.raises(ImpossibleFacts, match="party_size"):
        services.correct(mine, booked.arrival_id, read_as(booked, party_size=-1))
    assert only(mine).row.party_size == 2


def test_another_tenant_corrects_nothing(tenants: tuple[str, str], said: Said) -> None:
    mine, other = tenants
    booked = said(Event.BOOKED, start=DINNER)
    apply(mine, booked)
    assert services.correct(other, booked.arrival_id, None) is None
    assert only(mine).row.state is ReservationState.BOOKED


@pytest.mark.parametrize("seed", range(12))
def test_corrected_in_any_order_the_book_is_as_if_it_had_been_read_so_at_once(
    tenants: tuple[str, str], said: Said, seed: int
) -> None:
    mine, other = tenants
    chance = random.Random(seed)

    def reading(reference: str, minute: int) -> Notification:
        event = chance.choice([Event.BOOKED, Event.BOOKED, Event.CHANGED, Event.CANCELLED, Event.CHANGE_REQUESTED])
        return said(event, reference, minute=minute, start=DINNER, party_size=chance.choice([None, 2, 3]))

    told = [reading(chance.choice("AB"), chance.randrange(4)) for _ in range(12)]
    order = chance.sample(told, len(told))
    for place in range(0, len(order), 5):
        apply(mine, *order[place : place + 5])
    truth: dict[object, Notification | None] = {one.arrival_id: one for one in told}
    for one in chance.sample(told, 8):
        again = read_as(
            one,
            reference=chance.choice("ABC"),
            party_size=chance.choice([None, 4]),
            event=chance.choice([one.facts.event, Event.BOOKED, Event.CANCELLED]),
        )
        truth[one.arrival_id] = chance.choice([None, again, again])
        services.correct(mine, one.arrival_id, truth[one.arrival_id])
    right = [replace(one, arrival_id=new_id()) for one in truth.values() if one is not None]
    apply(other, *right)
    assert book(mine) == book(other)
    assert queries.count_held(mine) == queries.count_held(other)
