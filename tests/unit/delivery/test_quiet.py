from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.engine.quiet import quiet_until
from todoku.delivery.types import QuietHours

NIGHT = QuietHours(22 * 60, 8 * 60)
ZONES = ("Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia")


def at(zone: str, *when: int, fold: int = 0) -> datetime:
    return datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ((2026, 11, 21, 21, 59), None),
        ((2026, 11, 21, 22, 0), (2026, 11, 22, 8, 0)),
        ((2026, 11, 22, 0, 0), (2026, 11, 22, 8, 0)),
        ((2026, 11, 22, 7, 59), (2026, 11, 22, 8, 0)),
        ((2026, 11, 22, 8, 0), None),
    ],
)
def test_the_night_in_tokyo(now: tuple[int, ...], until: tuple[int, ...] | None) -> None:
    expected = at("Asia/Tokyo", *until) if until is not None else None
    assert quiet_until(NIGHT, "Asia/Tokyo", at("Asia/Tokyo", *now)) == expected


def test_a_lunch_break_does_not_span_midnight() -> None:
    lunch = QuietHours(12 * 60, 13 * 60)
    assert quiet_until(lunch, "Asia/Tokyo", at("Asia/Tokyo", 2026, 11, 21, 12, 30)) == at(
        "Asia/Tokyo", 2026, 11, 21, 13, 0
    )
    assert quiet_until(lunch, "Asia/Tokyo", at("Asia/Tokyo", 2026, 11, 21, 23, 0)) is None


def test_a_night_in_which_an_hour_is_skipped_is_an_hour_shorter() -> None:
    before = at("Europe/Berlin", 2026, 3, 28, 23, 0)
    end = quiet_until(NIGHT, "Europe/Berlin", before)
    assert end == at("Europe/Berlin", 2026, 3, 29, 8, 0)
    assert end - before == timedelta(hours=8)


def test_an_end_that_is_skipped_is_the_moment_of_the_jump() -> None:
    quiet = QuietHours(22 * 60, 2 * 60 + 30)  # 02:30 does not exist that night: 02:00 becomes 03:00
    end = quiet_until(quiet, "Europe/Berlin", at("Europe/Berlin", 2026, 3, 29, 1, 0))
    assert end == at("Europe/Berlin", 2026, 3, 29, 3, 0)


def test_an_hour_that_comes_twice_is_quiet_twice() -> None:
    quiet = QuietHours(2 * 60, 2 * 60 + 30)  # 03:00 becomes 02:00 that night
    first = at("Europe/Berlin", 2026, 10, 25, 2, 10, fold=0)
    second = at("Europe/Berlin", 2026, 10, 25, 2, 10, fold=1)
    assert quiet_until(quiet, "Europe/Berlin", first) == at("Europe/Berlin", 2026, 10, 25, 2, 30, fold=0)
    assert quiet_until(quiet, "Europe/Berlin", second) == at("Europe/Berlin", 2026, 10, 25, 2, 30, fold=1)


@given(
    st.integers(0, 1440),
    st.integers(0, 1440),
    st.sampled_from(ZONES),
    st.integers(0, 3 * 366 * 1440),
)
def test_it_is_quiet_until_then_and_not_at_the_end(begin: int, end: int, zone: str, minutes: int) -> None:
    quiet = QuietHours(begin, end)
    now = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    until = quiet_until(quiet, zone, now)
    if until is None or (begin, end) == (0, 1440):
        return
    assert now < until <= now + timedelta(hours=26)
    assert quiet_until(quiet, zone, until) is None
    assert quiet_until(quiet, zone, until - timedelta(minutes=1)) is not None


@pytest.mark.parametrize("zone", ["", "Nowhere/Atlantis", "../etc/passwd", "Asia", "\0"])
def test_a_zone_that_nobody_knows_counts_as_utc(zone: str) -> None:
    assert quiet_until(NIGHT, zone, datetime(2026, 1, 1, 23, 0, tzinfo=UTC)) == datetime(2026, 1, 2, 8, 0, tzinfo=UTC)


def test_no_hours_and_equal_hours_are_never_quiet() -> None:
    now = datetime(2026, 1, 1, 23, 0, tzinfo=UTC)
    assert quiet_until(None, "UTC", now) is None
    assert quiet_until(QuietHours(600, 600), "UTC", now) is None
