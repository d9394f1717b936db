"""Reading raw mails, off the event loop: plain functions that a thread or another process can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from msgspec.structs import replace

from todoku.extraction.types import Reading
from todoku.mail.errors import Unreadable

log = structlog.get_logger(__name__)

READER_ERROR = "reader_error"


@dataclass(frozen=True, slots=True)
class RawMail:
    """One mail to read. name: for the log only."""

    name: str
    content: bytes
    received_at_utc: datetime


@dataclass(frozen=True, slots=True)
class ReadOutcome:
    """What reading came to: a Reading (without body text), or a stable word that says why there is none.

    rules: the version of the rules that read it (`extraction.rules_version`), "" when nothing was there to read.
    """

    reading: Reading | None
    problem: str = ""
    rules: str = ""


def read_all(mails: Sequence[RawMail]) -> list[ReadOutcome]:
    """Read mails one after the other; every one gets an outcome, whatever its bytes do to the reader."""
    return [read_one(mail) for mail in mails]


def read_one(mail: RawMail) -> ReadOutcome:
    """Read one mail; an error of the reader itself is an outcome too, because the next mail must flow."""
    from todoku.extraction import (  # here: pages use this room's queries and need no reading engine
        read_mail,
        rules_version,
    )

    try:
        reading = read_mail(mail.content, received_at=mail.received_at_utc)
    except Unreadable as error:
        return ReadOutcome(None, error.word, rules_version(None))
    except Exception:
        log.exception("mail.reader_error", arrival_id=mail.name, size_bytes=len(mail.content))
        return ReadOutcome(None, READER_ERROR, rules_version(None))
    # the text can be megabytes and nobody needs it behind this point; pages read the raw mail again
    return ReadOutcome(replace(reading, text="", evidence=()), rules=rules_version(reading.site))
