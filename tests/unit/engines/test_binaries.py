from __future__ import annotations

from pathlib import Path

import pytest

from todoku.engines import binaries
from todoku.engines.errors import BinaryMissing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres (PostgreSQL) 18.4", (18, 4)),
        ("postgres (PostgreSQL) 16.1 (Debian 16.1-1.pgdg120+1)", (16, 1)),
        ("postgres (PostgreSQL) 19beta1", (19, 0)),
        ("nats-server: v2.15.1", (2, 15)),
        ("something else", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_versions_are_read_as_programs_print_them(text: str, expected: tuple[int, int]) -> None:
    assert binaries.read_version(text) == expected


def test_setting_without_a_program_is_an_error_and_says_which_setting(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissing, match="TODOKU_NATS_BIN"):
        binaries.find(binaries.NATS, tmp_path)
