"""Which charset is believed, and what happens when it lies."""

from __future__ import annotations

import pytest

from todoku.mail.charsets import canonical_charset, decode_bytes, encode_iso2022jp

TEXT = "ご予約ありがとうございます。\r\n■来店日時：2026年8月30日(日) 18:30\r\n■人数：2名様\r\n"


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("cp50220", "iso-2022-jp"), ("CP50221", "iso-2022-jp"), ("cp50222", "iso-2022-jp"),
        ("iso-2022-jp-ms", "iso-2022-jp"), ("ISO_2022_JP", "iso-2022-jp"), ("csISO2022JP", "iso-2022-jp"),
        ("x-sjis", "cp932"), ("sjis-win", "cp932"), ("Shift_JIS", "cp932"), ("windows-31j", "cp932"),
        ("eucjp-ms", "euc-jp"), ("cp51932", "euc-jp"), ("x-euc-jp", "euc-jp"), ("unicode-1-1-utf-8", "utf-8"),
        ("utf8", "utf-8"), ('"UTF-8"', "utf-8"), ("charset=utf-8", "utf-8"), ("utf-8*ja", "utf-8"),
        ("ks_c_5601-1987", "cp949"), ("gb2312", "gb18030"), ("latin1", "cp1252"), ("ISO-8859-1", "cp1252"),
        ("rot13", ""), ("base64", ""), ("idna", ""), ("unicode_escape", ""), ("x-bogus", ""), (None, ""), ("", ""),
    ],
)  # fmt: skip
def test_aliases(declared: str | None, name: str) -> None:
    assert canonical_charset(declared) == name


@pytest.mark.parametrize("really", ["iso-2022-jp", "cp932", "euc_jp", "utf-8"])
@pytest.mark.parametrize(
    "declared", [None, "us-ascii", "iso-2022-jp", "cp50220", "shift_jis", "euc-jp", "utf-8", "iso-8859-1", "x-bogus"]
)
def test_whatever_is_declared_the_bytes_decide(declared: str | None, really: str) -> None:
    data = encode_iso2022jp(TEXT) if really == "iso-2022-jp" else TEXT.encode(really)
    decoded = decode_bytes(data, declared)
    assert (decoded.text, decoded.lossy_characters) == (TEXT, 0)


@pytest.mark.parametrize("declared", ["shift_jis", "x-sjis", None])
def test_vendor_characters_of_cp932_are_read_where_shift_jis_is_declared(declared: str | None) -> None:
    text = "㈱①髙橋 18:00～20:00 03－1234"
    assert decode_bytes(text.encode("cp932"), declared).text == text


def test_latin_mail_stays_latin() -> None:
    assert decode_bytes("Café Müller, 12 €".encode("cp1252"), "iso-8859-1").text == "Café Müller, 12 €"
    assert decode_bytes("Café".encode("cp1252"), None).text == "Café"


def test_other_asian_charsets_are_read_as_declared() -> None:
    assert decode_bytes("예약 확인".encode("cp949"), "ks_c_5601-1987").text == "예약 확인"
    assert decode_bytes("预订确认".encode("gb2312"), "gb2312").text == "预订确认"
    assert decode_bytes("訂位確認".encode("big5"), "big5").text == "訂位確認"


def test_what_fits_nothing_is_counted_to_the_character() -> None:
    decoded = decode_bytes("予約".encode() + b"\xff\xff" + "確認".encode(), "utf-8")
    assert decoded.text == "予約\ufffd\ufffd確認"
    assert decoded.lossy_characters == 2


def test_a_replacement_character_that_the_sender_wrote_is_not_our_loss() -> None:
    assert decode_bytes("a\ufffdb".encode(), "utf-8").lossy_characters == 0


def test_bytes_that_cp932_turns_to_private_characters_are_a_loss_and_are_counted() -> None:
    decoded = decode_bytes("予約確認".encode("cp932") + b"\xff\xfd", "shift_jis")
    assert decoded.lossy_characters == 2
    assert decoded.text.startswith("予約確認")


def test_a_byte_order_mark_is_no_text() -> None:
    assert decode_bytes(b"\xef\xbb\xbfabc", "utf-8").text == "abc"


def test_utf7_lets_no_half_of_a_character_through() -> None:
    decoded = decode_bytes(b"+2AA-", "utf-7")
    assert decoded.text == "\ufffd"
    assert decoded.lossy_characters == 1


def test_half_width_kana_do_not_make_eucjp_of_shift_jis() -> None:
    assert decode_bytes("ﾔﾏﾀﾞ ﾀﾛｳ様のご予約".encode("cp932"), None).text == "ﾔﾏﾀﾞ ﾀﾛｳ様のご予約"
