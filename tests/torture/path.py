"""The way of one mail from its bytes to its state, without bus and database, and what must hold for any bytes."""

from __future__ import annotations

import hashlib
import pickle
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from todoku.extraction.types import Reading
from todoku.intake.extracting import READER_ERROR, RawMail, ReadOutcome, read_one
from todoku.intake.fates import CLOCK_SKEW, EARLIEST, Received, decide
from todoku.intake.types import MailState
from todoku.reservations.cleaning import clean_notification
from todoku.reservations.errors import ImpossibleFacts
from todoku.sources.types import Arrival

RECEIVED_AT_UTC = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
_KNOWN_PROBLEMS = ("empty", "not_a_mail", "too_large", "headers_too_large", "too_many_parts", "too_deep")
_LONGEST_REASON = 200


class WrongState(AssertionError):
    """A mail came out as it never may."""


@dataclass(frozen=True)
class End:
    """Where one mail ends as far as no book is asked: PENDING when the book has the last word."""

    state: MailState
    reason: str
    outcome: ReadOutcome

    @property
    def reading(self) -> Reading:
        """Return what was read; raises WrongState when nothing was."""
        if self.outcome.reading is None:
            raise WrongState(f"not read: {self.outcome.problem}")
        return self.outcome.reading


def follow(raw: bytes) -> End:
    """Follow one mail to its state. Raises WrongState when a promise of the way is broken."""
    outcome = read_one(RawMail("torture", raw, RECEIVED_AT_UTC))
    _look_at_outcome(outcome)
    received = Received(1, "p", _arrival(raw), outcome)
    fate = decide(received, project_known=True)
    _require(len(fate.reason) <= _LONGEST_REASON, f"a reason of {len(fate.reason)} characters")
    _require((fate.state is MailState.PENDING) == (fate.notification is not None), f"{fate.state} and no notification")
    if fate.notification is None:
        return End(fate.state, fate.reason, outcome)
    issued = fate.notification.issued_at_utc
    _require(EARLIEST <= issued <= RECEIVED_AT_UTC + CLOCK_SKEW, f"issued at {issued}")
    try:
        clean_notification(fate.notification)
    except ImpossibleFacts as impossible:
        return End(MailState.UNREADABLE, f"impossible:{impossible.field}", outcome)
    return End(fate.state, fate.reason, outcome)


def _look_at_outcome(outcome: ReadOutcome) -> None:
    _require(outcome.problem != READER_ERROR, READER_ERROR)
    pickle.dumps(outcome)  # it travels between processes
    reading = outcome.reading
    if reading is None:
        _require(outcome.problem in _KNOWN_PROBLEMS, f"the problem {outcome.problem!r}")
        return
    for name in ("subject", "sender", "message_id"):
        text = getattr(reading, name)
        _require(not set(text) & {"\r", "\n", "\x00"}, f"{name} with a line end or NUL")
        text.encode()
    _require(reading.lossy_characters >= 0, "less than nothing lost")
    _require(reading.issued_at is None or reading.issued_at.tzinfo is not None, "a date without a zone")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongState(what)


def _arrival(raw: bytes) -> Arrival:
    return Arrival(
        arrival_id=uuid.UUID(int=7),
        project_id="p",
        source="smtp",
        vault_key="p/x",
        sha256=hashlib.sha256(raw).hexdigest(),
        size_bytes=len(raw),
        received_at_utc=RECEIVED_AT_UTC,
    )
