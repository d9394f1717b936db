"""What the book can't hold is taken out of texts, or refused by name."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.extraction.types import Amount, Event, Facts, GuestFacts, Previous
from todoku.reservations.cleaning import clean_notification, decode_facts, encode_facts
from todoku.reservations.errors import ImpossibleFacts
from todoku.reservations.types import Notification

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
JST = timezone(timedelta(hours=9))
PLAIN = Notification(
    arrival_id=uuid.UUID(int=1),
    site="gnavi",
    facts=Facts(event=Event.BOOKED, reference="PL1", start=NOON.astimezone(JST), guest=GuestFacts(name="髙橋")),
    issued_at_utc=NOON,
    received_at_utc=NOON,
    content_sha256="a" * 64,
)


def with_facts(**facts: object) -> Notification:
    return replace(PLAIN, facts=msgspec.structs.replace(PLAIN.facts, **facts))


def test_ordinary_facts_pass_untouched() -> None:
    assert clean_notification(PLAIN) is PLAIN


def test_nul_and_lone_surrogates_leave_the_text_and_nothing_else() -> None:
    cleaned = clean_notification(
        with_facts(guest=GuestFacts(name="髙\x00橋\ud83d 花子"), requests="\x00", reference="P\x00L2", course="①")
    )
    assert cleaned.facts.guest.name == "髙橋 花子"
    assert cleaned.facts.requests is None
    assert (cleaned.facts.reference, cleaned.facts.course) == ("PL2", "①")


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"reference": ""}, "reference"),
        ({"reference": "\x00"}, "reference"),
        ({"reference": "9" * 201}, "reference"),
        ({"start": datetime(1, 1, 1, tzinfo=JST)}, "start"),
        ({"end": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9)))}, "end"),
        ({"start": datetime(2026, 11, 21)}, "start"),  # noqa: DTZ001 - the case under test
        ({"party_size": -1}, "party_size"),
        ({"party_size": 10**30}, "party_size"),
        ({"previous": Previous(party_size=10**9)}, "party_size"),
        ({"previous": Previous(start=datetime(1, 1, 1, tzinfo=JST))}, "previous"),
        ({"amount": Amount(10**16, "JPY")}, "amount"),
        ({"amount": Amount(1, "YENS")}, "amount"),
    ],
)
def test_what_no_reservation_can_have_is_refused_by_name(facts: dict[str, object], field: str) -> None:
    with pytest.raises(ImpossibleFacts) as refused:
        clean_notification(with_facts(**facts))
    assert refused.value.field == field
    assert not refused.value.transient


@settings(max_examples=100, deadline=None)
@given(st.text(), st.integers(0, 100_000), st.datetimes(datetime(1971, 1, 2), datetime(2199, 1, 1)))  # noqa: DTZ001
def test_facts_come_back_from_json_as_they_went(text: str, party: int, moment: datetime) -> None:
    facts = clean_notification(
        with_facts(requests=text, party_size=party, start=moment.replace(tzinfo=JST), amount=Amount(party, "JPY"))
    ).facts
    assert decode_facts(encode_facts(facts)) == facts
