"""One generated mail for every row of the table of what Python gets wrong (japanese mail facts, section 1)."""

from __future__ import annotations

import base64

from todoku.mail.charsets import encode_iso2022jp, encode_subject_iso2022jp
from todoku.mail.parse import parse_mail
from todoku.mail.types import ParsedMail

BODY = "お名前 ：髙橋 ﾀﾛｳ㈱①Ⅲ（﨑）様\n人数 ：2名\n時刻 ：18:00～20:00\n電話 ：03－0000－0000\n"


def read(
    content: bytes, *, content_type: bytes = b"", subject: bytes = b"s", sender: bytes = b"a@b.example"
) -> ParsedMail:
    head = b"From: " + sender + b"\r\nSubject: " + subject + b"\r\n"
    if content_type:
        head += b"Content-Type: " + content_type + b"\r\n"
    return parse_mail(head + b"\r\n" + content)


def is_lossless(parsed: ParsedMail) -> bool:
    return (parsed.text, parsed.lossy_characters) == (BODY, 0)


def test_vendor_rows_in_iso2022jp_body_and_subject() -> None:
    parsed = read(
        encode_iso2022jp(BODY), content_type=b"text/plain; charset=ISO-2022-JP",
        subject=encode_subject_iso2022jp("㈱①Ⅲ髙﨑"),
    )  # fmt: skip
    assert is_lossless(parsed)
    assert parsed.subject == "㈱①Ⅲ髙﨑"


def test_half_width_kana_by_escape() -> None:
    parsed = read(b"\x1b(IT@^0\x1b(B", content_type=b"text/plain; charset=ISO-2022-JP")
    assert (parsed.text, parsed.lossy_characters) == ("ﾔﾀﾞｰ", 0)


def test_wave_dash_and_minus_are_named_alike_whatever_the_charset() -> None:
    for charset, codec in ((b"ISO-2022-JP", None), (b"Shift_JIS", "cp932"), (b"UTF-8", "utf-8")):
        content = encode_iso2022jp(BODY) if codec is None else BODY.encode(codec)
        assert is_lossless(read(content, content_type=b"text/plain; charset=" + charset))


def test_unknown_charset_names() -> None:
    for name in (b"cp50220", b"cp50221", b"cp50222", b"iso-2022-jp-ms"):
        assert is_lossless(read(encode_iso2022jp(BODY), content_type=b"text/plain; charset=" + name))
    for name in (b"x-sjis", b"sjis-win", b"windows-31j"):
        assert is_lossless(read(BODY.encode("cp932"), content_type=b"text/plain; charset=" + name))
    eucjp = BODY.replace("①", "1").replace("Ⅲ", "3").replace("～", "〜").replace("－", "−")
    eucjp = eucjp.replace("㈱", "").replace("髙", "高").replace("﨑", "崎")
    for name in (b"eucjp-ms", b"cp51932"):
        parsed = read(eucjp.encode("euc_jp"), content_type=b"text/plain; charset=" + name)
        assert parsed.text == eucjp.replace("〜", "～").replace("−", "－")


def test_charset_missing_and_the_body_is_jis() -> None:
    assert is_lossless(read(encode_iso2022jp(BODY)))
    assert is_lossless(read(encode_iso2022jp(BODY), content_type=b"text/plain"))


def test_declared_iso2022jp_and_in_fact_utf8() -> None:
    assert is_lossless(read(BODY.encode(), content_type=b"text/plain; charset=ISO-2022-JP"))


def test_encoded_word_split_inside_iso2022jp() -> None:
    data = encode_iso2022jp("予約が確定しました")
    words = [b"=?ISO-2022-JP?B?" + base64.b64encode(data[at : at + 9]) + b"?=" for at in range(0, len(data), 9)]
    assert read(b"", subject=b"\r\n ".join(words)).subject == "予約が確定しました"


def test_raw_jis_and_raw_shift_jis_subject() -> None:
    assert read(b"", subject=encode_iso2022jp("予約確定㈱")).subject == "予約確定㈱"
    assert read(b"", subject="予約確定㈱のお知らせ".encode("cp932")).subject == "予約確定㈱のお知らせ"


def test_shift_jis_declared_and_cp932_meant() -> None:
    assert is_lossless(read(BODY.encode("cp932"), content_type=b"text/plain; charset=Shift_JIS"))


def test_file_name_with_an_encoded_word() -> None:
    name = base64.b64encode(encode_iso2022jp("予約①.csv"))
    raw = (
        b"From: a@b.example\r\nContent-Type: text/csv\r\n"
        b'Content-Disposition: attachment; filename="=?ISO-2022-JP?B?' + name + b'?="\r\n\r\na,b'
    )
    assert parse_mail(raw).attachments[0].filename == "予約①.csv"


def test_addresses_that_break_the_rfc_are_accepted() -> None:
    for address in (b"taro..y@docomo.example", b"taro.@docomo.example", b".taro@docomo.example"):
        assert read(b"", sender=b"=?UTF-8?B?5aSq6YOO?= <" + address + b">").sender.address == address.decode()


def test_winmail_dat_is_handed_on() -> None:
    raw = b"From: a@b.example\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\n\x78\x9f\x3e\x22"
    assert parse_mail(raw).attachments[0].content_type == "application/ms-tnef"


def test_euc_jp() -> None:
    text = "予約が確定しました。\n来店日時：2026年8月30日"
    assert read(text.encode("euc_jp"), content_type=b"text/plain; charset=EUC-JP").text == text


def test_every_character_that_is_lost_is_counted() -> None:
    parsed = read(b"\xff\xfe", content_type=b"text/plain; charset=utf-8", subject=b"=?utf-8?B?/v/+?=")
    assert parsed.lossy_characters == 5
    assert (parsed.text + parsed.subject).count("\ufffd") == 5
