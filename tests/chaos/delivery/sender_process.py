"""One sender in a process of its own, to be killed: sender_process.py NATS_URL RELAY_URL FOLDER LEASE_SECONDS WINDOW"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from todoku.bus.connection import Bus
from todoku.content.rendering import make_renderer
from todoku.delivery.engine.options import SenderOptions
from todoku.delivery.engine.sender import Sender
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.kernel.clock import SystemClock


async def main(nats_url: str, relay_url: str, folder: str, lease_seconds: str, window: str) -> None:
    bus = await Bus.connect(nats_url, name="chaos-sender")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    transport = SmtpTransport(relay_url, connections=5)
    options = SenderOptions(lease_seconds=float(lease_seconds), window=int(window))
    sender = Sender(bus, transport, make_renderer, SystemClock(), Path(folder), options)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # nobody reads a second line of stdout
    print("ready", flush=True)  # noqa: T201 - the test waits for this line
    await sender.run(stop)
    await transport.close()
    await bus.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
