"""The planner on real engines: sealing, take-over, holding, relaying; no sender is at work here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from django.db import connection

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, RUNS_BUCKET, SEND, STOPS_BUCKET, journal_subject
from todoku.campaigns import policies, queries, run_store, seal_claims, services
from todoku.campaigns.health import facts
from todoku.campaigns.planner import Planner, PlannerPace
from todoku.campaigns.run_store import OpenRun
from todoku.campaigns.types import CampaignState, RunRow, RunState
from todoku.campaigns.unsubscribe import verify_token
from todoku.delivery.engine.codec import decode_batch, decode_journal, decode_order
from todoku.delivery.engine.runs import stop_key
from todoku.delivery.engine.starts import claim_start
from todoku.delivery.types import Batch, RecipientState, RunOrder
from todoku.guests import services as guests
from todoku.guests.types import SuppressionReason
from todoku.kernel.clock import VirtualClock
from todoku.kernel.health import HealthState
from todoku.projects import queries as project_queries
from todoku.projects import services as projects

Draft = Callable[..., UUID]
Invite = Callable[..., None]
BY = "marketer@example.com"
SOON = timedelta(minutes=20)


@dataclass
class Stage:
    """One campaign, scheduled for `due`, a planner that looks when told to, and the bus to see what came of it."""

    project: str
    campaign_id: UUID
    clock: VirtualClock
    bus: Bus
    planner: Planner

    async def act(self, service: Callable[..., None]) -> None:
        await self.planner.database(service, self.project, self.campaign_id, by=BY, clock=self.clock)

    async def run(self) -> RunRow:
        return (await self.planner.database(queries.runs, self.project, self.campaign_id))[0]

    async def states(self) -> tuple[CampaignState, RunState]:
        row = await self.planner.database(queries.get, self.project, self.campaign_id)
        assert row.run is not None
        return row.state, row.run.state

    async def order(self) -> RunOrder | None:
        entry = await self.bus.bucket(RUNS_BUCKET).get((await self.run()).id.hex)
        return decode_order(entry.value) if entry is not None else None

    async def batches(self) -> list[Batch]:
        run_id = (await self.run()).id.hex
        return [decode_batch(message.payload) async for message in self.bus.messages(SEND, f"send.{run_id}.>")]

    async def open_run(self) -> OpenRun:
        runs = await self.planner.database(run_store.open_runs, self.clock.now_utc() + SOON)
        return next(run for run in runs if run.campaign_id == self.campaign_id)


@pytest.fixture
def invited(invite: Invite, request: pytest.FixtureRequest) -> int:
    count = getattr(request, "param", 3)
    invite(count)
    return int(count)


@pytest.fixture
def scheduled(project: str, draft: Draft, invited: int, clock: VirtualClock) -> UUID:
    campaign_id = draft()
    services.schedule(project, campaign_id, due_at_utc=clock.now_utc() + SOON, by=BY, clock=clock)
    return campaign_id


@pytest.fixture
async def stage(project: str, scheduled: UUID, clock: VirtualClock, bus: Bus) -> AsyncIterator[Stage]:
    planner = Planner(
        bus, clock, public_url="https://mail.example.com/", pre_seal_seconds=0.0, pace=PlannerPace(balance_seconds=0.0)
    )
    yield Stage(project, scheduled, clock, bus, planner)
    await planner.close()


async def test_nothing_is_sealed_before_the_lead(stage: Stage) -> None:
    await stage.planner.step()
    assert await stage.states() == (CampaignState.SCHEDULED, RunState.PLANNED)
    stage.clock.advance(4 * 60)
    await stage.planner.step()
    assert await stage.states() == (CampaignState.SCHEDULED, RunState.PLANNED)
    stage.clock.advance(61)
    await stage.planner.step()
    assert await stage.states() == (CampaignState.SCHEDULED, RunState.SEALED)


async def test_a_sealed_run_has_an_order_batches_and_the_reasons_of_those_left_out(stage: Stage) -> None:
    await stage.planner.database(
        guests.suppress,
        stage.project,
        "guest00001@example.com",
        SuppressionReason.UNSUBSCRIBED,
        evidence="form",
        clock=stage.clock,
    )
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    run, order = await stage.run(), await stage.order()
    assert order is not None
    assert (order.state, order.seal, order.batches, order.to_send, order.not_sendable) == ("sealed", 1, 1, 2, 1)
    assert (order.due_at_utc, order.run_id, order.project_id) == (run.due_at_utc, run.id.hex, stage.project)
    assert order.sender_address == "news@restaurant.example"
    assert run.order_confirmed
    (batch,) = await stage.batches()
    assert [one.address for one in batch.recipients] == ["guest00000@example.com", "guest00002@example.com"]
    assert order.shared_values["postal_address"] == "東京都架空区見本町1-2-3"
    assert order.unsubscribe_base_url == "https://mail.example.com/unsubscribe/"
    claim = verify_token(str(batch.recipients[0].values["unsubscribe_token"]))
    assert (claim.address, claim.run_id) == ("guest00000@example.com", run.id)
    left_out = journal_subject(run.id.hex, 1, "ns-0")
    assert await stage.bus.last_message(JOURNAL, left_out) is None  # the seal may still be replaced

    stage.clock.advance(14 * 60)
    await claim_start(stage.bus, order, "a sender", stage.clock.now_utc())
    await stage.planner.step()
    message = await stage.bus.last_message(JOURNAL, left_out)
    assert message is not None
    (outcome,) = decode_journal(message.payload).outcomes
    assert (outcome.state, outcome.answer) == (RecipientState.SUPPRESSED, "unsubscribed")


@pytest.mark.parametrize("invited", [1200], indirect=True)
async def test_a_large_audience_is_sealed_with_few_statements(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    counted: list[str] = []

    def count(execute: Callable[..., object], sql: str, *rest: object) -> object:
        counted.append(sql)
        return execute(sql, *rest)

    def watch() -> None:
        connection.execute_wrappers.append(count)

    await stage.planner.database(watch)
    await stage.planner._desk._database(watch)
    await stage.planner.step()
    assert [len(batch.recipients) for batch in await stage.batches()] == [500, 500, 200]
    # for the run and two looks around it, whatever its size; the audience itself is one COPY elsewhere
    assert len(counted) <= 40


async def test_an_audience_that_became_empty_is_held_and_can_be_resumed(stage: Stage) -> None:
    def drop(verb: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE guests_consent SET withdrawn_at = {verb}")  # noqa: S608 - two constants

    await stage.planner.database(drop, "now()")
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    run = await stage.run()
    assert (run.state, run.reason) == (RunState.HELD, "none of the 3 people in the audience may be mailed any more")
    assert run.reason_ja
    assert await stage.order() is None
    assert await stage.batches() == []
    held = await stage.planner.database(facts, stage.project, clock=stage.clock)
    troubled = {fact.name for fact in held if fact.state is HealthState.FAILING}
    assert troubled == {"campaigns.held"}
    await stage.planner.step()
    assert (await stage.run()).state is RunState.HELD
    await stage.planner.database(drop, "NULL")
    await stage.act(services.resume)
    await stage.planner.step()
    assert await stage.states() == (CampaignState.SCHEDULED, RunState.SEALED)
    assert (await stage.run()).reason == ""


async def test_nobody_at_all_at_the_seal_is_held(stage: Stage) -> None:
    def drop() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM guests_guestidentity")

    await stage.planner.database(drop)
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    assert ((await stage.run()).state, (await stage.run()).reason) == (
        RunState.HELD,
        "nobody is in the audience any more",
    )


@pytest.mark.parametrize("invited", [30], indirect=True)
@pytest.mark.parametrize(("spoilt", "state"), [(2, RunState.SEALED), (3, RunState.HELD)])
async def test_names_that_would_write_headers_are_seen_before_the_due_time(
    stage: Stage, spoilt: int, state: RunState
) -> None:
    def spoil() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE guests_guest SET name = %s WHERE id IN (SELECT id FROM guests_guest ORDER BY id LIMIT %s)",
                ["Taro\r\nBcc: x@example.com", spoilt],
            )

    await stage.planner.database(spoil)
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    run = await stage.run()
    assert run.state is state
    if state is RunState.HELD:
        assert run.reason == "3 of 30 messages can't be filled in: guest_name (3)"
    else:
        (batch,) = await stage.batches()
        assert len(batch.recipients) == 30
        assert {one.name for one in batch.recipients} == {"見本 太郎", "Taro Bcc: x@example.com"}


async def test_a_sender_who_lost_the_postal_address_holds_the_run(stage: Stage) -> None:
    info = await stage.planner.database(project_queries.get_project, stage.project)
    await stage.planner.database(projects.save_project, replace(info, postal_address=""), clock=stage.clock)
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    run = await stage.run()
    assert run.state is RunState.HELD
    assert "postal address" in run.reason


async def test_another_planner_takes_over_when_the_claim_has_run_out(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    run = await stage.open_run()
    dead = await stage.planner.database(seal_claims.claim, run, "dead", stage.clock.now_utc(), 10.0)
    assert dead is not None
    hexed = run.id.hex
    await stage.bus.publish(f"send.{hexed}.1.0", b"left behind")
    await stage.bus.publish(f"send.{hexed}-out.1.0", b"left behind")
    await stage.planner.step()
    assert (await stage.run()).state is RunState.SEALING  # the claim still holds
    stage.clock.advance(10.1)
    await stage.planner.step()
    order = await stage.order()
    assert order is not None
    assert (order.seal, (await stage.run()).state) == (2, RunState.SEALED)
    assert list(await stage.bus.subject_counts(SEND, f"send.{hexed}.>")) == [f"send.{hexed}.2.0"]
    assert await stage.bus.subject_counts(SEND, f"send.{hexed}-out.>") == {}

    late = replace(order, seal=1, to_send=99)  # the dead one wakes up: nothing of it may count
    assert not await stage.planner.database(seal_claims.mark_sealed, dead, late, stage.clock.now_utc())
    assert not await stage.planner.database(seal_claims.renew, dead, stage.clock.now_utc(), 10.0)
    await stage.planner.step()
    assert await stage.order() == order


@pytest.mark.parametrize("invited", [1200], indirect=True)
async def test_a_pause_in_the_middle_of_sealing_wins(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    run = await stage.open_run()
    job = await stage.planner.database(seal_claims.claim, run, "other", stage.clock.now_utc(), 10.0)
    assert job is not None
    await stage.act(services.pause)
    assert not await stage.planner.database(seal_claims.renew, job, stage.clock.now_utc(), 10.0)
    await stage.planner.step()
    assert await stage.states() == (CampaignState.PAUSED, RunState.PAUSED)
    await stage.act(services.resume)
    await stage.planner.step()
    order = await stage.order()
    assert order is not None
    assert (order.seal, order.to_send) == (2, 1200)


async def test_pause_resume_and_stop_reach_the_order(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    await stage.planner.step()

    async def wish() -> str:
        await stage.planner.step()
        order = await stage.order()
        assert order is not None
        return order.state

    assert await wish() == "sealed"
    await stage.act(services.pause)
    assert not (await stage.run()).order_confirmed
    assert await wish() == "paused"
    assert (await stage.run()).order_confirmed
    await stage.act(services.resume)
    assert await wish() == "sealed"
    await stage.act(partial(services.stop, reason="wrong menu"))
    assert await wish() == "stopped"
    stage.clock.advance(61)
    await stage.planner.step()
    assert await stage.order() is None
    assert await stage.batches() == []
    assert await stage.states() == (CampaignState.STOPPED, RunState.STOPPED)


async def test_who_says_stop_after_the_seal_is_made_known_to_senders(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    stage.clock.advance(5.0)
    await stage.planner.database(
        partial(
            guests.suppress,
            stage.project,
            "Guest00003@example.com",
            SuppressionReason.COMPLAINED,
            evidence="a letter",
            clock=stage.clock,
        )
    )
    key = stop_key(stage.project, "guest00003@example.com")
    assert await stage.bus.bucket(STOPS_BUCKET).get(key) is None

    stage.clock.advance(5.0)
    await stage.planner.step()

    entry = await stage.bus.bucket(STOPS_BUCKET).get(key)
    assert entry is not None
    assert entry.value == b"complained"


async def test_send_now_moves_the_order_of_a_sealed_run(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    await stage.act(services.send_now)
    await stage.planner.step()
    order = await stage.order()
    assert order is not None
    assert order.due_at_utc == stage.clock.now_utc()


async def test_back_to_draft_is_refused_when_the_run_may_be_leaving(stage: Stage) -> None:
    from todoku.campaigns.errors import WrongState

    stage.clock.advance(SOON.total_seconds() - 5)
    await stage.planner.step()
    with pytest.raises(WrongState, match="leaving"):
        await stage.act(services.back_to_draft)


async def test_an_older_order_never_replaces_a_newer_one(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    await stage.planner.step()
    seen = await stage.open_run()  # a planner that read this and then slept
    await stage.act(services.pause)
    await stage.planner.step()
    other = Planner(stage.bus, stage.clock, public_url="https://mail.example.com/")
    await other._care.pass_on(replace(seen, order_version=0))
    await other.close()
    order = await stage.order()
    assert order is not None
    assert order.state == "paused"


async def test_a_run_that_could_not_be_sealed_in_time_waits_for_a_person(stage: Stage) -> None:
    stage.clock.advance(SOON.total_seconds() + 4 * 3600 + 1)
    await stage.planner.step()
    run = await stage.run()
    assert run.state is RunState.HELD
    assert "could not start by" in run.reason
    await stage.act(services.send_now)
    await stage.planner.step()
    run = await stage.run()
    assert run.state is RunState.SEALED
    assert run.due_at_utc < stage.clock.now_utc()  # it shows how late it left


async def test_a_sealed_run_that_nobody_sends_is_late_then_held_and_resumed_as_sealed(stage: Stage) -> None:
    stage.clock.advance(SOON.total_seconds() + 60)
    await stage.planner.step()
    late = await stage.planner.database(facts, stage.project, clock=stage.clock)
    assert {fact.name for fact in late if fact.state is HealthState.LATE} == {"campaigns.starts"}
    stage.clock.advance(4 * 3600)
    await stage.planner.step()
    assert await stage.states() == (CampaignState.SCHEDULED, RunState.HELD)
    await stage.planner.step()
    order = await stage.order()
    assert order is not None
    assert order.state == "paused"
    await stage.act(services.resume)
    await stage.planner.step()
    assert (await stage.run()).state is RunState.SEALED
    finish = stage.clock.now_utc() + policies.FINISH_WITHIN
    start = stage.clock.now_utc() + timedelta(hours=4)
    resumed = replace(order, state="sealed", latest_start_at_utc=start, latest_finish_at_utc=finish)
    assert await stage.order() == replace(resumed, version=order.version + 1)


async def test_two_planners_at_once_seal_once(stage: Stage) -> None:
    import asyncio

    stage.clock.advance(6 * 60)
    other = Planner(stage.bus, stage.clock, public_url="https://mail.example.com/")
    await asyncio.gather(stage.planner.step(), other.step())
    await other.close()
    order = await stage.order()
    assert order is not None
    assert order.seal == 1
    assert len(await stage.batches()) == 1
    actions = [line.action for line in await stage.planner.database(queries.audit, stage.project, stage.campaign_id)]
    assert actions.count("run.sealed") == 1


async def test_a_planner_that_ends_gives_its_claim_back(stage: Stage) -> None:
    stage.clock.advance(6 * 60)
    ending = Planner(stage.bus, stage.clock, public_url="https://mail.example.com/")
    await ending._look()  # begins to seal
    await ending.close()
    assert (await stage.run()).state in {RunState.PLANNED, RunState.SEALED}
    await stage.planner.step()
    assert (await stage.run()).state is RunState.SEALED
