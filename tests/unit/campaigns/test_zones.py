"""The due time's wall clock in other zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from todoku.campaigns.zones import ReleaseClock, earliest_due

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("due", "zone", "released"),
    [
        ("2026-11-22T03:00", "Asia/Tokyo", "2026-11-22T03:00"),  # noon
        ("2026-11-22T03:00", "Europe/Berlin", "2026-11-22T11:00"),
        ("2026-11-22T03:00", "America/New_York", "2026-11-22T17:00"),
        ("2026-11-22T03:00", "Pacific/Kiritimati", "2026-11-21T22:00"),
        ("2026-03-28T17:30", "Europe/Berlin", "2026-03-29T01:00"),  # 02:30 does not exist: the clocks jump at 01:00 UTC
        ("2026-03-08T17:30", "America/New_York", "2026-03-09T06:30"),
        ("2026-10-24T17:30", "Europe/Berlin", "2026-10-25T00:30"),  # 02:30 comes twice: the first
    ],
)
def test_the_same_wall_clock_everywhere(due: str, zone: str, released: str) -> None:
    clock = ReleaseClock(utc(due), "Asia/Tokyo", BEFORE)
    assert clock.release_at_utc(clock.zone(zone)) == utc(released)


def test_a_noon_that_is_over_leaves_when_the_run_begins() -> None:
    now = utc("2026-11-22T02:00")
    clock = ReleaseClock(utc("2026-11-22T03:00"), "Asia/Tokyo", now)
    assert clock.release_at_utc("Pacific/Auckland") == now
    late = ReleaseClock(utc("2026-11-22T03:00"), "Asia/Tokyo", utc("2026-11-22T05:00"))
    assert late.release_at_utc("Pacific/Auckland") == utc("2026-11-22T03:00")


@pytest.mark.parametrize("odd", ["", "No/Where", "../etc/passwd", "Asia", "\x00"])
def test_an_unknown_zone_is_the_projects(odd: str) -> None:
    assert ReleaseClock(utc("2026-11-22T03:00"), "Asia/Tokyo", BEFORE).zone(odd) == "Asia/Tokyo"


def test_the_first_noon_on_earth() -> None:
    due = utc("2026-11-22T03:00")
    assert due - earliest_due(due, "Asia/Tokyo") == timedelta(hours=5)
    assert due - earliest_due(due, "Etc/GMT+12") == timedelta(hours=26)
    assert earliest_due(due, "Pacific/Kiritimati") == due
