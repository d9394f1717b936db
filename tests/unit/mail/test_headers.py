"""Header values, addresses and parameters as mail really has them."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from todoku.mail.charsets import encode_iso2022jp, encode_subject_iso2022jp
from todoku.mail.headers import decode_filename, decode_header_value, parse_mailboxes, parse_parameters
from todoku.mail.types import Mailbox


def word(data: bytes, charset: str = "UTF-8") -> bytes:
    return b"=?" + charset.encode() + b"?B?" + base64.b64encode(data) + b"?="


SUBJECT = "【新規予約】新しい予約が入りました。 (8月30日(日) 18:30- 2名様)【食べログネット予約】㈱①髙"
UTF8 = SUBJECT.encode()
JIS = encode_iso2022jp(SUBJECT)


@pytest.mark.parametrize(
    "raw",
    [
        encode_subject_iso2022jp(SUBJECT),
        word(JIS, "ISO-2022-JP"),
        b"\r\n ".join(word(JIS[at : at + 17], "ISO-2022-JP") for at in range(0, len(JIS), 17)),
        b"\r\n\t".join(word(UTF8[at : at + 10]) for at in range(0, len(UTF8), 10)),
        b" ".join(word(UTF8[at : at + 10], "utf-8*ja") for at in range(0, len(UTF8), 10)),
        word(SUBJECT.encode("cp932"), "Shift_JIS"),
        word(JIS, "cp50220"),
        JIS,
        SUBJECT.encode("cp932"),
        UTF8,
        word(UTF8, "ISO-2022-JP"),
    ],
    ids=[
        "words", "one-word", "jis-cut-anywhere", "utf8-cut-inside-a-character", "language-tag", "shift-jis", "cp50220",
        "raw-jis", "raw-shift-jis", "raw-utf8", "declared-jis-is-utf8",
    ],
)  # fmt: skip
def test_a_subject_is_read_however_it_was_written(raw: bytes) -> None:
    assert decode_header_value(raw) == (SUBJECT, 0)


def test_base64_cut_between_words_without_padding_is_joined_before_decoding() -> None:
    encoded = base64.b64encode(UTF8).rstrip(b"=")
    raw = b" ".join(b"=?UTF-8?B?" + encoded[at : at + 13] + b"?=" for at in range(0, len(encoded), 13))
    assert decode_header_value(raw) == (SUBJECT, 0)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"=?UTF-8?Q?Caf=C3=A9_bar?=", "Café bar"),
        (b"=?utf-8?q?Really??= yes", "Really? yes"),
        (b"=?UTF-8?Q?a?= b =?UTF-8?Q?c?=", "a b c"),
        (b"=?UTF-8?Q?a?=\r\n =?ISO-8859-1?Q?=E9?=", "aé"),
        (b"Re: =?UTF-8?B?5LqI57SE?=", "Re: 予約"),
        (b"=?UTF-8?B?5LqI57SE", "=?UTF-8?B?5LqI57SE"),
        (b"=?UTF-8?B?5LqI57S E?=", "予約"),
        (b"=?x-bogus?B?5LqI57SE?=", "予約"),
        (b"plain\r\n folded", "plain folded"),
        (b"=?UTF-8?B?YQ0KQmNjOiB4QHkuZXhhbXBsZQ==?=", "a  Bcc: x@y.example"),
        (b"a\x00b\rc", "ab c"),
        ("予\u200b約".encode(), "予約"),
        (b"", ""),
    ],
)
def test_small_things(raw: bytes, text: str) -> None:
    assert decode_header_value(raw)[0] == text


def test_text_that_was_decoded_already_is_left_alone() -> None:
    assert decode_header_value("予約 ①") == ("予約 ①", 0)


@pytest.mark.parametrize(
    ("raw", "mailboxes"),
    [
        (b"a@b.example", [("", "a@b.example")]),
        (b"<a@b.example>", [("", "a@b.example")]),
        (b"SALON BOARD <yoyaku_system@salonboard.com>", [("SALON BOARD", "yoyaku_system@salonboard.com")]),
        (b'"Doe, Jane" <j@d.example>, x@y.example', [("Doe, Jane", "j@d.example"), ("", "x@y.example")]),
        (b"taro..y@docomo.example", [("", "taro..y@docomo.example")]),
        (b"<.taro.@docomo.example>", [("", ".taro.@docomo.example")]),
        (word("食べログ".encode()) + b" <info@mail.tabelog.com>", [("食べログ", "info@mail.tabelog.com")]),
        (b'"' + word("食べログ".encode()) + b'" <a@b.example>', [("食べログ", "a@b.example")]),
        (word("山田, 太郎".encode()) + b" <a@b.example>", [("山田, 太郎", "a@b.example")]),
        (word("予約センター:東京".encode()) + b" <a@b.example>", [("予約センター:東京", "a@b.example")]),
        ("予約センター:東京 <a@b.example>".encode(), [("予約センター:東京", "a@b.example")]),
        (encode_iso2022jp("髙橋") + b" <a@b.example>", [("髙橋", "a@b.example")]),
        ("髙橋 <a@b.example>".encode("cp932"), [("髙橋", "a@b.example")]),
        (b"a@b.example (Taro Yamada)", [("Taro Yamada", "a@b.example")]),
        (b"Group: a@b.example, c@d.example;", [("", "a@b.example"), ("", "c@d.example")]),
        (b"undisclosed-recipients:;", []),
        (b'"a \\"q\\" b" <a@b.example>', [('a "q" b', "a@b.example")]),
        (b"a@b.example <c@d.example>", [("a@b.example", "c@d.example")]),
        (b"no address here", [("no address here", "")]),
        (b"", []),
        (b" , ;", []),
    ],
)
def test_mailboxes(raw: bytes, mailboxes: list[tuple[str, str]]) -> None:
    assert parse_mailboxes(raw.decode("latin-1")) == (tuple(Mailbox(*mailbox) for mailbox in mailboxes), 0)


@pytest.mark.parametrize(
    ("raw", "value", "parameters"),
    [
        ("text/plain; charset=ISO-2022-JP", "text/plain", {"charset": "ISO-2022-JP"}),
        ('Text/Plain ; Charset = "utf-8" ; format=flowed', "text/plain", {"charset": "utf-8", "format": "flowed"}),
        ('multipart/mixed; boundary="a;b=c"', "multipart/mixed", {"boundary": "a;b=c"}),
        ("multipart/mixed;\n\tboundary=abc", "multipart/mixed", {"boundary": "abc"}),
        ("attachment; filename*=UTF-8''%E4%BA%88%E7%B4%84.txt", "attachment", {"filename": "予約.txt"}),
        (
            "attachment; filename*0*=UTF-8''%E4%BA; filename*1*=%88%E7%B4%84; filename*2=.txt",
            "attachment",
            {"filename": "予約.txt"},
        ),
        ("attachment; filename*=iso-2022-jp''" + quote(encode_iso2022jp("予約")), "attachment", {"filename": "予約"}),
        ("text/plain", "text/plain", {}),
        ("", "", {}),
    ],
)
def test_parameters(raw: str, value: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(raw) == (value, parameters)


def test_file_names_are_decoded_and_never_paths() -> None:
    assert decode_filename("=?ISO-2022-JP?B?GyRCTT1McxsoQg==?=.csv") == "予約.csv"
    assert decode_filename("../../etc/passwd\x00") == "passwd"
    assert decode_filename("C:\\a\\b.txt") == "b.txt"
