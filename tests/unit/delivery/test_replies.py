from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.transports.smtp.replies import BrokenReply, Reply, ReplyReader

STREAM = (
    b"220 relay.example ESMTP\r\n250-relay.example\r\n250-SIZE 100\r\n250 8BITMIME\r\n250 2.1.0 ok\r\n"
    b"550-5.1.1 nobody\r\n550 5.1.1 here\r\n354\r\n250 \xe5\xb1\xb1\r\n421 4.3.2 bye\n"
)
REPLIES = [
    Reply(220, "relay.example ESMTP"),
    Reply(250, "relay.example SIZE 100 8BITMIME", ("relay.example", "SIZE 100", "8BITMIME")),
    Reply(250, "2.1.0 ok"),
    Reply(550, "5.1.1 nobody 5.1.1 here", ("5.1.1 nobody", "5.1.1 here")),
    Reply(354, ""),
    Reply(250, "山"),
    Reply(421, "4.3.2 bye"),
]


def test_replies_in_one_packet() -> None:
    assert ReplyReader().feed(STREAM) == REPLIES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_packets_may_be_cut_anywhere(cuts: list[int]) -> None:
    reader = ReplyReader()
    borders = [0, *sorted(cuts), len(STREAM)]
    found = [reply for begin, end in itertools.pairwise(borders) for reply in reader.feed(STREAM[begin:end])]
    assert found == REPLIES


@pytest.mark.parametrize(
    "line",
    [b"hello\r\n", b"199 low\r\n", b"600 high\r\n", b"25 short\r\n", b"250x\r\n", b"250-a\r\n251 b\r\n", b"\r\n"],
)
def test_what_is_no_reply_ends_the_trust(line: bytes) -> None:
    with pytest.raises(BrokenReply):
        ReplyReader().feed(line)


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    with pytest.raises(BrokenReply):
        ReplyReader().feed(b"250 " + b"x" * 70_000)


def test_a_reply_without_end_does_not_fill_the_memory() -> None:
    with pytest.raises(BrokenReply):
        ReplyReader().feed(b"250-x\r\n" * 2_000)


def test_verbatim_is_the_answer_as_the_ledger_keeps_it() -> None:
    assert Reply(550, "5.1.1 nobody").verbatim() == "550 5.1.1 nobody"
    assert Reply(354, "").verbatim() == "354"
