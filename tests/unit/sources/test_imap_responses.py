"""What an IMAP server says, taken apart; whatever it says, nothing but BadResponse is raised."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.sources.imap.responses import (
    BadResponse,
    Fetched,
    fetched_of,
    internal_date,
    literal_size,
    modified_utf7,
    quoted,
    status_of,
)
from todoku.sources.line_stream import words

_PIECES = st.sampled_from(
    [b"1 FETCH (", b"UID ", b"7", b" ", b"(", b")", b'"', b"\\", b"NIL", b"BODY[] ", b"RFC822.SIZE ", b"INTERNALDATE "]
)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("INBOX", b"INBOX"),
        ("予約", b"&Toh9BA-"),
        ("日本語", b"&ZeVnLIqe-"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 section 5.1.3
        ("a&b", b"a&-b"),
        ("😀", b"&2D3eAA-"),
        ("a\r\nb", b"a&AA0ACg-b"),
    ],
)
def test_names_of_folders(name: str, encoded: bytes) -> None:
    assert modified_utf7(name) == encoded


@settings(deadline=None)
@given(st.text())
def test_no_name_holds_what_could_end_a_command(name: str) -> None:
    encoded = quoted(modified_utf7(name))
    assert all(0x20 <= byte < 0x7F for byte in encoded)


@pytest.mark.parametrize(
    ("raw", "at_utc"),
    [
        (b" 1-Feb-2026 09:30:00 +0900", datetime(2026, 2, 1, 0, 30, tzinfo=UTC)),
        (b"17-JUL-1996 02:44:25 -0730", datetime(1996, 7, 17, 10, 14, 25, tzinfo=UTC)),
        (b"31-Feb-2026 09:30:00 +0900", None),
        (b"01-Xyz-2026 09:30:00 +0900", None),
        (b"01-Jan-0000 00:00:00 +0000", None),
        (b"01-Jan-0001 00:00:00 +1400", None),
        (b"01-Jan-2026 00:00:00 +9900", None),
        (b"", None),
    ],
)
def test_dates(raw: bytes, at_utc: datetime | None) -> None:
    assert internal_date(raw) == at_utc


def test_a_mail_in_each_form() -> None:
    at_utc = datetime(2026, 2, 1, tzinfo=UTC)
    date = b'"01-Feb-2026 00:00:00 +0000"'
    assert fetched_of([b"3 FETCH (UID 9 INTERNALDATE " + date + b" RFC822.SIZE 5)"], []) == Fetched(3, 9, at_utc, 5)
    assert fetched_of([b"3 fetch (rfc822.size 5 flags (\\Seen a) uid 9)"], []) == Fetched(3, 9, None, 5)
    with_body = fetched_of([b"3 FETCH (UID 9 BODY[] {3}", b' X "a) (b" )'], [b"a)("])
    assert with_body == Fetched(3, 9, None, None, b"a)(", has_body=True)
    assert fetched_of([b"3 FETCH (BODY[] NIL UID 9)"], []) == Fetched(3, 9, has_body=True)
    assert fetched_of([b"3 EXISTS"], []) is None


@settings(deadline=None)
@given(st.lists(_PIECES, max_size=40), st.lists(st.binary(max_size=5), max_size=2))
def test_nonsense_is_told_as_that(pieces: list[bytes], literals: list[bytes]) -> None:
    text = b"1 FETCH (" + b"".join(pieces)
    segments = [text + b"{5}", *([b" {5}"] * (len(literals) - 1)), b")"] if literals else [text]
    try:
        fetched_of(segments, literals)
    except BadResponse:
        return


def test_brackets_without_end_do_not_end_the_program() -> None:
    with pytest.raises(BadResponse):
        fetched_of([b"1 FETCH (" + b"(" * 30_000], [])


def test_words_with_and_without_a_code() -> None:
    status = status_of(b"NO [AUTHENTICATIONFAILED] wrong")
    assert status is not None
    assert (status.word, status.code, status.text) == ("NO", "AUTHENTICATIONFAILED", b"wrong")
    status = status_of(b"ok [UIDVALIDITY 7] x")
    assert status is not None
    assert (status.word, status.code, status.argument) == ("OK", "UIDVALIDITY", b"7")
    assert status_of(b"5 EXISTS") is None


def test_sizes_of_literals() -> None:
    assert literal_size(b"BODY[] {310}") == 310
    assert literal_size(b"BODY[] ~{0}") == 0
    assert literal_size(b"BODY[] {-1}") is None
    assert literal_size(b"{5} ") is None


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_what_a_server_says_is_one_short_line(raw: bytes) -> None:
    said = words(raw, "geheim-123")
    assert said.isprintable()
    assert len(said) <= 200
    assert words(b"it is geheim-123", "geheim-123") == "it is ***"
