"""What the ledger shows others beside `delivery.types`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """How many recipients of a run were decided in one minute; others: refused, unrenderable, expired, unknown."""

    minute_utc: datetime
    sent: int
    others: int
