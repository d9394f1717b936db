"""A whole run on real engines: sealed, sent through SMTP into a sink that counts, booked, closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from uuid import UUID

import pytest
from django.db import OperationalError, connection, connections

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, RUNS_BUCKET, SEND
from todoku.campaigns import queries, services
from todoku.campaigns.planner import Planner
from todoku.campaigns.types import CampaignState, RunRow, RunState
from todoku.content.rendering import make_renderer
from todoku.delivery.engine.runs import put_stop
from todoku.delivery.engine.sender import Sender
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.ledger.projector import Projector
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import RecipientState
from todoku.demo.sink import CountingSink
from todoku.kernel.clock import SystemClock

Draft = Callable[..., UUID]
Invite = Callable[..., None]
BY = "marketer@example.com"
CLOCK = SystemClock()
SENDABLE, LEFT_OUT = 1_160, 40


@dataclass
class House:
    """Planner, sender, projector and sink at work for one project."""

    project: str
    bus: Bus
    planner: Planner
    sink: CountingSink

    async def newest_run(self, campaign_id: UUID) -> RunRow:
        return (await self.planner.database(queries.runs, self.project, campaign_id))[0]

    async def state(self, campaign_id: UUID) -> RunState:
        return (await self.newest_run(campaign_id)).state

    def addresses(self, run_id: UUID) -> Counter[str]:
        """Return how often each address got this run's message, as the sink saw it."""
        mails = (message_from_bytes(self.sink.message(number)) for number in range(self.sink.count()))
        own = (mail for mail in mails if str(mail["X-Todoku-Recipient"]).startswith(run_id.hex))
        return Counter(str(mail["To"]).rpartition("<")[2].rstrip(">") for mail in own)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition lies in the database
            await asyncio.sleep(0.05)


@asynccontextmanager
async def house(project: str, bus: Bus, folder: Path, lead_seconds: float = 900.0) -> AsyncIterator[House]:
    sink = CountingSink(folder / "sink")
    port = await sink.start("127.0.0.1", 0)
    transport = SmtpTransport(f"smtp://127.0.0.1:{port}", clock=CLOCK)
    planner = Planner(bus, CLOCK, public_url="https://mail.example.com", lead_seconds=lead_seconds)
    sender = Sender(bus, transport, make_renderer, CLOCK, local_answers=folder / "answers")
    durable = f"ledger-{project}"  # its own place in the journal, so that tests on one server do not share lines
    projector = Projector(bus, CLOCK, durable=durable)
    stop = asyncio.Event()
    tasks = [asyncio.create_task(role.run(stop)) for role in (planner, sender, projector)]
    watcher = Planner(bus, CLOCK)  # only its database thread is used, because a stopped planner has none
    try:
        yield House(project, bus, watcher, sink)
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        await watcher.close()
        await transport.close()
        await sink.stop()
        await bus.delete_consumer(JOURNAL, durable)


@pytest.fixture
def guests_invited(invite: Invite) -> None:
    invite(SENDABLE + LEFT_OUT, without_consent=LEFT_OUT)


async def test_a_campaign_of_1200_is_sent_once_each_and_its_books_close(
    project: str, draft: Draft, guests_invited: None, bus: Bus, tmp_path: Path
) -> None:
    campaign_id = await asyncio.to_thread(_in_thread, lambda: _send_now(project, draft))
    async with house(project, bus, tmp_path) as at_work:

        async def finished() -> bool:
            return await at_work.state(campaign_id) is RunState.FINISHED

        await until(finished)
        run = await at_work.newest_run(campaign_id)
        assert {name: count for name, count in run.balance.as_dict().items() if count} == {
            "planned": SENDABLE + LEFT_OUT,
            "sent": SENDABLE,
            "suppressed": LEFT_OUT,
        }
        assert run.started_at_utc is not None
        assert run.finished_at_utc is not None
        assert run.seconds_late is not None
        assert run.seconds_late < 60
        assert at_work.addresses(run.id) == Counter(
            f"guest{n:05d}@example.com" for n in range(LEFT_OUT, SENDABLE + LEFT_OUT)
        )
        campaign = await at_work.planner.database(queries.get, project, campaign_id)
        assert campaign.state is CampaignState.FINISHED
        left_out = await at_work.planner.database(ledger.names, project, run.id, RecipientState.SUPPRESSED, limit=100)
        assert len({row.guest_id for row in left_out}) == LEFT_OUT
        actions = [line.action for line in await at_work.planner.database(queries.audit, project, campaign_id)]
        assert actions == [
            "campaign.finished",
            "run.finished",
            "run.started",
            "run.sealed",
            "campaign.sent_now",
            "campaign.created",
        ]

        async def cleared() -> bool:
            left = [await bus.subject_counts(SEND, f"send.{token}.>") for token in (run.id.hex, f"{run.id.hex}-out")]
            return await bus.bucket(RUNS_BUCKET).get(run.id.hex) is None and left == [{}, {}]

        await until(cleared)


async def test_a_database_that_is_away_from_seal_to_end_delays_nothing(
    project: str, draft: Draft, guests_invited: None, bus: Bus, tmp_path: Path, wire: Wire
) -> None:
    campaign_id = await asyncio.to_thread(_in_thread, lambda: _schedule(project, draft, timedelta(seconds=6)))
    async with house(project, bus, tmp_path) as at_work:

        async def sealed() -> bool:
            run = await at_work.newest_run(campaign_id)
            return run.state is RunState.SEALED and run.order_confirmed

        await until(sealed)
        await wire.cut()

        async def all_sent() -> bool:
            return at_work.sink.count() >= SENDABLE

        await until(all_sent)
        await wire.mend()

        async def finished() -> bool:
            try:
                return await at_work.state(campaign_id) is RunState.FINISHED
            except OperationalError:
                return False  # this connection, too, was cut

        await until(finished)
        run = await at_work.newest_run(campaign_id)
        assert (run.balance.sent, run.balance.suppressed, run.balance.pending) == (SENDABLE, LEFT_OUT, 0)
        assert run.seconds_late is not None
        assert run.seconds_late < 2.0
        assert set(at_work.addresses(run.id).values()) == {1}


async def test_a_database_that_is_away_at_the_lead_time_is_not_missed(
    project: str, draft: Draft, guests_invited: None, bus: Bus, tmp_path: Path, wire: Wire
) -> None:
    campaign_id = await asyncio.to_thread(_in_thread, lambda: _schedule(project, draft, timedelta(seconds=16)))
    async with house(project, bus, tmp_path, lead_seconds=4.0) as at_work:

        async def frozen() -> bool:
            run = await at_work.newest_run(campaign_id)
            return run.pre_sealed and await bus.bucket(RUNS_BUCKET).get(run.id.hex) is not None

        await until(frozen)
        run = await at_work.newest_run(campaign_id)
        await wire.cut()
        await put_stop(bus, project, f"guest{LEFT_OUT:05d}@example.com", "unsubscribed")  # as the page for guests does
        assert CLOCK.now_utc() < run.due_at_utc, "this machine is too slow for the test's times"

        async def all_sent() -> bool:
            return at_work.sink.count() >= SENDABLE - 1

        await until(all_sent)
        await wire.mend()

        async def finished() -> bool:
            try:
                return await at_work.state(campaign_id) is RunState.FINISHED
            except OperationalError:
                return False  # this connection, too, was cut

        await until(finished)
        run = await at_work.newest_run(campaign_id)
        assert (run.balance.sent, run.balance.suppressed, run.balance.pending) == (SENDABLE - 1, LEFT_OUT + 1, 0)
        assert run.seconds_late is not None
        assert run.seconds_late < 2.0
        sent = at_work.addresses(run.id)
        assert set(sent.values()) == {1}
        assert f"guest{LEFT_OUT:05d}@example.com" not in sent
        started = [
            line.detail
            for line in await at_work.planner.database(queries.timeline, project, run.id)
            if line.what == "run.started"
        ]
        assert "the audience of the day before" in started[0]


def _send_now(project: str, draft: Draft) -> UUID:
    campaign_id = draft()
    services.send_now(project, campaign_id, by=BY, clock=CLOCK)
    return campaign_id


def _schedule(project: str, draft: Draft, ahead: timedelta) -> UUID:
    campaign_id = draft()
    services.schedule(project, campaign_id, due_at_utc=CLOCK.now_utc() + ahead, by=BY, clock=CLOCK)
    return campaign_id


def _in_thread(work: Callable[[], UUID]) -> UUID:
    try:
        return work()
    finally:
        connection.close()


class Wire:
    """The cable to PostgreSQL, which can be cut and mended."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._upstream
        if host.startswith("/"):
            far_reader, far_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def wire(project: str, guests_invited: None) -> AsyncIterator[Wire]:
    """Lead every new connection of Django through a cable of our own; guests are invited before that."""
    description = connections["default"].settings_dict
    kept = description["HOST"], description["PORT"]
    cable = Wire((kept[0] or "127.0.0.1", int(kept[1] or 5432)))
    await cable.mend()
    description["HOST"], description["PORT"] = "127.0.0.1", str(cable.port)
    yield cable
    await cable.cut()
    description["HOST"], description["PORT"] = kept
