"""A repetition as one types it on the command line."""

from __future__ import annotations

from datetime import date

import pytest

from todoku.api.errors import RequestInvalid
from todoku.api.repeat_text import parse_repeat
from todoku.api.shapes import RepeatDoc

ZONE = "Asia/Tokyo"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daily 10:30", {"kind": "daily", "at": "10:30"}),
        ("weekly mon,thu 9:00", {"kind": "weekly", "weekdays": (0, 3), "at": "9:00"}),
        ("weekly Thursday mon 9:00", {"kind": "weekly", "weekdays": (0, 3), "at": "9:00"}),
        ("monthly 25 10:30", {"kind": "monthly", "month_day": 25, "at": "10:30"}),
        ("monthly last 10:30", {"kind": "monthly", "month_day": -1, "at": "10:30"}),
        ("cron 30 10 * * 1,4", {"kind": "cron", "cron": "30 10 * * 1,4"}),
        ("daily 10:30 until 2027-03-31", {"kind": "daily", "at": "10:30", "until": date(2027, 3, 31)}),
        (
            "weekly fri 8:05 every 2 times 12 holidays before",
            {"kind": "weekly", "weekdays": (4,), "at": "8:05", "every": 2, "count": 12, "holidays": "before"},
        ),
    ],
)
def test_what_is_typed_is_what_is_meant(text: str, expected: dict[str, object]) -> None:
    assert parse_repeat(text, ZONE) == RepeatDoc.model_validate({**expected, "time_zone": ZONE})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sometimes",
        "weekly 10:30",
        "weekly someday 10:30",
        "monthly first 10:30",
        "cron 1 2 3",
        "daily",
        "daily 10:30 until yesterday",
        "daily 10:30 times often",
        "daily 10:30 holidays maybe",
        "until 2027-01-01",
    ],
)
def test_what_is_not_understood_is_answered_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(RequestInvalid, match=r"weekly mon,thu 10:30"):
        parse_repeat(text, ZONE)
