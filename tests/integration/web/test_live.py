"""What moves is told to the right pages, soon, also when the bus went away and came back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import cast

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client

from todoku.bus.connection import Bus
from todoku.engines.nats import EmbeddedNats
from todoku.kernel.clock import SystemClock
from todoku.projects.types import Role
from todoku.vault import open_vault
from todoku.web import live, ports

from .conftest import House

SOON_SECONDS = 5.0


async def _collect(listener: live.Listener, wanted: str) -> None:
    async with asyncio.timeout(20):
        while wanted not in await listener.moved(1.0):
            continue


def test_an_event_reaches_the_page_of_its_project_and_no_other(
    houses: tuple[House, House], sign_in: Callable[[str], Client], web_nats_url: str
) -> None:
    mine, theirs = houses
    signed_in = sign_in(mine.email(Role.VIEWER))

    async def watch() -> str:
        client = AsyncClient()
        client.cookies = signed_in.cookies
        answer = await client.get("/live")
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream")
        stream = cast("AsyncGenerator[bytes, None]", cast("StreamingHttpResponse", answer).streaming_content)
        bus = await Bus.connect(web_nats_url, name="test")
        heard = ""
        async with asyncio.timeout(SOON_SECONDS):
            async for part in stream:
                heard += part.decode()
                if "event: run" in heard:
                    break
                if part.startswith(b"event: here"):
                    await bus.publish_event(theirs.project_id, "reservation", {})
                    await bus.publish_event(mine.project_id, "run", {})
        await stream.aclose()
        await bus.close()
        return heard

    assert "reservation" not in asyncio.run(watch()), "another tenant's event must not even be felt"


def test_a_stream_is_refused_to_strangers(house: House) -> None:
    async def status() -> int:
        return (await AsyncClient().get("/live")).status_code

    assert asyncio.run(status()) == 403


def test_pages_hear_that_the_bus_went_away_and_came_back(tmp_path: Path) -> None:
    engine = EmbeddedNats(tmp_path / "nats")
    url = engine.start()
    live.hub.reset()
    ports.connect(
        ports.Ports(
            SystemClock(), lambda: url, lambda: open_vault("", tmp_path / "vault"), public_url="http://testserver"
        )
    )

    async def watch() -> None:
        listener = live.hub.listen("p")
        await _collect(listener, "here")
        await asyncio.to_thread(engine.stop)
        await _collect(listener, "away")
        await asyncio.to_thread(engine.restart)
        await _collect(listener, "here")
        live.hub.forget(listener)

    try:
        asyncio.run(watch())
    finally:
        live.hub.reset()
        engine.stop()


def test_a_burst_is_told_once(connected: ports.Ports) -> None:
    async def burst() -> list[set[str]]:
        listener = live.Listener("p", asyncio.get_running_loop())
        for _ in range(1000):
            listener.tell("reservation")
        return [await listener.moved(1.0), await listener.moved(0.05)]

    assert asyncio.run(burst()) == [{"reservation"}, set()]


def test_home_says_that_it_can_not_count_without_the_bus(house: House, sign_in: Callable[[str], Client]) -> None:
    client = sign_in(house.email(Role.OWNER))
    client.post("/language", {"language": "en"})
    live.hub.reset()
    kept = ports.ports()
    ports.connect(ports.Ports(kept.clock, lambda: "nats://127.0.0.1:1", kept.open_vault, kept.public_url))
    page = client.get("/").content.decode()
    assert "can&#x27;t be counted" in page
    assert "All is well" not in page
    assert client.get("/online").status_code == 200


@pytest.mark.parametrize("kind", live.LIVE_KINDS)
def test_every_live_kind_is_heard_by_the_script(kind: str) -> None:
    script = (Path(live.__file__).parent / "static" / "web" / "app.js").read_text(encoding="utf-8")
    assert f'"{kind}"' in script
