"""Kill -9 the planner while it seals, again and again; the seal that counts in the end is whole and alone."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, RUNS_BUCKET, SEND
from todoku.content.starters import load_starter
from todoku.delivery.engine.codec import decode_batch, decode_journal, decode_order
from todoku.guests.types import Audience, PersonImport
from todoku.kernel.clock import SystemClock
from todoku.kernel.ids import new_id
from todoku.projects.types import ProjectInfo

KILLS = 6
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
    await Planner(bus, SystemClock(), pace=PlannerPace(look_seconds=0.1, lease_seconds=1.5)).run(asyncio.Event())

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
            sys.executable, "-c", PLANNER, nats_url, env=environment, stdout=subprocess.PIPE
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
    await _require_whole(bus, run_id)
    await bus.bucket(RUNS_BUCKET).delete(run_id)
    for token in (run_id, f"{run_id}-out"):
        await bus.purge(SEND, f"send.{token}.>")


async def _require_whole(bus: Bus, run_id: str) -> None:
    entry = await bus.bucket(RUNS_BUCKET).get(run_id)
    assert entry is not None
    order = decode_order(entry.value)
    assert (order.to_send, order.not_sendable) == (SENDABLE, LEFT_OUT)
    batches = [decode_batch(one.payload) async for one in bus.messages(SEND, f"send.{run_id}.{order.seal}.*")]
    sealed = Counter(one.address for batch in batches for one in batch.recipients)
    assert sealed == Counter(f"guest{n:05d}@example.com" for n in range(SENDABLE))
    assert len(batches) == order.batches
    assert await bus.subject_counts(JOURNAL, f"journal.{run_id}.>") == {}  # the ledger hears of a seal once it is sent
    told = Counter[str]()
    async for line in bus.messages(SEND, f"send.{run_id}-out.{order.seal}.*"):
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
