"""The text of bytes that are said to hold nothing invisible holds nothing invisible."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.kernel.folding import strip_invisible
from todoku.mail.charsets import decode_bytes, may_hold_invisible

GRAPHIC = range(0x21, 0x7F)
SHIFTS = ("$B", "$@", "(I", "(J", "(B", "$A", "$(A", "$(B", "$(C", "$(D", "$(O", "$(P", "$(Q", ".A", "N", "&@")
PIECES = (
    *(f"\x1b{shift}".encode() for shift in SHIFTS), b"\x0e", b"\x0f", b"\n", b"abc", b'"1', b")7", b"-", b"\x8e",
    b"\x80", "\u200b".encode(), "\u00ad".encode(), "\u034f".encode(), "\ufeff".encode(), "\u2066".encode(),
    "予約…".encode(), "予約".encode("euc_jp"), "予約".encode("cp932"),
)  # fmt: skip


@pytest.mark.parametrize("shift", SHIFTS)
def test_no_pair_of_any_set_is_overlooked(shift: str) -> None:
    pairs = bytes(itertools.chain.from_iterable(itertools.product(GRAPHIC, GRAPHIC)))
    data = b"\x1b" + shift.encode() + pairs + b"\x1b(B"
    decoded = decode_bytes(data, "iso-2022-jp")
    assert decoded.charset == "iso-2022-jp"
    assert may_hold_invisible(data, decoded.charset) or strip_invisible(decoded.text) == decoded.text


def test_no_pair_of_cp932_is_overlooked() -> None:
    pairs = (bytes(pair) for pair in itertools.product((*range(0x81, 0xA0), *range(0xE0, 0xFD)), range(0x40, 0xFD)))
    text = "".join(decode_bytes(pair, "cp932").text for pair in pairs)
    assert not may_hold_invisible(text.encode("cp932", "ignore"), "cp932")
    assert strip_invisible(text) == text


@pytest.mark.parametrize("character", "\u00ad\u034f\u200b\u200c\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff")
def test_each_is_seen_in_utf_8(character: str) -> None:
    assert may_hold_invisible(f"予約{character}".encode(), "utf-8")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.sampled_from(["iso-2022-jp", "cp932", "utf-8"]))
def test_whatever_the_bytes_are(data: bytes, declared: str) -> None:
    decoded = decode_bytes(data, declared)
    if not may_hold_invisible(data, decoded.charset):
        assert strip_invisible(decoded.text) == decoded.text
