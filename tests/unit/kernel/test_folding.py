"""Folding: one form for matching, offsets unmoved."""

from __future__ import annotations

import pytest

from todoku.kernel.folding import fold_for_matching, strip_invisible


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("１８：００～２０：００", "18:00~20:00"),
        ("18:00〜20:00", "18:00~20:00"),
        ("03－1234−5678‐9", "03-1234-5678-9"),
        ("人数\u00a0：\u30002名", "人数 : 2名"),
        ("\u2009\u202f", "  "),
        ("［予約番号］（ＡＢ）", "[予約番号](AB)"),
        ("￥5", "¥5"),
        ("コース ー 髙橋 ﾔﾏﾀﾞ ①㈱", "コース ー 髙橋 ﾔﾏﾀﾞ ①㈱"),
        ("plain ~ -", "plain ~ -"),
        ("", ""),
        ("a\tb\nc　", "a\tb\nc "),
    ],
)
def test_folds(text: str, folded: str) -> None:
    assert fold_for_matching(text) == folded
    assert len(folded) == len(text)


def test_invisible_characters_go_and_joiners_stay() -> None:
    assert strip_invisible("a\u200bb\u200ec\ufeffd\u00ade") == "abcde"
    assert strip_invisible("👨\u200d👩 葛\U000e0100") == "👨\u200d👩 葛\U000e0100"
