"""ISO-2022-JP and EUC-JP of the grade that Japanese mail needs (japanese mail facts, sections 1 and 2)."""

from __future__ import annotations

import pytest

from todoku.mail.charsets import decode_bytes, encode_iso2022jp
from todoku.mail.jis import decode_eucjp, decode_iso2022jp


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b(I6E\x1b(B", "ｶﾅ"),
        (b"\x0e6E\x0f!", "ｶﾅ!"),
        (b"\xb6\xc5 ok\x1b$B0!\x1b(B", "ｶﾅ ok亜"),
        (b"\x1b$B0!\x0e6E\x0f0!\x1b(B", "亜ｶﾅ亜"),
        (b"\x1b(J\\5,000\x1b(B \\", "¥5,000 \\"),
        (b"\x1b$@0!\x1b(J", "亜"),
        (b"\x1b&@\x1b$B0!\x1b(B", "亜"),
        (b"\x1b$(D0!\x1b(B", "丂"),
        (b"\x1b$B0!\nplain", "亜\nplain"),
        (b"\x1b$B0! 0!\x1b(B\x0e6\x0f", "亜 亜ｶ"),
        (b'\x1b$B!A!]!B!q!r"L\x1b(B', "～－∥￠￡￢"),
    ],
    ids=["kana", "so-si", "8bit", "so-in-kanji", "roman", "jis78", "announced", "jis-x-0212", "eol", "blank", "wave"],
)
def test_sets_and_shifts(data: bytes, text: str) -> None:
    assert decode_iso2022jp(data) == (text, 0)


@pytest.mark.parametrize(
    "data", [b"\x1b$B0", b"\x1b$B\xff0!\x1b(B", b"\x1b$B0!0\x1b(B", b"\x1b(I\x70\x1b(B", b"\x1b$(D~~\x1b(B"]
)
def test_what_is_cut_or_undefined_is_counted(data: bytes) -> None:
    text, lost = decode_iso2022jp(data)
    assert lost == text.count("\ufffd") > 0


def test_eucjp_reads_the_vendor_rows_of_cp51932_and_the_extension_of_eucjp_ms() -> None:
    assert decode_eucjp(b"\xad\xa1\xad\xea\xfc\xe2\x8e\xb6") == ("①㈱髙ｶ", 0)
    assert decode_eucjp(b"\x8f\xf4\xfb\x8f\xf4\xbd\x8f\xf4\xab") == ("髙﨑㈱", 0)
    assert decode_eucjp("予約～".replace("～", "〜").encode("euc_jp")) == ("予約～", 0)
    assert decode_eucjp(b"\xad\xa1\x80\xad")[1] == 2


def test_encoding_writes_vendor_rows_kana_and_yen_and_is_read_back() -> None:
    text = "①㈱Ⅲ髙﨑 ﾔﾏﾀﾞ ¥5,000 18:00～20:00\r\n次の行"
    data = encode_iso2022jp(text)
    assert data.isascii()
    assert decode_bytes(data, "ISO-2022-JP").text == text


def test_encoding_refuses_what_jis_has_not() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_iso2022jp("🍣")
