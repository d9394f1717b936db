"""Properties: any bytes end in a mail or in Unreadable, what we encode we read, folding moves nothing."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todoku.kernel.dates import DateProblem, read_date, read_duration_minutes, read_time, resolve_year
from todoku.kernel.folding import fold_for_matching, strip_invisible
from todoku.kernel.money import read_money
from todoku.mail.charsets import decode_bytes, encode_iso2022jp, encode_subject_iso2022jp
from todoku.mail.errors import Unreadable
from todoku.mail.headers import decode_header_value, parse_mailboxes, parse_parameters
from todoku.mail.html_text import html_to_text
from todoku.mail.jis import jis_character
from todoku.mail.parse import parse_mail

JIS_CHARACTERS = "".join(
    jis_character(row, cell) or "" for row in range(0x21, 0x7F) for cell in range(0x21, 0x7F)
) + "".join(map(chr, range(0xFF61, 0xFFA0)))
JIS_TEXT = st.text(st.sampled_from(JIS_CHARACTERS + "".join(map(chr, range(0x20, 0x7F))) + "\n"))
CHARSETS = st.sampled_from(
    [None, "utf-8", "iso-2022-jp", "cp50220", "shift_jis", "euc-jp", "us-ascii", "iso-8859-1", "utf-7", "utf-16",
     "gb2312", "ks_c_5601", "big5", "hz", "iso-2022-kr", "utf-32", "x-bogus", "\x00"]
)  # fmt: skip
SCRAPS = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"\x1b$B", b"\x1b(B", b"\x1b(I", b"\x1b(J", b"\x0e", b"\x0f", b"\r\n", b"\n", b"--b", b"--b--", b":", b";",
             b"From: a@b.example", b"Subject: ", b"=?UTF-8?B?", b"=?ISO-2022-JP?Q?", b"?=", b"Content-Type: ",
             b"multipart/mixed; boundary=b", b"text/html; charset=", b"Content-Transfer-Encoding: base64",
             b"quoted-printable", b"<table><tr><td>", b"</table>", b"<p hidden>", b"<!--", b"-->", b"&#x26;", b"\x00"]
        ),
    ),
    max_size=40,
).map(b"".join)  # fmt: skip

several = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@several
@given(SCRAPS, st.booleans())
def test_any_bytes_are_a_mail_or_unreadable(data: bytes, with_header: bool) -> None:
    raw = b"From: a@b.example\r\n" + data if with_header else data
    try:
        parsed = parse_mail(raw)
    except Unreadable:
        return
    everything = "".join((parsed.text, parsed.subject, parsed.sender.name, *(value for _, value in parsed.headers)))
    everything.encode()  # no lone surrogate: it would break whoever writes it down
    assert "\x00" not in everything
    assert not any("\n" in value or "\r" in value for _, value in parsed.headers)
    assert "\r" not in parsed.text


@several
@given(SCRAPS, CHARSETS)
def test_decoding_never_raises_and_counts_every_loss(data: bytes, declared: str | None) -> None:
    decoded = decode_bytes(data, declared)
    decoded.text.encode()
    assert decoded.lossy_characters >= 0
    if "\ufffd" in decoded.text and "\ufffd".encode() not in data and not (declared or "").startswith("utf-"):
        assert decoded.lossy_characters > 0


@several
@given(JIS_TEXT)
def test_what_iso2022jp_can_say_comes_back(text: str) -> None:
    data = encode_iso2022jp(text)
    assert data.isascii()
    assert decode_bytes(data, "ISO-2022-JP").text == text
    lines = [decode_bytes(line, "ISO-2022-JP").text for line in data.split(b"\n")]  # each begins in ASCII
    assert "\n".join(lines) == text


@several
@given(st.text(st.sampled_from(JIS_CHARACTERS + " abc,<>:"), min_size=1))
def test_a_subject_comes_back(text: str) -> None:
    decoded, lost = decode_header_value(encode_subject_iso2022jp(text))
    assert (decoded, lost) == (text.strip(), 0)


@several
@given(st.text(st.sampled_from(JIS_CHARACTERS), min_size=4).map(lambda text: "ご予約ありがとう" + text))
def test_shift_jis_comes_back_under_its_own_name(text: str) -> None:
    data = text.encode("cp932")
    decoded = decode_bytes(data, "shift_jis")
    assert decoded.lossy_characters == 0
    assert decoded.text == data.decode("cp932")


@several
@given(st.text())
def test_utf8_comes_back(text: str) -> None:
    if "\x1b" in text:
        return  # an escape may be a shift of JIS that lost its label
    assert decode_bytes(text.encode(), "utf-8").text == text.removeprefix("\ufeff")


@several
@given(st.text())
def test_folding_keeps_length_and_stripping_keeps_what_is_seen(text: str) -> None:
    assert len(fold_for_matching(text)) == len(text)
    assert fold_for_matching(fold_for_matching(text)) == fold_for_matching(text)
    assert strip_invisible(strip_invisible(text)) == strip_invisible(text)


@several
@given(SCRAPS)
def test_header_readers_never_raise(data: bytes) -> None:
    value = data.decode("latin-1")
    decode_header_value(data)
    parse_mailboxes(value)
    parse_parameters(value)


@several
@given(st.text(st.sampled_from("<>/\"'=!- abtdrhip&#;\n\t\u00a0人数")))
def test_html_never_raises_and_a_tab_comes_only_from_a_cell(html: str) -> None:
    text = html_to_text(html)
    assert not set(text) & set("\x02\x03\x04")
    assert "\t" not in text or "<t" in html or "<d" in html


@several
@given(st.text(st.sampled_from("0123456789年月日時分秒間午前後令和RH/-.:~～()（）日月火 円¥,万MayOct,pam")), st.dates())
def test_readers_of_dates_raise_only_date_problems(text: str, mail_day: date) -> None:
    read_money(text)
    read_duration_minutes(text)
    try:
        found_time = read_time(text)
        assert found_time is None or (0 <= found_time.hour <= 29 and 0 <= found_time.minute <= 59)
        written = read_date(text)
        if written is not None:
            meant = resolve_year(written, on_or_after=mail_day)
            assert (meant.month, meant.day) == (written.month, written.day)
            assert written.year is not None or meant >= mail_day - timedelta(days=731)
    except DateProblem:
        return
