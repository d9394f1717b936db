"""Write a mail in the charsets and the shapes that Japanese booking mail really has."""

from __future__ import annotations

import base64
import html
import quopri
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from todoku.mail.jis_encoding import encode_iso2022jp, encode_subject_iso2022jp

Encoder = Callable[[str], bytes]


@dataclass(frozen=True)
class Envelope:
    """The headers of one mail."""

    sender_name: str
    sender: str
    to: str
    subject: str
    date: datetime
    message_id: str


def write(envelope: Envelope, text: str, shape: str, *, html_body: str | None = None) -> bytes:
    """Return the mail as bytes. shape: one of SHAPES; html_body: markup for the shapes that carry HTML."""
    return SHAPES[shape](envelope, text, html_body)


def _headers(envelope: Envelope, word: Callable[[str], bytes], *more: str) -> bytes:
    lines = [
        b"Received: from mx.example (mx.example [192.0.2.25]) by in.todoku.example; "
        + format_datetime(envelope.date).encode(),
        b"From: " + word(envelope.sender_name) + f" <{envelope.sender}>".encode(),
        b"To: " + envelope.to.encode(),
        b"Subject: " + word(envelope.subject),
        b"Date: " + format_datetime(envelope.date).encode(),
        b"Message-ID: " + envelope.message_id.encode(),
        b"MIME-Version: 1.0",
        *(line.encode() for line in more),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def crlf(data: bytes) -> bytes:
    """Return the bytes with CR LF line ends."""
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _jis_word(text: str) -> bytes:
    return text.encode() if text.isascii() else encode_subject_iso2022jp(text)


def _utf8_word(text: str) -> bytes:
    if text.isascii():
        return text.encode()
    pieces = [text[start : start + 14] for start in range(0, len(text), 14)]
    return b"\r\n ".join(b"=?UTF-8?B?" + base64.b64encode(piece.encode()) + b"?=" for piece in pieces)


def _utf8_quoted_word(text: str) -> bytes:
    if text.isascii():
        return text.encode()
    pieces = [text[start : start + 6] for start in range(0, len(text), 6)]
    return b"\r\n ".join(
        b"=?utf-8?Q?" + b"".join(b"=%02X" % byte for byte in piece.encode()) + b"?=" for piece in pieces
    )


def _sjis_word(text: str) -> bytes:
    if text.isascii():
        return text.encode()
    pieces = [text[start : start + 16] for start in range(0, len(text), 16)]
    return b"\r\n ".join(b"=?Shift_JIS?B?" + base64.b64encode(piece.encode("cp932")) + b"?=" for piece in pieces)


def _jis(envelope: Envelope, text: str, _: str | None) -> bytes:
    more = ("Content-Type: text/plain; charset=ISO-2022-JP", "Content-Transfer-Encoding: 7bit")
    return _headers(envelope, _jis_word, *more) + crlf(encode_iso2022jp(text))


def _jis_undeclared(envelope: Envelope, text: str, _: str | None) -> bytes:
    return _headers(envelope, _jis_word) + crlf(encode_iso2022jp(text))


def _sjis(envelope: Envelope, text: str, _: str | None) -> bytes:
    more = ("Content-Type: text/plain; charset=Shift_JIS", "Content-Transfer-Encoding: 8bit")
    return _headers(envelope, _sjis_word, *more) + crlf(text.encode("cp932"))


def _cp932_base64(envelope: Envelope, text: str, _: str | None) -> bytes:
    more = ('Content-Type: text/plain; charset="windows-31j"', "Content-Transfer-Encoding: base64")
    return _headers(envelope, _sjis_word, *more) + crlf(base64.encodebytes(crlf(text.encode("cp932"))))


def _utf8_base64(envelope: Envelope, text: str, _: str | None) -> bytes:
    more = ("Content-Type: text/plain; charset=UTF-8", "Content-Transfer-Encoding: base64")
    return _headers(envelope, _utf8_word, *more) + crlf(base64.encodebytes(crlf(text.encode())))


def _utf8_quoted(envelope: Envelope, text: str, _: str | None) -> bytes:
    more = ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable")
    return _headers(envelope, _utf8_quoted_word, *more) + crlf(quopri.encodestring(text.encode()))


def _utf8_plain(envelope: Envelope, text: str, _: str | None) -> bytes:
    more = ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")
    return _headers(envelope, _utf8_word, *more) + crlf(text.encode())


def _html_only(envelope: Envelope, text: str, html_body: str | None) -> bytes:
    more = ("Content-Type: text/html; charset=UTF-8", "Content-Transfer-Encoding: base64")
    body = html_body if html_body is not None else lines_as_html(text)
    return _headers(envelope, _utf8_word, *more) + crlf(base64.encodebytes(crlf(body.encode())))


def _html_only_jis(envelope: Envelope, text: str, html_body: str | None) -> bytes:
    more = ("Content-Type: text/html; charset=iso-2022-jp", "Content-Transfer-Encoding: 7bit")
    body = html_body if html_body is not None else lines_as_html(text, charset="iso-2022-jp")
    return _headers(envelope, _jis_word, *more) + crlf(encode_iso2022jp(body))


def _alternative(
    envelope: Envelope, text: str, html_body: str | None, *, word: Callable[[str], bytes], charset: str, encode: Encoder
) -> bytes:
    boundary = "=_todoku_sample_" + envelope.message_id.strip("<>").partition("@")[0]
    head = _headers(envelope, word, f'Content-Type: multipart/alternative; boundary="{boundary}"')
    body = html_body if html_body is not None else lines_as_html(text, charset=charset)
    parts = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
        + crlf(base64.encodebytes(crlf(encode(content))))
        + b"\r\n"
        for kind, content in (("text/plain", text), ("text/html", body))
    )
    return head + parts + f"--{boundary}--\r\n".encode()


def _alternative_utf8(envelope: Envelope, text: str, html_body: str | None) -> bytes:
    return _alternative(envelope, text, html_body, word=_utf8_word, charset="UTF-8", encode=str.encode)


def _alternative_jis(envelope: Envelope, text: str, html_body: str | None) -> bytes:
    return _alternative(envelope, text, html_body, word=_jis_word, charset="ISO-2022-JP", encode=encode_iso2022jp)


SHAPES: dict[str, Callable[[Envelope, str, str | None], bytes]] = {
    "jis": _jis,
    "jis-undeclared": _jis_undeclared,
    "sjis": _sjis,
    "cp932-base64": _cp932_base64,
    "utf8-base64": _utf8_base64,
    "utf8-quoted": _utf8_quoted,
    "utf8-8bit": _utf8_plain,
    "html": _html_only,
    "html-jis": _html_only_jis,
    "alternative": _alternative_utf8,
    "alternative-jis": _alternative_jis,
}


def lines_as_html(text: str, *, charset: str = "UTF-8") -> str:
    """Return the text as the HTML that mail systems make of it: one <br> a line, links as anchors."""
    lines = []
    for line in text.split("\n"):
        escaped = html.escape(line, quote=False)
        if line.startswith("https://"):
            escaped = f'<a href="{html.escape(line)}">{escaped}</a>'
        lines.append(escaped)
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={charset}">'
    return f"<html><head>{meta}</head><body>" + "<br>\n".join(lines) + "</body></html>\n"


def forwarded_inline(envelope: Envelope, text: str, *, quoted: bool) -> str:
    """Return the text of a mail that was forwarded by hand, with the block that mail programs put before it."""
    block = [
        "---------- Forwarded message ---------",
        f"From: {envelope.sender_name} <{envelope.sender}>",
        f"Date: {format_datetime(envelope.date)}",
        f"Subject: {envelope.subject}",
        f"To: <{envelope.to}>",
        "",
        "",
    ]
    lines = [*block, *text.split("\n")]
    return "FYI\n\n" + "\n".join(("> " + line).rstrip() if quoted else line for line in lines)


def forwarded_attached(outer: Envelope, inner: bytes, note: str) -> bytes:
    """Return a mail with the notification attached whole as message/rfc822."""
    boundary = "=_todoku_forward_" + outer.message_id.strip("<>").partition("@")[0]
    head = _headers(outer, _utf8_word, f'Content-Type: multipart/mixed; boundary="{boundary}"')
    text = f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    attached = (
        f"\r\n--{boundary}\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; "
        f'filename="notification.eml"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n'
    )
    body = crlf(base64.encodebytes(note.encode()))
    return head + text.encode() + body + attached.encode() + inner + f"\r\n--{boundary}--\r\n".encode()
