"""Large parts in parts: how many copies of a part there may be at once."""

from __future__ import annotations

import tracemalloc

import pytest
from tests.torture.structures import nested

from todoku.mail.errors import TooDeep
from todoku.mail.parse import parse_mail
from todoku.mail.structure import Limits


def test_a_large_part_has_one_copy_for_each_level() -> None:  # once two: 45 MB in 8 levels took 600 MB
    size, depth = 300_000, 3
    raw = nested(depth, b"x" * size)
    parse_mail(raw[:500])
    tracemalloc.start()
    try:
        parse_mail(raw)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < (depth + 3) * size


def test_levels_of_a_large_part_are_limited_by_their_octets() -> None:
    limits = Limits(mail_bytes=100_000)
    parse_mail(nested(4, b"x" * 95_000), limits=limits)
    with pytest.raises(TooDeep):
        parse_mail(nested(5, b"x" * 95_000), limits=limits)
