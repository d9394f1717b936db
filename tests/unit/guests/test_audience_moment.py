"""A reservation that is still to come is no visit, whatever day the audience is asked for."""

from __future__ import annotations

from datetime import UTC, date, datetime

from todoku.guests.audience import as_of

EVENING = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)  # 19:00 in Tokyo


def test_today_ends_now() -> None:
    assert as_of(date(2026, 11, 21), EVENING, "Asia/Tokyo").until_utc == EVENING


def test_an_earlier_day_ends_at_its_own_midnight() -> None:
    assert as_of(date(2026, 11, 20), EVENING, "Asia/Tokyo").until_utc == datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def test_a_later_day_shows_nothing_of_the_future() -> None:
    assert as_of(date(2026, 12, 24), EVENING, "Asia/Tokyo").until_utc == EVENING
