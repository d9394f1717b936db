"""The planner's part in a simulation: seal, post, pass on what people decide, close. It may die and begin again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from todoku.bus.errors import BusError, SequenceConflict
from todoku.bus.streams import journal_subject
from todoku.delivery.engine.codec import encode_journal
from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.engine.runs import put_order, put_stop
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.engine.sender import close_run
from todoku.delivery.simulation.bus import SimBus
from todoku.delivery.simulation.judge import RunBook
from todoku.delivery.simulation.machines import BEGIN_UTC, Process
from todoku.delivery.simulation.scenario import RunPlan
from todoku.delivery.types import Outcome, Recipient, RecipientState, RunOrder, SealChunk

T = TypeVar("T")

PROJECT = "shop"
_LOOK_SECONDS = 0.3
_STOPPED_STAYS_SECONDS = 3.0


@dataclass(slots=True)
class RunFile:
    """What the planner's database knows of a run; it survives the planner."""

    plan: RunPlan
    book: RunBook
    order: RunOrder | None = None
    told_journal: bool = False
    acts_done: int = 0
    stops_done: int = 0
    stopped: bool = False
    stopped_at: float = 0.0
    closed: bool = False


class Office:
    """One planner process at work on all runs."""

    def __init__(self, bus: SimBus, process: Process, randomness: random.Random, on_closed: Callable[[], None]) -> None:
        self._bus = bus
        self._on_closed = on_closed
        self._process = process
        self._randomness = randomness

    async def work(self, files: list[RunFile]) -> None:
        """Bring every run to its end."""
        await asyncio.gather(*[self._one(file) for file in files if not file.closed])

    async def _one(self, file: RunFile) -> None:
        plan = file.plan
        await self._until(plan.seal_at)
        if file.order is None:
            draft = _draft(plan, seal=1)
            file.book.planned[1] = plan.people + plan.left_out
            sealer = Sealer(self._bus, self._process, batch_size=plan.batch_size)
            file.order = await self._surely(lambda: sealer.seal(draft, _audience(plan, seal=1)))
        await self._post(file)
        if not file.told_journal:
            await self._surely(lambda: self._tell_left_out(file))
            file.told_journal = True
        events = sorted(
            [(when, "act", number) for number, (when, _) in enumerate(plan.acts)]
            + [(when, "stop", number) for number, (when, _) in enumerate(plan.stops)]
        )
        for when, kind, number in events:
            await self._until(when)
            if kind == "act" and number >= file.acts_done:
                await self._act(file, plan.acts[number][1])
                file.acts_done = number + 1
            elif kind == "stop" and number >= file.stops_done:
                address = address_of(plan, plan.stops[number][1])
                await self._surely(lambda address=address: put_stop(self._bus, PROJECT, address, "unsubscribed"))  # type: ignore[misc]
                file.stops_done = number + 1
        while file.book.pending and not (file.stopped and self._process.now > file.stopped_at + _STOPPED_STAYS_SECONDS):
            await self._until(self._process.now + _LOOK_SECONDS)
        order = file.order
        await self._surely(lambda: close_run(self._bus, order))
        file.closed = True
        self._on_closed()

    async def _act(self, file: RunFile, state: str) -> None:
        assert file.order is not None, "only a sealed run is posted"
        file.order = replace(file.order, state=state)
        if state == "stopped":
            file.stopped, file.stopped_at = True, self._process.now
        await self._post(file)

    async def _post(self, file: RunFile) -> None:
        order = file.order
        assert order is not None, "only a sealed run is posted"
        await self._surely(lambda: put_order(self._bus, order))

    async def _tell_left_out(self, file: RunFile) -> None:
        plan = file.plan
        if not plan.left_out:
            return
        outcomes = tuple(
            Outcome(
                n, f"out{n}", f"out{n}@{plan.run_id}.example", RecipientState.SUPPRESSED, "no_consent", BEGIN_UTC, ""
            )
            for n in range(plan.left_out)
        )
        line = JournalMessage(
            PROJECT, plan.run_id, 1, "ns-0", "planner", 0, outcomes, (), pack_settled(range(plan.left_out)), None
        )
        subject = journal_subject(plan.run_id, 1, "ns-0")
        try:
            await self._bus.publish(subject, encode_journal(line), message_id=subject, expected_last_subject_sequence=0)
        except SequenceConflict:
            return  # an earlier life of this planner told it

    async def _until(self, when: float) -> None:
        missing = when - self._process.now
        if missing > 0:
            await asyncio.sleep(missing)

    async def _surely(self, what: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await what()
            except BusError:
                await asyncio.sleep(self._randomness.uniform(0.1, 0.5))


def address_of(plan: RunPlan, person: int) -> str:
    """Return somebody's address; its domain names the run."""
    return f"p{person}@{plan.run_id}.example"


def _audience(plan: RunPlan, seal: int) -> list[SealChunk]:
    people = []
    for person in range(plan.people):
        values: dict[str, object] = {"seal": str(seal)}
        if person < plan.unfit:
            values["unfit"] = True
        people.append(Recipient(0, f"g{person}", address_of(plan, person), "", values))
    return [SealChunk(people)]


def _draft(plan: RunPlan, seal: int) -> RunOrder:
    due_at_utc = BEGIN_UTC + timedelta(seconds=plan.due_at)
    return RunOrder(
        project_id=PROJECT,
        run_id=plan.run_id,
        seal=seal,
        state="sealed",
        due_at_utc=due_at_utc,
        latest_finish_at_utc=due_at_utc + timedelta(seconds=plan.finish_after),
        subject_template="",
        html_template="",
        text_template="",
        sender_name="",
        sender_address="shop@todoku.example",
        reply_to="",
        unsubscribe_base_url="",
        batches=0,
        to_send=0,
        not_sendable=plan.left_out,
        content_hash="",
    )
