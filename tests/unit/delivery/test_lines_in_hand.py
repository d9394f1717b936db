"""Lines that a projector has in hand: given out again while a slow database takes them, they would burden it twice.

That the bus keeps a line from others when it is told so is in `bus.conformance`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from todoku.bus.errors import BusUnavailable
from todoku.delivery.ledger import projector


class Line:
    """Counts how often it was kept; the first times the bus may be away."""

    def __init__(self, failures: int = 0) -> None:
        self.kept = 0
        self.failures = failures
        self.twice = asyncio.Event()

    async def extend(self) -> None:
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("away")
        self.kept += 1
        if self.kept == 2:
            self.twice.set()


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_LEASE_SECONDS", 0.003)


async def keep_twice(lines: list[Line]) -> None:
    async with asyncio.timeout(10), projector._kept(cast(Any, lines)):
        for line in lines:
            await line.twice.wait()


async def test_every_line_is_kept_as_long_as_it_takes_and_no_longer() -> None:
    lines = [Line() for _ in range(3)]
    await keep_twice(lines)
    counts = [line.kept for line in lines]
    for _ in range(50):
        await asyncio.sleep(0)
    assert [line.kept for line in lines] == counts


async def test_a_bus_that_is_away_for_a_while_ends_nothing() -> None:
    await keep_twice([Line(failures=2)])
