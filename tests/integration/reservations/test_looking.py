"""What pages read from the book."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from todoku.extraction.types import Event
from todoku.kernel.clock import VirtualClock
from todoku.reservations import queries, services
from todoku.reservations.types import Notification, ReservationRow, ReservationState

Said = Callable[..., Notification]
DINNER = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


def references(rows: list[ReservationRow]) -> list[str]:
    return [row.reference for row in rows]


def test_online_shows_unhandled_first_then_newest(tenants: tuple[str, str], said: Said, clock: VirtualClock) -> None:
    mine, _ = tenants
    services.apply_many(mine, [said(Event.BOOKED, f"R{number}", minute=number) for number in range(4)])
    newest = queries.online(mine)[0]
    assert references(queries.online(mine)) == ["R3", "R2", "R1", "R0"]
    services.mark_handled(mine, newest.id, by="a@example.com", clock=clock)
    assert references(queries.online(mine)) == ["R2", "R1", "R0", "R3"]
    assert references(queries.online(mine, unhandled_only=True)) == ["R2", "R1", "R0"]
    assert references(queries.online(mine, limit=1)) == ["R2"]


def test_online_by_shop_and_site(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    told = [said(Event.BOOKED, "A", shop="届屋銀座本店"), said(Event.BOOKED, "B", site="gnavi", shop="知らない店")]
    services.apply_many(mine, told)
    assert references(queries.online(mine, shop_code="ginza")) == ["A"]
    (unknown,) = queries.online(mine, site="gnavi")
    assert (unknown.reference, unknown.shop_code, unknown.shop_name) == ("B", None, "知らない店")


def test_upcoming_is_a_calendar_day_of_the_zone(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    midnight = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)  # 00:00 on the 28th in Tokyo
    services.apply_many(
        mine,
        [
            said(Event.BOOKED, "before", start=midnight - timedelta(seconds=1)),
            said(Event.REQUESTED, "late", start=midnight + timedelta(hours=20)),
            said(Event.BOOKED, "first", start=midnight),
            said(Event.BOOKED, "after", start=midnight + timedelta(days=1)),
            said(Event.BOOKED, "gone", start=midnight + timedelta(hours=1)),
            said(Event.CANCELLED, "gone", minute=5),
        ],
    )
    assert references(queries.upcoming(mine, day=date(2026, 11, 28), time_zone="Asia/Tokyo")) == ["first", "late"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("net:7", ["net:70000001"]),
        ("髙橋", ["net:70000001"]),
        ("タカハシ", ["net:70000001"]),
        ("ﾀｶﾊｼ", ["net:70000001"]),  # half-width kana
        ("TARO@", ["net:70000001"]),
        ("090-0000-1234", ["net:70000001"]),
        ("０９０ ００００ １２３４", ["net:70000001"]),
        ("%", []),
        ("", []),
        ("\x00", []),
        ("高橋", []),  # another character: not the same name
    ],
)
def test_search(tenants: tuple[str, str], said: Said, text: str, found: list[str]) -> None:
    mine, _ = tenants
    guest = {"name": "髙橋 太郎", "kana": "タカハシ タロウ", "phone": "+819000001234", "email": "taro@example.com"}
    services.apply_many(mine, [said(Event.BOOKED, "net:70000001", **guest), said(Event.BOOKED, "PL2", name="佐々木")])
    assert references(queries.search(mine, text)) == found


def test_counts_name_every_state(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    told = [said(Event.BOOKED, "A"), said(Event.REQUESTED, "B"), said(Event.CANCELLED, "C")]
    services.apply_many(mine, told)
    assert queries.count_by_state(mine) == {
        ReservationState.BOOKED: 1,
        ReservationState.REQUESTED: 1,
        ReservationState.TENTATIVE: 0,
        ReservationState.CANCELLED: 0,
        ReservationState.DECLINED: 0,
    }
    assert (queries.count_unhandled(mine), queries.count_held(mine)) == (2, 1)


def test_visits_of_what_is_booked_and_of_what_is_cancelled(tenants: tuple[str, str], said: Said) -> None:
    mine, _ = tenants
    answers = services.apply_many(
        mine,
        [said(Event.BOOKED, "A", start=DINNER, phone="+819000000001"), said(Event.REQUESTED, "B", name="佐々木")],
    )
    services.apply_many(mine, [said(Event.DECLINED, "B", minute=5)])
    ids = [answer.reservation_id for answer in answers if answer.reservation_id is not None]
    visits = {visit.reference: visit for visit in queries.visit_facts(mine, ids)}
    assert (visits["A"].counts_as_visit, visits["A"].phone, visits["A"].start) == (True, "+819000000001", DINNER)
    assert (visits["B"].counts_as_visit, visits["B"].name) == (False, "佐々木")
