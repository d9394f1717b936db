"""The fold depends on what was said, not on when or how often it came."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.extraction.types import Amount, Event, Facts, GuestFacts, Previous
from todoku.reservations.fold import Values, admit, fold, in_site_order
from todoku.reservations.types import Effect, Notification, ReservationState

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
DINNER = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


def said(event: Event, minute: int = 0, **facts: object) -> Notification:
    name = facts.pop("name", None)
    phone = facts.pop("phone", None)
    body = Facts(event=event, reference="net:70000001", guest=GuestFacts(name=name, phone=phone), **facts)  # type: ignore[arg-type]
    return Notification(
        arrival_id=uuid.uuid4(),
        site="tabelog",
        facts=body,
        issued_at_utc=NOON + timedelta(minutes=minute),
        received_at_utc=NOON + timedelta(minutes=minute, seconds=20),
        content_sha256=uuid.uuid4().hex * 2,
    )


moments = st.sampled_from([None, DINNER, DINNER + timedelta(hours=1), DINNER + timedelta(days=1)])
notifications = st.builds(
    Notification,
    arrival_id=st.uuids(),
    site=st.just("tabelog"),
    facts=st.builds(
        Facts,
        event=st.sampled_from(list(Event)),
        reference=st.just("net:70000001"),
        shop=st.sampled_from([None, "届屋 銀座本店", "届屋 新宿店"]),
        start=moments,
        end=moments,
        party_size=st.sampled_from([None, 2, 3, 4]),
        guest=st.builds(
            GuestFacts,
            name=st.sampled_from([None, "髙橋", "山﨑 花子"]),
            phone=st.sampled_from([None, "+819000000001", "+819000000002"]),
        ),
        course=st.sampled_from([None, "お席のみ", "①コース"]),
        amount=st.sampled_from([None, Amount(5000, "JPY"), Amount(7000, "JPY")]),
        cancel_reason=st.sampled_from([None, "体調不良"]),
        previous=st.sampled_from([None, Previous(DINNER, 2)]),
    ),
    # few moments and few hashes, so that ties and repetitions are common
    issued_at_utc=st.integers(0, 4).map(lambda minute: NOON + timedelta(minutes=minute)),
    received_at_utc=st.integers(0, 4).map(lambda minute: NOON + timedelta(minutes=minute, seconds=20)),
    content_sha256=st.integers(0, 9).map(lambda number: f"{number:064d}"),
    shop_code=st.sampled_from([None, "ginza", "shinjuku"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(notifications, max_size=8), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_give_the_same_book(told: list[Notification], chance: random.Random) -> None:
    again = told + [chance.choice(told) for _ in range(chance.randrange(4))] if told else []
    chance.shuffle(again)
    assert fold(again) == fold(told)


@settings(max_examples=200, deadline=None)
@given(st.lists(notifications, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_same_mails_are_held_or_shown_in_any_order(told: list[Notification], chance: random.Random) -> None:
    """Admission one by one ends where the fold of everything ends: nothing stays held beside a booking."""
    chance.shuffle(told)
    counting: list[Notification] = []
    held: set[uuid.UUID] = set()
    for arriving in told:
        admission = admit(counting, arriving)
        if admission.effect is Effect.DUPLICATE:
            continue
        if admission.effect is Effect.HELD:
            held.add(arriving.arrival_id)
        held -= set(admission.released)
        counting.append(arriving)
    assert bool(held) == (fold(counting).state is None)


def test_a_booking_is_shown_as_it_was_said() -> None:
    folded = fold([said(Event.BOOKED, start=DINNER, party_size=2, name="髙橋", amount=Amount(5000, "JPY"))])
    assert folded.state is ReservationState.BOOKED
    assert folded.values == Values(start=DINNER, party_size=2, guest_name="髙橋", amount_minor=5000, currency="JPY")
    assert folded.changed == ()


def test_a_change_keeps_what_it_does_not_state_and_names_what_it_alters() -> None:
    folded = fold(
        [
            said(Event.BOOKED, start=DINNER, party_size=2, course="鍋コース", name="髙橋"),
            said(Event.CHANGED, 5, party_size=3, previous=Previous(party_size=2)),
        ]
    )
    assert (folded.values.party_size, folded.values.course, folded.values.guest_name) == (3, "鍋コース", "髙橋")
    assert (folded.changed, folded.previous_party_size, folded.previous_start) == (("party_size",), 2, None)


def test_a_new_start_without_an_end_drops_the_old_end() -> None:
    booked = said(Event.BOOKED, start=DINNER, end=DINNER + timedelta(hours=2))
    moved = fold([booked, said(Event.CHANGED, 5, start=DINNER + timedelta(days=1))])
    same = fold([booked, said(Event.CHANGED, 5, start=DINNER, party_size=3)])
    assert (moved.values.end, moved.previous_start) == (None, DINNER)
    assert same.values.end == DINNER + timedelta(hours=2)


def test_an_older_mail_fills_gaps_and_alters_no_newer_value() -> None:
    folded = fold(
        [
            said(Event.BOOKED, start=DINNER, party_size=2),
            said(Event.CHANGED, 10, party_size=4),
            said(Event.CHANGED, 5, party_size=3, seat="個室"),
        ]
    )
    assert (folded.values.party_size, folded.values.seat) == (4, "個室")


def test_a_booking_after_a_cancel_opens_again_with_its_own_values() -> None:
    folded = fold(
        [
            said(Event.BOOKED, 0, start=DINNER, party_size=2, course="鍋コース", phone="+819000000001"),
            said(Event.CANCELLED, 5, cancel_reason="日程変更"),
            said(Event.BOOKED, 9, start=DINNER + timedelta(days=1), party_size=5),
        ]
    )
    assert folded.state is ReservationState.BOOKED
    assert folded.values.course is None
    assert folded.values.cancel_reason is None
    assert folded.values.guest_phone == "+819000000001"
    assert folded.changed == ()


@pytest.mark.parametrize("event", [Event.CHANGED, Event.CHANGE_REQUESTED, Event.CANCELLED, Event.DECLINED])
def test_nothing_is_shown_until_something_opens_it(event: Event) -> None:
    assert fold([said(event, 5, party_size=2)]).state is None


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (Event.REQUESTED, ReservationState.REQUESTED),
        (Event.TENTATIVE, ReservationState.TENTATIVE),
        (Event.BOOKED, ReservationState.BOOKED),
    ],
)
def test_what_opens_a_reservation(event: Event, state: ReservationState) -> None:
    assert fold([said(event)]).state is state


def test_a_request_becomes_a_booking_and_a_decline_ends_it() -> None:
    request = said(Event.REQUESTED, start=DINNER)
    assert fold([request, said(Event.BOOKED, 3)]).state is ReservationState.BOOKED
    assert fold([request, said(Event.DECLINED, 3)]).state is ReservationState.DECLINED


def test_a_change_request_flags_what_is_wished_and_keeps_what_is_agreed() -> None:
    folded = fold([said(Event.BOOKED, start=DINNER, party_size=2), said(Event.CHANGE_REQUESTED, 5, party_size=6)])
    assert (folded.state, folded.values.party_size) == (ReservationState.BOOKED, 2)
    assert folded.changed == ("party_size",)
    assert folded.newest is not None
    assert folded.newest.facts.event is Event.CHANGE_REQUESTED


def test_within_one_second_the_cancel_comes_after_the_booking() -> None:
    assert fold([said(Event.CANCELLED), said(Event.BOOKED)]).state is ReservationState.CANCELLED


def test_two_mails_about_one_event_are_one() -> None:
    first = said(Event.BOOKED, start=DINNER)
    second = replace(first, arrival_id=uuid.uuid4(), content_sha256="f" * 64)
    assert len(in_site_order([first, second])) == 1
    assert admit([first], second).effect is Effect.DUPLICATE


def test_effects_of_arriving_late() -> None:
    booked, changed = said(Event.BOOKED), said(Event.CHANGED, 10, party_size=4)
    late = said(Event.CHANGED, 5, party_size=3)
    assert admit([booked, changed], late).effect is Effect.STALE
    assert admit([booked], changed).effect is Effect.APPLIED
    assert admit([], changed).effect is Effect.HELD
    assert set(admit([changed, late], booked).released) == {changed.arrival_id, late.arrival_id}


def test_it_is_shown_since_both_the_booking_and_the_newest_event_were_here() -> None:
    cancel = replace(said(Event.CANCELLED, 5), received_at_utc=NOON + timedelta(minutes=6))
    booking = replace(said(Event.BOOKED, 0), received_at_utc=NOON + timedelta(minutes=30))
    assert fold([cancel, booking]).shown_since == NOON + timedelta(minutes=30)
    assert fold([cancel]).shown_since is None
