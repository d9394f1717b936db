"""What one journal line says, and what the last line of a batch tells a successor. Pure.

Every line carries `settled`, the set of recipients that have their terminal outcome including this line's, as a
bitmap; so the last line alone says where a predecessor stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from todoku.delivery.types import Answer, AnswerKind, Outcome, RecipientState, RunOrder


@dataclass(frozen=True, slots=True)
class StartRecord:
    """The first word about a run, `journal.<run>.0.start`: which seal counts, who began it, by whose clock and when.

    order: as that sender saw it. Its words and its seal are sent, whatever KV `runs` says later; what a person may
    still change (state, pace, quiet hours, latest finish, transport) is taken from KV.
    """

    run_id: str
    seal: int
    sender_id: str
    due_at_utc: datetime
    started_at_utc: datetime
    order: RunOrder


class Intent(msgspec.Struct, frozen=True, gc=False):
    """Who will be handed to the transport next. window: counts up from 1 in a batch, over all senders."""

    window: int
    indexes: tuple[int, ...]


class Deferral(msgspec.Struct, frozen=True, gc=False):
    """A definite "not now" (4xx, no connection): the recipient stays pending."""

    index: int
    answer: str


class Rest(msgspec.Struct, frozen=True, gc=False):
    """A recipient who is not asked again before a moment. tries: temporary answers of the recipient's own so far."""

    index: int
    tries: int
    until_utc: datetime


class JournalMessage(msgspec.Struct, frozen=True):
    """One line of the journal of one batch.

    batch: the batch number as text, or `ns-<n>` for people who may not be mailed. window: whose outcomes these are,
    0 when they belong to none (suppressed, unrenderable, expired). settled: bitmap, index i is bit i % 8 of byte
    i // 8. windows: the highest window intended so far, this line's intent included. resting: everybody pending who
    had a temporary answer.
    """

    project_id: str
    run_id: str
    seal: int
    batch: str
    sender_id: str
    window: int
    outcomes: tuple[Outcome, ...]
    deferred: tuple[Deferral, ...]
    settled: bytes
    intent: Intent | None
    windows: int = 0
    resting: tuple[Rest, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a batch stands by its last journal line. sequence: of that line, 0 when there is none.

    written_at_utc: by the clock of the bus, None when there is no line.
    """

    sequence: int
    settled: frozenset[int]
    intent: Intent | None
    sender_id: str
    windows: int
    resting: tuple[Rest, ...]
    written_at_utc: datetime | None = None


class RecordState(StrEnum):
    """How much the local record of a dead or vanished sender can prove."""

    COMPLETE = "complete"  # that process is dead, this machine did not restart since: what is not marked never left
    PARTIAL = "partial"  # that process still runs (or is paused), or the machine restarted: answers count, gaps don't
    ABSENT = "absent"  # another machine, or a wiped folder


@dataclass(frozen=True, slots=True)
class LocalRecord:
    """What a sender noted on this machine about one window: whom it began to complete, and the answers it had."""

    state: RecordState
    marks: frozenset[int]
    answers: Mapping[int, Answer]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of an intent without outcomes: answers that are known, who is unknown, who may be sent again."""

    answers: Mapping[int, Answer]
    unknown: tuple[int, ...]
    free: tuple[int, ...]


NOTHING_YET = Progress(sequence=0, settled=frozenset(), intent=None, sender_id="", windows=0, resting=())
ABSENT_RECORD = LocalRecord(RecordState.ABSENT, frozenset(), {})


def progress_after(message: JournalMessage, sequence: int, written_at_utc: datetime | None = None) -> Progress:
    """Return where the batch stands when this is its last line."""
    return Progress(
        sequence=sequence,
        settled=unpack_settled(message.settled),
        intent=message.intent,
        sender_id=message.sender_id,
        windows=message.windows,
        resting=message.resting,
        written_at_utc=written_at_utc,
    )


def settle(intent: Intent, record: LocalRecord) -> Settlement:
    """Decide about a predecessor's open window from what it left on this machine.

    A known definite answer counts, whoever reads it. Without one: a mark means unknown; no mark means free only when
    the record is complete, because a living or vanished sender may still have handed the message over (I1). A temporary
    answer frees the recipient in any case: a sender asks again only under a new intent, which is refused by now.
    """
    answers: dict[int, Answer] = {}
    unknown: list[int] = []
    free: list[int] = []
    for index in intent.indexes:
        answer = record.answers.get(index)
        never_left = record.state is RecordState.COMPLETE and index not in record.marks
        if answer is not None and answer.kind in (AnswerKind.ACCEPTED, AnswerKind.PERMANENT):
            answers[index] = answer
        elif never_left or (answer is not None and answer.kind is AnswerKind.TEMPORARY):
            free.append(index)
        else:
            unknown.append(index)
    return Settlement(answers, tuple(unknown), tuple(free))


def state_of(kind: AnswerKind) -> RecipientState | None:
    """Return the terminal state that a transport's answer means; None for a temporary one."""
    return _STATE_OF[kind]


def pack_settled(indexes: Iterable[int]) -> bytes:
    """Return the bitmap of the indexes."""
    bits = 0
    for index in indexes:
        bits |= 1 << index
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def pack_digits(digits: bytearray) -> bytes:
    """Return the bitmap of the places that hold the digit 1, all others holding 0; much quicker than `pack_settled`."""
    bits = int(digits[::-1] or b"0", 2)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def unpack_settled(bitmap: bytes) -> frozenset[int]:
    """Return the indexes of the bitmap."""
    bits = int.from_bytes(bitmap, "little")
    return frozenset(index for index in range(bits.bit_length()) if bits >> index & 1)


def last_deferrals(messages: Iterable[JournalMessage]) -> dict[int, str]:
    """Return the newest temporary answer of each recipient that had one, from all lines of a batch in order."""
    found: dict[int, str] = {}
    for message in messages:
        for deferral in message.deferred:
            found[deferral.index] = deferral.answer
    return found


def message_id_of(run_id: str, batch: str, index: int, domain: str) -> str:
    """Return the Message-ID of one recipient of one run; the same at every attempt, so that doubles can be seen."""
    return f"<{run_id}.{batch}.{index}@{domain}>"


_STATE_OF: dict[AnswerKind, RecipientState | None] = {
    AnswerKind.ACCEPTED: RecipientState.SENT,
    AnswerKind.PERMANENT: RecipientState.REFUSED,
    AnswerKind.TEMPORARY: None,
    AnswerKind.UNKNOWN: RecipientState.UNKNOWN,
}
