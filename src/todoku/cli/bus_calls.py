"""What commands share that speak with the bus alone: they work while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from todoku.bus.connection import Bus
from todoku.config.settings import Settings, embedded_nats_url, load_settings

Answer = TypeVar("Answer")

_WAIT_SECONDS = 5.0


def with_bus(call: Callable[[Settings, Bus], Awaitable[Answer]]) -> Answer:
    """Return what the call returns; raises BusUnavailable when nobody answers within seconds."""

    async def connected() -> Answer:
        settings = load_settings()
        url = settings.nats_url or embedded_nats_url(settings.home)
        bus = await Bus.connect(url, name="cli", wait_seconds=_WAIT_SECONDS)
        try:
            await bus.declare(replicas=settings.nats_replicas)
            return await call(settings, bus)
        finally:
            await bus.close()

    return asyncio.run(connected())
