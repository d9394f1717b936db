"""The process that bench/seal.py measures: one planner; prints "ready", works until SIGINT, then says what it did."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, MutableMapping
from typing import Any, NoReturn

import structlog
import uvloop

_seen: dict[str, Any] = {"began_at": 0.0, "statements": 0}


async def _plan() -> None:
    import django

    django.setup()
    from django.db import connection

    from todoku.bus.connection import Bus
    from todoku.campaigns.planner import Planner
    from todoku.kernel.clock import SystemClock

    def count(execute: Callable[..., object], *rest: object) -> object:
        if _seen["began_at"]:
            _seen["statements"] += 1
        return execute(*rest)

    bus = await Bus.connect(os.environ["TODOKU_NATS_URL"], name="bench-planner")
    await bus.declare()
    planner = Planner(bus, SystemClock(), public_url="https://mail.shop.example")
    for database in (planner.database, planner._desk._database):  # one connection each
        await database(lambda: connection.execute_wrappers.append(count))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    print("ready", flush=True)
    await planner.run(stop)
    await bus.close()
    # the COPY, in a connection of its own; BEGIN and COMMIT of the claim and of the seal
    print(json.dumps(_seen | {"statements": _seen["statements"] + 1 + 4}))


def _note(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> NoReturn:
    if event["event"] == "run.sealing":
        _seen["began_at"] = time.time()
    raise structlog.DropEvent


if __name__ == "__main__":
    structlog.configure(processors=[_note])
    uvloop.run(_plan())
