"""Time enters the program here and nowhere else."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class NaiveDatetimeError(ValueError):
    """A datetime without a time zone was handed in; say which zone it is in."""


class Clock(Protocol):
    """Tell the time; injected so that a test can decide what time it is."""

    def now_utc(self) -> datetime:
        """Return the aware current time in UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Return seconds that never go backwards, for measuring durations."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_utc(self) -> datetime:
        """Return the aware current time in UTC."""
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()


class VirtualClock:
    """A clock that moves only when it is told to; for tests and simulation."""

    def __init__(self, start_utc: datetime) -> None:
        self._start_utc = require_aware(start_utc).astimezone(UTC)
        self._elapsed_seconds = 0.0

    def now_utc(self) -> datetime:
        """Return the start plus everything advanced so far."""
        return self._start_utc + timedelta(seconds=self._elapsed_seconds)

    def monotonic_seconds(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed_seconds

    def advance(self, seconds: float) -> None:
        """Move forward; refuses to go back, as time does."""
        if seconds < 0:
            raise ValueError("a clock can't go back: seconds must be >= 0")
        self._elapsed_seconds += seconds


def require_aware(moment: datetime) -> datetime:
    """Return the moment unchanged, or raise NaiveDatetimeError when it has no time zone."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise NaiveDatetimeError(f"naive datetime {moment.isoformat()}: give it a time zone")
    return moment
