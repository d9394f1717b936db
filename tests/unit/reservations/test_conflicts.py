"""What does not fit together is named; what may stand side by side is not."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.extraction.types import Event
from todoku.reservations.conflicts import Clash, conflicts, stay_of, tables_of
from todoku.reservations.types import ReservationRow, ReservationState

DINNER = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
EMPTY: dict[str, Any] = {
    **dict.fromkeys(
        (
            *("end", "party_size", "guest_name", "guest_kana", "guest_phone", "guest_email", "course", "seat"),
            *("requests", "amount_minor", "currency", "cancel_reason", "link", "previous_start"),
            *("previous_party_size", "handled_at_utc"),
        )
    ),
    "changed": (),
    "handled_by": "",
    "version": 1,
    "shop_code": "ginza",
    "shop_name": "届屋 銀座本店",
    "state": ReservationState.BOOKED,
    "site": "tabelog",
}


def booked(minutes: int = 0, **values: Any) -> ReservationRow:
    return ReservationRow(
        id=uuid.uuid4(),
        project_id="p",
        reference=uuid.uuid4().hex,
        last_event=Event.BOOKED,
        last_arrival_id=uuid.uuid4(),
        last_arrived_at_utc=DINNER,
        **{**EMPTY, "start": DINNER + timedelta(minutes=minutes), **values},
    )


@pytest.mark.parametrize(
    ("seat", "names"),
    [
        ("テーブルA (テーブル席)[禁煙]、個室1 (個室)[禁煙]", ("テーブルA", "個室1")),
        ("Ｃ１（カウンター）", ("C1",)),
        ("12番", ("12番",)),
        ("A-3\n禁煙", ("A-3",)),
        ("テーブル席（4名まで）", ()),
        ("カウンター", ()),
        ("掘りごたつ 4名", ()),
        ("BAR", ()),
        (None, ()),
    ],
)
def test_a_table_has_a_number_or_a_letter(seat: str | None, names: tuple[str, ...]) -> None:
    assert tables_of(seat) == names


def test_two_parties_at_one_table_are_named() -> None:
    first, second = booked(seat="A1 (テーブル)"), booked(60, seat="Ａ１、A2")
    (found,) = conflicts([second, first])
    assert (found.clash, found.tables, found.first, found.second) == (Clash.SAME_TABLE, ("A1",), first, second)


@pytest.mark.parametrize(
    "second",
    [
        booked(120, seat="A1"),  # the first has left: two hours when nothing is said
        booked(60, seat="A2"),
        booked(60, seat="A1", shop_code="yokohama"),
        booked(60, seat="A1", state=ReservationState.CANCELLED),
        booked(60, seat="カウンター"),
        booked(60, seat="A1", start=None),
    ],
)
def test_what_may_stand_side_by_side(second: ReservationRow) -> None:
    assert conflicts([booked(seat="A1"), second]) == []


def test_the_end_that_a_site_states_counts() -> None:
    long = booked(seat="A1", end=DINNER + timedelta(hours=4))
    assert [one.clash for one in conflicts([long, booked(180, seat="A1")])] == [Clash.SAME_TABLE]
    assert stay_of(booked(end=DINNER - timedelta(hours=1))) == (DINNER, DINNER + timedelta(hours=2))


@pytest.mark.parametrize(
    ("one", "other", "doubled"),
    [
        ({"guest_phone": "+819000000001"}, {"guest_phone": "+819000000001", "site": "gnavi"}, True),
        ({"guest_email": "A@example.com"}, {"guest_email": "a@example.com"}, True),
        ({"guest_name": "髙橋 花子"}, {"guest_name": "髙橋花子"}, True),
        ({"guest_name": "髙橋"}, {"guest_name": "髙橋", "start": DINNER + timedelta(minutes=30)}, False),
        ({"guest_phone": "+819000000001"}, {"guest_phone": "+819000000002"}, False),
        ({"guest_phone": "+819000000001"}, {"guest_phone": "+819000000001", "shop_code": "yokohama"}, False),
    ],
)
def test_one_guest_booked_twice_is_named_once(one: dict[str, Any], other: dict[str, Any], doubled: bool) -> None:
    found = conflicts([booked(**one), booked(**other)])
    assert [conflict.clash for conflict in found] == ([Clash.SAME_GUEST] if doubled else [])


@given(st.lists(st.tuples(st.integers(0, 600), st.sampled_from(["A1", "A2", "A1、A2", "席", None])), max_size=12))
def test_each_pair_is_named_once_a_table_whatever_the_order(told: list[tuple[int, str | None]]) -> None:
    rows = [booked(minutes, seat=seat) for minutes, seat in told]
    found = {(one.clash, one.tables, one.first.id, one.second.id) for one in conflicts(rows)}
    assert len(found) == len(conflicts(rows))
    assert {(one.clash, one.tables, one.first.id, one.second.id) for one in conflicts(reversed(rows))} == found
