from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.engine.codec import (
    decode_batch,
    decode_journal,
    decode_order,
    decode_start,
    encode_batch,
    encode_journal,
    encode_order,
    encode_start,
    open_batch,
)
from todoku.delivery.engine.journal import (
    Deferral,
    Intent,
    JournalMessage,
    Rest,
    StartRecord,
    pack_settled,
    unpack_settled,
)
from todoku.delivery.errors import UnreadablePayload
from todoku.delivery.types import Batch, Outcome, Recipient, RecipientState, RunOrder

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
words = st.text(max_size=20)
scalars = words | st.integers(-(2**60), 2**60) | st.booleans() | st.none()
recipients = st.builds(
    Recipient, st.integers(0, 499), words, words, words, st.dictionaries(words, scalars | st.lists(scalars, max_size=3))
)


@given(st.lists(recipients, max_size=5), st.integers(1, 9), st.integers(0, 10**6))
def test_a_batch_comes_back_as_it_was(people: list[Recipient], seal: int, number: int) -> None:
    batch = Batch("shop", "0198", seal, number, tuple(people))
    assert decode_batch(encode_batch(batch)) == batch


def test_a_journal_line_comes_back_as_it_was() -> None:
    outcome = Outcome(3, "g", "taro..y@docomo.example", RecipientState.REFUSED, "550 5.1.1 山", NOON, "<r.0.3@x>")
    line = JournalMessage(
        "shop",
        "0198",
        2,
        "17",
        "me",
        4,
        (outcome,),
        (Deferral(5, "450"),),
        b"\x08",
        Intent(5, (6, 7)),
        5,
        (Rest(5, 1, NOON),),
    )
    assert decode_journal(encode_journal(line)) == line


def test_an_order_comes_back_as_it_was() -> None:
    order = RunOrder(
        "shop", "0198", 1, "sealed", NOON, NOON + timedelta(hours=4), "件名", "<p>", "本文", "店", "a@b.example", "",
        "https://x.example/", 1, 2, 3, "hash",
    )  # fmt: skip
    assert decode_order(encode_order(order)) == order
    record = StartRecord("0198", 1, "me", NOON, NOON + timedelta(milliseconds=3), order)
    assert decode_start(encode_start(record)) == record


@given(st.lists(recipients, min_size=1, max_size=5))
def test_an_opened_batch_gives_each_recipient_as_it_was(people: list[Recipient]) -> None:
    opened = open_batch(encode_batch(Batch("shop", "0198", 2, 7, tuple(people), "Asia/Tokyo", NOON)))
    assert [opened.recipient(place) for place in range(len(people))] == people
    assert (opened.seal, opened.number, opened.time_zone, opened.release_at_utc) == (2, 7, "Asia/Tokyo", NOON)


@given(st.sets(st.integers(0, 499)))
def test_the_settled_bitmap_holds_any_set(indexes: set[int]) -> None:
    packed = pack_settled(indexes)
    assert unpack_settled(packed) == indexes
    assert len(packed) <= 63


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"SB",
        b"SB\x02" + zstandard.compress(b"\x80"),
        b"JM\x01" + zstandard.compress(b"\x80"),
        b"SB\x01not zstd at all",
        b"SB\x01" + zstandard.compress(b"\xc1\xc1"),
        b"SB\x01" + zstandard.compress(b"\x80"),
    ],
)
def test_what_is_no_batch_is_refused_by_name(payload: bytes) -> None:
    with pytest.raises(UnreadablePayload):
        decode_batch(payload)


def test_a_bomb_of_zeros_does_not_fill_the_memory() -> None:
    bomb = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    packed = b"".join(bomb.compress(bytes(1024 * 1024)) for _ in range(70)) + bomb.flush()
    with pytest.raises(UnreadablePayload):
        decode_batch(b"SB\x01" + packed)
