"""A whole mail: parts, bodies, attachments, dates, and what is said about repairs."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest

from todoku.mail.charsets import encode_iso2022jp
from todoku.mail.dates import parse_date_header
from todoku.mail.errors import (
    EmptyMail,
    HeadersTooLarge,
    MailTooLarge,
    NotAMail,
    TooDeep,
    TooManyParts,
    Unreadable,
)
from todoku.mail.parse import parse_mail
from todoku.mail.structure import Limits

HEAD = (
    b"From: =?UTF-8?B?5LqI57SE?= <a@b.example>\r\nTo: shop@c.example\r\nCc: d@e.example\r\n"
    b"Message-ID: <1@b.example>\r\n"
)
JST = timezone(timedelta(hours=9))


def multipart(kind: str, *parts: bytes, boundary: bytes = b"==b==") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return b'Content-Type: multipart/%s; boundary="%s"\r\n\r\npreamble\r\n%s--%s--\r\nepilogue' % (
        kind.encode(), boundary, body, boundary,
    )  # fmt: skip


def test_a_plain_mail() -> None:
    parsed = parse_mail(HEAD + b"Subject: s\r\nDate: Sat, 10 Oct 2026 10:00:00 +0900\r\n\r\nline 1\r\nline 2\r\n")
    assert parsed.subject == "s"
    assert (parsed.sender.name, parsed.sender.address, parsed.sender.domain) == ("予約", "a@b.example", "b.example")
    assert [mailbox.address for mailbox in parsed.recipients] == ["shop@c.example", "d@e.example"]
    assert parsed.date == datetime(2026, 10, 10, 10, tzinfo=JST)
    assert parsed.message_id == "<1@b.example>"
    assert parsed.text == "line 1\nline 2\n"
    assert (parsed.html, parsed.attachments, parsed.lossy_characters, parsed.defects) == (None, (), 0, ())
    assert parsed.header("SUBJECT") == "s"
    assert parsed.header("x-none") is None
    assert [name for name, _ in parsed.headers] == ["From", "To", "Cc", "Message-ID", "Subject", "Date"]


def test_plain_goes_before_html_and_html_is_kept_as_sent() -> None:
    plain = b"Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n" + encode_iso2022jp("本文①")
    html = b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>HTML \xe6\x9c\xac\xe6\x96\x87</p>"
    parsed = parse_mail(HEAD + multipart("alternative", plain, html))
    assert parsed.text == "本文①"
    assert parsed.html == "<p>HTML 本文</p>"
    assert parsed.attachments == ()


@pytest.mark.parametrize("plain", [b"", b" \r\n\r\n"])
def test_without_a_plain_text_the_html_is_turned_to_text(plain: bytes) -> None:
    html = b"Content-Type: text/html; charset=utf-8\r\n\r\n<table><tr><th>a</th><td>b</td></tr></table>"
    parsed = parse_mail(HEAD + multipart("alternative", b"Content-Type: text/plain\r\n\r\n" + plain, html))
    assert parsed.text == "a\tb"


def test_attachments_are_transfer_decoded_and_attached_mails_stay_whole() -> None:
    inner = b"From: x@y.example\r\nSubject: inner\r\n\r\ninner body"
    parsed = parse_mail(
        HEAD
        + multipart(
            "mixed",
            multipart("alternative", b"\r\ntext", boundary=b"inner"),
            b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(b"%PDF\x00\xff"),
            b"Content-Type: message/rfc822\r\n\r\n" + inner,
            b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename=note.txt\r\n\r\nnote",
            b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR",
        )
    )
    assert parsed.text == "text"
    assert [(each.filename, each.content_type, each.content) for each in parsed.attachments] == [
        ("a.pdf", "application/pdf", b"%PDF\x00\xff"),
        ("", "message/rfc822", inner),
        ("note.txt", "text/plain", b"note"),
        ("", "text/calendar", b"BEGIN:VCALENDAR"),
    ]
    assert parse_mail(parsed.attachments[1].content).subject == "inner"


def test_text_parts_of_a_mixed_mail_are_all_read() -> None:
    assert parse_mail(HEAD + multipart("mixed", b"\r\none", b"Content-Type: text/plain\r\n\r\ntwo")).text == "one\ntwo"


@pytest.mark.parametrize(
    ("raw", "text", "defect"),
    [
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n", "hi\n", "boundary_not_closed"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nhi", "hi", "multipart_without_parts"),
        (
            b"Content-Type: multipart/mixed\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x--",
            "hi",
            "boundary_guessed",
        ),
        (b"Content-Type: nonsense\r\n\r\nhi", "hi", "bad_content_type"),
        (b"garbage line\r\nX-A: b\r\n\r\nhi", "hi", "malformed_header"),
        (b"Subject: s\r\nHello there.\r\n\r\nhi", "Hello there.hi", "missing_blank_line"),
        (b"Content-Transfer-Encoding: base64\r\n\r\naGk", "hi", "broken_base64"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n!a#G$k\r\n=", "hi", "broken_base64"),
        (b"Content-Transfer-Encoding: base64\r\n\r\naA==\r\naQ==\r\n", "hi", "broken_base64"),
        (b"Content-Transfer-Encoding: x-new\r\n\r\nhi", "hi", "unknown_transfer_encoding"),
        (b"\r\nh\x00i", "hi", "nul_removed"),
        (b"Date: some day\r\n\r\nhi", "hi", "date_unreadable"),
    ],
)
def test_what_is_broken_is_read_and_named(raw: bytes, text: str, defect: str) -> None:
    parsed = parse_mail(HEAD + raw)
    assert parsed.text.replace("\n", "") == text.replace("\n", "")
    assert defect in parsed.defects


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\n" + HEAD + b"\r\nhi",
        b"\xef\xbb\xbf" + HEAD + b"\r\nhi",
        b"From a@b.example Sat Oct 10 10:00:00 2026\n" + HEAD + b"\r\nhi",
        (HEAD + b"\r\nhi").replace(b"\r\n", b"\n"),
        (HEAD + b"\r\nhi").replace(b"\r\n", b"\r"),
        HEAD + b"content-type:text/plain\r\n\r\nhi",
        HEAD + b"Content-Transfer-Encoding: Quoted-Printable (yes)\r\n\r\n=68=\r\ni",
        HEAD + b"Content-Transfer-Encoding: 7bit\r\n\r\nhi",
    ],
    ids=["blank-lines", "bom", "mbox", "lf", "cr", "no-blank-after-colon", "comment", "7bit"],
)
def test_harmless_forms_are_no_defect(raw: bytes) -> None:
    parsed = parse_mail(raw)
    assert (parsed.sender.address, parsed.text, parsed.defects) == ("a@b.example", "hi", ())


def test_html_beyond_the_limit_is_named_and_kept() -> None:
    parsed = parse_mail(HEAD + b"Content-Type: text/html\r\n\r\n<p>a</p>" + b" " * 1_000_001)
    assert parsed.text == "a"
    assert parsed.defects == ("html_cut",)
    assert parsed.html is not None
    assert len(parsed.html) > 1_000_000


def test_flowed_text_is_joined() -> None:
    head = HEAD + b"Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n"
    assert parse_mail(head + b"ab \r\ncd\r\n> q \r\n-- \r\nsig").text == "abcd\n> q \n-- \nsig"


def test_invisible_characters_leave_the_text_and_joiners_stay() -> None:
    body = "予\u200b約\u200e番号\ufeff 葛\U000e0100 👨\u200d👩".encode()
    parsed = parse_mail(HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body)
    assert parsed.text == "予約番号 葛\U000e0100 👨\u200d👩"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", EmptyMail), (b" \r\n\t", EmptyMail), (b"\x00" * 100, NotAMail), (b"\x89PNG\r\n\x1a\n\x00", NotAMail),
        (b"just some words\r\nwithout a header", NotAMail), (b"foo: bar\r\n\r\nbaz", NotAMail),
        (b"a" * 300_000, NotAMail), (HEAD + b"X: " + b"a" * 2_000_000 + b"\r\n\r\nhi", HeadersTooLarge),
    ],
)  # fmt: skip
def test_what_is_no_mail_is_refused_by_its_name(raw: bytes, error: type[Unreadable]) -> None:
    with pytest.raises(error) as caught:
        parse_mail(raw)
    assert caught.value.transient is False
    assert caught.value.word


def test_limits_are_settings() -> None:
    three = HEAD + multipart("mixed", b"\r\n1", b"\r\n2", b"\r\n3")
    assert parse_mail(three, limits=Limits(parts=3)).text == "1\n2\n3"
    with pytest.raises(TooManyParts):
        parse_mail(three, limits=Limits(parts=2))
    with pytest.raises(TooDeep):
        parse_mail(HEAD + multipart("mixed", multipart("mixed", b"\r\n1", boundary=b"c")), limits=Limits(depth=1))
    with pytest.raises(MailTooLarge):
        parse_mail(three, limits=Limits(mail_bytes=100))
    with pytest.raises(HeadersTooLarge):
        parse_mail(three, limits=Limits(header_bytes=100))


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Sat, 10 Oct 2026 10:00:00 +0900", datetime(2026, 10, 10, 10, tzinfo=JST)),
        ("Sat, 10 Oct 2026 10:00:00 +0900 (JST)", datetime(2026, 10, 10, 10, tzinfo=JST)),
        ("10 Oct 2026 10:00 JST", datetime(2026, 10, 10, 10, tzinfo=JST)),
        ("Sat,10 Oct 26 01:00:00 GMT", datetime(2026, 10, 10, 1, tzinfo=UTC)),
        ("Sat, 10 Oct 126 01:00:00 UT", datetime(2026, 10, 10, 1, tzinfo=UTC)),
        ("Sat, 10 October 2026 10:00:00 GMT+0900", datetime(2026, 10, 10, 10, tzinfo=JST)),
        ("Sat, 10-Oct-2026 10:00:00 +09:00", datetime(2026, 10, 10, 10, tzinfo=JST)),
        ("土, 10 Oct 2026 10:00:00 +0900", datetime(2026, 10, 10, 10, tzinfo=JST)),
        ("Sat, 10 Oct 2026 23:59:60 -0000", datetime(2026, 10, 10, 23, 59, 59, tzinfo=UTC)),
        ("Sat,\n 10 Oct 2026 10:00:00\n +0900", datetime(2026, 10, 10, 10, tzinfo=JST)),
    ],
)
def test_date_headers(value: str, moment: datetime) -> None:
    assert parse_date_header(value) == (moment, None)


@pytest.mark.parametrize(
    ("value", "defect"),
    [
        ("", "date_unreadable"), ("yesterday", "date_unreadable"), ("31 Feb 2026 10:00:00 +0900", "date_unreadable"),
        ("10 Foo 2026 10:00:00 +0900", "date_unreadable"), ("10 Oct 2026 25:00:00 +0900", "date_unreadable"),
        ("10 Oct 2026 10:00:00", "date_without_zone"), ("10 Oct 2026 10:00:00 XYZ", "date_zone_unknown"),
        ("10 Oct 2026 10:00:00 A", "date_zone_unknown"), ("10 Oct 2026 10:00:00 +9900", "date_zone_unknown"),
        ("10 Oct 0000 10:00:00 +0900", "date_unreadable"),
    ],
)  # fmt: skip
def test_dates_that_say_no_moment_are_not_guessed(value: str, defect: str) -> None:
    assert parse_date_header(value) == (None, defect)
