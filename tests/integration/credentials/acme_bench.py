"""What tests of certificates share: the role web at a port, a directory that says what it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from granian.constants import Interfaces
from granian.server.embed import Server

from todoku.api import challenges as door
from todoku.api.challenges import ChallengeDoor, Receive, Scope, Send
from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.challenges import ChallengeShelf
from todoku.kernel.clock import SystemClock

CLOCK = SystemClock()
HOST = "mx.shop.example"
WITHIN_SECONDS = 30.0  # only a guard against hanging


async def pages(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Stand for everything else that the role web serves."""
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def web_role(port: int, shelf: ChallengeShelf) -> AsyncIterator[None]:
    """Serve as the role web does: the challenge door before everything else."""
    door.connect(shelf)
    server = Server(
        ChallengeDoor(pages), address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    while True:
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        break
    try:
        yield
    finally:
        server.stop()
        await serving
        door.connect(None)


@asynccontextmanager
async def directory(told: dict[str, Any], **more: Any) -> AsyncIterator[str]:
    """Give the address of a directory that says what it likes. more: paths and their JSON."""

    async def say(request: web.Request) -> web.StreamResponse:
        if request.path == "/away":
            raise web.HTTPFound("http://127.0.0.2:1/secret")
        found = more.get(request.path.strip("/").split("/")[0], told if request.path == "/dir" else None)
        return web.json_response(found) if found is not None else web.Response(status=404)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    for name, value in told.items():
        if isinstance(value, str):
            told[name] = value.replace("HERE", f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}/dir"
    await runner.cleanup()


async def challenges_of(bus: Bus) -> list[str]:
    """Return the keys of answers that lie on the bus."""
    return [key for key in await bus.bucket(CREDENTIALS_BUCKET).keys() if key.startswith("_challenge.")]


def iso(at_utc: datetime) -> str:
    """Return a moment as RFC 3339 has it."""
    return at_utc.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
