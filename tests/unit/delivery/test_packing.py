"""Rows in COPY's binary format, quick ones and careful ones, read back by their lengths."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.ledger.packing import STATES, PackedLine, pack_line
from todoku.delivery.types import Outcome, RecipientState

RUN = UUID("01a200a9-ee6d-7605-8f27-cfc3a8b3321b")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MOMENT = datetime(2026, 11, 21, 3, 0, 5, 123_456, tzinfo=UTC)


def outcome(index: int = 0, **changes: object) -> Outcome:
    values: dict[str, object] = {
        "guest_id": "0198c0de-0000-7000-8000-000000000001",
        "address": "taro@example.com",
        "state": RecipientState.SENT,
        "answer": "250 ok",
        "at_utc": MOMENT,
        "message_id": "<1@x>",
    }
    return Outcome(index, **(values | changes))  # type: ignore[arg-type]


def packed(*outcomes: Outcome) -> PackedLine:
    return pack_line(7, JournalMessage("shop", RUN.hex, 1, "0", "s", 1, outcomes, (), b"", None))


def read(line: PackedLine) -> list[list[bytes | None]]:
    """Take the rows apart as PostgreSQL does."""
    rows, place = [], 0
    while place < len(line.rows):
        (columns,) = struct.unpack_from("!h", line.rows, place)
        place += 2
        row: list[bytes | None] = []
        for _ in range(columns):
            (length,) = struct.unpack_from("!i", line.rows, place)
            place += 4
            row.append(None if length < 0 else line.rows[place : place + length])
            place += max(length, 0)
        rows.append(row)
    assert place == len(line.rows)
    return rows


def test_a_row_holds_what_the_outcome_says() -> None:
    [row] = read(packed(outcome(12)))
    guest = UUID("0198c0de-0000-7000-8000-000000000001")
    assert row[:5] == [RUN.bytes, struct.pack("!q", 7), struct.pack("!i", 12), b"shop", guest.bytes]
    assert row[5:8] == [b"taro@example.com", b"sent", b"250 ok"]
    assert row[8] == struct.pack("!q", (MOMENT - EPOCH) // timedelta(microseconds=1))
    assert row[9] == b"<1@x>"


@pytest.mark.parametrize(
    ("change", "column", "expected"),
    [
        ({"guest_id": ""}, 4, None),
        ({"guest_id": "no id"}, 4, None),
        ({"guest_id": "ab" * 15}, 4, None),
        ({"answer": "550 \0 no"}, 7, b"550  no"),
        ({"address": "taro\ud800@example.com"}, 5, b"taro?@example.com"),
        ({"answer": "山" * 2_000}, 7, "山".encode() * 2_000),
        ({"index": 70_000}, 2, struct.pack("!i", 70_000)),
    ],
)
def test_odd_values_spoil_neither_their_row_nor_others(change: dict[str, str], column: int, expected: object) -> None:
    index = int(change.pop("index", 1))
    line = packed(outcome(0), outcome(index, **change), outcome(2))
    rows = read(line)
    assert [len(row) for row in rows] == [10, 10, 10]
    assert rows[1][column] == expected
    assert rows[0] == read(packed(outcome(0)))[0]


def test_sums_and_moments_leave_suppressions_aside() -> None:
    later = MOMENT + timedelta(seconds=9)
    line = packed(
        outcome(0, at_utc=MOMENT - timedelta(days=1), state=RecipientState.SUPPRESSED),
        outcome(1, at_utc=later),
        outcome(2, state=RecipientState.UNKNOWN),
    )
    assert dict(zip(STATES, line.sums, strict=True)) == {
        RecipientState.SENT: 1,
        RecipientState.REFUSED: 0,
        RecipientState.SUPPRESSED: 1,
        RecipientState.UNRENDERABLE: 0,
        RecipientState.EXPIRED: 0,
        RecipientState.UNKNOWN: 1,
    }
    assert (line.first_at_utc, line.last_at_utc, line.recipients) == (MOMENT, later, 3)
    only = packed(outcome(0, state=RecipientState.SUPPRESSED))
    assert (only.first_at_utc, only.last_at_utc) == (None, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=4))
def test_any_words_make_whole_rows(words: list[tuple[str, str, str]]) -> None:
    rows = read(packed(*[outcome(n, address=a, answer=b, message_id=c) for n, (a, b, c) in enumerate(words)]))
    assert len(rows) == len(words)
    for row, (address, answer, message_id) in zip(rows, words, strict=True):
        said = [text.replace("\0", "").encode("utf-8", "replace") for text in (address, answer, message_id)]
        assert [row[5], row[7], row[9]] == said
