"""What the delivery tests share: orders, audiences, senders that are stopped again, and the books read back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL
from todoku.content.rendering import make_renderer
from todoku.delivery.engine.codec import decode_journal
from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.engine.options import SenderOptions
from todoku.delivery.engine.runs import pass_on_order
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.engine.sender import Sender
from todoku.delivery.engine.starts import is_start_subject
from todoku.delivery.types import Outcome, Recipient, RunOrder, SealChunk, Transport
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.ids import new_id
from todoku.kernel.retry import BackOff

CLOCK = SystemClock()


class ShiftedClock:
    """The machine's clock, set wrong by so many seconds; like all clocks that are set, it keeps its monotonic time."""

    def __init__(self, shift_seconds: float = 0.0) -> None:
        self.shift_seconds = shift_seconds

    def now_utc(self) -> datetime:
        return CLOCK.now_utc() + timedelta(seconds=self.shift_seconds)

    def monotonic_seconds(self) -> float:
        return CLOCK.monotonic_seconds()


QUICK = BackOff(base_seconds=0.05, cap_seconds=0.2)


def quick_options(**changes: object) -> SenderOptions:
    """Return options that do not let a test wait."""
    values: dict[str, object] = {
        "lease_seconds": 2.0,
        "retry_wait": QUICK,
        "deferral_wait": QUICK,
        "relay_wait": QUICK,
    }
    return SenderOptions(**(values | changes))  # type: ignore[arg-type]


def make_order(**changes: object) -> RunOrder:
    """Return an unsealed order of a run that is due now."""
    now_utc = CLOCK.now_utc()
    order = RunOrder(
        project_id="shop",
        run_id=new_id().hex,
        seal=1,
        state="sealed",
        due_at_utc=now_utc,
        latest_finish_at_utc=now_utc + timedelta(hours=1),
        subject_template="{{ guest_name }} 様へ",
        html_template="<p>{{ guest_name }} 様、秋のご案内です。</p><a href='{{ unsubscribe_url }}'>停止</a>",
        text_template="{{ guest_name }} 様、秋のご案内です。 {{ unsubscribe_url }}",
        sender_name="とどく食堂",
        sender_address="shop@todoku.example",
        reply_to="",
        unsubscribe_base_url="https://todoku.example/u/",
        batches=0,
        to_send=0,
        not_sendable=0,
        content_hash="",
    )
    return replace(order, **changes)  # type: ignore[arg-type]


def people(addresses: Sequence[str]) -> Iterator[SealChunk]:
    """Stream an audience of these addresses."""
    for begin in range(0, len(addresses), 300):
        yield SealChunk([person(address) for address in addresses[begin : begin + 300]])


def person(address: str, **values: object) -> Recipient:
    """Return one recipient with everything that the templates need."""
    given = {"guest_name": "見本 太郎", "unsubscribe_token": "t"} | values
    return Recipient(0, str(new_id()), address, "見本 太郎", given)


async def seal_and_post(bus: Bus, addresses: Sequence[str], **changes: object) -> RunOrder:
    """Seal a run for these addresses and put it on the board."""
    order = await Sealer(bus, CLOCK).seal(make_order(**changes), people(addresses))
    await put_order(bus, order)
    return order


async def put_order(bus: Bus, order: RunOrder) -> None:
    """Put the order on the board, as a planner does that is alone."""

    async def decided() -> RunOrder:
        return order

    assert await pass_on_order(bus, order.run_id, decided) == order


@asynccontextmanager
async def sending(
    bus: Bus, transport: Transport, folder: Path, options: SenderOptions | None = None, clock: Clock = CLOCK
) -> AsyncIterator[Sender]:
    """Run a sender; it is stopped, and the transport closed, at the end."""
    stop = asyncio.Event()
    sender = Sender(bus, transport, make_renderer, clock, folder, options or quick_options())
    task = asyncio.create_task(sender.run(stop))
    try:
        yield sender
    finally:
        stop.set()
        await asyncio.wait_for(task, timeout=60)
        await transport.close()


async def journal(bus: Bus, run_id: str) -> list[JournalMessage]:
    """Return every line of a run's batches, in order."""
    stored = bus.messages(JOURNAL, f"journal.{run_id}.>")
    return [decode_journal(one.payload) async for one in stored if not is_start_subject(one.subject)]


async def outcomes(bus: Bus, run_id: str) -> list[Outcome]:
    """Return every outcome that the journal holds."""
    return [outcome for line in await journal(bus, run_id) for outcome in line.outcomes]


async def settled(bus: Bus, order: RunOrder, *, within_seconds: float = 90.0) -> Counter[str]:
    """Wait until everybody has an outcome; check that nobody has two; return how many are in each state."""
    deadline = CLOCK.monotonic_seconds() + within_seconds
    while True:
        found = await outcomes(bus, order.run_id)
        if len(found) >= order.to_send:
            break
        states = Counter(outcome.state.value for outcome in found)
        assert CLOCK.monotonic_seconds() < deadline, f"not settled: {dict(states)} of {order.to_send}"
        await asyncio.sleep(0.05)
    twice = [guest for guest, times in Counter(outcome.guest_id for outcome in found).items() if times > 1]
    assert not twice, f"{len(twice)} recipients have more than one terminal state"
    return Counter(outcome.state.value for outcome in found)


async def until(true: Callable[[], bool], *, within_seconds: float = 60.0) -> None:
    """Wait until something is true."""
    deadline = CLOCK.monotonic_seconds() + within_seconds
    while not true():
        assert CLOCK.monotonic_seconds() < deadline, "it did not come true"
        await asyncio.sleep(0.01)
