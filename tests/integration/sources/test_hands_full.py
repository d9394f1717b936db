"""Fetched mails side by side, from a source that is slow, breaks off or has large mails: real vault and bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from tests.integration.sources.conftest import Intake

from todoku.sources import collecting
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import FETCHED_AT_ONCE, Collector, Place
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.hands import Hands
from todoku.sources.types import Fetch, Listed
from todoku.vault.types import Stored

MEBIBYTE = 1024 * 1024


@dataclass
class Drawer:
    """A source of so many mails. gates: fetches of these wait; faults: these are raised; in_hand: fetched, not kept."""

    count: int
    octets: int = 100
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    in_hand: int = 0
    most_in_hand: int = 0

    async def list_mails(self) -> AsyncIterator[Listed]:
        for number in range(self.count):
            yield Listed(f"{number:03d}")

    async def fetch(self, key: str) -> bytes:
        if key in self.gates:
            await self.gates[key].wait()
        await asyncio.sleep(0)
        if key in self.faults:
            raise self.faults[key]
        self.fetched.append(key)
        self.in_hand += self.octets
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        return key.encode().ljust(self.octets, b".")

    async def until_changed(self, seconds: float) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return


async def collector(intake: Intake, drawer: Drawer) -> Collector:
    """Return a collector as a process has it that was just started."""
    keys = await ArrivedKeys.load(intake.bus, intake.project, "drawer")
    return Collector(Place(intake.project, "drawer"), drawer, intake.writer, keys)


async def cursors(intake: Intake) -> list[str]:
    return sorted(arrival.cursor for arrival in await intake.arrivals())


async def test_a_mail_that_takes_for_ever_holds_up_none_but_itself(intake: Intake) -> None:
    drawer = Drawer(60, gates={"003": asyncio.Event(), "059": asyncio.Event()})
    looking = asyncio.create_task((await collector(intake, drawer)).look())
    async with asyncio.timeout(30):
        while len(await cursors(intake)) < 58:  # noqa: ASYNC110  # a stream has no event for it
            await asyncio.sleep(0.01)
    assert not looking.done()
    for gate in drawer.gates.values():
        gate.set()
    assert (await looking).arrived == 60
    assert await cursors(intake) == [f"{number:03d}" for number in range(60)]


async def test_what_failed_in_the_middle_is_fetched_at_the_next_look_and_nothing_else(intake: Intake) -> None:
    drawer = Drawer(60)
    drawer.faults = {"010": CannotFetch("too slow"), "011": MailVanished("gone"), "030": CannotFetch("torn")}
    carrying = await collector(intake, drawer)
    look = await carrying.look()
    assert (look.fresh, look.arrived, look.vanished, look.left) == (60, 57, 1, 0)
    assert sorted(key for key, _ in look.failed) == ["010", "030"]
    assert await cursors(intake) == sorted(drawer.fetched)
    drawer.faults, drawer.fetched = {}, []
    assert (await carrying.look()).arrived == 3
    assert sorted(drawer.fetched) == ["010", "011", "030"]
    assert await cursors(intake) == [f"{number:03d}" for number in range(60)]


async def test_a_source_that_breaks_off_in_the_middle_keeps_what_was_fetched_and_no_more(intake: Intake) -> None:
    drawer = Drawer(60, faults={"020": CannotLook(Cause.UNREACHABLE, "the connection broke")})
    carrying = await collector(intake, drawer)
    look = await carrying.look()
    assert look.outcome is Fetch.COULD_NOT
    assert await cursors(intake) == sorted(drawer.fetched)
    assert look.arrived == len(drawer.fetched) < 60
    drawer.faults = {}
    assert (await carrying.look()).arrived == 60 - look.arrived
    assert await cursors(intake) == [f"{number:03d}" for number in range(60)]


@pytest.mark.parametrize("fetched", [1, 20, 59])
async def test_who_is_ended_in_the_middle_loses_and_doubles_nothing(intake: Intake, fetched: int) -> None:
    drawer = Drawer(60)
    looking = asyncio.create_task((await collector(intake, drawer)).look())
    async with asyncio.timeout(30):
        while len(drawer.fetched) < fetched:  # noqa: ASYNC110  # the turns of the event loop are what is counted
            await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    before = await cursors(intake)
    look = await (await collector(intake, drawer)).look()
    assert look.arrived == 60 - len(before)
    assert await cursors(intake) == [f"{number:03d}" for number in range(60)]


async def test_large_mails_fill_the_room_and_no_more(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched and waits for room counts too: one mail for each of those that fetch."""
    monkeypatch.setattr(collecting, "Hands", lambda: Hands(4 * MEBIBYTE))
    drawer = Drawer(24, octets=3 * MEBIBYTE)
    put, beginning, putting, most_putting = intake.vault.put, asyncio.Event(), 0, 0

    async def slow(project_id: str, content: bytes) -> Stored:
        nonlocal putting, most_putting
        putting += 1
        most_putting = max(most_putting, putting)
        await beginning.wait()
        try:
            return await put(project_id, content)
        finally:
            putting -= 1
            drawer.in_hand -= len(content)

    monkeypatch.setattr(intake.vault, "put", slow)
    looking = asyncio.create_task((await collector(intake, drawer)).look())
    async with asyncio.timeout(30):
        while len(drawer.fetched) < FETCHED_AT_ONCE:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
    assert len(drawer.fetched) <= FETCHED_AT_ONCE + 1
    beginning.set()
    assert (await looking).arrived == 24
    assert most_putting == 1, "two of 3 MB do not fit into 4 MB"
    assert drawer.most_in_hand <= (FETCHED_AT_ONCE + 1) * drawer.octets
    assert await cursors(intake) == [f"{number:03d}" for number in range(24)]
