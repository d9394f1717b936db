"""Let the SMTP door know the intake addresses at once, not at the read role's next look."""

from __future__ import annotations

from todoku.bus.connection import Bus
from todoku.config.settings import Settings, embedded_nats_url
from todoku.intake.routes import publish_addresses


async def publish_now(settings: Settings) -> None:
    """Mirror all addresses into KV `addresses`; Django must be awake. Raises BusUnavailable, BookUnavailable."""
    bus = await Bus.connect(settings.nats_url or embedded_nats_url(settings.home), name="addresses")
    try:
        await bus.declare()
        await publish_addresses(bus)
    finally:
        await bus.close()
