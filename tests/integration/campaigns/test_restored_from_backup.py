"""A database restored from yesterday's copy sends no campaign again, and its ledger comes back from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from django.db import connection
from tests.integration.campaigns.test_run_to_the_end import Draft, Invite, house, until

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, SEND
from todoku.campaigns import services
from todoku.campaigns.types import RunState
from todoku.delivery.ledger.projector import begin_anew
from todoku.kernel.clock import SystemClock

CLOCK = SystemClock()
PEOPLE = 130
TABLES = ("campaigns_campaign", "campaigns_run", "campaigns_audit", "delivery", "delivery_line", "run_tally")


@contextmanager
def copy_of_tables() -> Iterator[None]:
    """Copy the tables at the beginning; at the end nothing has happened since."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE copy_of_{table} AS SELECT * FROM {table}")  # noqa: S608 - our own names
    yield
    with connection.cursor() as cursor:
        for table in reversed(TABLES):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608
        for table in TABLES:
            cursor.execute(f"INSERT INTO {table} SELECT * FROM copy_of_{table}")  # noqa: S608
            cursor.execute(f"DROP TABLE copy_of_{table}")
    connection.close()


async def test_a_database_restored_from_an_older_copy_sends_nothing_again(
    project: str, draft: Draft, invite: Invite, bus: Bus, tmp_path: Path
) -> None:
    copy = copy_of_tables()

    def send() -> UUID:
        invite(PEOPLE)
        campaign_id = draft()
        services.send_now(project, campaign_id, by="marketer@example.com", clock=CLOCK)
        copy.__enter__()
        connection.close()
        return campaign_id

    campaign_id = await asyncio.to_thread(send)
    async with house(project, bus, tmp_path) as at_work:
        await until(lambda: _is(at_work, campaign_id, RunState.FINISHED))
        first = (await at_work.newest_run(campaign_id)).balance
        run_id = (await at_work.newest_run(campaign_id)).id
        sent = at_work.addresses(run_id)

        async def cleared() -> bool:
            left = [await bus.subject_counts(SEND, f"send.{token}.>") for token in (run_id.hex, f"{run_id.hex}-out")]
            return left == [{}, {}]

        await until(cleared)
    assert first.sent == PEOPLE == len(sent)

    await asyncio.to_thread(copy.__exit__, None, None, None)
    await asyncio.to_thread(_invite_one_more, invite)  # another audience than the one that was mailed
    await begin_anew(bus, durable=f"ledger-{project}")
    async with house(project, bus, tmp_path / "again") as at_work:
        await until(lambda: _is(at_work, campaign_id, RunState.FINISHED))
        run = await at_work.newest_run(campaign_id)
        assert at_work.sink.count() == 0, "somebody was mailed again"
        assert run.balance == first
    assert await bus.subject_counts(JOURNAL, f"journal.{run.id.hex}.0.start") == {f"journal.{run.id.hex}.0.start": 1}


async def _is(at_work, campaign_id: UUID, state: RunState) -> bool:  # type: ignore[no-untyped-def]
    return bool(await at_work.state(campaign_id) is state)


def _invite_one_more(invite: Invite) -> None:
    invite(PEOPLE + 1)
    connection.close()
