"""ISO-2022-JP and EUC-JP of the grade that Japanese mail needs (japanese mail facts, sections 1 and 2)."""

from __future__ import annotations

import pytest

from todoku.mail.charsets import decode_bytes, encode_iso2022jp
from todoku.mail.jis import decode_eucjp, decode_iso2022jp, jis_character

ALL_PAIRS = [(row, cell) for row in range(0x21, 0x7F) for cell in range(0x21, 0x7F) if jis_character(row, cell)]


def as_jis(pairs: list[tuple[int, int]]) -> bytes:
    return b"\x1b$B" + b"".join(bytes(pair) for pair in pairs) + b"\x1b(B"


def test_all_7336_two_byte_characters_are_read_as_cp932_reads_them() -> None:
    expected = "".join(jis_character(row, cell) or "" for row, cell in ALL_PAIRS)
    assert len(ALL_PAIRS) == len(expected) == 7336
    assert decode_iso2022jp(as_jis(ALL_PAIRS)) == (expected, 0)


def test_all_7336_characters_are_read_the_same_by_the_slow_way() -> None:
    expected = "".join(jis_character(row, cell) or "" for row, cell in ALL_PAIRS)
    text, lost = decode_iso2022jp(as_jis(ALL_PAIRS) + b"\x0e1\x0f")  # SO is what Python's codec can't follow
    assert (text, lost) == (expected + "ｱ", 0)


def test_python_alone_would_lose_463_of_them() -> None:
    """Says why our decoder exists; when this fails, Python has become better and the decoder may go."""
    same = 0
    for row, cell in ALL_PAIRS:
        try:
            same += as_jis([(row, cell)]).decode("iso2022_jp") == jis_character(row, cell)
        except UnicodeDecodeError:
            continue
    assert same == 6873


def test_undefined_pairs_cost_one_replacement_each_and_never_the_character_after_them() -> None:
    undefined = [(row, cell) for row in range(0x21, 0x7F) for cell in range(0x21, 0x7F) if not jis_character(row, cell)]
    data = b"\x1b$B" + b"".join(bytes(pair) + b"0!" for pair in undefined) + b"\x1b(B"
    assert decode_iso2022jp(data) == ("\ufffd亜" * len(undefined), len(undefined))


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
