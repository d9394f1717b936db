"""A window that has an intent and no outcomes: may its owner be alive, and what becomes of the people in it.

Purpose     let a successor go on where a sender died, and leave a living one alone.
Reads       JOURNAL (the last line of the batch, and the clock of the bus), local answers.
Writes      notes for the next journal line; nothing by itself.
Guarantees  nobody is settled as `unknown` for an owner that may still write what became of them. On this machine a
            dead process is known by its lock; elsewhere it is dead when it is silent for a lease and a half.
Known limits  an owner that is cut off from the bus for longer than that is taken for dead: its window is unknown.

A batch that comes again is no proof that its owner is gone: a NATS that was killed forgets who had what for how long
and hands it out anew, and one that stood still finds every lease over (found by tests/chaos/everything, seed 1). Who
lets such a batch go without a word leaves it to its owner: the owner's renewals keep it from coming once more.
"""

from __future__ import annotations

import structlog

from todoku.bus.streams import JOURNAL
from todoku.delivery.engine.batch_journal import BatchJournal
from todoku.delivery.engine.codec import OpenBatch
from todoku.delivery.engine.journal import Intent, LocalRecord, Progress, RecordState, settle
from todoku.delivery.engine.options import Ports
from todoku.delivery.types import RecipientState

log = structlog.get_logger(__name__)

# A dead owner's batch comes at the latest after one lease and a third, for it is renewed three times a lease; once more
# after two and a third. In between lies what makes the difference.
SILENT_LEASES = 1.5


class OpenWindow:
    """The last intent of a batch, whose outcomes nobody wrote."""

    def __init__(self, ports: Ports, batch: OpenBatch, progress: Progress, intent: Intent) -> None:
        self._ports = ports
        self._batch = batch
        self._progress = progress
        self._intent = intent

    async def owner_may_live(self) -> bool:
        """Tell whether its owner may still write the outcomes. Raises BusUnavailable."""
        if self._record().state is RecordState.COMPLETE:
            return False
        written_at_utc = self._progress.written_at_utc
        assert written_at_utc is not None, "an intent stands in a line"
        silent_seconds = (await self._ports.bus.now_utc(JOURNAL) - written_at_utc).total_seconds()
        if silent_seconds >= SILENT_LEASES * self._ports.options.lease_seconds:
            return False
        log.info(
            "delivery.window_left_to_its_owner",
            run_id=self._batch.run_id,
            batch=self._batch.number,
            window=self._intent.window,
            owner=self._progress.sender_id,
            silent_seconds=round(silent_seconds, 3),
        )
        return True

    def settle(self, journal: BatchJournal) -> None:
        """Note what became of everybody in it, as far as it can be known; the others are free to be sent."""
        batch, record = self._batch, self._record()
        settlement = settle(self._intent, record)
        now_utc = self._ports.clock.now_utc()
        people = {index: batch.recipient(index) for index in (*settlement.answers, *settlement.unknown)}
        moments = dict.fromkeys(settlement.answers, now_utc)
        journal.note_answers(self._intent.window, settlement.answers.values(), people, moments)
        owner = self._progress.sender_id
        why = f"no answer is known: sender {owner} ended while the message was on its way"
        for index in settlement.unknown:
            journal.note(people[index], index, RecipientState.UNKNOWN, why, now_utc)
        log.warning(
            "delivery.window_settled_for_predecessor",
            run_id=batch.run_id,
            batch=batch.number,
            window=self._intent.window,
            owner=owner,
            record=record.state.value,
            known=len(settlement.answers),
            unknown=len(settlement.unknown),
            free=len(settlement.free),
        )

    def _record(self) -> LocalRecord:
        batch = self._batch
        return self._ports.answers.read(
            self._progress.sender_id, batch.run_id, batch.seal, batch.number, self._intent.window
        )
