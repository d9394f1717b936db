"""The main job once: sample mails in, one campaign out, both balances closed.

Purpose     `todoku demo --once`: what Todoku is for, in one process, without pages.
Reads       the sample mails of the wheel, the sample group of `todoku.demo`.
Writes      one home folder; a counting sink keeps what it was sent in `<home>/sink`.
Guarantees  may be killed at any instant and started again on the same home: it takes up what was begun, and both
            balances close. The campaign is sent once in a home, however often the job is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from todoku.bus.connection import Bus
from todoku.config.django_setup import set_up_django
from todoku.config.settings import Settings, embedded_nats_url
from todoku.intake.types import OnTheBus
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.errors import TodokuError
from todoku.vault import open_vault
from todoku.vault.types import Vault

log = structlog.get_logger(__name__)

FINISH_WITHIN_SECONDS = 180.0
LOOK_EVERY_SECONDS = 0.05


class NotFinished(TodokuError):
    """The job did not come to its end in time; what it did is kept, and a new start goes on from there."""

    transient = True


async def run_main_job(settings: Settings) -> dict[str, Any]:
    """Do the main job and return its report, in the form that `--json` prints.

    Raises NotFinished when the campaign has not ended after FINISH_WITHIN_SECONDS.
    """
    set_up_django()
    clock = SystemClock()
    bus = await Bus.connect(settings.nats_url or embedded_nats_url(settings.home), name="main-job")
    vault = open_vault(settings.vault_url, settings.home / "vault")
    try:
        await bus.declare()
        await _take_mails_in(bus, vault, clock)
        at_sink = await _send_campaign(bus, clock, settings)
        return await _report(bus, at_sink)
    finally:
        await bus.close()
        await vault.close()


async def _take_mails_in(bus: Bus, vault: Vault, clock: Clock) -> None:
    from todoku.demo import group, story
    from todoku.extraction import sample_mails
    from todoku.intake.reader import MailReader
    from todoku.sources.arrivals import ArrivalWriter

    await asyncio.to_thread(story.tell, password=None, clock=clock)
    writer = ArrivalWriter(vault, bus, clock)
    await asyncio.gather(
        *(
            writer.accept(raw, project_id=group.PROJECT_ID, source="import", cursor=f"{site}/{filename}")
            for site, filename, raw in sample_mails(*group.SITES, "none")
        )
    )
    await MailReader(bus, vault, clock).drain()


async def _send_campaign(bus: Bus, clock: Clock, settings: Settings) -> dict[str, int]:
    from todoku.demo.sink import CountingSink

    sink = CountingSink(settings.home / "sink")
    port = await sink.start("127.0.0.1", 0)
    try:
        run_id = await asyncio.to_thread(_begin_run, clock)
        async with _delivery(bus, clock, f"smtp://127.0.0.1:{port}", settings.home / "answers"):
            await _wait_for_end(run_id)
        return {"at_sink": sink.count(), "doubled": sink.doubled()}
    finally:
        await sink.stop()


def _begin_run(clock: Clock) -> UUID:
    from todoku.campaigns import queries, services
    from todoku.campaigns.types import CampaignState
    from todoku.demo import group

    campaign = next(row for row in queries.list_campaigns(group.PROJECT_ID) if row.name == group.CAMPAIGN_NAME)
    if campaign.state is CampaignState.DRAFT:
        services.send_now(group.PROJECT_ID, campaign.id, by="demo", clock=clock)
        campaign = queries.get(group.PROJECT_ID, campaign.id)
    assert campaign.run is not None, "a campaign that was sent has a run"
    return campaign.run.id


@asynccontextmanager
async def _delivery(bus: Bus, clock: Clock, relay_url: str, answers: Path) -> AsyncIterator[None]:
    from todoku.campaigns.planner import Planner
    from todoku.content.rendering import make_renderer
    from todoku.delivery.engine.sender import Sender
    from todoku.delivery.ledger.projector import Projector
    from todoku.delivery.transports.smtp import SmtpTransport

    stop = asyncio.Event()
    transport = SmtpTransport(relay_url, clock=clock)
    sender = Sender(bus, transport, make_renderer, clock, local_answers=answers)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(Planner(bus, clock, public_url="http://127.0.0.1").run(stop))
            group.create_task(sender.run(stop))
            group.create_task(Projector(bus, clock).run(stop))
            try:
                yield
            finally:
                stop.set()
    finally:
        await transport.close()


async def _wait_for_end(run_id: UUID) -> None:
    from todoku.campaigns import queries
    from todoku.campaigns.types import RunState
    from todoku.demo import group

    loop = asyncio.get_running_loop()
    deadline = loop.time() + FINISH_WITHIN_SECONDS
    while True:
        run = await asyncio.to_thread(queries.get_run, group.PROJECT_ID, run_id)
        if run.state is RunState.FINISHED:
            return
        if loop.time() > deadline:
            raise NotFinished(
                f"the campaign is still {run.state.value} ({run.balance.pending} of {run.balance.planned} pending)",
                kept="everything that was received, sealed and sent",
                todo="start it again on the same home; it goes on from there",
            )
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _report(bus: Bus, at_sink: dict[str, int]) -> dict[str, Any]:
    from todoku.demo import group
    from todoku.intake.counting import count_on_bus

    on_bus = await count_on_bus(bus, group.PROJECT_ID)
    report = await asyncio.to_thread(_book_report, on_bus)
    report.update(at_sink)
    campaign, mails = report["campaign"], report["mails"]
    report["balanced"] = (
        mails["pending"] == 0
        and campaign["pending"] == 0
        and report["doubled"] == 0
        and campaign["sent"] <= report["at_sink"] <= campaign["sent"] + campaign["unknown"]
    )
    return report


def _book_report(on_bus: OnTheBus) -> dict[str, Any]:
    from todoku.campaigns import queries as campaign_queries
    from todoku.demo import group
    from todoku.guests import queries as guest_queries
    from todoku.intake import queries as intake_queries
    from todoku.reservations import queries as reservation_queries

    mails = intake_queries.balance(group.PROJECT_ID, on_bus)
    campaign = next(row for row in campaign_queries.list_campaigns(group.PROJECT_ID) if row.name == group.CAMPAIGN_NAME)
    assert campaign.run is not None, "the report comes after the run"
    return {
        "mails": {
            "arrived": mails.arrived,
            **{state.value: count for state, count in mails.states.items()},
            "pending": mails.pending,
        },
        "reservations": sum(reservation_queries.count_by_state(group.PROJECT_ID).values()),
        "guests": guest_queries.count(group.PROJECT_ID),
        "campaign": campaign.run.balance.as_dict(),
    }
