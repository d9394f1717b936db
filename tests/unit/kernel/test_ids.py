"""Identifiers are of version 7 and sort by the time they were made."""

from __future__ import annotations

import pytest

from todoku.kernel.ids import new_id, require_subject_token


def test_ids_sort_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(500)]
    assert made == sorted(made)
    assert len(set(made)) == 500
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}


@pytest.mark.parametrize("text", ["", "a.b", "a b", "A", "*", ">", "a" * 65, "ü", "a\n"])
def test_what_is_no_subject_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="subject token"):
        require_subject_token(text)
