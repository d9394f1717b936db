"""The quick way to read the usual dates and times reads them as the whole patterns do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.kernel.dates import DateProblem, read_date, read_duration_minutes, read_time, read_time_range

WORDS = """
2026 11 1 20 3 31 13 18 00 25 30 年 月 日 / - . , : 時 分 半 時間 (金) (土・祝) （日） 【月】 ~ ～ 〜 － →
から 午後 AM pm T
Oct Sat 令和8 ２ ： 1.5 2026年11月20日 18:30 11/20 2026-11-20 10月3日 18時30分 2時間 90分
"""
PIECES = (*WORDS.split(), " ", "  ", "\u3000", "\t", "\n")


def answer(read: Callable[[str], object], text: str, moved: int) -> Any:
    """Return what is read, the places taken back by so many characters; the word when it is refused."""
    try:
        found = read(text)
    except DateProblem as problem:
        return problem.word
    return _back(found, moved)


def _back(found: Any, moved: int) -> Any:
    if hasattr(found, "_replace"):
        return found._replace(start=found.start - moved, end=found.end - moved)
    return tuple(_back(part, moved) for part in found) if isinstance(found, tuple) else found


@pytest.mark.parametrize("read", [read_date, read_time, read_time_range, read_duration_minutes])
@given(text=st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join))
def test_a_tab_in_front_which_the_quick_way_does_not_take_changes_nothing(
    read: Callable[[str], object], text: str
) -> None:
    assert answer(read, text, 0) == answer(read, "\t" + text, 1)
