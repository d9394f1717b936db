"""The sink of one window: notes each message before its end and each answer as it comes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog

from todoku.delivery.engine.lease import Lease
from todoku.delivery.engine.local_answers import BatchNotes
from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.types import Answer
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)


class WindowSink:
    """An AnswerSink whose refs are the indexes of the batch. moments: when each answer came."""

    __slots__ = (
        "_answer",
        "_lease",
        "_mark",
        "_now_utc",
        "_run_id",
        "_stopped_runs",
        "_window",
        "moments",
    )

    def __init__(
        self, window: int, notes: BatchNotes, clock: Clock, lease: Lease, run_id: str, stopped_runs: Collection[str]
    ) -> None:
        """stopped_runs: runs that a person stopped, as the board says now."""
        self.moments: dict[int, datetime] = {}
        self._window = window
        self._mark = notes.mark
        self._answer = notes.answer
        self._now_utc = clock.now_utc
        self._lease = lease
        self._run_id = run_id
        self._stopped_runs = stopped_runs

    def about_to_complete(self, ref: int) -> None:
        """Note it; raises HandOverForbidden when the message must stay, or when it can't be noted."""
        if self._lease.expired:
            raise HandOverForbidden("the lease ran out: another sender may own this batch")
        if self._run_id in self._stopped_runs:
            raise HandOverForbidden("the run was stopped")
        try:
            self._mark(self._window, ref)
        except OSError as error:
            raise HandOverForbidden(f"it can't be noted: {error}") from error

    def answered(self, answers: Sequence[Answer]) -> None:
        """Note them and when they came; a note that can't be written costs knowledge only if this process dies."""
        now_utc = self._now_utc()
        moments, window, note = self.moments, self._window, self._answer
        for answer in answers:
            ref = answer.ref
            moments[ref] = now_utc
            try:
                note(window, ref, answer)
            except OSError as error:
                log.error("delivery.answer_not_noted", index=ref, error=str(error))
