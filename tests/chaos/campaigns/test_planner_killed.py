"""Kill -9 the planner while it seals, again and again; the seal that counts in the end is whole and alone.

TODOKU_CHAOS_ROUNDS says how often the second test is played (1), TODOKU_CHAOS_SEED with which chance.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, RUNS_BUCKET, SEND
from todoku.content.starters import load_starter
from todoku.delivery.engine.codec import decode_batch, decode_journal, decode_order
from todoku.delivery.engine.starts import claim_start, read_start
from todoku.delivery.types import RunOrder
from todoku.guests.types import Audience, PersonImport
from todoku.kernel.clock import SystemClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo

KILLS = 6
ROUNDS = int(os.environ.get("TODOKU_CHAOS_ROUNDS", "1"))
SENDABLE, LEFT_OUT = 4_000, 1_000
CLOCK = SystemClock()

PLANNER = """
import asyncio, sys
from todoku.config.django_setup import set_up_django
set_up_django()
from todoku.bus.connection import Bus
from todoku.campaigns.planner import Planner, PlannerPace
from todoku.kernel.clock import SystemClock

async def main():
    bus = await Bus.connect(sys.argv[1], name="planner to be killed")
    print("ready", flush=True)
    pace = PlannerPace(look_seconds=0.1, ahead_seconds=0.5, lease_seconds=1.5)
    await Planner(bus, SystemClock(), pace=pace, lead_seconds=float(sys.argv[2])).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.fixture
def scheduled(database: None) -> tuple[str, UUID]:
    """Schedule a campaign to many people, an hour ahead with nobody to send it; return project and campaign."""
    from django.db import connection

    from todoku.campaigns import services
    from todoku.campaigns.types import CampaignContent
    from todoku.guests import services as guests
    from todoku.projects import services as projects

    project = f"killed-{new_id().hex[-12:]}"
    address = "東京都架空区見本町1-2-3"
    info = ProjectInfo(project, "Group", "Asia/Tokyo", "Sender", "news@example.com", address, "03-0000-0000")
    projects.save_project(info, clock=CLOCK)
    agreed = datetime(2026, 5, 1, tzinfo=UTC)
    guests.import_people(
        project,
        [
            PersonImport(f"見本 {n}", "", None, f"guest{n:05d}@example.com", "form", "yes", agreed)
            if n < SENDABLE
            else PersonImport(f"見本 {n}", email=f"guest{n:05d}@example.com")
            for n in range(SENDABLE + LEFT_OUT)
        ],
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # what autovacuum does within a minute
    starter = load_starter("ja")
    content = CampaignContent(starter.subject, starter.html, starter.text)
    campaign_id = services.create(project, name="冬", content=content, audience=Audience(), by="x", clock=CLOCK)
    return project, campaign_id


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    connected = await Bus.connect(nats_url, name="test-killed")
    await connected.declare()
    yield connected
    await connected.close()


async def test_a_planner_killed_at_random_leaves_nothing_that_counts(
    scheduled: tuple[str, UUID], bus: Bus, nats_url: str, database_url: str
) -> None:
    project, campaign_id = scheduled
    run_id = await asyncio.to_thread(_begin, project, campaign_id)
    environment = {**os.environ, "TODOKU_DATABASE_URL": database_url}
    chance = random.Random(20240917)
    seals_seen = 0
    for attempt in range(40):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PLANNER, nats_url, "900", env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                # sealed but killed before the order: the next planner only passes the order on
                if await _read_until(process.stdout, b"run.sealing", b"run.ordered") == b"run.ordered":
                    break
                seals_seen += 1
                if seals_seen > KILLS:
                    await _read_until(process.stdout, b"run.ordered")
                    break
                await asyncio.sleep(chance.uniform(0.0, 0.6))
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        if await bus.bucket(RUNS_BUCKET).get(run_id) is not None:
            break  # it was faster than the kill: that seal counts
        assert attempt < 39
    entry = await bus.bucket(RUNS_BUCKET).get(run_id)
    assert entry is not None
    await _require_whole(bus, run_id, decode_order(entry.value))
    await bus.bucket(RUNS_BUCKET).delete(run_id)
    for token in (run_id, f"{run_id}-out"):
        await bus.purge(SEND, f"send.{token}.>")


@pytest.mark.timeout(120 * ROUNDS)
async def test_a_planner_killed_between_two_seals_and_the_start_leaves_one_that_counts(
    scheduled: tuple[str, UUID], bus: Bus, nats_url: str, database_url: str
) -> None:
    """Seal of the day before, refresh, start by a sender that may hold the older order: one seal, books that agree."""
    project, campaign_id = scheduled
    first = int(os.environ.get("TODOKU_CHAOS_SEED", "1"))
    for seed in range(first, first + ROUNDS):
        copy_id = await asyncio.to_thread(_duplicate, project, campaign_id)
        await _play(seed, project, copy_id, bus, (nats_url, database_url))


async def _play(seed: int, project: str, campaign_id: UUID, bus: Bus, engines: tuple[str, str]) -> None:
    chance = random.Random(seed)
    lead = chance.uniform(1.0, 8.0)
    due_at = CLOCK.now_utc() + timedelta(seconds=14)
    run_id = await asyncio.to_thread(_schedule, project, campaign_id, due_at)
    killing = asyncio.create_task(_kill_again_and_again(engines, lead, chance, run_id, bus))
    try:
        held = await _orders_seen(bus, run_id, due_at, seed)
        begun = await claim_start(bus, chance.choice(held), "a sender", CLOCK.now_utc())
        await killing
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
    await _require_agreement(bus, project, run_id, begun.order, f"seed {seed}")


async def _orders_seen(bus: Bus, run_id: str, due_at: datetime, seed: int) -> list[RunOrder]:
    """Watch KV `runs` until the due time is over and something was sealed; return every order that stood there."""
    held: list[RunOrder] = []
    while CLOCK.now_utc() < due_at + timedelta(seconds=1) or not held:
        entry = await bus.bucket(RUNS_BUCKET).get(run_id)
        order = decode_order(entry.value) if entry is not None else None
        if order is not None and (not held or held[-1] != order):
            held.append(order)
        await asyncio.sleep(0.05)
        assert CLOCK.now_utc() < due_at + timedelta(seconds=90), f"seed {seed}: nothing was sealed"
    return held


async def _require_agreement(bus: Bus, project: str, run_id: str, order: RunOrder, context: str) -> None:
    seal = order.seal
    row = await asyncio.to_thread(_row, project, run_id)
    assert (row["seal"], row["state"], row["told_journal"]) == (seal, "sending", True), context
    assert row["planned"] == SENDABLE + LEFT_OUT, context
    await _require_whole(bus, run_id, order, told_in=f"journal.{run_id}.{seal}.*")
    left = {subject.split(".")[2] for subject in await bus.subject_counts(SEND, f"send.{run_id}.>")}
    assert left == {str(seal)}, context
    await bus.bucket(RUNS_BUCKET).delete(run_id)
    for token in (run_id, f"{run_id}-out"):
        await bus.purge(SEND, f"send.{token}.>")


async def _kill_again_and_again(
    engines: tuple[str, str], lead: float, chance: random.Random, run_id: str, bus: Bus
) -> None:
    """Run planners, each killed after a moment, until the run has begun and the last one has told the journal."""
    environment = {**os.environ, "TODOKU_DATABASE_URL": engines[1]}
    told = False
    while not told:
        begun = await read_start(bus, run_id) is not None
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PLANNER, engines[0], str(lead), env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        reading = None
        try:
            await _read_until(process.stdout, b"ready")
            reading = asyncio.create_task(_drain(process.stdout))
            if begun and chance.random() < 0.4:
                async with asyncio.timeout(60):
                    while not (told := await asyncio.to_thread(_told, run_id)):  # noqa: ASYNC110 - in the database
                        await asyncio.sleep(0.1)
            else:
                await asyncio.sleep(chance.uniform(0.0, 4.0))
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            if reading is not None:
                await reading


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        continue


async def _require_whole(bus: Bus, run_id: str, order: RunOrder, told_in: str = "") -> None:
    assert (order.to_send, order.not_sendable) == (SENDABLE, LEFT_OUT)
    batches = [decode_batch(one.payload) async for one in bus.messages(SEND, f"send.{run_id}.{order.seal}.*")]
    sealed = Counter(one.address for batch in batches for one in batch.recipients)
    assert sealed == Counter(f"guest{n:05d}@example.com" for n in range(SENDABLE))
    assert len(batches) == order.batches
    if not told_in:
        assert await bus.subject_counts(JOURNAL, f"journal.{run_id}.>") == {}  # the ledger hears of what is sent
    told = Counter[str]()
    waiting = (SEND, f"send.{run_id}-out.{order.seal}.*")
    async for line in bus.messages(*((JOURNAL, told_in) if told_in else waiting)):
        if told_in and ".ns-" not in line.subject:
            continue  # what senders of others on the same bus made of the run
        told.update(outcome.address for outcome in decode_journal(line.payload).outcomes)
    assert told == Counter(f"guest{n:05d}@example.com" for n in range(SENDABLE, SENDABLE + LEFT_OUT))


async def _read_until(stream: asyncio.StreamReader, *words: bytes) -> bytes:
    while line := await stream.readline():
        for word in words:
            if word in line:
                return word
    raise AssertionError("the planner ended by itself")


def _begin(project: str, campaign_id: UUID) -> str:
    from django.db import connection

    from todoku.campaigns import queries, services

    try:
        services.send_now(project, campaign_id, by="x", clock=CLOCK)
        run = queries.get(project, campaign_id).run
        assert run is not None
        return run.id.hex
    finally:
        connection.close()


def _duplicate(project: str, campaign_id: UUID) -> UUID:
    from django.db import connection

    from todoku.campaigns import services

    try:
        return services.duplicate(project, campaign_id, by="x", clock=CLOCK)
    finally:
        connection.close()


def _schedule(project: str, campaign_id: UUID, due_at: datetime) -> str:
    from django.db import connection

    from todoku.campaigns import queries, services

    try:
        services.schedule(project, campaign_id, due_at_utc=due_at, by="x", clock=CLOCK)
        run = queries.get(project, campaign_id).run
        assert run is not None
        return run.id.hex
    finally:
        connection.close()


def _told(run_id: str) -> bool:
    from django.db import connection

    from todoku.campaigns.models import Run

    try:
        return Run.objects.filter(id=UUID(run_id), told_journal=True).exists()
    finally:
        connection.close()


def _row(project: str, run_id: str) -> dict[str, object]:
    from django.db import connection

    from todoku.campaigns.models import Run

    try:
        rows = Run.objects.filter(project_id=project, id=UUID(run_id))
        return dict(rows.values("seal", "state", "told_journal", "planned").get())
    finally:
        connection.close()
