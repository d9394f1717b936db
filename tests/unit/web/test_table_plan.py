"""The plan of an evening: every lane is full from the first hour to the last, and nobody hides behind another."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.reservations.test_conflicts import booked

from todoku.web.table_plan import SLOT, make_plan

TOKYO = ZoneInfo("Asia/Tokyo")
DAY = date(2026, 11, 28)
SIX = datetime(2026, 11, 28, 18, 0, tzinfo=TOKYO)


def test_nobody_comes() -> None:
    assert make_plan([], DAY, TOKYO) is None
    assert make_plan([booked(start=None)], DAY, TOKYO) is None


def test_tables_are_lanes_and_half_hours_are_columns() -> None:
    rows = [
        booked(start=SIX + timedelta(minutes=15), seat="A10", party_size=4),
        booked(start=SIX + timedelta(hours=2, minutes=30), seat="A2", party_size=2),
        booked(start=SIX, seat="カウンター", party_size=1),
        booked(start=SIX, party_size=3),
    ]
    plan = make_plan(rows, DAY, TOKYO)
    assert plan is not None
    assert [hour.hour for hour in plan.hours] == [18, 19, 20, 21, 22]
    assert [lane.name for lane in plan.lanes] == ["A2", "A10", "カウンター", ""]
    assert [(cell.columns, cell.row is not None) for cell in plan.lanes[1].cells] == [(5, True), *[(1, False)] * 5]
    assert plan.people == [8, 8, 8, 8, 4, 2, 2, 2, 2, 0]
    assert plan.most_people == 8


def test_two_at_one_table_stand_one_below_the_other() -> None:
    plan = make_plan([booked(start=SIX, seat="A1"), booked(start=SIX + timedelta(hours=1), seat="A1")], DAY, TOKYO)
    assert plan is not None
    assert [(lane.name, lane.again) for lane in plan.lanes] == [("A1", False), ("A1", True)]


def test_who_stays_beyond_midnight_is_on_the_plan_of_the_evening() -> None:
    late = booked(start=SIX + timedelta(hours=5), end=SIX + timedelta(hours=8), seat="A1")
    plan = make_plan([late], DAY, TOKYO)
    assert plan is not None
    assert [hour.hour for hour in plan.hours] == [23, 0, 1]


@given(
    st.lists(
        st.tuples(st.integers(0, 24 * 60 - 1), st.integers(1, 600), st.sampled_from(["A1", "A2", "A1、B", "席", None])),
        min_size=1,
        max_size=15,
    )
)
def test_every_lane_is_full_and_everybody_is_on_it(told: list[tuple[int, int, str | None]]) -> None:
    midnight = datetime(2026, 11, 28, tzinfo=TOKYO)
    rows = [
        booked(
            start=midnight + timedelta(minutes=begin),
            end=midnight + timedelta(minutes=begin + stay),
            seat=seat,
            party_size=1,
        )
        for begin, stay, seat in told
    ]
    plan = make_plan(rows, DAY, TOKYO)
    assert plan is not None
    width = 2 * len(plan.hours)
    assert {sum(cell.columns for cell in lane.cells) for lane in plan.lanes} == {width}
    shown = {cell.row.id for lane in plan.lanes for cell in lane.cells if cell.row is not None}
    assert shown == {row.id for row in rows}
    assert len(plan.people) == width
    assert timedelta(minutes=30) == SLOT
