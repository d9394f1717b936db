"""Journal lines as PostgreSQL takes them in bulk: sums, and rows in COPY's binary format.

Binary costs PostgreSQL about 5 µs of CPU a row less than text (no uuid and no timestamp is read from letters), and
building it costs Python no more than building text.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import astuple

from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.types import Outcome, RecipientState

COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
COPY_END = b"\xff\xff"
STATES = (
    RecipientState.SENT,
    RecipientState.REFUSED,
    RecipientState.SUPPRESSED,
    RecipientState.UNRENDERABLE,
    RecipientState.EXPIRED,
    RecipientState.UNKNOWN,
)

_COLUMNS = 10
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL counts microseconds from here
_SECONDS_A_DAY = 86_400
_integer = struct.Struct("!i").pack
_lengths = [_integer(length) for length in range(4096)]
_places = [_integer(4) + _integer(place) for place in range(1024)]
_moment = struct.Struct("!iq").pack
_no_guest = _integer(-1)
_guest_length = _integer(16)


@dataclass(frozen=True, slots=True)
class PackedLine:
    """One journal line, ready to be stored.

    identity: what tells it from all other lines of its run, see `line_identity`.
    sums: recipients by state, as in STATES. first_at_utc, last_at_utc: of the outcomes that a transport had a part in,
    None when there are none. rows: binary COPY rows, `recipients` of them.
    """

    sequence: int
    identity: int
    run_id: uuid.UUID
    project_id: str
    sums: tuple[int, ...]
    first_at_utc: datetime | None
    last_at_utc: datetime | None
    rows: bytes
    recipients: int


def line_identity(sequence: int, bus_id: str) -> int:
    """Return the number under which a line is applied once: of its id on the bus, the same at every attempt to store.

    The sequence alone won't do: a bus that was restored from an older copy gives the sequences of lines that it lost to
    other lines.
    """
    if not bus_id:
        return sequence
    return int.from_bytes(hashlib.blake2b(bus_id.encode(), digest_size=8).digest(), "big") >> 1


def pack_line(sequence: int, message: JournalMessage, bus_id: str = "") -> PackedLine:
    """Return the line with its outcomes as rows; raises ValueError when the run's id is no UUID."""
    run_id = uuid.UUID(message.run_id)
    outcomes = message.outcomes
    states = [outcome.state for outcome in outcomes]
    sums = tuple(states.count(state) for state in STATES)
    suppressed = sums[2]
    if suppressed == len(states):
        moments = []
    elif suppressed:
        moments = [outcome.at_utc for outcome in outcomes if outcome.state is not RecipientState.SUPPRESSED]
    else:
        moments = [outcome.at_utc for outcome in outcomes]
    head = struct.pack("!hi", _COLUMNS, 16) + run_id.bytes + struct.pack("!iq", 8, sequence)
    project = _text(message.project_id)
    return PackedLine(
        sequence=sequence,
        identity=line_identity(sequence, bus_id),
        run_id=run_id,
        project_id=message.project_id,
        sums=sums,
        first_at_utc=min(moments, default=None),
        last_at_utc=max(moments, default=None),
        rows=_rows(head, project, outcomes),
        recipients=len(outcomes),
    )


def _rows(head: bytes, project: bytes, outcomes: Sequence[Outcome]) -> bytes:
    try:
        return _usual_rows(head, project, outcomes)
    except (ValueError, IndexError):  # odd ids, NUL, lone surrogates, very long words: rare, so they may be slow
        return b"".join([_careful_row(head, project, outcome) for outcome in outcomes])


def _usual_rows(head: bytes, project: bytes, outcomes: Sequence[Outcome]) -> bytes:
    """Make all rows with one join, 1.8 us each instead of 3.3 row by row; raises when one of them is odd."""
    parts: list[bytes] = []
    extend = parts.extend
    for outcome in outcomes:
        index, guest_id, address, state, answer, at_utc, message_id = astuple(outcome)
        a, b, c = address.encode(), answer.encode(), message_id.encode()
        guest = bytes.fromhex(guest_id.replace("-", ""))
        if b"\0" in a or b"\0" in b or b"\0" in c or len(guest) != 16:
            raise ValueError
        since = at_utc - _EPOCH
        extend(
            (
                head,
                _places[index],
                project,
                _guest_length,
                guest,
                _lengths[len(a)],
                a,
                _states[state],
                _lengths[len(b)],
                b,
                _moment(8, (since.days * _SECONDS_A_DAY + since.seconds) * 1_000_000 + since.microseconds),
                _lengths[len(c)],
                c,
            )
        )
    return b"".join(parts)


def _careful_row(head: bytes, project: bytes, outcome: Outcome) -> bytes:
    since = outcome.at_utc - _EPOCH
    parts = (
        head,
        _integer(4) + _integer(outcome.index),
        project,
        _guest(outcome.guest_id),
        _text(outcome.address),
        _states[outcome.state],
        _text(outcome.answer),
        _moment(8, (since.days * _SECONDS_A_DAY + since.seconds) * 1_000_000 + since.microseconds),
        _text(outcome.message_id),
    )
    return b"".join(parts)


def _text(text: str) -> bytes:
    """Return the text without what PostgreSQL can't hold: NUL and lone surrogates."""
    octets = text.replace("\x00", "").encode("utf-8", "replace")
    return _integer(len(octets)) + octets


def _guest(text: str) -> bytes:
    """Return the id, or NULL for what is no id."""
    try:
        return _guest_length + uuid.UUID(text).bytes
    except ValueError:
        return _no_guest


_states = {state: _text(state.value) for state in STATES}
