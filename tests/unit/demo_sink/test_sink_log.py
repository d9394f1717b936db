"""The sink's file: counted again after a kill, torn records cut off, doubles told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from todoku.demo.errors import SinkInUse
from todoku.demo.sink_log import LOG_NAME, SinkLog, SinkReader, make_record, recipient_key


def text(reference: str, subject: str = "hello") -> bytes:
    return f"Subject: {subject}\r\nX-Todoku-Recipient: {reference}\r\n\r\nbody of {reference}\r\n".encode()


def record(reference: str, rcpt_to: str = "a@example.com") -> tuple[bytes, bytes, int]:
    return make_record(text(reference), b"shop@example.com", rcpt_to.encode(), 1_763_694_000.5)


def test_counts_and_contents_are_there_again_after_reopening(tmp_path: Path) -> None:
    first = SinkLog(tmp_path)
    first.append([record("r1"), record("r2", "店@example.com")])
    first.append([record("r3")])
    first.close()
    again = SinkLog(tmp_path)
    assert len(again.index.offsets) == 3
    assert again.index.doubled == 0
    again.close()
    newest = SinkReader(tmp_path).newest(2, 0)
    assert [(message.number, message.rcpt_to, message.raw) for message in newest] == [
        (2, "a@example.com", text("r3")),
        (1, "店@example.com", text("r2")),
    ]
    assert newest[0].received_at_utc.isoformat() == "2025-11-21T03:00:00.500000+00:00"


@pytest.mark.parametrize("cut_bytes", [1, 20, 60, 100])
def test_a_torn_last_record_is_cut_off_and_the_next_one_is_whole(tmp_path: Path, cut_bytes: int) -> None:
    log = SinkLog(tmp_path)
    log.append([record("r1"), record("r2")])
    log.close()
    path = tmp_path / LOG_NAME
    os.truncate(path, path.stat().st_size - cut_bytes)
    again = SinkLog(tmp_path)
    assert len(again.index.offsets) == 1
    again.append([record("r3")])
    again.close()
    assert [message.raw for message in SinkReader(tmp_path).newest(9, 0)] == [text("r3"), text("r1")]


def test_a_last_record_with_a_wrong_checksum_is_cut_off(tmp_path: Path) -> None:
    log = SinkLog(tmp_path)
    log.append([record("r1"), record("r2")])
    log.close()
    path = tmp_path / LOG_NAME
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert len(SinkLog(tmp_path).index.offsets) == 1


def test_doubles_are_told_across_restarts(tmp_path: Path) -> None:
    log = SinkLog(tmp_path)
    log.append([record("r1"), record("r2")])
    log.close()
    log = SinkLog(tmp_path)
    log.append([record("r2"), record("r3")])
    assert log.index.doubled == 1
    assert SinkReader(tmp_path).doubled() == 1
    log.close()


def test_only_one_process_may_write(tmp_path: Path) -> None:
    log = SinkLog(tmp_path)
    with pytest.raises(SinkInUse):
        SinkLog(tmp_path)
    log.close()
    SinkLog(tmp_path).close()


def test_reader_follows_the_writer_and_a_fresh_file(tmp_path: Path) -> None:
    reader = SinkReader(tmp_path)
    assert reader.count() == 0
    assert reader.get(0) is None
    log = SinkLog(tmp_path)
    log.append([record("r1")])
    assert reader.count() == 1
    log.append([record("r2")])
    found = reader.get(1)
    assert found is not None
    assert found.raw == text("r2")
    log.close()
    (tmp_path / LOG_NAME).unlink()
    SinkLog(tmp_path).close()
    assert reader.count() == 0
    reader.close()


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (text("r1", "first try"), text("r1", "second try"), True),
        (text("r1"), text("r2"), False),
        (b"x-todoku-RECIPIENT:r1\r\n\r\n", text("r1"), True),
        (b"Message-ID: <1@x>\r\n\r\na", b"message-id: <1@x>\r\n\r\nb", True),
        (b"Message-ID: <1@x>\r\n\r\n", b"Message-ID: <2@x>\r\n\r\n", False),
    ],
)
def test_key_tells_which_messages_are_the_same(one: bytes, two: bytes, same: bool) -> None:
    assert (recipient_key(one, b"a@example.com") == recipient_key(two, b"A@Example.com")) is same


def test_same_message_to_two_recipients_is_no_double() -> None:
    raw = b"Message-ID: <1@x>\r\n\r\n"
    assert recipient_key(raw, b"a@example.com") != recipient_key(raw, b"b@example.com")


def test_message_that_names_nothing_is_never_a_double() -> None:
    assert recipient_key(b"no headers at all", b"a@example.com") == 0
    assert recipient_key(b"", b"") == 0
