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
class Census:
    """What a stream holds of some subjects. first_sequence: of the oldest message that the whole stream still has.

    counts: messages by subject, one entry for each subject that has any.
    """

    first_sequence: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of one key of a bucket, and the revision an update must name."""

    value: bytes
    revision: int
