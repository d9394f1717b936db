"""schema.org markup: read when it is whole or can be mended without a guess, refused when not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from todoku.extraction.structured import BrokenMarkup, find_reservations
from todoku.extraction.types import Amount, Event, NoticeKind, Outcome, Reading

Read = Callable[..., Reading]
TYPES = ("FoodEstablishmentReservation",)


def markup(**more: Any) -> dict[str, Any]:
    return {
        "@context": "http://schema.org",
        "@type": "FoodEstablishmentReservation",
        "reservationNumber": "SE-1",
        "reservationStatus": "http://schema.org/ReservationConfirmed",
        "underName": {
            "@type": "Person",
            "name": "髙橋 一郎",
            "email": "taka@example.com",
            "telephone": "090-0000-1111",
        },
        "reservationFor": {"@type": "FoodEstablishment", "name": "Bistro Ato", "telephone": "03-0000-0000"},
        "startTime": "2026-11-30T18:30:00+09:00",
        "partySize": "2",
        **more,
    }


def page(source: str) -> str:
    return f'<html><head><script type="application/ld+json">{source}</script></head><body>x</body></html>'


def read_markup(read: Read, **more: Any) -> Reading:
    return read("x", html=page(json.dumps(markup(**more), ensure_ascii=False)), sender="bookings@seat.example")


def test_a_confirmed_reservation(read: Read) -> None:
    facts = read_markup(read).facts
    assert facts is not None
    assert (facts.event, facts.reference, facts.shop, facts.party_size) == (Event.BOOKED, "SE-1", "Bistro Ato", 2)
    assert facts.start == datetime(2026, 11, 30, 18, 30, tzinfo=timezone(timedelta(hours=9)))
    assert (facts.guest.name, facts.guest.phone, facts.guest.email) == (
        "髙橋 一郎",
        "+819000001111",
        "taka@example.com",
    )


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("http://schema.org/Confirmed", Event.BOOKED),
        ("https://schema.org/ReservationConfirmed", Event.BOOKED),
        ("ReservationConfirmed", Event.BOOKED),
        ("http://schema.org/Pending", Event.REQUESTED),
        ("http://schema.org/ReservationPending", Event.REQUESTED),
        ("http://schema.org/Hold", Event.TENTATIVE),
        ("http://schema.org/ReservationHold", Event.TENTATIVE),
        ("http://schema.org/Cancelled", Event.CANCELLED),
        ("http://schema.org/ReservationCancelled", Event.CANCELLED),
    ],
)
def test_status_words_old_and_new(read: Read, status: str, event: Event) -> None:
    facts = read_markup(read, reservationStatus=status).facts
    assert facts is not None
    assert facts.event is event


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reservationStatus": "http://schema.org/Eaten"}, "unknown_kind"),
        ({"reservationStatus": None}, "unknown_kind"),
        ({"reservationNumber": None}, "missing:reference"),
        ({"startTime": None}, "missing:start"),
        ({"startTime": "2026-11-30T18:30:00"}, "unreadable:start"),
        ({"startTime": "2026-02-30T18:30:00+09:00"}, "unreadable:start"),
        ({"startTime": "tomorrow"}, "unreadable:start"),
    ],
)
def test_a_key_that_is_missing_or_not_meant_is_unknown(read: Read, change: dict[str, Any], problem: str) -> None:
    reading = read_markup(read, **change)
    assert (reading.outcome, reading.site, reading.problem, reading.facts) == (
        Outcome.UNKNOWN_LAYOUT,
        "schema-org",
        problem,
        None,
    )


def test_a_cancellation_needs_no_time(read: Read) -> None:
    facts = read_markup(read, reservationStatus="Cancelled", startTime=None).facts
    assert facts is not None
    assert facts.start is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("2", 2),
        (2, 2),
        ("2名", 2),
        ({"@type": "QuantitativeValue", "value": 4}, 4),
        ("many", None),
        (True, None),
        (0, None),
        (-1, None),
    ],
)
def test_party_size_in_its_forms(read: Read, size: Any, expected: int | None) -> None:
    facts = read_markup(read, partySize=size).facts
    assert facts is not None
    assert facts.party_size == expected


@pytest.mark.parametrize(
    ("price", "currency", "expected"),
    [
        ("5000", "JPY", Amount(5000, "JPY")),
        ("12.50", "USD", Amount(1250, "USD")),
        ("12.345", "USD", None),
        ("x", "JPY", None),
        ("NaN", "JPY", None),
        ("1e400", "JPY", None),
    ],
)
def test_money(read: Read, price: str, currency: str, expected: Amount | None) -> None:
    facts = read_markup(read, totalPrice=price, priceCurrency=currency).facts
    assert facts is not None
    assert facts.amount == expected


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: f"<!--\n{text}\n-->",
        lambda text: f"<![CDATA[{text}]]>",
        lambda text: f"/*<![CDATA[*/{text}/*]]>*/",
        lambda text: text + ";",
        lambda text: text[:-1] + ",}",
        lambda text: f"[{text},]",
        lambda text: f"[{text},{text}]",
        lambda text: f"{text},{text}",
        lambda text: text.replace("髙橋 一郎", "髙橋\n一郎").replace("髙橋\n一郎", "髙橋 一郎"),
        lambda text: text.replace('"@context"', '"note": "two\nlines", "@context"'),
        lambda text: text.replace('"', "&quot;"),
        lambda text: json.dumps({"@graph": [{"@type": "Thing"}, json.loads(text)]}),
        lambda text: json.dumps(
            {**json.loads(text), "@type": ["Reservation", "http://schema.org/FoodEstablishmentReservation"]}
        ),
    ],
)
def test_what_can_be_mended_without_a_guess_is_mended(read: Read, mangle: Callable[[str], str]) -> None:
    source = mangle(json.dumps(markup(), ensure_ascii=False))
    facts = read("x", html=page(source), sender="bookings@seat.example").facts
    assert facts is not None
    assert (facts.reference, facts.guest.name) == ("SE-1", "髙橋 一郎")


@pytest.mark.parametrize(
    "source",
    [
        '{"@type": "FoodEstablishmentReservation", "reservationNumber" "1"}',
        '{"@type": "FoodEstablishmentReservation"',
        "FoodEstablishmentReservation",
    ],
)
def test_broken_markup_of_a_reservation_is_refused_clearly(read: Read, source: str) -> None:
    html = page(source).replace("<body>", "<body><!-- http://schema.org -->")
    with pytest.raises(BrokenMarkup):
        find_reservations(html, TYPES)
    reading = read("x", html=html, sender="bookings@seat.example")
    assert (reading.outcome, reading.site, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "schema-org", "broken_markup")


def test_two_different_reservations_in_one_mail_are_ambiguous(read: Read) -> None:
    both = json.dumps([markup(), markup(reservationNumber="SE-2")])
    reading = read("x", html=page(both), sender="bookings@seat.example")
    assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "ambiguous:reference")


@pytest.mark.parametrize("kind", ["LodgingReservation", "EventReservation", "FlightReservation"])
def test_other_reservations_are_not_ours(read: Read, kind: str) -> None:
    reading = read_markup(read, **{"@type": kind})
    assert (reading.outcome, reading.notice, reading.site) == (Outcome.NOT_A_RESERVATION, NoticeKind.OTHER, None)


def test_markup_deeper_than_any_stack_is_no_crash(read: Read) -> None:
    deep = '{"@context": "http://schema.org", "a": ' * 5_000 + "1" + "}" * 5_000
    assert read("x", html=page(deep), sender="a@seat.example").outcome is Outcome.NOT_A_RESERVATION
    nested = '<div itemscope itemtype="http://schema.org/FoodEstablishmentReservation">' + "<div>" * 20_000
    assert read("x", html=nested, sender="a@seat.example").problem == "unknown_kind"


def test_a_site_with_its_own_definition_goes_before_markup(read: Read) -> None:
    reading = read("x", html=page(json.dumps(markup())), sender="info@mail.tabelog.com")
    assert (reading.site, reading.outcome) == ("tabelog", Outcome.UNKNOWN_LAYOUT)
