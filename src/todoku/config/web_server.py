"""Serve the pages from one event loop: granian in this process, Django behind it."""

from __future__ import annotations

import asyncio

from granian.constants import Interfaces
from granian.server.embed import Server

from todoku.config.asgi import make_application
from todoku.config.settings import Settings, embedded_nats_url
from todoku.kernel.clock import SystemClock
from todoku.vault import open_vault


async def serve_pages(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Requests under way are answered; live connections are closed.

    Raises OSError when the address is taken.
    """
    application = make_application()
    connect_pages(settings)
    server = Server(
        application,
        address=settings.web_listen.host,
        port=settings.web_listen.port,
        interface=Interfaces.ASGINL,  # Django knows no lifespan messages
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not serving.done():
            server.stop()
    await serving


def connect_pages(settings: Settings) -> None:
    """Give pages and api what they may ask for: clock, vault, bus, and the demo's outbox when there is one."""
    from todoku.api import ports as api_ports
    from todoku.config.collectors import open_inventory
    from todoku.config.ways_out import urls_by_name
    from todoku.demo.sink_log import SinkReader
    from todoku.web import live, ports

    sink_folder = settings.home / "sink"
    ports.connect(
        ports.Ports(
            clock=SystemClock(),
            nats_url=lambda: settings.nats_url or embedded_nats_url(settings.home),
            open_vault=lambda: open_vault(settings.vault_url, settings.home / "vault"),
            public_url=settings.public_url,
            outbox=SinkReader(sink_folder) if settings.demo else None,
            transports=tuple(sorted(name for name in urls_by_name(settings) if name)),
            inventory=lambda bus: open_inventory(settings, bus, SystemClock()),
        )
    )
    api_ports.connect(api_ports.Ports(clock=SystemClock(), notify=live.hub.publish))
