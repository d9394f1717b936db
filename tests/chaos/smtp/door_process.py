"""A door in a process of its own, to be killed: NATS_URL VAULT_FOLDER LOCAL_PART PROJECT PORT."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import uvloop

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET
from todoku.kernel.clock import SystemClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import SmtpDoor
from todoku.sources.types import Route
from todoku.vault import open_vault


async def serve(nats_url: str, folder: str, local_part: str, project: str, port: str) -> None:
    bus = await Bus.connect(nats_url, name="door-to-be-killed")
    await bus.declare()
    await bus.bucket(ADDRESSES_BUCKET).put(local_part, msgspec.msgpack.encode(Route(project_id=project)))
    routes = RouteBook(bus)
    await routes.start()
    await routes.until_ready(20)
    door = SmtpDoor(ArrivalWriter(open_vault("", Path(folder)), bus, SystemClock()), routes, "in.todoku.example")
    await door.start("127.0.0.1", int(port))
    print("ready", flush=True)  # noqa: T201  # the test waits for this line
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
