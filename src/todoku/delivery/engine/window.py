"""The sink of one window: notes each message before its end and each answer as it comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from todoku.delivery.engine.lease import Lease
from todoku.delivery.engine.local_answers import BatchNotes
from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.types import Answer
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)


class WindowSink:
    """An AnswerSink whose refs are the indexes of the batch."""

    def __init__(self, window: int, notes: BatchNotes, clock: Clock, lease: Lease, stopped: Callable[[], bool]) -> None:
        """stopped: whether a person stopped the run."""
        self._window = window
        self._notes = notes
        self._clock = clock
        self._lease = lease
        self._stopped = stopped
        self._moments: dict[int, datetime] = {}

    def about_to_complete(self, ref: int) -> None:
        """Note it; raises HandOverForbidden when the message must stay, or when it can't be noted."""
        if self._lease.expired:
            raise HandOverForbidden("the lease ran out: another sender may own this batch")
        if self._stopped():
            raise HandOverForbidden("the run was stopped")
        try:
            self._notes.mark(self._window, ref)
        except OSError as error:
            raise HandOverForbidden(f"it can't be noted: {error}") from error

    def answered(self, answer: Answer) -> None:
        """Note it and when it came; a note that can't be written costs knowledge only if this process dies."""
        self._moments[answer.ref] = self._clock.now_utc()
        try:
            self._notes.answer(self._window, answer.ref, answer)
        except OSError as error:
            log.error("delivery.answer_not_noted", index=answer.ref, error=str(error))

    def moment_of(self, ref: int) -> datetime:
        """Return when the answer came."""
        return self._moments[ref]
