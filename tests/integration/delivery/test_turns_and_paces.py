"""When a run begins and how fast it goes: start records, seals that are replaced, turns, paces, quiet hours, clocks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.delivery.delivery_world import (
    CLOCK,
    ShiftedClock,
    journal,
    make_order,
    outcomes,
    people,
    put_order,
    quick_options,
    seal_and_post,
    sending,
    settled,
    until,
)

from todoku.bus.connection import Bus
from todoku.content.rendering import make_renderer
from todoku.delivery.engine.codec import encode_batch
from todoku.delivery.engine.pace import LATE_SECONDS
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.engine.sender import Sender, close_run
from todoku.delivery.engine.starts import read_start
from todoku.delivery.transports.null import NullTransport
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import Answer, AnswerSink, Batch, Envelope, QuietHours, RunOrder, SealChunk
from todoku.kernel.retry import BackOff


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    scripted = ScriptedRelay()
    scripted.url = await scripted.start()  # type: ignore[attr-defined]
    yield scripted
    await scripted.stop()


def to(relay: ScriptedRelay) -> SmtpTransport:
    return SmtpTransport(relay.url, connections=4)  # type: ignore[attr-defined]


def addresses(behaviour: str, count: int) -> list[str]:
    return [f"{behaviour}.{number}@relay.example" for number in range(count)]


def soon(seconds: float = 1.0) -> dict[str, object]:
    return {"due_at_utc": CLOCK.now_utc() + timedelta(seconds=seconds)}


class Diary(NullTransport):
    """A rehearsal that remembers when each message of each run came by, and may take its time."""

    def __init__(self, window_seconds: float = 0.0) -> None:
        self.seen: list[tuple[float, str, str]] = []
        self.window_seconds = window_seconds

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        now = CLOCK.monotonic_seconds()
        self.seen += [(now, flow, envelope.rcpt_to) for envelope in envelopes]
        await asyncio.sleep(self.window_seconds)
        return await super().send(envelopes, sink)

    def most_in(self, seconds: float, among: str = "") -> float:
        """Return the most messages that came by in any stretch of so many seconds."""
        moments = [moment for moment, _, address in self.seen if among in address]
        return max(
            sum(begin <= moment <= begin + seconds for moment in moments[first:]) for first, begin in enumerate(moments)
        )


# --- the start record ---


async def test_the_start_record_says_who_began_which_seal_and_when(bus: Bus, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("accept", 30), **soon())
    async with sending(bus, NullTransport(), answers_folder, quick_options(sender_id="first")):
        assert await read_start(bus, order.run_id) is None, "begun before it was due"
        await settled(bus, order)
    record = await read_start(bus, order.run_id)
    assert record is not None
    assert (record.seal, record.sender_id, record.order) == (1, "first", order)
    assert timedelta(0) <= record.started_at_utc - order.due_at_utc < timedelta(seconds=1)


async def test_a_run_without_recipients_begins_too(bus: Bus, answers_folder: Path) -> None:
    order = await seal_and_post(bus, [])
    async with sending(bus, NullTransport(), answers_folder) as sender:
        await until(lambda: order.run_id in sender._runs and sender._runs[order.run_id].record is not None)
    record = await read_start(bus, order.run_id)
    assert record is not None
    assert record.order.to_send == 0


async def test_a_newer_seal_takes_the_place_of_an_armed_one(bus: Bus, answers_folder: Path) -> None:
    transport = Diary()
    old = await seal_and_post(bus, addresses("old", 40), **soon(1.5))
    async with sending(bus, transport, answers_folder) as sender:
        await until(lambda: old.run_id in sender._runs)
        new = await Sealer(bus, CLOCK).seal(replace(old, seal=2), people(addresses("new", 40)))
        await put_order(bus, new)
        assert await settled(bus, new) == {"sent": 40}
    assert {address for _, _, address in transport.seen} == set(addresses("new", 40))
    assert {line.seal for line in await journal(bus, old.run_id)} == {2}


@pytest.mark.parametrize("old_view_first", [True, False, None])
async def test_of_two_seals_and_two_senders_that_each_know_one_only_one_seal_leaves(
    bus: Bus, answers_folder: Path, old_view_first: bool | None
) -> None:
    behind, ahead = Diary(), Diary()
    due = CLOCK.now_utc() + timedelta(seconds=1.5)
    later = due + timedelta(seconds=0.4)
    first_due, second_due = (later, due) if old_view_first is False else (due, later if old_view_first else due)
    old = await seal_and_post(bus, addresses("old", 700), due_at_utc=first_due)
    async with sending(bus, behind, answers_folder) as one:
        await until(lambda: old.run_id in one._runs)
        await one._ports.runs.stop()  # from here on it is cut off from the board, not from the journal
        draft = replace(old, seal=2, due_at_utc=second_due)
        new = await Sealer(bus, CLOCK).seal(draft, people(addresses("new", 700)))
        await put_order(bus, new)
        async with sending(bus, ahead, answers_folder):
            assert await settled(bus, new) == {"sent": 700}
            record = await read_start(bus, old.run_id)
    assert record is not None
    if old_view_first is not None:
        assert record.seal == (1 if old_view_first else 2)
    winner = addresses("old" if record.seal == 1 else "new", 700)
    assert Counter(address for _, _, address in behind.seen + ahead.seen) == Counter(winner)
    assert {line.seal for line in await journal(bus, old.run_id)} == {record.seal}


async def test_what_was_not_begun_by_its_latest_start_is_left_alone(bus: Bus, answers_folder: Path) -> None:
    past = CLOCK.now_utc() - timedelta(hours=5)
    late = await seal_and_post(
        bus, addresses("late", 5), due_at_utc=past, latest_start_at_utc=past + timedelta(hours=4)
    )
    other = await seal_and_post(bus, addresses("accept", 5), latest_start_at_utc=CLOCK.now_utc() + timedelta(hours=4))
    async with sending(bus, NullTransport(), answers_folder):
        await settled(bus, other)
        assert await read_start(bus, late.run_id) is None
        await put_order(bus, replace(late, latest_start_at_utc=None))  # a person said: send it now
        assert await settled(bus, late) == {"sent": 5}


# --- turns ---


async def test_everything_is_paid_before_the_due_second(bus: Bus, answers_folder: Path) -> None:
    orders = [await seal_and_post(bus, addresses(f"r{number}", 30), **soon(6.0)) for number in range(20)]
    async with sending(bus, NullTransport(), answers_folder) as sender:
        await until(lambda: len(sender._runs) == 20, within_seconds=5.9)
        first = [run._first for run in sender._runs.values()]
        assert all(one is not None and len(one[1]) == 20 for one in first), "a first window is ready"
        for order in orders:
            assert await settled(bus, order) == {"sent": 30}
    for order in orders:
        lines = await journal(bus, order.run_id)
        assert lines[0].intent is not None
        assert len(lines[0].intent.indexes) == 20, "what was made beforehand was not used"


async def test_a_small_run_starts_beside_a_huge_one_on_a_slow_way_out(bus: Bus, answers_folder: Path) -> None:
    transport = Diary(window_seconds=0.3)
    huge = await seal_and_post(bus, addresses("huge", 20_000))
    async with sending(bus, transport, answers_folder) as sender:
        await until(lambda: len(transport.seen) >= 400)
        assert sender._turns.visits(huge.run_id) == 4
        before = len(transport.seen)
        small = await seal_and_post(bus, addresses("small", 200))
        await until(lambda: any(flow == small.run_id for _, flow, _ in transport.seen))
        between = [flow for _, flow, _ in transport.seen[before:]]
        assert between.index(small.run_id) <= 4 * 100 * 4, "it had to wait for more than a few windows of the huge one"
        assert await settled(bus, small) == {"sent": 200}


async def test_more_runs_than_places_take_turns_window_by_window(bus: Bus, answers_folder: Path) -> None:
    transport = Diary(window_seconds=0.01)
    orders = [await seal_and_post(bus, addresses(f"r{number}", 200), **soon(2.0)) for number in range(6)]
    options = quick_options(visits_at_once=2, window=20)
    async with sending(bus, transport, answers_folder, options):
        for order in orders:
            assert await settled(bus, order) == {"sent": 200}
    flows = [flow for _, flow, _ in transport.seen]
    last_first = max(flows.index(order.run_id) for order in orders)
    assert last_first < 600, "a run began only when others were over"
    assert len({address for _, _, address in transport.seen}) == len(transport.seen) == 1_200


async def test_a_way_out_that_is_gone_holds_up_no_run_of_another(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    gone = SmtpTransport("smtp://127.0.0.1:1", connections=2)
    stuck = await seal_and_post(bus, addresses("stuck", 900), transport="gone")
    unknown = await seal_and_post(bus, addresses("unknown", 9), transport="never-heard-of")
    fine = await seal_and_post(bus, addresses("accept", 900))
    stop = asyncio.Event()
    sender = Sender(bus, {"": to(relay), "gone": gone}, make_renderer, CLOCK, answers_folder, quick_options())
    task = asyncio.create_task(sender.run(stop))
    assert await settled(bus, fine) == {"sent": 900}
    assert await outcomes(bus, stuck.run_id) == await outcomes(bus, unknown.run_id) == []
    await put_order(bus, replace(stuck, transport=""))  # a person gives it another way
    assert await settled(bus, stuck) == {"sent": 900}
    stop.set()
    await asyncio.wait_for(task, timeout=60)


async def test_a_grey_list_holds_up_nobody_else(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    mixed = [
        address for pair in zip(addresses("defer-rcpt", 450), addresses("accept", 450), strict=True) for address in pair
    ]
    order = await seal_and_post(bus, mixed)
    slow = BackOff(base_seconds=60.0, cap_seconds=900.0)
    async with sending(bus, to(relay), answers_folder, quick_options(deferral_wait=slow)):
        await until(lambda: len(relay.taken) == 450)
        await asyncio.sleep(2.0)  # the second and the third try come within 0.4 s
    lines = await journal(bus, order.run_id)
    tries = Counter(one.index for line in lines if line.batch == "0" for one in line.deferred)
    assert set(tries.values()) == {3}, "three tries at once, then a rest of a minute each"
    last = [line for line in lines if line.batch == "0"][-1]
    assert {rest.tries for rest in last.resting} == {3}
    assert len(last.resting) == 250


# --- paces ---


async def test_two_senders_keep_one_pace_together(bus: Bus, answers_folder: Path) -> None:
    transport = Diary()
    order = await seal_and_post(bus, addresses("accept", 1_000), pace_per_second=200.0)
    options = [quick_options(window=50) for _ in range(2)]
    async with sending(bus, transport, answers_folder, options[0]), sending(bus, transport, answers_folder, options[1]):
        assert await settled(bus, order) == {"sent": 1_000}
    assert len({line.sender_id for line in await journal(bus, order.run_id)}) == 2
    took = transport.seen[-1][0] - transport.seen[0][0]
    assert 1_000 / 200 - LATE_SECONDS - 0.1 <= took < 15
    for seconds in (0.5, 1.0, 3.0):
        # what is measured here is a few milliseconds after what was allowed
        assert transport.most_in(seconds) <= 200 * (seconds + LATE_SECONDS + 0.1) + 1


async def test_a_slow_domain_holds_up_nobody_else_and_keeps_its_pace(bus: Bus, answers_folder: Path) -> None:
    transport = Diary()
    slow = [f"g{number}@Docomo.example" for number in range(60)]
    mixed = [address for pair in zip(slow, addresses("accept", 60), strict=True) for address in pair]
    order = await seal_and_post(bus, mixed + addresses("more", 800))
    options = quick_options(domain_paces={"docomo.example": 20.0})
    async with sending(bus, transport, answers_folder, options):
        assert await settled(bus, order) == {"sent": 920}
    of_others = [moment for moment, _, address in transport.seen if "Docomo" not in address]
    of_domain = [moment for moment, _, address in transport.seen if "Docomo" in address]
    assert max(of_others) < of_domain[30], "the others waited for the slow domain"
    assert transport.most_in(1.0, "Docomo") <= 20 * (1.0 + LATE_SECONDS + 0.1) + 1
    assert of_domain[-1] - of_domain[0] >= 60 / 20 - LATE_SECONDS - 0.1


async def test_the_pace_of_a_way_out_is_shared_by_its_runs(bus: Bus, answers_folder: Path) -> None:
    transport = Diary()
    orders = [await seal_and_post(bus, addresses(name, 150)) for name in ("one", "two")]
    async with sending(bus, transport, answers_folder, quick_options(transport_paces={"": 150.0})):
        for order in orders:
            assert await settled(bus, order) == {"sent": 150}
    assert transport.most_in(1.0) <= 150 * (1.0 + LATE_SECONDS + 0.1) + 1
    half = [flow for _, flow, _ in transport.seen[:150]]
    assert min(Counter(half).values()) > 20, "one run took the whole pace"


async def test_a_closed_run_leaves_no_pace_behind(bus: Bus, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("accept", 20), pace_per_second=500.0)
    async with sending(bus, NullTransport(), answers_folder):
        await settled(bus, order)
        assert f"run.{order.run_id}" in await bus.bucket("paces").keys()
        await close_run(bus, order)
    assert f"run.{order.run_id}" not in await bus.bucket("paces").keys()


# --- quiet hours, zones, clocks ---


def quiet_for(seconds: float) -> QuietHours:
    """Return quiet hours in UTC that end so many seconds from now, to the minute."""
    now, end = CLOCK.now_utc(), CLOCK.now_utc() + timedelta(seconds=seconds)
    return QuietHours((now.hour * 60 + now.minute - 60) % 1440, end.hour * 60 + end.minute)


async def test_nothing_leaves_in_quiet_hours_and_the_run_begins_after_them(bus: Bus, answers_folder: Path) -> None:
    transport, clock = Diary(), ShiftedClock()
    order = await seal_and_post(bus, addresses("accept", 50), quiet=quiet_for(300.0))
    async with sending(bus, transport, answers_folder, clock=clock):
        await asyncio.sleep(1.0)
        assert transport.seen == []
        assert await read_start(bus, order.run_id) is None
        clock.shift_seconds = 361.0
        assert await settled(bus, order) == {"sent": 50}


async def test_quiet_hours_stop_a_run_that_is_under_way_and_lose_nothing(bus: Bus, answers_folder: Path) -> None:
    transport, clock = Diary(window_seconds=0.05), ShiftedClock()
    order = await seal_and_post(bus, addresses("accept", 3_000))
    async with sending(bus, transport, answers_folder, quick_options(window=20), clock=clock):
        await until(lambda: len(transport.seen) > 100)
        await put_order(bus, replace(order, quiet=quiet_for(300.0)))
        await asyncio.sleep(0.8)
        at_rest = len(transport.seen)
        await asyncio.sleep(0.5)
        assert len(transport.seen) == at_rest < 3_000
        await put_order(bus, replace(order, quiet=None))  # sooner than the clock
        assert await settled(bus, order) == {"sent": 3_000}
    assert len({address for _, _, address in transport.seen}) == len(transport.seen) == 3_000


async def post_zoned(bus: Bus, batches: Sequence[Batch], **changes: object) -> RunOrder:
    """Seal an order by hand whose batches have zones and releases of their own."""
    to_send = sum(len(batch.recipients) for batch in batches)
    order = make_order(batches=len(batches), to_send=to_send, content_hash="x", **changes)
    for batch in batches:
        own = Batch("shop", order.run_id, 1, batch.number, batch.recipients, batch.time_zone, batch.release_at_utc)
        await bus.publish(f"send.{order.run_id}.1.{batch.number}", encode_batch(own))
    await put_order(bus, order)
    return order


def batch(number: int, name: str, **changes: object) -> Batch:
    chunk: SealChunk = next(people(addresses(name, 10)))
    numbered = tuple(
        type(one)(place, one.guest_id, one.address, one.name, one.values) for place, one in enumerate(chunk.recipients)
    )
    return Batch("shop", "", 1, number, numbered, **changes)  # type: ignore[arg-type]


async def test_a_batch_waits_for_its_release_and_the_others_do_not(bus: Bus, answers_folder: Path) -> None:
    transport, clock = Diary(), ShiftedClock()
    release = CLOCK.now_utc() + timedelta(seconds=2.5)
    order = await post_zoned(
        bus, [batch(0, "later", time_zone="Asia/Tokyo", release_at_utc=release), batch(1, "now", time_zone="UTC")]
    )
    async with sending(bus, transport, answers_folder, clock=clock):
        assert await settled(bus, order) == {"sent": 20}
    by_name = {
        name: [one.at_utc for one in await outcomes(bus, order.run_id) if name in one.address]
        for name in ("later", "now")
    }
    assert max(by_name["now"]) < release <= min(by_name["later"])


async def test_quiet_hours_go_by_the_zone_of_the_batch(bus: Bus, answers_folder: Path) -> None:
    transport = Diary()
    night = quiet_for(3_600.0)  # it is night in UTC, and day half a world away
    order = await post_zoned(
        bus, [batch(0, "night", time_zone="UTC"), batch(1, "day", time_zone="Etc/GMT-12")], quiet=night
    )
    async with sending(bus, transport, answers_folder):
        await until(lambda: len(transport.seen) == 10)
        await asyncio.sleep(0.5)
    assert {address.partition(".")[0] for _, _, address in transport.seen} == {"day"}
    assert len(await outcomes(bus, order.run_id)) == 10


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0])
async def test_a_clock_that_jumps_an_hour_loses_and_doubles_nothing(
    bus: Bus, answers_folder: Path, jump: float
) -> None:
    transport, clock = Diary(window_seconds=0.02), ShiftedClock()
    latest = CLOCK.now_utc() + timedelta(hours=4)
    under_way = await seal_and_post(bus, addresses("way", 2_000), latest_finish_at_utc=latest, pace_per_second=2_000.0)
    coming = await seal_and_post(bus, addresses("soon", 50), latest_finish_at_utc=latest, **soon(2.0))
    far = await seal_and_post(bus, addresses("far", 50), latest_finish_at_utc=latest, **soon(2 * 3_600.0))
    async with sending(bus, transport, answers_folder, quick_options(window=20), clock=clock):
        await until(lambda: len(transport.seen) > 200)
        clock.shift_seconds = jump
        assert await settled(bus, under_way) == {"sent": 2_000}
        if jump < 0:
            assert await outcomes(bus, coming.run_id) == []
            clock.shift_seconds = 0.0  # the clock is set right again
        assert await settled(bus, coming) == {"sent": 50}
        assert await outcomes(bus, far.run_id) == []
    assert len({address for _, _, address in transport.seen}) == len(transport.seen) == 2_050


# --- signing ---


class Stamp:
    """A signer that can be seen in the message."""

    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        await asyncio.sleep(0.01)
        return [b"X-Stamp: " + str(len(content)).encode() + b"\r\n" + content for content in contents]


async def test_every_message_is_signed_before_it_leaves(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    order = await seal_and_post(bus, [*addresses("accept", 250), "太郎@relay.example"], **soon(1.0))
    stop = asyncio.Event()
    asked: list[str] = []

    def signer_of(sender_address: str) -> Stamp:
        asked.append(sender_address)
        return Stamp()

    sender = Sender(bus, to(relay), make_renderer, CLOCK, answers_folder, quick_options(), signer_of=signer_of)
    task = asyncio.create_task(sender.run(stop))
    states = await settled(bus, order)
    stop.set()
    await asyncio.wait_for(task, timeout=60)
    assert states["sent"] >= 250
    assert asked == ["shop@todoku.example"]
    for content in relay.contents.values():
        head, _, rest = content.partition(b"\r\n")
        assert head == b"X-Stamp: %d" % len(rest)
