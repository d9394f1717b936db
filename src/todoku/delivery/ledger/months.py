"""The month of a run: `delivery` is partitioned by it. Pure."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime


def month_of(run_id: uuid.UUID) -> datetime | None:
    """Return the first moment of the month in which a UUIDv7 was made; None for another version."""
    if run_id.version != 7:
        return None
    made = datetime.fromtimestamp((run_id.int >> 80) / 1000, UTC)
    return made.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def first_moment(month: date) -> datetime:
    """Return when the month of a date begins."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def following(month: datetime) -> datetime:
    """Return the first moment of the next month."""
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def id_range(month: datetime) -> tuple[uuid.UUID, uuid.UUID]:
    """Return the smallest id of the month, and the smallest one of the next month."""
    return _first_id_of(month), _first_id_of(following(month))


def partition_name(month: datetime) -> str:
    """Return the name of the month's table."""
    return f"delivery_{month:%Y_%m}"


def _first_id_of(month: datetime) -> uuid.UUID:
    return uuid.UUID(int=int(month.timestamp() * 1000) << 80)
