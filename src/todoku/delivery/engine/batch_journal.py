"""One batch's journal as its visitor writes it: what is not written yet, and the fence.

Guarantees  each line is published under the sequence of the line before it; a refused line raises BatchTaken, and the
            visitor touches nothing any more. A line carries all that a successor needs (`journal.JournalMessage`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
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
    pack_digits,
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

_PENDING, _SETTLED = 0x30, 0x31  # the digits 0 and 1


class BatchJournal:
    """The lines of one batch."""

    def __init__(
        self, ports: Ports, batch: OpenBatch, message_id_frame: tuple[str, str], stopping: asyncio.Event
    ) -> None:
        """message_id_frame: what stands before and behind the index in a recipient's Message-ID; ("", "") for none."""
        self._ports = ports
        self._batch = batch
        self._before_index, self._behind_index = message_id_frame
        self._stopping = stopping
        self._name = str(batch.number)
        self._subject = journal_subject(batch.run_id, batch.seal, self._name)
        self._sequence = 0
        self._windows = 0
        self._open_intent = False
        self._settled = bytearray([_PENDING]) * len(batch.recipients)
        self._window = 0
        self._outcomes: list[Outcome] = []
        self._deferred: list[Deferral] = []

    async def read(self) -> Progress:
        """Return where a predecessor stopped, and go on from there. Raises BusUnavailable, UnreadablePayload."""
        last = await self._ports.bus.last_message(JOURNAL, self._subject)
        if last is None:
            return NOTHING_YET
        progress = progress_after(decode_journal(last.payload), last.sequence, last.published_at_utc)
        self._sequence, self._windows = progress.sequence, progress.windows
        self._open_intent = progress.intent is not None
        for index in progress.settled:
            self._settled[index] = _SETTLED
        return progress

    async def last_answers(self) -> dict[int, str]:
        """Return the newest temporary answer of each recipient that had one, from all lines of the batch."""
        stored = self._ports.bus.messages(JOURNAL, self._subject)
        return last_deferrals([decode_journal(message.payload) async for message in stored])

    @property
    def pending(self) -> list[int]:
        """Return who has no terminal state, what is not written yet included."""
        return [index for index, state in enumerate(self._settled) if state == _PENDING]

    @property
    def next_window(self) -> int:
        """Return the number of the next intent's window."""
        return self._windows + 1

    # --- what the next line will say ---

    def note_answers(
        self, window: int, answers: Iterable[Answer], people: Mapping[int, Recipient], moments: Mapping[int, datetime]
    ) -> list[int]:
        """Note a transport's words on one window; return who stays pending. moments: when each word came."""
        self._window = window
        before, behind, settled = self._before_index, self._behind_index, self._settled
        pending: list[int] = []
        for answer in answers:
            index = answer.ref
            state = state_of(answer.kind)
            text = answer.text[:_LONGEST_ANSWER]
            if state is None:
                self._deferred.append(Deferral(index, text))
                pending.append(index)
                continue
            person = people[index]
            message_id = f"{before}{index}{behind}" if before else ""
            outcome = Outcome(index, person.guest_id, person.address, state, text, moments[index], message_id)
            self._outcomes.append(outcome)
            settled[index] = _SETTLED
        return pending

    def note(self, recipient: Recipient, index: int, state: RecipientState, answer: str, at_utc: datetime) -> None:
        """Note a terminal state that no transport gave."""
        message_id = f"{self._before_index}{index}{self._behind_index}" if self._before_index else ""
        text = answer[:_LONGEST_ANSWER]
        self.note_outcome(Outcome(index, recipient.guest_id, recipient.address, state, text, at_utc, message_id))

    def note_outcome(self, outcome: Outcome) -> None:
        """Note an outcome that was made elsewhere."""
        self._outcomes.append(outcome)
        self._settled[outcome.index] = _SETTLED

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
            settled=pack_digits(self._settled),
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
