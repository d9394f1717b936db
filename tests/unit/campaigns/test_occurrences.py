"""When repeating campaigns leave: nothing lost, nothing doubled, whatever the clock of the zone does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from todoku.campaigns.occurrences import describe, first_dues, is_holiday, next_due, occurrences_between, wall_clock_utc
from todoku.campaigns.repeat_check import problems
from todoku.campaigns.types import HolidayRule, Repeat, RepeatKind

ZONES = ["Asia/Tokyo", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo"]
START = datetime(2026, 1, 1, tzinfo=UTC)
CRONS = ["30 2 * * *", "*/30 * * * *", "0 0-5 * * *", "15 1,2,3 * * 0", "0 9 1 * *", "0 12 * * MON-FRI", "0 0 31 * *"]


def daily(at: str = "10:00", zone: str = "Asia/Tokyo", **more: object) -> Repeat:
    hour, minute = at.split(":")
    return Repeat(RepeatKind.DAILY, int(hour) * 60 + int(minute), time_zone=zone, **more)  # type: ignore[arg-type]


def local(dues: list[datetime], zone: str = "Asia/Tokyo") -> list[str]:
    return [f"{due.astimezone(ZoneInfo(zone)):%m-%d %H:%M}" for due in dues]


@st.composite
def repeats(draw: st.DrawFn) -> Repeat:
    kind = draw(st.sampled_from(RepeatKind))
    return Repeat(
        kind,
        at_minute=None if kind is RepeatKind.CRON else draw(st.integers(0, 1439)),
        every=1 if kind is RepeatKind.CRON else draw(st.integers(1, 9)),
        weekdays=tuple(draw(st.sets(st.integers(0, 6), min_size=1))) if kind is RepeatKind.WEEKLY else (),
        month_day=draw(st.sampled_from([-1, 1, 15, 29, 30, 31])),
        cron=draw(st.sampled_from(CRONS)) if kind is RepeatKind.CRON else "",
        time_zone=draw(st.sampled_from(ZONES)),
        holidays=draw(st.sampled_from(HolidayRule)),
        starts_at_utc=START + timedelta(minutes=draw(st.integers(0, 100_000))),
    )


moments = st.integers(0, 200 * 1440).map(lambda minutes: START + timedelta(minutes=minutes))


@settings(max_examples=150, deadline=None)
@given(repeats(), moments, st.integers(1, 15))
def test_step_by_step_is_the_same_as_all_at_once(repeat: Repeat, after: datetime, days: int) -> None:
    until = after + timedelta(days=days)
    stepped: list[datetime] = []
    moment: datetime | None = after
    while moment is not None and (moment := next_due(repeat, moment)) is not None and moment <= until:
        stepped.append(moment)
    assert stepped == occurrences_between(repeat, after, until)
    assert stepped == sorted(set(stepped))
    assert all(due >= (repeat.starts_at_utc or START) for due in stepped)


@settings(max_examples=150, deadline=None)
@given(repeats(), moments, moments)
def test_where_one_begins_to_look_makes_no_difference(repeat: Repeat, one: datetime, other: datetime) -> None:
    early, late = min(one, other), max(one, other)
    end = late + timedelta(days=20)
    after_late = [due for due in occurrences_between(repeat, early, end) if due > late]
    assert after_late == occurrences_between(repeat, late, end)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1439), st.sampled_from(ZONES), st.integers(2026, 2031))
def test_a_daily_campaign_leaves_once_on_every_local_day_of_a_year(minute: int, zone: str, year: int) -> None:
    start = datetime(year, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    repeat = Repeat(RepeatKind.DAILY, minute, time_zone=zone, starts_at_utc=start)
    dues = occurrences_between(repeat, start - timedelta(seconds=1), start + timedelta(days=367))
    days = [due.astimezone(ZoneInfo(zone)).date() for due in dues if due.astimezone(ZoneInfo(zone)).year == year]
    whole_year = [
        date(year, 1, 1) + timedelta(days=number) for number in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
    ]
    assert days == whole_year


@settings(max_examples=80, deadline=None)
@given(repeats(), st.integers(1, 30), moments)
@example(Repeat(RepeatKind.CRON, None, cron="*/30 * * * *", starts_at_utc=START), 1, START)
def test_a_count_holds_from_wherever_one_looks(repeat: Repeat, count: int, after: datetime) -> None:
    from dataclasses import replace

    before = START - timedelta(minutes=1)  # a repetition may leave at the very moment at which it begins
    endless = first_dues(repeat, before, count)
    counted = replace(repeat, count=count)
    assert first_dues(counted, before, count + 5) == endless
    assert first_dues(counted, after, count + 5) == [due for due in endless if due > after]


@settings(max_examples=60, deadline=None)
@given(repeats(), st.integers(0, 90))
def test_nothing_leaves_after_the_last_day(repeat: Repeat, days: int) -> None:
    from dataclasses import replace

    until = START.date() + timedelta(days=days)
    zone = ZoneInfo(repeat.time_zone)
    ended = occurrences_between(replace(repeat, until=until), START, START + timedelta(days=120))
    free = occurrences_between(repeat, START, START + timedelta(days=120))
    assert ended == [due for due in free if (due - timedelta(hours=1)).astimezone(zone).date() <= until][: len(ended)]
    assert all((due - timedelta(hours=1)).astimezone(zone).date() <= until for due in ended)


@settings(max_examples=100, deadline=None)
@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.integers(0, 5000), st.sampled_from(ZONES))  # noqa: DTZ001
def test_a_later_wall_clock_time_is_never_an_earlier_moment(wall: datetime, minutes: int, zone: str) -> None:
    wall = wall.replace(microsecond=0)
    there = ZoneInfo(zone)
    earlier, later = wall_clock_utc(wall, there), wall_clock_utc(wall + timedelta(minutes=minutes), there)
    assert earlier <= later
    shown = earlier.astimezone(there).replace(tzinfo=None)
    assert shown >= wall
    assert shown == wall or (earlier - timedelta(seconds=1)).astimezone(there).replace(tzinfo=None) < wall


def test_an_hour_that_summer_time_skips_and_one_that_comes_twice() -> None:
    new_york = "America/New_York"
    spring = daily("02:30", new_york, starts_at_utc=datetime(2026, 3, 7, tzinfo=UTC))
    assert local(first_dues(spring, START, 3), new_york) == ["03-07 02:30", "03-08 03:00", "03-09 02:30"]
    autumn = daily("01:30", new_york, starts_at_utc=datetime(2026, 10, 31, 12, tzinfo=UTC))
    assert first_dues(autumn, START, 2) == [
        datetime(2026, 11, 1, 5, 30, tzinfo=UTC),
        datetime(2026, 11, 2, 6, 30, tzinfo=UTC),
    ]


def test_cron_minutes_that_fall_into_the_same_gap_leave_once() -> None:
    repeat = Repeat(RepeatKind.CRON, cron="0,30 2,3 * * *", time_zone="America/New_York")
    dues = occurrences_between(repeat, datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2026, 3, 8, 9, tzinfo=UTC))
    assert local(dues, "America/New_York") == ["03-08 03:00", "03-08 03:30"]


def test_a_31st_is_left_out_of_short_months_and_the_last_day_never() -> None:
    thirty_first = Repeat(RepeatKind.MONTHLY, 600, month_day=31)
    assert local(first_dues(thirty_first, START, 4)) == ["01-31 10:00", "03-31 10:00", "05-31 10:00", "07-31 10:00"]
    last = Repeat(RepeatKind.MONTHLY, 600, month_day=-1)
    assert local(first_dues(last, START, 4)) == ["01-31 10:00", "02-28 10:00", "03-31 10:00", "04-30 10:00"]


def test_every_second_week_counts_from_the_week_of_the_first() -> None:
    repeat = Repeat(RepeatKind.WEEKLY, 600, every=2, weekdays=(4, 0), starts_at_utc=datetime(2026, 1, 7, tzinfo=UTC))
    assert local(first_dues(repeat, START, 4)) == ["01-09 10:00", "01-19 10:00", "01-23 10:00", "02-02 10:00"]


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        (HolidayRule.SEND, ["05-02", "05-03", "05-04", "05-05", "05-06", "05-07"]),
        (HolidayRule.SKIP, ["05-02", "05-07"]),
        (HolidayRule.BEFORE, ["05-02", "05-07"]),
        (HolidayRule.AFTER, ["05-02", "05-07"]),
    ],
)
def test_golden_week_of_a_daily_campaign(rule: HolidayRule, days: list[str]) -> None:
    repeat = daily(starts_at_utc=datetime(2026, 5, 1, 3, tzinfo=UTC), holidays=rule)
    dues = occurrences_between(repeat, START, datetime(2026, 5, 7, 3, tzinfo=UTC))
    assert [day.split()[0] for day in local(dues)] == days


def test_a_monthly_campaign_moves_away_from_a_holiday() -> None:
    def third_of_may(rule: HolidayRule) -> list[str]:
        repeat = Repeat(RepeatKind.MONTHLY, 600, month_day=3, holidays=rule)
        return local(first_dues(repeat, datetime(2026, 4, 20, tzinfo=UTC), 2))

    assert third_of_may(HolidayRule.BEFORE) == ["05-02 10:00", "06-03 10:00"]
    assert third_of_may(HolidayRule.AFTER) == ["05-07 10:00", "06-03 10:00"]
    assert is_holiday(date(2026, 5, 6))  # a substitute
    assert not is_holiday(date(2200, 1, 1))  # nothing is known so far ahead


def codes(repeat: Repeat, begins: datetime = START) -> list[str]:
    found = problems(repeat, begins)
    assert all(one.message and one.message_ja for one in found)
    return [one.code for one in found]


@pytest.mark.parametrize(
    ("cron", "code"),
    [
        ("0 0 31 2 *", "cron_never"),
        ("0 0 30 2 *", "cron_never"),
        ("0 0 31 4,6,9,11 *", "cron_never"),
        ("* * * * *", "cron_too_often"),
        ("*/4 * * * *", "cron_too_often"),
        ("0,3 8 * * 1", "cron_too_often"),
        ("58,0 23,0 * * *", "cron_too_often"),
        ("0 9 * *", "cron_syntax"),
        ("0 0 9 * * *", "cron_syntax"),
        ("@daily", "cron_syntax"),
        ("61 9 * * *", "cron_syntax"),
        ("0 0 99 2 *", "cron_syntax"),
        ("0 0 x 2 *", "cron_syntax"),
        ("", "cron_syntax"),
        ("0 ９ * * *", "cron_syntax"),
    ],
)
def test_cron_text_that_is_refused(cron: str, code: str) -> None:
    assert codes(Repeat(RepeatKind.CRON, cron=cron)) == [code]


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 9 29 2 *", "0 9 L * *", "0 9 * * MON#1", "55 23 * * *"])
def test_cron_text_that_is_taken(cron: str) -> None:
    assert codes(Repeat(RepeatKind.CRON, cron=cron)) == []


@pytest.mark.parametrize(
    ("repeat", "code"),
    [
        (daily(count=0), "count"),
        (daily(count=-3), "count"),
        (daily(every=0), "every"),
        (daily(until=date(2025, 12, 31)), "ends_before_start"),
        (daily("09:00", until=date(2026, 1, 1), starts_at_utc=datetime(2026, 1, 1, 1, tzinfo=UTC)), "never_leaves"),
        (daily(zone="Asia/Edo"), "time_zone"),
        (Repeat(RepeatKind.DAILY), "at_minute"),
        (Repeat(RepeatKind.DAILY, 1440), "at_minute"),
        (Repeat(RepeatKind.WEEKLY, 600), "weekdays"),
        (Repeat(RepeatKind.WEEKLY, 600, weekdays=(7,)), "weekdays"),
        (Repeat(RepeatKind.MONTHLY, 600, month_day=32), "month_day"),
        (Repeat(RepeatKind.MONTHLY, 600, month_day=0), "month_day"),
        (Repeat(RepeatKind.CRON, cron="0 9 * * *", every=2), "every"),
    ],
)
def test_a_rule_that_is_refused(repeat: Repeat, code: str) -> None:
    assert codes(repeat) == [code]


def test_everything_wrong_is_said_at_once() -> None:
    assert codes(Repeat(RepeatKind.WEEKLY, every=0, count=0, time_zone="x")) == [
        "every",
        "count",
        "time_zone",
        "at_minute",
        "weekdays",
    ]


@pytest.mark.parametrize(
    ("repeat", "en", "ja"),
    [
        (daily(), "every day at 10:00 (Asia/Tokyo)", "毎日 10:00（Asia/Tokyo）"),
        (
            Repeat(RepeatKind.WEEKLY, 570, every=2, weekdays=(2, 0), count=3),
            "Monday and Wednesday of every 2 weeks at 09:30 (Asia/Tokyo), 3 times",
            "2週間ごとの月・水曜日 09:30（Asia/Tokyo）、3回まで",
        ),
        (
            Repeat(RepeatKind.MONTHLY, 600, month_day=31, holidays=HolidayRule.BEFORE),
            "day 31 of every month (months without a day 31 are left out) at 10:00 (Asia/Tokyo), "
            "on the day before when it is a Japanese holiday",
            "毎月31日（31日がない月は休み） 10:00（Asia/Tokyo）、祝日にあたるときは前の日",
        ),
        (
            Repeat(RepeatKind.MONTHLY, 600, month_day=-1, until=date(2026, 12, 31)),
            "the last day of every month at 10:00 (Asia/Tokyo), until 2026-12-31",
            "毎月末日 10:00（Asia/Tokyo）、2026年12月31日まで",
        ),
    ],
)
def test_a_rule_in_words(repeat: Repeat, en: str, ja: str) -> None:
    assert (describe(repeat, "en"), describe(repeat, "ja")) == (en, ja)


def test_cron_text_in_words() -> None:
    repeat = Repeat(RepeatKind.CRON, cron="0 9 * * 1")
    assert describe(repeat, "en") == "At 09:00 on Monday (cron 0 9 * * 1) (Asia/Tokyo)"
    assert describe(repeat, "ja") == "cron「0 9 * * 1」（Asia/Tokyo）"


def test_a_row_of_holidays_moves_onto_a_day_from_wherever_one_looks() -> None:
    """Sunday 3 May to Wednesday 6 May 2026 are holidays: the Sunday's occurrence leaves on Thursday."""
    repeat = Repeat(RepeatKind.CRON, cron="0 8 * * SUN", holidays=HolidayRule.AFTER, starts_at_utc=START)
    thursday = datetime(2026, 5, 6, 23, 0, tzinfo=UTC)
    for hours in range(1, 24 * 6):
        assert next_due(repeat, thursday - timedelta(hours=hours)) == thursday, hours
