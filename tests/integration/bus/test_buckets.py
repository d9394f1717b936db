from __future__ import annotations

import asyncio

import pytest

from todoku.bus.connection import Bus
from todoku.bus.errors import KeyExists, RevisionConflict


class Notes:
    """What a watch told about the keys of one test; other tests use the same bucket."""

    def __init__(self, mine: str) -> None:
        self._mine = mine
        self.told: list[tuple[str, bytes | None]] = []
        self._news = asyncio.Event()

    def __call__(self, key: str, value: bytes | None) -> None:
        if key.startswith(self._mine):
            self.told.append((key.removeprefix(self._mine), value))
            self._news.set()

    async def wait_for(self, count: int) -> list[tuple[str, bytes | None]]:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self._news.clear()
                await self._news.wait()
        return self.told


async def test_value_lives_from_create_to_delete_and_again(bus: Bus, run: str) -> None:
    bucket = bus.bucket("runs")
    assert await bucket.get(run) is None
    revision = await bucket.create(run, b"one")
    with pytest.raises(KeyExists):
        await bucket.create(run, b"other")
    entry = await bucket.get(run)
    assert entry is not None
    assert (entry.value, entry.revision) == (b"one", revision)
    newer = await bucket.update(run, b"two", revision)
    with pytest.raises(RevisionConflict):
        await bucket.update(run, b"late", revision)
    assert await bucket.put(run, b"three") > newer
    assert run in await bucket.keys()
    await bucket.delete(run)
    await bucket.delete(run)
    assert await bucket.get(run) is None
    assert run not in await bucket.keys()
    await bucket.create(run, b"four")
    entry = await bucket.get(run)
    assert entry is not None
    assert entry.value == b"four"
    await bucket.delete(run)


async def test_empty_value_is_a_value(bus: Bus, run: str) -> None:
    bucket = bus.bucket("runs")
    await bucket.put(run, b"")
    entry = await bucket.get(run)
    assert entry is not None
    assert entry.value == b""
    await bucket.delete(run)


async def test_of_many_that_update_at_once_one_wins(bus: Bus, run: str) -> None:
    bucket = bus.bucket("runs")
    revision = await bucket.put(run, b"start")
    answers = await asyncio.gather(
        *[bucket.update(run, str(n).encode(), revision) for n in range(10)], return_exceptions=True
    )
    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert sum(isinstance(answer, RevisionConflict) for answer in answers) == 9
    await bucket.delete(run)


async def test_watch_tells_what_is_there_before_it_returns_and_every_change_after(bus: Bus, run: str) -> None:
    bucket = bus.bucket("addresses")
    await bucket.put(f"{run}a@in.example", b"1")
    await bucket.put(f"{run}b", b"2")
    await bucket.put(f"{run}gone", b"3")
    await bucket.delete(f"{run}gone")
    notes = Notes(run)
    watch = await bucket.watch(notes)
    assert [entry for entry in notes.told if entry[1] is not None] == [("a@in.example", b"1"), ("b", b"2")]
    count = len(notes.told)
    await bucket.put(f"{run}b", b"22")
    await bucket.delete(f"{run}a@in.example")
    assert (await notes.wait_for(count + 2))[count:] == [("b", b"22"), ("a@in.example", None)]
    await watch.stop()
    await watch.stop()
    await bucket.delete(f"{run}b")
    assert len(notes.told) == count + 2


async def test_watch_of_more_keys_than_one_batch(bus: Bus, run: str) -> None:
    bucket = bus.bucket("stops")
    await bus.publish_many([(f"$KV.stops.{run}{n:04}", b"x", None) for n in range(700)])
    notes = Notes(run)
    watch = await bucket.watch(notes)
    assert [key for key, _ in notes.told] == [f"{n:04}" for n in range(700)]
    await watch.stop()


async def test_one_value_that_its_reader_cannot_take_does_not_end_the_watch(bus: Bus, run: str) -> None:
    bucket = bus.bucket("runs")
    notes = Notes(run)

    async def picky(key: str, value: bytes | None) -> None:
        if value == b"bad":
            raise ValueError("not mine to read")
        notes(key, value)

    watch = await bucket.watch(picky)
    await bucket.put(run, b"bad")
    await bucket.put(run, b"good")
    assert (await notes.wait_for(1))[-1] == ("", b"good")
    await watch.stop()
    await bucket.delete(run)
