"""What holds for every character there is, tried on every one."""

from __future__ import annotations

from todoku.kernel.folding import fold_for_matching
from todoku.mail.jis import decode_iso2022jp, jis_character

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


def test_every_code_point_keeps_its_place() -> None:
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x30000))))
    folded = fold_for_matching(everything)
    assert len(folded) == len(everything)
    assert fold_for_matching(folded) == folded
