"""One batch's journal as its visitor writes it: what is not written yet, and the fence.

Guarantees  each line is published under the sequence of the line before it; a refused line raises BatchTaken, and the
            visitor touches nothing any more. A line carries all that a successor needs (`journal.JournalMessage`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

import structlog

from todoku.bus.errors import BusError, SequenceConflict
from todoku.bus.streams import JOURNAL, journal_subject
from todoku.delivery.engine.codec import OpenBatch, decode_journal, encode_journal
from todoku.delivery.engine.journal import (
    NOTHING_YET,
    Deferral,
    Intent,
    JournalMessage,
    Progress,
    Rest,
    last_deferrals,
    pack_settled,
    progress_after,
    state_of,
)
from todoku.delivery.engine.options import Ports
from todoku.delivery.errors import BatchTaken
from todoku.delivery.types import Answer, Outcome, Recipient, RecipientState
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

_WAIT = BackOff(base_seconds=0.1, cap_seconds=5.0)
_LONGEST_ANSWER = 500

MessageIdOf = Callable[[int], str]


class BatchJournal:
    """The lines of one batch. message_id_of: the Message-ID of a recipient, by index."""

    def __init__(self, ports: Ports, batch: OpenBatch, message_id_of: MessageIdOf, stopping: asyncio.Event) -> None:
        self._ports = ports
        self._batch = batch
        self._message_id_of = message_id_of
        self._stopping = stopping
        self._name = str(batch.number)
        self._subject = journal_subject(batch.run_id, batch.seal, self._name)
        self._sequence = 0
        self._windows = 0
        self._open_intent = False
        self._settled: set[int] = set()
        self._window = 0
        self._outcomes: list[Outcome] = []
        self._deferred: list[Deferral] = []

    async def read(self) -> Progress:
        """Return where a predecessor stopped, and go on from there. Raises BusUnavailable, UnreadablePayload."""
        last = await self._ports.bus.last_message(JOURNAL, self._subject)
        if last is None:
            return NOTHING_YET
        progress = progress_after(decode_journal(last.payload), last.sequence)
        self._sequence, self._windows = progress.sequence, progress.windows
        self._open_intent = progress.intent is not None
        self._settled = set(progress.settled)
        return progress

    async def last_answers(self) -> dict[int, str]:
        """Return the newest temporary answer of each recipient that had one, from all lines of the batch."""
        stored = self._ports.bus.messages(JOURNAL, self._subject)
        return last_deferrals([decode_journal(message.payload) async for message in stored])

    @property
    def settled(self) -> Collection[int]:
        """Return who has a terminal state, what is not written yet included."""
        return self._settled

    @property
    def next_window(self) -> int:
        """Return the number of the next intent's window."""
        return self._windows + 1

    # --- what the next line will say ---

    def begin_answers(self, window: int) -> None:
        """Say whose window the answers belong to that are noted next."""
        self._window = window

    def note_answer(self, recipient: Recipient, answer: Answer, at_utc: datetime) -> bool:
        """Note a transport's word; return True when the recipient stays pending."""
        state = state_of(answer.kind)
        if state is None:
            self._deferred.append(Deferral(answer.ref, answer.text[:_LONGEST_ANSWER]))
            return True
        self.note(recipient, answer.ref, state, answer.text, at_utc)
        return False

    def note(self, recipient: Recipient, index: int, state: RecipientState, answer: str, at_utc: datetime) -> None:
        """Note a terminal state."""
        self._outcomes.append(
            Outcome(
                index,
                recipient.guest_id,
                recipient.address,
                state,
                answer[:_LONGEST_ANSWER],
                at_utc,
                self._message_id_of(index),
            )
        )
        self._settled.add(index)

    def note_outcome(self, outcome: Outcome) -> None:
        """Note an outcome that was made elsewhere."""
        self._outcomes.append(outcome)
        self._settled.add(outcome.index)

    # --- writing ---

    async def write(self, intent: Intent | None, resting: Iterable[Rest]) -> None:
        """Publish what is unwritten and the next intent as one fenced line.

        A bus that is away is waited for, until this process is told to stop: then the notes tell a successor. Raises
        BatchTaken.
        """
        if not self._outcomes and not self._deferred and intent is None and not self._open_intent:
            return
        if intent is not None:
            self._windows = intent.window
        line = JournalMessage(
            project_id=self._batch.project_id,
            run_id=self._batch.run_id,
            seal=self._batch.seal,
            batch=self._name,
            sender_id=self._ports.options.sender_id,
            window=self._window,
            outcomes=tuple(self._outcomes),
            deferred=tuple(self._deferred),
            settled=pack_settled(self._settled),
            intent=intent,
            windows=self._windows,
            resting=tuple(resting),
        )
        self._window, self._outcomes, self._deferred = 0, [], []
        self._sequence = await self._publish(encode_journal(line))
        self._open_intent = intent is not None

    async def _publish(self, payload: bytes) -> int:
        ports = self._ports
        message_id = f"{ports.options.sender_id}.{next(ports.line_numbers)}"
        attempt = 0
        while True:
            try:
                return await ports.bus.publish(
                    self._subject, payload, message_id=message_id, expected_last_subject_sequence=self._sequence
                )
            except SequenceConflict as error:
                raise BatchTaken(
                    f"another sender wrote to {self._subject}", kept="its line", todo="nothing: it goes on"
                ) from error
            except BusError as error:
                if not error.transient or (self._stopping.is_set() and attempt >= 3):
                    raise
                log.warning("delivery.journal_waits", subject=self._subject, error=error.what)
            await asyncio.sleep(_WAIT.wait_seconds(attempt, randomness=ports.options.randomness))
            attempt += 1
