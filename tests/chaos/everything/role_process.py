"""One role in a process of its own, with leases so short that a round need not wait: role_process.py send|plan|book."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from todoku.bus.connection import Bus
from todoku.kernel.clock import SystemClock

LEASE_SECONDS = 2.0
CONNECTIONS = 5
WINDOW = 50


async def main(role: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = await Bus.connect(os.environ["TODOKU_NATS_URL"], name=f"chaos-{role}", wait_seconds=60.0)
    try:
        await bus.declare()
        await {"send": send, "plan": plan, "book": book}[role](bus, stop)
    finally:
        await bus.close()


async def send(bus: Bus, stop: asyncio.Event) -> None:
    from todoku.content.rendering import make_renderer
    from todoku.delivery.engine.options import SenderOptions
    from todoku.delivery.engine.sender import Sender
    from todoku.delivery.transports.smtp import SmtpTransport

    clock = SystemClock()
    transport = SmtpTransport(os.environ["TODOKU_RELAY_URL"], connections=CONNECTIONS, clock=clock)
    options = SenderOptions(lease_seconds=LEASE_SECONDS, window=WINDOW)
    answers = Path(os.environ["TODOKU_HOME"]) / "answers"
    await Sender(bus, transport, make_renderer, clock, answers, options).run(stop)
    await transport.close()


async def plan(bus: Bus, stop: asyncio.Event) -> None:
    import django

    django.setup()
    from todoku.campaigns.planner import Planner, PlannerPace

    await Planner(bus, SystemClock(), pace=PlannerPace(lease_seconds=LEASE_SECONDS)).run(stop)


async def book(bus: Bus, stop: asyncio.Event) -> None:
    import django

    django.setup()
    from todoku.delivery.ledger.projector import Projector

    await Projector(bus, SystemClock()).run(stop)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
