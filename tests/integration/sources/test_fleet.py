"""Sources that are named on the bus are collected, each by one process, whatever becomes of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.integration.sources.conftest import Intake
from tests.integration.sources.maildir_bench import MaildirBench

from todoku.bus.streams import LOOKS_BUCKET, OWNERS_BUCKET, SOURCES_BUCKET
from todoku.sources import ownership
from todoku.sources.credentials import NotedKeyring
from todoku.sources.errors import BadSource, SourceExists, SourceUnknown
from todoku.sources.fleet import Fleet
from todoku.sources.ownership import Owner, Ownership
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.sources.standing import Standing, Truth, read_standings, truth_of
from todoku.sources.types import Fetch

_LIMIT_SECONDS = 60.0  # only a guard against hanging


@pytest.fixture
def bench(tmp_path: Path) -> MaildirBench:
    return MaildirBench(tmp_path / "mail")


@pytest.fixture
async def book(intake: Intake) -> AsyncIterator[SourceBook]:
    book = SourceBook(intake.bus)
    yield book
    for name in (SOURCES_BUCKET, LOOKS_BUCKET, OWNERS_BUCKET):
        bucket = intake.bus.bucket(name)
        for key in await bucket.keys():
            if key.startswith(intake.project):
                await bucket.delete(key)


def _entry(intake: Intake, bench: MaildirBench, source: str = "maildir-ginza") -> SourceEntry:
    settings: dict[str, str | int | float | bool] = {"folder": str(bench.folder)}
    return SourceEntry(project_id=intake.project, source=source, kind="maildir", settings=settings, poll_seconds=600.0)


@asynccontextmanager
async def _running(intake: Intake, lease_seconds: float = 0.6) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    fleet = Fleet(intake.bus, intake.writer, lambda _: NotedKeyring([]), lease_seconds=lease_seconds)
    task = asyncio.create_task(fleet.run(stop))
    try:
        yield task
        stop.set()
        await asyncio.wait({task}, timeout=_LIMIT_SECONDS)
        assert task.done(), "it does not end when it is told"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(intake: Intake, source: str, wanted: Callable[[Standing], bool]) -> Standing:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            standing = (await read_standings(intake.bus, intake.project)).get(source)
            if standing is not None and wanted(standing):
                return standing
            await asyncio.sleep(0.02)


async def _arrived(intake: Intake, count: int) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            if len(await intake.arrivals()) >= count:
                return
            await asyncio.sleep(0.02)


async def _given_back(intake: Intake, entry: SourceEntry) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            if entry.key not in await intake.bus.bucket(OWNERS_BUCKET).keys():
                return
            await asyncio.sleep(0.02)


async def test_a_source_is_collected_as_soon_as_it_is_named(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    async with _running(intake):
        await bench.deliver(b"Subject: one\r\n\r\n")
        entry = _entry(intake, bench)
        await book.add(entry)
        await _arrived(intake, 1)
        standing = await _until(intake, entry.source, lambda one: one.mail_at_utc is not None)
        assert standing.look is not None
        assert (standing.look.listed, standing.look.outcome) == (1, Fetch.FETCHED)
        assert truth_of(entry, standing, standing.at_utc) is Truth.FETCHED
        await bench.deliver(b"Subject: two\r\n\r\n")
        await _arrived(intake, 2)
    assert len(await intake.arrivals()) == 2


async def test_two_processes_collect_a_source_once_and_the_second_goes_on(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    await book.add(_entry(intake, bench))
    for number in range(20):
        await bench.deliver(f"Subject: {number}\r\n\r\n".encode())
    async with _running(intake) as first, _running(intake):
        await _arrived(intake, 20)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await bench.deliver(b"Subject: after\r\n\r\n")
        await _arrived(intake, 21)
    assert len({one.cursor for one in await intake.arrivals()}) == len(await intake.arrivals()) == 21


async def test_who_owns_a_source_and_is_silent_is_succeeded(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    entry = _entry(intake, bench)
    await book.add(entry)
    await bench.deliver(b"Subject: one\r\n\r\n")
    killed = Ownership(intake.bus, intake.writer.clock, entry.key, Owner("another machine", 1, 1), lease_seconds=0.6)
    assert await killed.acquire(asyncio.Event())
    lost = asyncio.Event()
    async with _running(intake):
        await _arrived(intake, 1)
        await asyncio.wait_for(killed.keep(asyncio.Event(), lost), _LIMIT_SECONDS)  # it was only paused, and wakes up
        assert lost.is_set()


async def test_who_is_dead_on_this_machine_is_succeeded_at_once(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    entry = _entry(intake, bench)
    await book.add(entry)
    await bench.deliver(b"Subject: one\r\n\r\n")
    child = await asyncio.create_subprocess_exec("sleep", "60")
    me = Owner.this_process()
    owner = Owner(me.machine, child.pid, ownership.started(child.pid))
    assert not owner.is_gone
    killed = Ownership(intake.bus, intake.writer.clock, entry.key, owner, lease_seconds=3_600.0)
    assert await killed.acquire(asyncio.Event())
    child.kill()
    await child.wait()
    assert owner.is_gone
    assert not Owner("another machine", child.pid, 1).is_gone
    async with _running(intake, lease_seconds=3_600.0):
        await _arrived(intake, 1)


async def test_a_paused_source_is_left_alone_and_goes_on_where_it_was(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    entry = _entry(intake, bench)
    async with _running(intake):
        await book.add(entry)
        await bench.deliver(b"Subject: one\r\n\r\n")
        await _arrived(intake, 1)
        await book.change(msgspec.structs.replace(entry, paused=True))
        await _given_back(intake, entry)
        await bench.deliver(b"Subject: two\r\n\r\n")
        standing = (await read_standings(intake.bus, intake.project))[entry.source]
        assert truth_of(msgspec.structs.replace(entry, paused=True), standing, standing.at_utc) is Truth.PAUSED
        assert len(await intake.arrivals()) == 1
        await book.change(entry)
        await _arrived(intake, 2)


async def test_a_source_that_is_away_says_why_and_since_when_and_comes_back(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    entry = _entry(intake, bench)
    await bench.break_off()
    async with _running(intake):
        await book.add(entry)
        standing = await _until(intake, entry.source, lambda one: one.look is not None)
        assert standing.look is not None
        assert standing.look.why.startswith("missing: there is no folder")
        assert standing.fetched_at_utc is None
        assert truth_of(entry, standing, standing.at_utc) is Truth.COULD_NOT
        await bench.restore()
        back = await _until(intake, entry.source, lambda one: one.fetched_at_utc is not None)
        assert standing.since_utc is not None
        assert back.since_utc is not None
        assert back.since_utc > standing.since_utc


async def test_settings_that_can_not_be_used_stop_nobody_else(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    odd = msgspec.structs.replace(_entry(intake, bench, "odd"), settings={"folda": "x"})
    await book.add(odd)
    await book.add(msgspec.structs.replace(_entry(intake, bench, "unknown"), kind="carrier-pigeon"))
    await book.add(_entry(intake, bench))
    await bench.deliver(b"Subject: one\r\n\r\n")
    async with _running(intake):
        await _arrived(intake, 1)
        said = await _until(intake, "odd", lambda one: one.look is not None)
        assert said.look is not None
        assert said.look.why.startswith("settings: the settings of odd can't be used")
        said = await _until(intake, "unknown", lambda one: one.look is not None)
        await book.change(msgspec.structs.replace(odd, settings={"folder": str(bench.folder)}))
        await _until(intake, "odd", lambda one: one.fetched_at_utc is not None)


async def test_nobody_has_looked_is_told_from_the_time_alone(
    intake: Intake, bench: MaildirBench, book: SourceBook
) -> None:
    entry = _entry(intake, bench)
    async with _running(intake):
        await book.add(entry)
        standing = await _until(intake, entry.source, lambda one: one.look is not None)
    later_utc = standing.at_utc + timedelta(seconds=entry.poll_seconds + 91)
    assert truth_of(entry, standing, later_utc) is Truth.NOBODY_LOOKED
    assert truth_of(entry, None, later_utc) is Truth.NOT_YET


async def test_the_book_of_sources_answers_clearly(intake: Intake, bench: MaildirBench, book: SourceBook) -> None:
    entry = _entry(intake, bench)
    await book.add(entry)
    assert await book.list(intake.project) == [entry] == [await book.get(intake.project, entry.source)]
    with pytest.raises(SourceExists):
        await book.add(entry)
    with pytest.raises(BadSource, match="another kind"):
        await book.change(msgspec.structs.replace(entry, kind="imap"))
    for name in ("smtp", "_x", "a b", ""):
        with pytest.raises(BadSource):
            await book.add(msgspec.structs.replace(entry, source=name))
    with pytest.raises(BadSource, match="seconds"):
        await book.add(msgspec.structs.replace(entry, source="other", poll_seconds=0.0))
    await book.remove(intake.project, entry.source)
    for call in (book.get, book.remove):
        with pytest.raises(SourceUnknown):
            await call(intake.project, entry.source)
    with pytest.raises(BadSource, match="short name"):
        await book.get(intake.project, "No Name")
    assert await book.list("another-project") == await book.list("No Name") == []
