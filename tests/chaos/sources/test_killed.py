"""A few rounds of `tests.chaos.sources.killed`; the whole is run by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chaos.sources.killed import running

ROUNDS = 3


@pytest.mark.parametrize("seed", [1])
def test_every_mail_of_every_source_is_in_the_book_once(open_folder: Callable[[], Path], seed: int) -> None:
    with running(open_folder(), open_folder, seed) as rounds:
        for _ in range(ROUNDS):
            rounds.play()
        report = rounds.finish()
    assert report.violations == []
    assert sum(report.killed.values()) >= ROUNDS
