"""MIME bombs, broken transfer encodings, sizes and raw bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial

from tests.torture.writing import BOOKED, Case, booking, mail, text

from todoku.intake.types import MailState
from todoku.mail.jis_encoding import encode_iso2022jp
from todoku.mail.structure import Limits

UNREADABLE, OTHER, UNKNOWN = MailState.UNREADABLE, MailState.NOT_A_RESERVATION, MailState.UNKNOWN_LAYOUT
_LIMITS = Limits()
_MIXED = b"multipart/mixed; boundary=b"


def cases() -> Iterator[Case]:
    """Yield the cases of structure."""
    yield from _trees()
    yield from _boundaries()
    yield from _encodings()
    yield from _charsets()
    yield from _sizes()
    yield from _raw_bytes()


def nested(depth: int, inside: bytes) -> bytes:
    """Return a mail of parts in parts."""
    body = b"Content-Type: text/plain; charset=UTF-8\n\n" + inside
    for level in range(depth - 1, 0, -1):
        name = b"n%d-" % level
        body = (
            b"Content-Type: multipart/mixed; boundary="
            + name
            + b"\n\n--"
            + name
            + b"\n"
            + body
            + b"\n--"
            + name
            + b"--\n"
        )
    return mail(b"--b\n" + body + b"\n--b--\n", content_type=_MIXED, encoding=b"")


def attached(depth: int, inside: bytes) -> bytes:
    """Return a mail in a mail in a mail."""
    raw = inside
    for _ in range(depth):
        raw = (
            b"From: someone@example.com\nSubject: Fwd\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsee below\n"
            b"--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(raw) + b"--b--\n"
        )  # fmt: skip
    return raw


def _trees() -> Iterator[Case]:
    plain = text("nested in few").encode()
    yield Case("ten parts in parts", lambda: nested(10, plain), facts=BOOKED)
    yield Case(
        "as many parts in parts as may be", lambda: nested(_LIMITS.depth, text("deepest").encode()), facts=BOOKED
    )
    yield Case("one more part in parts", lambda: nested(_LIMITS.depth + 1, plain), UNREADABLE, "too_deep")
    yield Case("ten thousand parts in parts", lambda: nested(10_000, plain), UNREADABLE, "too_deep")
    yield Case(
        "thousands of parts", lambda: mail(b"--b\n\nx\n" * 5_000 + b"--b--\n", content_type=_MIXED),
        UNREADABLE, "too_many_parts",
    )  # fmt: skip
    yield Case(
        "two million parts", lambda: mail(b"--b\n" * 2_000_000, content_type=_MIXED), UNREADABLE, "too_many_parts"
    )
    yield Case("a mail in a mail", lambda: attached(1, booking("attached once")), facts=BOOKED)
    yield Case("a mail in three mails", lambda: attached(3, booking("attached thrice")), facts=BOOKED)
    yield Case("a mail in thirty mails", lambda: attached(30, booking("attached often")), OTHER, "other")
    yield Case(
        "two hundred mails in a mail",
        lambda: mail(b"--b\nContent-Type: message/rfc822\n\nFrom: x@example.com\n\nx\n" * 199 + b"--b--\n",
                     content_type=_MIXED).replace(b"plan-reserve@gnavi.co.jp", b"someone@example.com"),
        OTHER, "other",
    )  # fmt: skip


def _boundaries() -> Iterator[Case]:
    def parts(key: str, body: bytes, content_type: bytes = _MIXED) -> Case:
        part = b"Content-Type: text/plain; charset=UTF-8\n\n" + text(key).encode()
        return Case(
            key, lambda: mail(body.replace(b"PART", part), content_type=content_type, encoding=b""), facts=BOOKED
        )

    yield parts("multipart without end", b"--b\nPART")
    yield parts("multipart with another boundary", b"--c\nPART\n--c--\n")
    yield parts("multipart without a boundary", b"--c\nPART\n--c--\n", b"multipart/mixed")
    yield parts("multipart with an empty boundary", b"--c\nPART\n--c--\n", b'multipart/mixed; boundary=""')
    yield parts("boundary with blanks behind", b"--b \t\nPART\n--b-- \n")
    yield parts("boundary that begins another", b"--bb\nno\n--b\nPART\n--b--\n--bb--\n")
    yield parts("text before and after", b"before\n--b\nPART\n--b--\nafter\n--b\nlate\n")
    yield parts("boundary of rfc 2231", b"--b\nPART\n--b--\n", b"multipart/mixed; boundary*0=b; boundary*1=")
    yield parts("two boundaries", b"--b\nPART\n--b--\n", b"multipart/mixed; boundary=b; boundary=c")
    key = "multipart without parts"
    yield Case(key, lambda: mail(text(key).encode(), content_type=_MIXED), facts=BOOKED)
    yield Case(
        "a million delimiters that are none", lambda: mail(b"\n--bx" * 1_000_000, content_type=_MIXED),
        UNREADABLE, "too_many_parts",
    )  # fmt: skip


def _encodings() -> Iterator[Case]:
    def encoded(key: str, encode: object, encoding: bytes) -> Case:
        assert callable(encode)
        return Case(key, lambda: mail(encode(text(key).encode()), encoding=encoding), facts=BOOKED)

    def qp(data: bytes) -> bytes:
        return b"".join(b"=%02X" % byte if byte != 10 else b"\n" for byte in data)

    yield encoded("base64 without padding", lambda data: base64.b64encode(data + b"\n\n").rstrip(b"="), b"base64")
    yield encoded(
        "base64 with rubbish in it", lambda data: base64.b64encode(data).replace(b"A", b"\n!A\x00", 9), b"base64"
    )
    yield encoded("base64 padded in the middle", lambda data: base64.b64encode(data[:100])
                  + base64.b64encode(data[100:]), b"BASE64 ")  # fmt: skip
    yield encoded("base64 said and plain text sent", lambda data: data, b"")
    yield encoded("quoted-printable in small letters", lambda data: qp(data).lower(), b"quoted-printable")
    yield encoded("quoted-printable that ends in the middle", lambda data: qp(data) + b"=E", b"quoted-printable")
    yield encoded("quoted-printable with lone signs", lambda data: qp(data) + b"\n=\n=ZZ=\n", b"quoted-printable")
    yield encoded("unknown transfer encoding", lambda data: data, b"x-todoku-never")
    yield Case("base64 that is none", lambda: mail(text("b64").encode(), encoding=b"base64"), UNKNOWN, "unknown_kind")


def _charsets() -> Iterator[Case]:
    plain = text("utf7")
    yield Case("utf-7", lambda: mail(plain.encode("utf-7"), content_type=b"text/plain; charset=utf-7"), facts=BOOKED)
    for codec in ("utf-16", "utf-16-be", "utf-32"):
        key = f"base64 of {codec}"
        yield Case(
            key,
            partial(
                mail, base64.encodebytes(text(key).encode(codec)), encoding=b"base64",
                content_type=b"text/plain; charset=" + codec.encode(),
            ),
            facts=BOOKED,
        )  # fmt: skip
    kind = b"text/plain; charset=ISO-2022-JP"
    yield Case("jis cut inside an escape", lambda: mail(encode_iso2022jp(text("escape")) + b"\x1b$", content_type=kind))
    yield Case(
        "jis cut inside a character",
        lambda: mail(encode_iso2022jp(text("character")) + b"\x1b$B8", content_type=kind),
        lossy=True,
    )
    yield Case("a million escapes", lambda: mail(b"\x1b$B\x1b(B" * 166_000, content_type=kind), UNKNOWN, "unknown_kind")
    yield Case("bytes that no charset has", lambda: mail(b"\xff\xfe\x80" * 300), UNKNOWN, "unknown_kind", lossy=True)


def _sizes() -> Iterator[Case]:
    yield Case("0 bytes", lambda: b"", UNREADABLE, "empty")
    yield Case("1 byte", lambda: b"x", UNREADABLE, "not_a_mail")
    yield Case("1 line end", lambda: b"\n", UNREADABLE, "empty")
    yield Case("1 NUL", lambda: b"\x00", UNREADABLE, "not_a_mail")
    yield Case("only headers", lambda: mail(b"").rstrip(b"\n"), UNKNOWN, "unknown_kind")
    yield Case("no headers", lambda: text("headless").encode(), UNREADABLE, "not_a_mail")
    yield Case("60 MB", lambda: booking("60 MB") + b"x" * 60 * 1024 * 1024, UNREADABLE, "too_large")
    key = "20 MB behind the booking"
    yield Case(key, lambda: booking(key) + b"\n" * 20 * 1024 * 1024, facts=BOOKED)


def _raw_bytes() -> Iterator[Case]:
    yield Case("every byte", lambda: bytes(range(256)) * 40, UNREADABLE, "not_a_mail")
    yield Case("a megabyte of NUL", lambda: b"\x00" * 1_000_000, UNREADABLE, "not_a_mail")
    yield Case("an archive", lambda: b"PK\x03\x04" + bytes(range(255, -1, -1)) * 10, UNREADABLE, "not_a_mail")
    yield Case("NUL between all", lambda: booking("nuls").replace(b"\n", b"\x00\n"), facts=BOOKED)
    yield Case("CR as line ends", lambda: booking("cr").replace(b"\n", b"\r"), facts=BOOKED)
    yield Case("CR LF as line ends", lambda: booking("crlf").replace(b"\n", b"\r\n"), facts=BOOKED)
    yield Case("CR CR LF as line ends", lambda: booking("crcrlf").replace(b"\n", b"\r\r\n"))
    yield Case("line ends of both kinds", lambda: booking("mixed").replace(b"\n\n", b"\r\n\r\n"), facts=BOOKED)
    yield Case("a byte order mark first", lambda: b"\xef\xbb\xbf" + booking("bom"), facts=BOOKED)
    yield Case("line ends first", lambda: b"\r\n\r\n" + booking("late"), facts=BOOKED)
    yield Case(
        "a From line of mbox first", lambda: b"From x Fri Nov 20 12:00:00 2026\n" + booking("mbox"), facts=BOOKED
    )
