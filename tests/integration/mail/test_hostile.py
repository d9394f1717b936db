"""Mails made to break a reader: each ends in a mail or in its own Unreadable, in bounded processor time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from todoku.mail.errors import HeadersTooLarge, NotAMail, TooDeep, TooManyParts, Unreadable
from todoku.mail.parse import parse_mail

HEAD = b"From: a@b.example\r\nSubject: s\r\n"
HTML = HEAD + b"Content-Type: text/html\r\n\r\n"
JIS = HEAD + b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def nested(levels: int) -> bytes:
    heads = [
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(levels)
    ]
    return HEAD + b"".join(heads) + b"\r\nhi" + b"".join(b"\r\n--b%d--" % level for level in reversed(range(levels)))


REFUSED: dict[str, tuple[Callable[[], bytes], type[Unreadable]]] = {
    "2 MB in one header": (lambda: HEAD + b"X-A: " + b"a" * 2_000_000 + b"\r\n\r\nb", HeadersTooLarge),
    "2 MB of headers": (lambda: HEAD + b"X-A: b\r\n" * 250_000 + b"\r\nb", HeadersTooLarge),
    "300 parts": (lambda: MIXED + b"--b\r\n\r\nhi\r\n" * 300, TooManyParts),
    "parts in 300 parts": (lambda: nested(300), TooDeep),
    "8 MB of almost delimiters": (lambda: MIXED + b"--bx\r\n" * 1_300_000, TooManyParts),
    "NUL bytes": (lambda: b"\x00" * 1_000_000, NotAMail),
}

READ: dict[str, Callable[[], bytes]] = {
    "parts in 49 parts": lambda: nested(49),
    "blanks in an address": lambda: HEAD + b"To: " + b" " * 250_000 + b"\r\n\r\nb",
    "escaped quotes": lambda: HEAD + b'To: "' + b'\\"' * 120_000 + b",\r\n\r\nb",
    "open comments": lambda: HEAD + b"To: x," + b"(\\" * 120_000 + b"\r\n\r\nb",
    "at signs": lambda: HEAD + b"To: " + b"a@" * 120_000 + b"\r\n\r\nb",
    "angle brackets": lambda: HEAD + b"To: " + b"<" * 250_000 + b"\r\n\r\nb",
    "open encoded words": lambda: HEAD + b"To: " + b"=?a?q?x " * 30_000 + b"\r\n\r\nb",
    "many encoded words": lambda: HEAD + b"To: " + b"=?utf-8?q?x?= " * 17_000 + b"\r\n\r\nb",
    "folds": lambda: HEAD + b"To: " + b"\r\n " * 80_000 + b"\r\n\r\nb",
    "parameters": lambda: HEAD + b"Content-Type: text/plain" + b"; a*1*=b" * 25_000 + b"\r\n\r\nb",
    "no colon": lambda: HEAD + b"a" * 250_000 + b"\r\n\r\nb",
    "lines that are no fields": lambda: HEAD + b"x\nA:b\n" * 40_000 + b"\r\n\r\nb",
    "boundary of dashes": lambda: MIXED.replace(b"=b", b"=-") + b"-" * 5_000_000,
    "NUL body": lambda: HEAD + b"\r\n" + b"\x00" * 1_000_000,
    "padding everywhere": lambda: HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A=" * 1_000_000,
    "soft line ends": lambda: HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\n=4=zz" * 300_000,
    "unknown shifts": lambda: JIS + b"\x1b(Z\x1b$B" * 200_000,
    "undefined pairs": lambda: JIS + b"\x1b$B" + b"~~" * 1_000_000,
    "cut pairs": lambda: JIS + b"\x1b$B" + b"0 " * 1_000_000,
    "vendor characters": lambda: JIS + b"\x1b$B" + b"-!" * 1_000_000,
    "shift out": lambda: JIS + b"\x0e1\x0f" * 300_000,
    "broken EUC": lambda: JIS.replace(b"iso-2022-jp", b"euc-jp") + b"\x8f\xf3\xf3\x80" * 500_000,
    "flowed": lambda: HEAD + b"Content-Type: text/plain; format=flowed\r\n\r\n" + b"a \n" * 300_000,
    "nested divs": lambda: HTML + b"<div>" * 200_000,
    "nested bold": lambda: HTML + b"".join(b"<p><b id=%d>" % number for number in range(60_000)),
    "nested tables": lambda: HTML + b"<table><tr><td>x" * 30_000,
    "one row": lambda: HTML + b"<table>" + b"<td>x" * 60_000,
    "open tags": lambda: HTML + b"<a " * 300_000,
    "open quotes": lambda: HTML + b"<a '\"" * 200_000,
    "open comments in HTML": lambda: HTML + b"<!--a-" * 150_000,
    "hidden": lambda: HTML + b"<b hidden>" * 90_000,
    "open style": lambda: HTML + b"<style>" + b"</style" * 140_000,
    "links": lambda: HTML + b"<a href=http://a.example>x</a>" * 30_000,
}

# Generous for a busy machine: what these look for is the square, which takes minutes.
MOST_PROCESSOR_SECONDS = 4.0


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_and_at_once(name: str) -> None:
    make, error = REFUSED[name]
    raw = make()
    started = time.process_time()
    with pytest.raises(error):
        parse_mail(raw)
    assert time.process_time() - started < MOST_PROCESSOR_SECONDS


@pytest.mark.parametrize("name", READ)
def test_read_in_bounded_time(name: str) -> None:
    raw = READ[name]()
    started = time.process_time()
    parsed = parse_mail(raw)
    assert time.process_time() - started < MOST_PROCESSOR_SECONDS
    assert parsed.sender.address == "a@b.example"


def test_a_large_text_of_vendor_characters_loses_none() -> None:
    parsed = parse_mail(JIS + b"\x1b$B" + b"-!" * 1_000_000)
    assert parsed.text == "①" * 1_000_000
    assert parsed.lossy_characters == 0
