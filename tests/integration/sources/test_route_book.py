"""The address list follows KV `addresses`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET
from todoku.sources.routes import RouteBook
from todoku.sources.types import Route

if TYPE_CHECKING:
    from tests.integration.sources.conftest import Intake


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition never held")


async def test_knows_what_was_there_then_what_changes(intake: Intake) -> None:
    bucket = intake.bus.bucket(ADDRESSES_BUCKET)
    early, late = (f"r-{uuid4().hex}" for _ in range(2))
    await bucket.put(early, msgspec.msgpack.encode(Route(project_id="izakaya", site="gnavi")))
    routes = RouteBook(intake.bus)
    assert not routes.ready
    assert routes.resolve(early) is None
    await routes.start()
    await routes.until_ready(10)
    assert routes.resolve(f"{early.upper()}+table@x.example") == Route(project_id="izakaya", site="gnavi")
    assert routes.resolve(f"{late}@x.example") is None
    await bucket.put(late, msgspec.msgpack.encode(Route(project_id="sushi")))
    await eventually(lambda: routes.resolve(late) == Route(project_id="sushi"))
    await bucket.put(late, b"\xc1 not msgpack")
    await bucket.delete(early)
    await eventually(lambda: routes.resolve(early) is None)
    assert routes.resolve(late) == Route(project_id="sushi")
    await routes.stop()
    assert routes.ready
    await bucket.delete(late)


async def test_is_not_ready_while_the_bus_is_away(nats_url: str) -> None:
    gone = await Bus.connect(nats_url, name="gone")
    await gone.close()
    routes = RouteBook(gone)
    await routes.start()
    with pytest.raises(TimeoutError):
        await routes.until_ready(0.3)
    assert not routes.ready
    await routes.stop()
