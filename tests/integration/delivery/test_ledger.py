"""The journal carried into a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from tests.integration.delivery.delivery_world import (
    CLOCK,
    journal,
    make_order,
    person,
    put_order,
    quick_options,
    seal_and_post,
    sending,
    settled,
    until,
)

from todoku.bus.connection import Bus
from todoku.bus.streams import journal_subject
from todoku.delivery.engine.codec import encode_journal
from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.ledger import queries, services
from todoku.delivery.ledger.audit import audit_run
from todoku.delivery.ledger.months import month_of
from todoku.delivery.ledger.packing import pack_line
from todoku.delivery.ledger.projector import Projector
from todoku.delivery.ledger.store import LedgerStore
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import Outcome, RecipientState, RunBalance, SealChunk
from todoku.kernel.clock import VirtualClock

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    scripted = ScriptedRelay()
    scripted.url = await scripted.start()  # type: ignore[attr-defined]
    yield scripted
    await scripted.stop()


async def balance(run_id: str, planned: int, project_id: str = "shop") -> RunBalance:
    return await sync_to_async(queries.balance)(project_id, UUID(run_id), planned)


def projector_of(bus: Bus, run_id: str) -> Projector:
    return Projector(bus, CLOCK, durable=f"ledger-{run_id}", filter_subject=f"journal.{run_id}.>")


def count_rows(table: str, run_id: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE run_id = %s", [run_id])  # noqa: S608
        return int(cursor.fetchone()[0])


def outcome(index: int, state: RecipientState = RecipientState.SENT, **changes: str) -> Outcome:
    values = {"guest_id": str(uuid4()), "address": f"g{index}@example.com", "answer": "250 ok", "message_id": "<m@x>"}
    values |= changes
    return Outcome(
        index,
        values["guest_id"],
        values["address"],
        state,
        values["answer"],
        datetime(2026, 11, 21, 3, 0, index % 60, tzinfo=UTC),
        values["message_id"],
    )


async def write_line(bus: Bus, run_id: str, batch: str, told: tuple[Outcome, ...]) -> None:
    settled_now = pack_settled([one.index for one in told])
    line = JournalMessage("shop", run_id, 1, batch, "test", 0, told, (), settled_now, None)
    await bus.publish(journal_subject(run_id, 1, batch), encode_journal(line))


async def test_a_run_of_three_thousand_closes_its_balance(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    audience = [person(f"accept.{number}@relay.example") for number in range(2_980)]
    audience += [person(f"refuse-rcpt.{number}@relay.example") for number in range(20)]
    order = await Sealer(bus, CLOCK).seal(make_order(), [SealChunk(audience)])
    await put_order(bus, order)
    projector, stop = projector_of(bus, order.run_id), asyncio.Event()
    told: list[bytes] = []
    live = await bus.subscribe_live("event.shop.run", lambda _, payload: told.append(payload))
    task = asyncio.create_task(projector.run(stop))
    async with sending(bus, SmtpTransport(relay.url), answers_folder):  # type: ignore[attr-defined]
        await settled(bus, order)
        await until(lambda: projector.counts.recipients == 3_000)
    found = await balance(order.run_id, 3_000)
    stop.set()
    await asyncio.wait_for(task, timeout=60)
    await live.stop()
    assert found == RunBalance(planned=3_000, sent=2_980, refused=20)
    assert len(relay.taken) == len(set(relay.taken)) == 2_980
    assert await sync_to_async(count_rows)("delivery", order.run_id) == 3_000
    assert told, "live pages were not told"


async def test_statements_stay_within_the_budget(bus: Bus) -> None:
    run_id = make_order().run_id
    for batch in range(40):
        await write_line(bus, run_id, str(batch), tuple(outcome(index) for index in range(100)))
    projector = projector_of(bus, run_id)
    assert await projector.drain() == 40
    assert projector.counts.recipients == 4_000
    assert projector.counts.statements / 4 <= 2, "more than 2 statements per 1,000 recipients"
    assert (await balance(run_id, 4_000)).sent == 4_000


async def test_applying_twice_is_harmless(bus: Bus) -> None:
    run_id = make_order().run_id
    for batch in range(3):
        await write_line(bus, run_id, str(batch), tuple(outcome(index) for index in range(10)))
    await projector_of(bus, run_id).drain()
    await bus.delete_consumer("JOURNAL", f"ledger-{run_id}")
    await write_line(bus, run_id, "3", (outcome(0, RecipientState.UNKNOWN),))
    again = projector_of(bus, run_id)
    assert await again.drain() == 4
    assert again.counts.lines_seen_before == 3
    assert await balance(run_id, 40) == RunBalance(planned=40, sent=30, unknown=1)
    assert await sync_to_async(count_rows)("delivery", run_id) == 31


async def test_a_line_that_comes_twice_in_one_group_counts_once(bus: Bus) -> None:
    """A NATS that was killed delivers again what it delivered before (found by tests/chaos/everything, seed 1)."""
    run_id = make_order().run_id
    message = JournalMessage(
        "shop", run_id, 1, "0", "test", 0, (outcome(0), outcome(1)), (), pack_settled([0, 1]), None
    )
    lines = [pack_line(sequence, message, "one-id") for sequence in (7, 7, 8)]
    store = LedgerStore()
    assert await sync_to_async(store.apply)(lines) == {("shop", UUID(run_id))}
    assert await sync_to_async(store.apply)(lines) == set()
    assert await balance(run_id, 2) == RunBalance(planned=2, sent=2)
    assert await sync_to_async(count_rows)("delivery", run_id) == 2


async def test_two_projectors_apply_each_line_once(bus: Bus) -> None:
    run_id = make_order().run_id
    for batch in range(60):
        await write_line(bus, run_id, str(batch), tuple(outcome(index) for index in range(20)))
    one = Projector(bus, CLOCK, durable=f"one-{run_id}", filter_subject=f"journal.{run_id}.>")
    other = Projector(bus, CLOCK, durable=f"other-{run_id}", filter_subject=f"journal.{run_id}.>")
    await asyncio.gather(one.drain(), other.drain())
    assert await balance(run_id, 1_200) == RunBalance(planned=1_200, sent=1_200)
    assert await sync_to_async(count_rows)("delivery", run_id) == 1_200


async def test_a_database_that_is_away_makes_the_ledger_late_only(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    order = await seal_and_post(bus, [f"accept.{number}@relay.example" for number in range(400)])
    projector, stop = projector_of(bus, order.run_id), asyncio.Event()
    settings = connections["default"].settings_dict
    host, port = settings["HOST"], settings["PORT"]
    settings["HOST"], settings["PORT"] = "127.0.0.1", "1"  # nobody listens there
    task = asyncio.create_task(projector.run(stop))
    try:
        async with sending(bus, SmtpTransport(relay.url), answers_folder, quick_options()):  # type: ignore[attr-defined]
            assert await settled(bus, order) == {"sent": 400}  # nothing waits for the database
        assert projector.counts.transactions == 0
    finally:
        settings["HOST"], settings["PORT"] = host, port
    await until(lambda: projector.counts.recipients == 400)
    stop.set()
    await asyncio.wait_for(task, timeout=60)
    assert await balance(order.run_id, 400) == RunBalance(planned=400, sent=400)


async def test_odd_words_and_ids_do_not_stop_the_ledger(bus: Bus) -> None:
    run_id = make_order().run_id
    odd = outcome(0, RecipientState.REFUSED, answer="550 \0 tab\t \\N newline\n 山", guest_id="not a uuid")
    await write_line(bus, run_id, "0", (odd, outcome(1)))
    await write_line(bus, "no-uuid-" + run_id, "0", (outcome(0),))
    await projector_of(bus, run_id).drain()
    [row] = await sync_to_async(queries.names)("shop", UUID(run_id), RecipientState.REFUSED)
    assert row.answer == "550  tab\t \\N newline\n 山"
    assert row.guest_id is None


async def test_a_line_that_nobody_can_read_holds_up_no_other(bus: Bus) -> None:
    run_id = make_order().run_id
    await bus.publish(journal_subject(run_id, 1, "0"), b"rubbish")
    await write_line(bus, run_id, "1", (outcome(0),))
    projector, stop = projector_of(bus, run_id), asyncio.Event()
    task = asyncio.create_task(projector.run(stop))
    await until(lambda: projector.counts.recipients == 1)
    stop.set()
    await asyncio.wait_for(task, timeout=60)


async def test_names_come_in_pages_and_stay_within_the_project(bus: Bus) -> None:
    run_id = make_order().run_id
    await write_line(bus, run_id, "0", tuple(outcome(index) for index in range(25)))
    await write_line(bus, run_id, "1", (outcome(0, RecipientState.UNKNOWN), *[outcome(index) for index in (1, 2)]))
    await projector_of(bus, run_id).drain()
    names = sync_to_async(queries.names)
    seen, after = [], None
    while page := await names("shop", UUID(run_id), RecipientState.SENT, limit=10, after=after):
        seen += [row.address for row in page]
        after = page[-1].cursor
    assert seen == [f"g{index}@example.com" for index in (*range(25), 1, 2)]
    assert await names("another-shop", UUID(run_id), RecipientState.SENT) == []
    assert len(await names("shop", UUID(run_id), RecipientState.SENT, limit=5, after="rubbish")) == 5
    assert await balance(run_id, 28, "another-shop") == RunBalance(planned=28)


async def test_everybody_of_a_run_is_streamed_in_chosen_states(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 7)
    run_id = make_order().run_id
    states = [RecipientState.SENT] * 20 + [RecipientState.REFUSED] * 15 + [RecipientState.UNKNOWN] * 14
    for batch in range(2):
        await write_line(bus, run_id, str(batch), tuple(outcome(n, state) for n, state in enumerate(states)))
    await projector_of(bus, run_id).drain()

    def rows(*wanted: RecipientState, project: str = "shop") -> list[tuple[str, str]]:
        given = (wanted,) if wanted else ()
        return [(row.state, row.cursor) for row in queries.run_rows(project, UUID(run_id), *given)]

    everybody = await sync_to_async(rows)()
    assert len(everybody) == len(set(everybody)) == 98
    lost = await sync_to_async(rows)(RecipientState.UNKNOWN, RecipientState.REFUSED)
    assert sorted(lost) == sorted(row for row in everybody if row[0] != "sent")
    assert await sync_to_async(rows)(project="another-shop") == []


async def test_the_pace_is_that_of_the_sending(bus: Bus) -> None:
    run_id = make_order().run_id
    end = datetime(2026, 11, 21, 3, 0, 59, tzinfo=UTC)
    for batch in range(2):
        await write_line(bus, run_id, str(batch), tuple(outcome(index) for index in range(60)))
        for index in range(60):
            await write_line(bus, run_id, f"{batch}-{index}", (outcome(index),))
    await projector_of(bus, run_id).drain()
    given = ("shop", UUID(run_id))
    # two outcomes each second, and 120 that are booked at the moment of their line
    assert await sync_to_async(queries.pace)(*given, clock=VirtualClock(end)) == pytest.approx((60 + 120) / 29)
    assert await sync_to_async(queries.pace)(*given, clock=VirtualClock(end + timedelta(seconds=31))) == 0.0
    assert await sync_to_async(queries.pace)("another-shop", UUID(run_id), clock=VirtualClock(end)) == 0.0
    assert [(one.sent, one.others) for one in await sync_to_async(queries.by_minute)(*given)] == [(240, 0)]
    finish = await sync_to_async(queries.forecast)(*given, 180, clock=VirtualClock(end))
    assert finish == pytest.approx(end + timedelta(seconds=29), abs=timedelta(milliseconds=1))
    assert await sync_to_async(queries.forecast)(*given, 0, clock=VirtualClock(end)) is None


async def test_an_audit_names_what_differs_and_only_that(bus: Bus) -> None:
    run_id = make_order().run_id
    given = (bus, "shop", UUID(run_id))
    await bus.publish(journal_subject(run_id, 0, "start"), b"ST\x01whatever it holds")
    await write_line(bus, run_id, "0", (outcome(0), outcome(1, RecipientState.UNKNOWN), outcome(2)))
    before = await audit_run(*given)
    assert (before.equal, before.waiting, before.known) == (True, 3, True)
    await projector_of(bus, run_id).drain()
    settle = sync_to_async(services.settle_unknown)
    assert await settle(
        "shop",
        UUID(run_id),
        RecipientState.SENT,
        address="g1@example.com",
        evidence="opened",
        seen_at_utc=CLOCK.now_utc(),
        clock=CLOCK,
    )
    found = await audit_run(*given)
    assert (found.equal, found.waiting, found.settled) == (True, 0, {"sent": 1})
    assert found.journal == found.tally == found.rows
    assert found.tally["sent"] == 3

    def lose_a_row() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM delivery WHERE run_id = %s AND place = 0", [run_id])

    await sync_to_async(lose_a_row)()
    [difference] = (await audit_run(*given)).differences
    assert (difference.of, difference.journal, difference.tally, difference.rows) == ("sent", 3, 3, 2)
    await bus.purge("JOURNAL", f"journal.{run_id}.>")
    gone = await audit_run(*given)
    assert (gone.journal, gone.equal) == (None, False)
    assert not (await audit_run(bus, "another-shop", UUID(run_id))).known


async def test_the_record_of_a_start_is_no_line(bus: Bus) -> None:
    run_id = make_order().run_id
    await bus.publish(journal_subject(run_id, 0, "start"), b"ST\x01whatever it holds")
    await write_line(bus, run_id, "0", (outcome(0),))
    projector = projector_of(bus, run_id)
    assert await projector.drain() == 2  # and nothing is left pending
    assert projector.counts.recipients == 1


async def test_what_was_sent_to_a_guest(bus: Bus) -> None:
    guest, run_ids = uuid4(), [make_order().run_id for _ in range(2)]
    for number, run_id in enumerate(run_ids):
        await write_line(bus, run_id, "0", (outcome(number, guest_id=str(guest)), outcome(9)))
        await projector_of(bus, run_id).drain()
    rows = await sync_to_async(queries.sent_to_guest)("shop", guest, 10)
    assert [row.run_id for row in rows] == [UUID(run_id) for run_id in reversed(run_ids)]
    assert await sync_to_async(queries.sent_to_guest)("another-shop", guest, 10) == []


async def test_rows_are_kept_in_the_month_of_their_run(bus: Bus) -> None:
    run_id = make_order().run_id
    month = month_of(UUID(run_id))
    assert month is not None
    await write_line(bus, run_id, "0", (outcome(0),))
    await write_line(bus, old := str(uuid4()), "0", (outcome(0),))
    await projector_of(bus, run_id).drain()
    await projector_of(bus, old).drain()
    assert await sync_to_async(count_rows)(f"delivery_{month:%Y_%m}", run_id) == 1
    assert await sync_to_async(count_rows)("delivery_other", old) == 1


async def test_the_span_of_a_run_leaves_suppressions_aside(bus: Bus) -> None:
    run_id = make_order().run_id
    await write_line(bus, run_id, "ns-0", (outcome(1, RecipientState.SUPPRESSED),))
    await projector_of(bus, run_id).drain()
    assert await sync_to_async(queries.span)("shop", UUID(run_id)) is None
    await write_line(bus, run_id, "0", (outcome(5), outcome(8)))
    await projector_of(bus, run_id).drain()
    first, last = await sync_to_async(queries.span)("shop", UUID(run_id))  # type: ignore[misc]
    assert (first.second, last.second) == (5, 8)
    assert len(await journal(bus, run_id)) == 2
