"""Seals of the day before, their refresh, which of two counts, and audiences of other kinds; no sender is at work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, RUNS_BUCKET, SEND, journal_subject
from todoku.campaigns import queries, run_store, seal_claims, services, undelivered
from todoku.campaigns.models import Run
from todoku.campaigns.planner import Planner, PlannerPace
from todoku.campaigns.run_store import OpenRun
from todoku.campaigns.types import LatePolicy, Plan, RunKind, RunRow, RunState
from todoku.delivery.engine.codec import decode_batch, decode_journal, decode_order, encode_journal
from todoku.delivery.engine.journal import Intent, JournalMessage, pack_settled
from todoku.delivery.engine.starts import claim_start
from todoku.delivery.types import Batch, QuietHours, RecipientState, RunOrder
from todoku.guests import services as guests
from todoku.guests.types import Audience, PersonImport, SuppressionReason
from todoku.kernel.clock import VirtualClock

BY = "marketer@example.com"
NOON = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)  # in Tokyo; a day after the clock's beginning


@dataclass
class Stage:
    """One project, a planner that looks when told to, and the bus to see what came of it."""

    project: str
    clock: VirtualClock
    bus: Bus
    planner: Planner
    draft: Callable[..., UUID]

    async def call(self, act: Callable[..., Any], *args: Any, **names: Any) -> Any:
        return await self.planner.database(partial(act, self.project, *args, **names))

    async def schedule(self, plan: Plan, due_at: datetime = NOON, audience: Audience | None = None) -> UUID:
        def make() -> UUID:
            campaign_id = self.draft(audience=audience)
            row = queries.get(self.project, campaign_id)
            services.update(
                self.project,
                campaign_id,
                name=row.name,
                content=row.content,
                audience=row.audience,
                plan=plan,
                version=row.version,
                by=BY,
                clock=self.clock,
            )
            services.schedule(self.project, campaign_id, due_at_utc=due_at, by=BY, clock=self.clock)
            return campaign_id

        return await self.planner.database(make)

    async def run(self, campaign_id: UUID) -> RunRow:
        rows: list[RunRow] = await self.call(queries.runs, campaign_id)
        return rows[0]

    async def order(self, run_id: UUID) -> RunOrder:
        entry = await self.bus.bucket(RUNS_BUCKET).get(run_id.hex)
        assert entry is not None
        return decode_order(entry.value)

    async def batches(self, run_id: UUID, seal: int) -> list[Batch]:
        return [decode_batch(one.payload) async for one in self.bus.messages(SEND, f"send.{run_id.hex}.{seal}.*")]

    async def addresses(self, run_id: UUID, seal: int) -> set[str]:
        return {one.address for batch in await self.batches(run_id, seal) for one in batch.recipients}

    async def open_run(self, run_id: UUID) -> OpenRun:
        runs = await self.planner.database(run_store.open_runs, self.clock.now_utc() + timedelta(days=2))
        return next(run for run in runs if run.id == run_id)


@pytest.fixture
async def stage(
    project: str, draft: Callable[..., UUID], invite: Callable[..., None], clock: VirtualClock, bus: Bus
) -> AsyncIterator[Stage]:
    planner = Planner(bus, clock, public_url="https://mail.example.com", pace=PlannerPace(balance_seconds=0.0))
    await planner.database(invite, 3)
    yield Stage(project, clock, bus, planner, draft)
    await planner.close()


async def test_a_day_ahead_an_audience_is_frozen_and_replaced_at_the_lead(stage: Stage) -> None:
    campaign_id = await stage.schedule(Plan())
    await stage.planner.step()
    run = await stage.run(campaign_id)
    order = await stage.order(run.id)
    assert (run.state, run.pre_sealed, order.provisional, order.state) == (RunState.SEALED, True, True, "sealed")
    assert await stage.addresses(run.id, order.seal) == {f"guest0000{n}@example.com" for n in range(3)}

    stage.clock.advance(12 * 3600)
    await stage.planner.step()
    assert await stage.order(run.id) == order  # nothing to do before the lead
    await stage.call(
        guests.import_people,
        [
            PersonImport(
                "新",
                email="new@example.com",
                consent_source="form",
                consent_wording="yes",
                consent_given_at_utc=stage.clock.now_utc(),
            )
        ],
    )
    stage.clock.advance(11.8 * 3600)
    await stage.planner.step()
    fresh = await stage.order(run.id)
    assert (fresh.seal, fresh.provisional, fresh.to_send) == (2, False, 4)
    assert not (await stage.run(campaign_id)).pre_sealed
    assert await stage.addresses(run.id, 1)  # kept until it is certain that nobody began it

    stage.clock.advance(0.2 * 3600)
    await claim_start(stage.bus, fresh, "a sender", NOON)
    await stage.planner.step()
    assert (await stage.run(campaign_id)).state is RunState.SENDING
    assert await stage.batches(run.id, 1) == []
    assert len(await stage.addresses(run.id, 2)) == 4


async def test_what_a_sender_began_counts_even_when_a_newer_seal_was_finished(stage: Stage) -> None:
    campaign_id = await stage.schedule(Plan())
    await stage.planner.step()
    run = await stage.run(campaign_id)
    older = await stage.order(run.id)
    await stage.call(
        guests.suppress, "guest00001@example.com", SuppressionReason.UNSUBSCRIBED, evidence="page", clock=stage.clock
    )
    stage.clock.advance(23.9 * 3600)
    await stage.planner.step()
    newer = await stage.order(run.id)
    assert (newer.seal, newer.to_send, newer.not_sendable) == (2, 2, 1)
    stage.clock.advance(0.1 * 3600)
    await claim_start(stage.bus, older, "a sender that had not heard", stage.clock.now_utc())
    await stage.planner.step()
    await stage.planner.step()
    begun = await stage.run(campaign_id)
    assert (begun.state, begun.balance.planned, begun.to_send) == (RunState.SENDING, 3, 3)
    assert (await stage.order(run.id)).seal == 1
    assert await stage.batches(run.id, 2) == []
    assert len(await stage.addresses(run.id, 1)) == 3
    told = [one.subject async for one in stage.bus.messages(JOURNAL, f"journal.{run.id.hex}.*.ns-0")]
    assert told == []  # the one who was left out of the newer seal is a recipient of the one that counts


async def test_an_older_seal_waits_where_the_policy_forbids_it(stage: Stage) -> None:
    campaign_id = await stage.schedule(Plan(late=LatePolicy(older_seal=False)))
    await stage.planner.step()
    run = await stage.run(campaign_id)
    assert (await stage.order(run.id)).state == "paused"
    stage.clock.advance(23.9 * 3600)
    await stage.planner.step()
    order = await stage.order(run.id)
    assert (order.state, order.provisional) == ("sealed", False)


async def test_a_refresh_that_lost_its_claim_leaves_the_older_seal_in_place(stage: Stage) -> None:
    campaign_id = await stage.schedule(Plan())
    await stage.planner.step()
    run = await stage.run(campaign_id)
    order = await stage.order(run.id)
    stage.clock.advance(23.9 * 3600)
    seen = await stage.open_run(run.id)
    claim = partial(seal_claims.claim, seen, "dead", stage.clock.now_utc(), 10.0)
    dead = await stage.planner.database(claim)
    assert dead is not None
    assert (dead.refresh, dead.seal, dead.abandoned) == (True, 2, [])
    assert await stage.planner.database(claim) is None
    await stage.planner.step()
    assert await stage.order(run.id) == order  # in the hands of the dead one still
    stage.clock.advance(10.1)
    await stage.planner.step()
    assert (await stage.order(run.id)).seal == 3
    late = replace(order, seal=2)
    assert not await stage.planner.database(seal_claims.mark_sealed, dead, late, stage.clock.now_utc())


async def test_only_the_next_start_of_a_repeating_campaign_is_sealed_ahead(stage: Stage) -> None:
    from todoku.campaigns.types import Repeat, RepeatKind

    repeat = Repeat(RepeatKind.CRON, cron="0 * * * *", time_zone="Asia/Tokyo")
    campaign_id = await stage.schedule(Plan(repeat=repeat), due_at=NOON - timedelta(hours=20))
    await stage.planner.step()
    runs = await stage.call(queries.runs, campaign_id)
    assert len(runs) > 10
    assert sum(run.state is RunState.SEALED for run in runs) == 1


async def test_an_audience_that_jumped_is_held_once(stage: Stage) -> None:
    def grow() -> None:
        guests.import_people(
            stage.project,
            [PersonImport("客", "", None, f"more{n}@example.com", "form", "yes", NOON) for n in range(40)],
        )

    campaign_id = await stage.schedule(Plan(guard_factor=2.0), due_at=stage.clock.now_utc() + timedelta(minutes=10))
    await stage.planner.database(grow)
    await stage.planner.step()
    run = await stage.run(campaign_id)
    assert (run.state, run.reason) == (
        RunState.HELD,
        "the audience has 43 people where about 3 were expected",
    )
    assert "43人" in run.reason_ja
    await stage.call(services.resume, campaign_id, by=BY, clock=stage.clock)
    await stage.planner.step()
    assert (await stage.run(campaign_id)).state is RunState.SEALED
    assert (await stage.order(run.id)).to_send == 43


async def test_how_it_leaves_stands_in_the_order(stage: Stage) -> None:
    plan = Plan(quiet=QuietHours(1320, 480), pace_per_second=5.0, transport="")
    due = stage.clock.now_utc() + timedelta(minutes=10)
    campaign_id = await stage.schedule(plan, due_at=due)
    await stage.planner.step()
    run = await stage.run(campaign_id)
    order = await stage.order(run.id)
    assert (order.quiet, order.pace_per_second, order.transport) == (QuietHours(1320, 480), 5.0, "")
    assert (order.time_zone, order.latest_start_at_utc) == ("Asia/Tokyo", run.latest_start_at_utc)


async def test_each_zone_has_its_own_noon_and_the_run_begins_at_the_first(stage: Stage) -> None:
    def settle() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE guests_guest SET time_zone = 'Pacific/Auckland' WHERE id IN (SELECT guest_id FROM "
                "guests_guestidentity WHERE value = 'guest00000@example.com')"
            )
            cursor.execute(
                "UPDATE guests_guest SET time_zone = 'Europe/Paris' WHERE id IN (SELECT guest_id FROM "
                "guests_guestidentity WHERE value = 'guest00001@example.com')"
            )

    await stage.planner.database(settle)
    campaign_id = await stage.schedule(Plan(recipient_zone=True))
    stage.clock.advance(24 * 3600 - 5 * 3600 - 600)  # ten minutes before noon on the first island
    await stage.planner.step()
    run = await stage.run(campaign_id)
    order = await stage.order(run.id)
    assert (run.state, order.provisional, run.due_at_utc) == (RunState.SEALED, False, NOON)
    released = {batch.time_zone: batch.release_at_utc for batch in await stage.batches(run.id, order.seal)}
    assert released == {
        "Pacific/Auckland": datetime(2026, 11, 21, 23, 0, tzinfo=UTC),
        "Europe/Paris": datetime(2026, 11, 22, 11, 0, tzinfo=UTC),
        "Asia/Tokyo": NOON,
    }
    assert order.due_at_utc == datetime(2026, 11, 21, 23, 0, tzinfo=UTC)


async def test_nothing_leaves_before_a_second_person_said_yes(stage: Stage) -> None:
    due = stage.clock.now_utc() + timedelta(minutes=10)
    campaign_id = await stage.schedule(Plan(), due_at=due)
    await stage.planner.database(lambda: Run.objects.filter(campaign_id=campaign_id).update(awaits_approval=True))
    await stage.planner.step()
    run = await stage.run(campaign_id)
    assert (run.state, (await stage.order(run.id)).state) == (RunState.SEALED, "paused")
    stage.clock.advance(601)
    await stage.planner.step()
    run = await stage.run(campaign_id)
    assert (run.state, run.reason) == (RunState.HELD, "nobody has approved it by its due time")
    assert run.cause


async def test_a_test_goes_to_typed_addresses_with_somebodys_values(stage: Stage) -> None:
    campaign_id = await stage.planner.database(stage.draft)
    await stage.call(guests.suppress, "bad@example.com", SuppressionReason.BOUNCED, evidence="x", clock=stage.clock)
    typed = ["me@example.com", "bad@example.com"]
    run_id = await stage.call(services.test_send, campaign_id, typed, by=BY, clock=stage.clock)
    await stage.planner.step()
    order = await stage.order(run_id)
    assert (order.to_send, order.not_sendable) == (1, 1)
    assert order.subject_template.startswith("[テスト]")
    ((one,),) = [batch.recipients for batch in await stage.batches(run_id, order.seal)]
    assert (one.address, one.values["guest_name"]) == ("me@example.com", "山田 花子")


async def test_a_resend_reaches_exactly_those_who_are_named_and_may_be_mailed(stage: Stage) -> None:
    source, run_id = await _stopped_half_way(stage)
    assert await stage.planner.database(lambda: list(undelivered.stream(stage.project, source))) != []
    await stage.call(
        guests.suppress, "guest00002@example.com", SuppressionReason.COMPLAINED, evidence="x", clock=stage.clock
    )
    again = await stage.call(services.send_to_not_reached, run_id, [RecipientState.PENDING], by=BY, clock=stage.clock)
    await stage.planner.step()
    order = await stage.order(again)
    assert (order.to_send, order.not_sendable) == (0, 1)
    stage.clock.advance(1)
    await stage.planner.step()  # nobody is left to send to: the planner begins it itself
    await stage.planner.step()
    told = await stage.bus.last_message(JOURNAL, journal_subject(again.hex, order.seal, "ns-0"))
    assert told is not None
    assert [one.address for one in decode_journal(told.payload).outcomes] == ["guest00002@example.com"]


async def _stopped_half_way(stage: Stage) -> tuple[UUID, UUID]:
    """Send to one of three, leave one in an open intent, stop; the third is pending."""
    campaign_id = await stage.schedule(Plan(), due_at=stage.clock.now_utc() + timedelta(minutes=10))
    await stage.planner.step()
    run = await stage.run(campaign_id)
    order = await stage.order(run.id)
    stage.clock.advance(601)
    await claim_start(stage.bus, order, "a sender", stage.clock.now_utc())
    line = JournalMessage(
        project_id=stage.project,
        run_id=run.id.hex,
        seal=order.seal,
        batch="0",
        sender_id="s",
        window=1,
        outcomes=(),
        deferred=(),
        settled=pack_settled([0]),
        intent=Intent(2, (1,)),
        windows=2,
    )
    await stage.bus.publish(journal_subject(run.id.hex, order.seal, "0"), encode_journal(line))
    await stage.planner.step()
    await stage.call(services.stop, campaign_id, by=BY, reason="wrong words", clock=stage.clock)
    await stage.planner.step()
    stage.clock.advance(61)
    await stage.planner.step()
    names = await stage.planner.database(lambda: list(undelivered.stream(stage.project, run.id)))
    assert [address for chunk in names for _guest, address in chunk] == ["guest00002@example.com"]
    assert await stage.batches(run.id, order.seal) == []
    return run.id, run.id


async def test_a_test_changes_nothing_of_its_campaign(stage: Stage) -> None:
    campaign_id = await stage.planner.database(stage.draft)
    await stage.call(services.test_send, campaign_id, ["me@example.com"], by=BY, clock=stage.clock)
    await stage.planner.step()
    kinds = await stage.planner.database(lambda: set(Run.objects.values_list("kind", flat=True)))
    assert kinds == {RunKind.TEST.value}
    assert (await stage.call(queries.get, campaign_id)).state.value == "draft"
