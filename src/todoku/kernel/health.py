"""Small facts with a time stamp, by which a room says how it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class HealthState(StrEnum):
    """How one fact stands; UNKNOWN means that nobody could look, which is never the same as silence."""

    OK = "ok"
    LATE = "late"
    FAILING = "failing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """One fact: what was looked at, how it stands, since when, and what to do when it is not ok."""

    name: str
    state: HealthState
    detail: str
    observed_at_utc: datetime
    todo: str = ""
