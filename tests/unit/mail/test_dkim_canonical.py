"""The relaxed form, by the RFC's own example and by what it must not change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.mail.dkim_canonical import relaxed_body, relaxed_fields, split_message

white = st.sampled_from([b" ", b"\t", b"  ", b" \t ", b"        "])
pieces = st.lists(
    st.one_of(white, st.sampled_from([b"\r\n", b"a", b".", "と".encode(), b"\x0b", b"\x85"])), max_size=60
)


def test_the_example_of_rfc_6376_section_3_4_5() -> None:
    message = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"
    headers, body = split_message(message)
    assert relaxed_fields(headers) == [(b"a", b"a:X"), (b"b", b"b:Y Z")]
    assert relaxed_body(body) == b" C\r\nD E\r\n"


@pytest.mark.parametrize(
    ("body", "relaxed"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b" \t\r\n\r\n  \r\n", b""),
        (b"no end", b"no end\r\n"),
        (b"no end  ", b"no end\r\n"),
        (b"a\r\n\r\nb\r\n\r\n \r\n", b"a\r\n\r\nb\r\n"),
        (b"   \t indented", b" indented\r\n"),
        (b"lone \n feed and \r return\r\n", b"lone \n feed and \r return\r\n"),
    ],
)
def test_bodies(body: bytes, relaxed: bytes) -> None:
    assert relaxed_body(body) == relaxed


@given(pieces)
def test_what_relays_may_change_changes_nothing(parts: list[bytes]) -> None:
    body = b"".join(parts)
    form = relaxed_body(body)
    assert relaxed_body(form) == form
    assert relaxed_body(body + b"\r\n" * (not body.endswith(b"\r\n")) + b" \r\n\r\n") == form
    assert relaxed_body(body.replace(b" ", b" \t")) == form
    assert b"  " not in form
    assert b"\t" not in form
    assert form.replace(b" ", b"").rstrip(b"\r\n") == body.translate(None, b" \t").rstrip(b"\r\n")


@pytest.mark.parametrize(
    ("message", "headers", "body"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody", b"A: 1\r\nB: 2", b"body"),
        (b"A: 1\r\n", b"A: 1", b""),
        (b"A: 1", b"A: 1", b""),
        (b"A: 1\r\n\r\n", b"A: 1", b""),
        (b"\r\nbody\r\n\r\n", b"", b"body\r\n\r\n"),
        (b"", b"", b""),
    ],
)
def test_where_the_body_begins(message: bytes, headers: bytes, body: bytes) -> None:
    assert split_message(message) == (headers, body)


def test_only_space_and_tab_are_white_space() -> None:
    fields = relaxed_fields(b"Subject:\x0b a\x0c  b \x85\r\nX-Lone: a\rb  \n c")
    assert fields == [(b"subject", b"subject:\x0b a\x0c b \x85"), (b"x-lone", b"x-lone:a\rb \n c")]


def test_a_line_without_a_colon_is_no_field() -> None:
    assert relaxed_fields(b"From: a@b.example\r\nnonsense") == [(b"from", b"from:a@b.example"), (b"", b"")]
