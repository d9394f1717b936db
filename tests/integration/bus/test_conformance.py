from __future__ import annotations

from todoku.bus.conformance import check_bus
from todoku.bus.connection import Bus


async def test_the_real_bus_does_what_the_simulated_one_does(bus: Bus, run: str) -> None:
    await check_bus(bus, run)
