"""Header bombs, and headers that other importers stumble over: Message-ID, Date, parameters, encoded words."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.torture.writing import BOOKED, Case, booking, mail, text

from todoku.intake.types import MailState

UNREADABLE = MailState.UNREADABLE
_TOO_LARGE = "headers_too_large"
RECEIVED = "2026-11-25T03:00:00+00:00"


def cases() -> Iterator[Case]:
    """Yield the cases of headers."""
    yield from _bombs()
    yield from _words()
    yield from _message_ids()
    yield from _dates()
    yield from _breakers()


def _with(key: str, more: bytes, facts: bool = True) -> Case:
    return Case(key, lambda: mail(text(key).encode(), more=more), facts=BOOKED if facts else {})


def _bombs() -> Iterator[Case]:
    yield _with("10,000 headers", b"".join(b"X-%05d: x\n" % number for number in range(10_000)))
    key = "100,000 headers"
    yield Case(key, lambda: mail(b"", more=b"X-A: 0123456789\n" * 100_000), UNREADABLE, _TOO_LARGE)
    yield Case(
        "one header of 10 MB", lambda: mail(b"", more=b"X-A: " + b"x" * 10_000_000 + b"\n"), UNREADABLE, _TOO_LARGE
    )
    folded = b"X-A: x\n" + b" x\n" * 1_000_000
    yield Case("folded a million times", lambda: mail(b"", more=folded), UNREADABLE, _TOO_LARGE)
    yield _with("folded fifty thousand times", b"X-A: x\n" + b" x\n" * 50_000)
    yield _with("folded with blank lines of one blank", b"X-A: x\n \n\t\n x\n")
    yield Case(
        "ten million header bytes without an end", lambda: b"From: a@b.example\n" * 600_000, UNREADABLE, _TOO_LARGE
    )
    yield Case("headers of the parts together", lambda: mail(
        b"".join(b"--b\nX-A: " + b"x" * 4_000 + b"\n\nx\n" for _ in range(100)),
        content_type=b"multipart/mixed; boundary=b",
    ), UNREADABLE, _TOO_LARGE)  # fmt: skip
    yield _with("a line without a colon among headers", b"this is no header\n")
    yield _with("a header name of 100,000 letters", b"x" * 100_000 + b": x\n")


def _words() -> Iterator[Case]:
    yield _with("ten thousand encoded words", b"X-A: " + b"=?utf-8?b?5bGK?= " * 10_000 + b"\n")
    yield _with(
        "ten thousand encoded words of two charsets", b"X-A: " + b"=?utf-8?q?a?= =?iso-2022-jp?q?a?= " * 6_000 + b"\n"
    )
    yield _with("encoded words cut in their base64", b"X-A: =?utf-8?b?a?= " + b"=?utf-8?b?abcd?= " * 10_000 + b"\n")
    yield _with("encoded words that never end", b"X-A: " + b"=?utf-8?q?" * 20_000 + b"\n")
    key = "an encoded word with line ends"
    yield Case(
        key, partial(mail, text(key).encode(), subject=b"=?utf-8?q?a=0D=0ABcc:_x@example.com=00?="), facts=BOOKED
    )
    many = b"".join(b" name*%d*=%%E3%%81%%82;\n" % number for number in range(999, -1, -1))
    yield _with("a thousand continuations", b"Content-Disposition: inline;\n" + many)
    huge = b" name*99999999999999999999=x; name*0*=x'y; name*=''%; name**=x; *=x; =;;;;\n"
    yield _with("continuations that are none", b"Content-Disposition: inline;\n" + huge)
    key = "a thousand parameters"
    kind = b"text/plain; charset=UTF-8" + b"".join(b"; p%d=%d" % (number, number) for number in range(1_000))
    yield Case(key, lambda: mail(text(key).encode(), content_type=kind), facts=BOOKED)
    yield _with("ten thousand recipients", b"Cc: " + b'"a, b" <c@d.example>, ' * 10_000 + b"\n")
    yield _with("a recipient of 200,000 letters", b"Cc: " + b"a" * 200_000 + b",b\n")
    yield _with("brackets that never close", b"Cc: " + b'(<"' * 60_000 + b"\n")


def _message_ids() -> Iterator[Case]:
    for name, line in (
        ("no Message-ID", b""), ("an empty Message-ID", b"Message-ID:\n"),
        ("a Message-ID of brackets", b"Message-ID: <>\n"),
        ("two Message-IDs", b"Message-ID: <a@b>\nMessage-ID: <c@d>\n"),
        ("the same Message-ID, first mail", b"Message-ID: <same@gnavi.co.jp>\n"),
        ("the same Message-ID, second mail", b"Message-ID: <same@gnavi.co.jp>\n"),
        ("a Message-ID of 50,000 letters", b"Message-ID: <" + b"x" * 50_000 + b">\n"),
        ("a Message-ID with NUL", b"Message-ID: <a\x00b@c>\n"),
    ):  # fmt: skip
        yield _with(name, line)


def _dates() -> Iterator[Case]:
    for name, date, issued in (
        ("a Date of 1970", b"Thu, 1 Jan 1970 00:00:00 +0000", RECEIVED),
        ("a Date ten years ago", b"Sun, 20 Nov 2016 12:00:00 +0900", "2016-11-20T03:00:00+00:00"),
        ("a Date ten years ahead", b"Thu, 20 Nov 2036 12:00:00 +0900", RECEIVED),
        ("a Date ten minutes ahead", b"Wed, 25 Nov 2026 12:10:00 +0900", "2026-11-25T03:10:00+00:00"),
        ("a Date an hour ahead", b"Wed, 25 Nov 2026 13:00:00 +0900", RECEIVED),
        ("a Date that is no day", b"Mon, 30 Feb 2026 12:00:00 +0900", RECEIVED),
        ("a Date of the year 9999", b"Fri, 31 Dec 9999 23:59:59 -1200", RECEIVED),
        ("a Date of the year 0", b"Sat, 1 Jan 0000 00:00:00 +0000", RECEIVED),
        ("a Date with an offset of 99 hours", b"Fri, 20 Nov 2026 12:00:00 +9959", RECEIVED),
        ("a Date that is empty", b" ", RECEIVED),
        ("no Date", b"", RECEIVED),
        ("a Date of words", "届いた日".encode(), RECEIVED),
        ("a Date of 100,000 digits", b"1" * 100_000, RECEIVED),
    ):
        yield Case(name, partial(mail, text(name).encode(), date=date),
                   facts={**BOOKED, "issued_at": issued})  # fmt: skip
    key = "two Dates"
    yield Case(key, lambda: mail(text(key).encode(), more=b"Date: Thu, 1 Jan 1970 00:00:00 +0000\n"),
               facts={**BOOKED, "issued_at": "2026-11-20T03:00:00+00:00"})  # fmt: skip


def _breakers() -> Iterator[Case]:
    yield _with("two Content-Types", b"Content-Type: application/octet-stream\n")
    key = "a Content-Type that is none"
    yield Case(key, lambda: mail(text(key).encode(), content_type=b"text"), facts=BOOKED)
    key = "a forwarded From of 300,000 letters"
    yield Case(
        key,
        lambda: booking("fw").replace(b"plan-reserve@gnavi.co.jp", b"someone@example.com")
        + b"\n---- Forwarded message ----\nFrom: " + b"a" * 300_000 + b"\n\nx\n",
        MailState.NOT_A_RESERVATION, "other",
    )  # fmt: skip
