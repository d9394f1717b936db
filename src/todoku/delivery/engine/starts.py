"""The start record: which seal of a run is sent, decided once, by the first sender that begins it.

Purpose     let an order in KV `runs` be replaced by a newer seal at any moment before the start, without doubling.
Reads       JOURNAL `journal.<run>.0.start`.
Writes      the same, once a run: expected_last_subject_sequence=0 lets one sender win.
Guarantees  every intent of a run comes after its start record, and is about the seal that stands in it.
"""

from __future__ import annotations

from datetime import datetime

from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable, SequenceConflict
from todoku.bus.streams import JOURNAL, journal_subject
from todoku.delivery.engine.codec import decode_start, encode_start
from todoku.delivery.engine.journal import StartRecord
from todoku.delivery.types import RunOrder

__all__ = ["StartRecord", "claim_start", "is_start_subject", "read_start"]

_NAME = "start"


async def claim_start(bus: Bus, order: RunOrder, sender_id: str, now_utc: datetime) -> StartRecord:
    """Begin the run with this order, or return the record of who was first.

    Repeat it after an error: what was stored meanwhile is found. Raises the bus's errors, UnreadablePayload.
    """
    record = StartRecord(order.run_id, order.seal, sender_id, order.due_at_utc, now_utc, order)
    try:
        await bus.publish(_subject(order.run_id), encode_start(record), expected_last_subject_sequence=0)
    except SequenceConflict:
        found = await read_start(bus, order.run_id)
        if found is None:  # a replica that is behind
            raise BusUnavailable(
                f"the start record of run {order.run_id} can't be read yet", kept="the record", todo="try again"
            ) from None
        return found
    return record


async def read_start(bus: Bus, run_id: str) -> StartRecord | None:
    """Return how the run was started, None when it was not. Raises BusUnavailable, UnreadablePayload."""
    stored = await bus.last_message(JOURNAL, _subject(run_id))
    return None if stored is None else decode_start(stored.payload)


def is_start_subject(subject: str) -> bool:
    """Tell whether this journal subject holds a start record; such a line says nothing about recipients."""
    return subject.endswith(f".0.{_NAME}")


def _subject(run_id: str) -> str:
    return journal_subject(run_id, 0, _NAME)
