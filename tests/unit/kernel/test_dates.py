"""Dates and times as notifications write them: every row of the table (japanese mail facts, section 3), and English."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from todoku.kernel.dates import (
    DateProblem,
    HourMinute,
    WrittenDate,
    combine,
    read_date,
    read_date_range,
    read_dates,
    read_duration_minutes,
    read_instant,
    read_time,
    read_time_range,
    read_times,
    resolve_year,
    weekday_agrees,
)

SUNDAY, SATURDAY, THURSDAY = 6, 5, 3
TOKYO = ZoneInfo("Asia/Tokyo")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026年08月30日(日) 18時30分", (2026, 8, 30, SUNDAY, "2026年08月30日(日)")),
        ("2026年8月30日(日) 18:30", (2026, 8, 30, SUNDAY, "2026年8月30日(日)")),
        ("2026年7月23日 18:30", (2026, 7, 23, None, "2026年7月23日")),
        ("2026 年 07 月 15 日", (2026, 7, 15, None, "2026 年 07 月 15 日")),
        ("2026年7月18日 (土) 14:40", (2026, 7, 18, SATURDAY, "2026年7月18日 (土)")),
        ("2026年08月16日（日）17:00", (2026, 8, 16, SUNDAY, "2026年08月16日（日）")),
        ("8月29日(土・祝)", (None, 8, 29, SATURDAY, "8月29日(土・祝)")),
        ("8月29日（土曜日）", (None, 8, 29, SATURDAY, "8月29日（土曜日）")),
        ("2026/08/07 13:30", (2026, 8, 7, None, "2026/08/07")),
        ("2026/08/30(日) 12:00～13:00", (2026, 8, 30, SUNDAY, "2026/08/30(日)")),
        ("2026-04-22 15:00", (2026, 4, 22, None, "2026-04-22")),
        ("2026.4.2", (2026, 4, 2, None, "2026.4.2")),
        ("2026/7/1 9:05〜", (2026, 7, 1, None, "2026/7/1")),
        ("2026－04－22", (2026, 4, 22, None, "2026－04－22")),
        ("日付 ：08/30", (None, 8, 30, None, "08/30")),
        ("8月3日", (None, 8, 3, None, "8月3日")),
        ("令和8年10月1日", (2026, 10, 1, None, "令和8年10月1日")),
        ("令和元年5月1日", (2019, 5, 1, None, "令和元年5月1日")),
        ("㋿8年1月2日", (2026, 1, 2, None, "㋿8年1月2日")),
        ("R8.8.30", (2026, 8, 30, None, "R8.8.30")),
        ("平成31年4月30日", (2019, 4, 30, None, "平成31年4月30日")),
        ("２０２６年８月３０日（日）　２５：３０", (2026, 8, 30, SUNDAY, "２０２６年８月３０日（日）")),
        ("Check-in Saturday, 10 October 2026 (15:00 - …)", (2026, 10, 10, SATURDAY, "Saturday, 10 October 2026")),
        ("October 10, 2026 at 7:30 PM", (2026, 10, 10, None, "October 10, 2026")),
        ("Sat, Oct 10", (None, 10, 10, SATURDAY, "Sat, Oct 10")),
        ("SAT, OCT 10   SUN, OCT 11", (None, 10, 10, SATURDAY, "SAT, OCT 10")),
        ("Check In : Sat 3rd May 2026", (2026, 5, 3, SATURDAY, "Sat 3rd May 2026")),
        ("May 3 7:30 PM", (None, 5, 3, None, "May 3")),
        ("30.08.2026", (2026, 8, 30, None, "30.08.2026")),
    ],
)
def test_dates(text: str, expected: tuple[object, ...]) -> None:
    found = read_date(text)
    assert found is not None
    assert (found.year, found.month, found.day, found.weekday, text[found.start : found.end]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10/11/2026",
        "13月40日",
        "00/00",
        "03-0000-1234",
        "Mary 5",
        "2026年",
        "18:30",
        "1/2/3",
        "192.168.1.20",
        "May 2026",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert read_date(text) is None


def test_all_dates_of_a_line_in_order() -> None:
    assert [(found.month, found.day) for found in read_dates("08/30 → 09/01、99/99、2026年9月2日")] == [
        (8, 30),
        (9, 1),
        (9, 2),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:30", (18, 30, "18:30")),
        ("18：30", (18, 30, "18：30")),
        ("２５：３０", (25, 30, "２５：３０")),
        ("18時30分", (18, 30, "18時30分")),
        ("18時", (18, 0, "18時")),
        ("18 時 05 分", (18, 5, "18 時 05 分")),
        ("18時半", (18, 30, "18時半")),
        ("午後6時30分", (18, 30, "午後6時30分")),
        ("午前0:15", (0, 15, "午前0:15")),
        ("午後18:30", (18, 30, "午後18:30")),
        ("7:30 PM", (19, 30, "7:30 PM")),
        ("12:15 a.m.", (0, 15, "12:15 a.m.")),
        ("at 7pm", (19, 0, "7pm")),
        ("（14:00 ）", (14, 0, "14:00")),
        ("18:30:59", (18, 30, "18:30:59")),
        ("2026-10-10T19:30:00+09:00", (19, 30, "19:30:00")),
        ("来店時刻 ：18:30", (18, 30, "18:30")),
        ("滞在2時間 18:30", (18, 30, "18:30")),
    ],
)
def test_times(text: str, expected: tuple[object, ...]) -> None:
    found = read_time(text)
    assert found is not None
    assert (found.hour, found.minute, text[found.start : found.end]) == expected


@pytest.mark.parametrize("text", ["", "2時間", "2026/08/30", "1:2", "03-0000-0000", "13:5名"])
def test_what_is_no_time(text: str) -> None:
    assert read_time(text) is None


@pytest.mark.parametrize("text", ["30:00", "18:75", "25:30 PM", "18時99分"])
def test_times_that_do_not_exist_are_a_problem_and_no_guess(text: str) -> None:
    with pytest.raises(DateProblem) as caught:
        read_time(text)
    assert caught.value.word == "no_such_time"


@pytest.mark.parametrize("wave", ["～", "〜", "~", "-", "－", "−", "–", " ～ ", "から"])
def test_ranges_of_time(wave: str) -> None:
    found = read_time_range(f"09:30{wave}11:30")
    assert found is not None
    first, last = found
    assert last is not None
    assert [(first.hour, first.minute), (last.hour, last.minute)] == [(9, 30), (11, 30)]


def test_a_range_may_have_no_end() -> None:
    found = read_time_range("19:00～ 2名")
    assert found is not None
    assert (found[0].hour, found[1]) == (19, None)
    assert read_time_range("none") is None


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026年7月18日～20日", (2026, 7, 18), (2026, 7, 20)),
        ("2026年7月18日～8月2日", (2026, 7, 18), (None, 8, 2)),
        ("2026/7/18 - 2026/7/20", (2026, 7, 18), (2026, 7, 20)),
        ("7月18日 18:00", (None, 7, 18), None),
    ],
)
def test_ranges_of_dates(text: str, first: tuple[object, ...], last: tuple[object, ...] | None) -> None:
    found = read_date_range(text)
    assert found is not None
    assert (found[0].year, found[0].month, found[0].day) == first
    assert (None if found[1] is None else (found[1].year, found[1].month, found[1].day)) == last


def test_old_and_new_value_of_a_change() -> None:
    assert [(each.hour, each.minute) for each in read_times("13:15 → 14:00")] == [(13, 15), (14, 0)]


def written(month: int, day: int, *, year: int | None = None, weekday: int | None = None) -> WrittenDate:
    return WrittenDate(year, month, day, weekday, 0, 0)


@pytest.mark.parametrize(
    ("text", "mail_day", "meant"),
    [
        ("08/30", date(2026, 8, 20), date(2026, 8, 30)),
        ("08/30", date(2026, 8, 30), date(2026, 8, 30)),
        ("01/03", date(2026, 12, 30), date(2027, 1, 3)),
        ("02/10", date(2026, 11, 30), date(2027, 2, 10)),
        ("2月29日", date(2026, 3, 1), date(2028, 2, 29)),
        ("2月29日", date(2096, 3, 1), date(2104, 2, 29)),
        ("8月30日(日)", date(2026, 8, 31), date(2026, 8, 30)),
        ("1月3日(日)", date(2026, 12, 30), date(2027, 1, 3)),
        ("12月31日（木）", date(2027, 1, 2), date(2026, 12, 31)),
        ("2026年8月30日(月)", date(2026, 8, 31), date(2026, 8, 30)),
    ],
)
def test_years(text: str, mail_day: date, meant: date) -> None:
    found = read_date(text)
    assert found is not None
    assert resolve_year(found, on_or_after=mail_day) == meant


@pytest.mark.parametrize(
    ("impossible", "word"),
    [
        (written(6, 31), "no_such_date"),
        (written(2, 29, year=2027), "no_such_date"),
        (written(8, 30, weekday=THURSDAY), "weekday_mismatch"),
        (written(6, 31, weekday=THURSDAY), "weekday_mismatch"),
    ],
)
def test_what_nothing_decides_is_a_problem(impossible: WrittenDate, word: str) -> None:
    with pytest.raises(DateProblem) as caught:
        resolve_year(impossible, on_or_after=date(2026, 8, 1))
    assert caught.value.word == word


def test_weekday_agrees() -> None:
    assert weekday_agrees(written(8, 30, weekday=SUNDAY), date(2026, 8, 30))
    assert weekday_agrees(written(8, 30), date(2026, 8, 30))
    assert not weekday_agrees(written(8, 30, weekday=SATURDAY), date(2026, 8, 30))


def test_hours_after_midnight_belong_to_the_business_day() -> None:
    day = date(2026, 12, 31)
    assert combine(day, HourMinute(25, 30, 0, 0), TOKYO) == datetime(2027, 1, 1, 1, 30, tzinfo=TOKYO)
    assert combine(day, HourMinute(24, 0, 0, 0), TOKYO) == datetime(2027, 1, 1, 0, 0, tzinfo=TOKYO)
    assert combine(day, HourMinute(23, 59, 0, 0), TOKYO) == datetime(2026, 12, 31, 23, 59, tzinfo=TOKYO)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("1時間", 60), ("2時間30分", 150), ("2時間半", 150), ("1.5時間", 90), ("150分", 150), ("50 分", 50),
        ("滞在可能時間 ：２時間", 120), ("施術時間目安：1時間", 60), ("所要時間55分", 55), ("2 hours 15 minutes", 135),
        ("18時30分", None), ("18:30", None), ("", None), ("2名", None),
    ],
)  # fmt: skip
def test_durations(text: str, minutes: int | None) -> None:
    assert read_duration_minutes(text) == minutes


def test_instants_have_an_offset_or_are_none() -> None:
    expected = datetime(2026, 10, 10, 19, 30, tzinfo=timezone(timedelta(hours=9)))
    assert read_instant("start 2026-10-10T19:30:00+09:00") == expected
    assert read_instant("2026-10-10T10:30:00.123Z") == datetime(2026, 10, 10, 10, 30, tzinfo=UTC)
    assert read_instant("2026-10-10T10:30-0530") == datetime(
        2026, 10, 10, 10, 30, tzinfo=timezone(-timedelta(hours=5, minutes=30))
    )
    assert read_instant("2026-10-10T10:30:00") is None
    with pytest.raises(DateProblem):
        read_instant("2026-13-10T10:30:00Z")
