"""What once cost the square of its length, or memory by its depth; found by the fuzzer and by reading for it.

None of these measures time: with the mistake in them they took minutes, and the guard ends them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from tests.torture.writing import booking

from todoku.extraction import read_mail
from todoku.extraction.compiled import _B, _SYNTAXES, _TABLE_ROW, _filled
from todoku.extraction.forwarding import MAX_HEADER_CHARACTERS, find_inner
from todoku.extraction.reading import MAX_ATTACHED_MAILS
from todoku.extraction.types import Outcome, Reading

pytestmark = pytest.mark.timeout(30)
RECEIVED = datetime(2026, 11, 21, tzinfo=UTC)


def read(raw: bytes) -> Reading:
    return read_mail(raw, received_at=RECEIVED)


def test_a_long_header_line_of_a_forwarded_mail_is_cut() -> None:  # 12 minutes for 400,000 letters
    text = f"---- Forwarded message ----\nFrom: {'a' * 400_000}\nSubject: {'x' * 400_000}\n\nbody"
    inner = find_inner(text, text)
    assert inner is not None
    assert (inner.sender, inner.subject, text[inner.begin :]) == (None, "x" * MAX_HEADER_CHARACTERS, "\nbody")


@pytest.mark.parametrize("syntax", [*(syntax for syntax, _ in _SYNTAXES.values()), _TABLE_ROW])
def test_blanks_before_a_label_are_looked_at_once(syntax: str) -> None:
    pattern = re.compile(rf"\n{_B}(?:{_filled(syntax, ['人数'])})", re.MULTILINE)
    assert pattern.search("\n" + " " * 380_000 + "x") is None


def test_blanks_in_a_table_are_looked_at_once() -> None:  # the cube: three runs of blanks could meet
    html = booking("table").replace(b"text/plain", b"text/html").replace(b"\n\xef", b"<br>\n\xef")
    assert read(html + b"<table><tr><td>a</td><td>b</td></tr></table><pre>\n" + b" \t" * 190_000 + b"x").site == "gnavi"


def test_blanks_before_the_addressee_are_looked_at_once() -> None:  # 35 s for 400 kB of U+3000
    raw = booking("addressee").replace("届屋 銀座本店 様".encode(), b"a" + b" " * 390_000 + b"b")
    assert read(raw).outcome is Outcome.RESERVATION


@pytest.mark.parametrize(
    "cell", ["人数\t2名", "【人数】\t2名", "【 人数 】 : 2名", "人数 | 2名", "■人数  \t 2名", "人数\t:2名"]
)
def test_a_row_of_a_table_is_found_as_before(cell: str) -> None:
    from todoku.extraction.compiled import compile_site
    from todoku.extraction.definition import load_definition
    from todoku.extraction.site_folders import _folders

    folder = next(folder for folder in _folders() if folder.name == "hotpepper")
    definition = load_definition(folder.joinpath("site.toml").read_text(encoding="utf-8"), file="site.toml")
    pattern = compile_site(definition, file="site.toml").scan_table
    assert pattern is not None
    found = pattern.search(f"\n{cell.replace('【', '[').replace('】', ']')}")
    assert found is not None
    assert found.string[found.end() :] == "2名"


def test_attached_mails_are_looked_at_up_to_a_number_for_the_whole_mail() -> None:
    def wide(inside: bytes, count: int, boundary: bytes) -> bytes:
        part = b"--" + boundary + b"\nContent-Type: message/rfc822\n\n" + inside + b"\n"
        return b"From: a@b.example\nContent-Type: multipart/mixed; boundary=" + boundary + b"\n\n" + part * count

    empty = b"From: a@b.example\n\nx"
    looked_at = wide(empty, MAX_ATTACHED_MAILS - 2, b"n1")
    after = b"--n0\nContent-Type: message/rfc822\n\n" + booking("attached") + b"\n--n0--\n"
    assert read(wide(looked_at, 1, b"n0") + after).outcome is Outcome.RESERVATION
    assert read(wide(looked_at, 2, b"n0") + after).outcome is Outcome.NOT_A_RESERVATION


def test_a_reservation_in_markup_that_is_cut_or_too_far_behind_is_never_overlooked() -> None:
    head = b"From: a@b.example\nContent-Type: text/html\n\nschema.org"
    script = b'<script type="application/ld+json">{"@type": "FoodEstablishmentReservation", "x": "'
    for raw in (head + script, head + script + b"x" * 1_000_000 + b'"}</script>', head + b" " * 1_000_000 + script):
        reading = read(raw)
        assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "broken_markup")


def test_a_long_vowel_sign_typed_for_a_hyphen() -> None:
    facts = read(booking("phone", phone="０９０ー００００ー０００１")).facts
    assert facts is not None
    assert facts.guest.phone == "+819000000001"
