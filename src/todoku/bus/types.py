"""What the bus hands out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as it stands in a stream. message_id is "" when it was published without one."""

    subject: str
    payload: bytes
    sequence: int
    published_at_utc: datetime
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of one key of a bucket, and the revision an update must name."""

    value: bytes
    revision: int
