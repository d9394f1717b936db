"""The planner's part in a simulation: seal, post, pass on what people decide, close. It may die and begin again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from todoku.bus.errors import BusError, SequenceConflict
from todoku.bus.streams import SEND, journal_subject
from todoku.delivery.engine.codec import encode_journal
from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.engine.runs import pass_on_order, put_stop
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.engine.sender import close_run
from todoku.delivery.engine.starts import read_start
from todoku.delivery.simulation.bus import SimBus
from todoku.delivery.simulation.judge import RunBook
from todoku.delivery.simulation.machines import BEGIN_UTC, Process
from todoku.delivery.simulation.scenario import RunPlan
from todoku.delivery.types import Outcome, Recipient, RecipientState, RunOrder, SealChunk

T = TypeVar("T")

PROJECT = "shop"
_LOOK_SECONDS = (0.05, 0.8)
_STOPPED_STAYS_SECONDS = 3.0


@dataclass(slots=True)
class RunFile:
    """What the planner's database knows of a run; it survives the planner. adopted: the seal that counts is known."""

    plan: RunPlan
    book: RunBook
    order: RunOrder | None = None
    version: int = 0
    adopted: bool = False
    told_journal: bool = False
    done: set[int] = field(default_factory=set)  # numbers of events
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
        await self._rest(plan.seal_at - self._process.now)
        if file.order is None:
            file.order = await self._seal(file, 1)
        await self._post(file)
        while not file.closed:
            await self._events(file)
            if not file.adopted and self._process.now >= plan.due_at:
                await self._adopt(file)
            if file.adopted and not file.told_journal:
                await self._surely(lambda: self._tell_left_out(file))
                file.told_journal = True
            if self._is_over(file):
                order = replace(_sealed(file), seal=2 if plan.refresh_at is not None else 1)
                await self._surely(lambda order=order: close_run(self._bus, order))  # type: ignore[misc]
                file.closed = True
                self._on_closed()
            else:
                await self._rest(self._randomness.uniform(*_LOOK_SECONDS))

    def _is_over(self, file: RunFile) -> bool:
        if file.stopped and self._process.now > file.stopped_at + _STOPPED_STAYS_SECONDS:
            return True
        return file.adopted and file.told_journal and file.book.pending == 0

    async def _events(self, file: RunFile) -> None:
        """Do what people decided by now, in order, each once."""
        plan = file.plan
        events: list[tuple[float, str, str]] = [(when, "act", state) for when, state in plan.acts]
        events += [(when, "stop", address_of(plan, person)) for when, person in plan.stops]
        if plan.refresh_at is not None:
            events.append((plan.refresh_at, "refresh", ""))
        for number, (when, kind, what) in enumerate(sorted(events)):
            if when > self._process.now or number in file.done:
                continue
            if kind == "act":
                await self._act(file, what)
            elif kind == "stop":
                await self._surely(lambda what=what: put_stop(self._bus, PROJECT, what, "unsubscribed"))  # type: ignore[misc]
            elif not file.adopted:
                await self._refresh(file)
            file.done.add(number)

    async def _seal(self, file: RunFile, seal: int) -> RunOrder:
        plan = file.plan
        file.book.planned[seal] = len(plan.people_of(seal)) + plan.left_out
        sealer = Sealer(self._bus, self._process, batch_size=plan.batch_size)
        return await self._surely(lambda: sealer.seal(draft_of(plan, seal), _audience(plan, seal)))

    async def _refresh(self, file: RunFile) -> None:
        """Replace the order by a newer seal, even when the run may have begun meanwhile."""
        state = _sealed(file).state
        file.order = replace(await self._seal(file, 2), state=state)
        await self._post(file)

    async def _adopt(self, file: RunFile) -> None:
        """Learn which seal counts, and drop the other."""
        start = await self._surely(lambda: read_start(self._bus, file.plan.run_id))
        if start is None:
            return
        order = _sealed(file)
        if order.seal != start.seal:
            file.order = replace(start.order, state=order.state)
            await self._post(file)
        for seal in {1, 2} - {start.seal}:
            subjects = f"send.{file.plan.run_id}.{seal}.*"
            await self._surely(lambda subjects=subjects: self._bus.purge(SEND, subjects))  # type: ignore[misc]
        file.adopted = True

    async def _act(self, file: RunFile, state: str) -> None:
        file.order = replace(_sealed(file), state=state)
        if state == "stopped":
            file.stopped, file.stopped_at = True, self._process.now
        await self._post(file)

    async def _post(self, file: RunFile) -> None:
        file.version += 1
        posted = None
        while posted is None:
            posted = await self._surely(lambda: pass_on_order(self._bus, file.plan.run_id, lambda: _decided(file)))

    async def _tell_left_out(self, file: RunFile) -> None:
        plan, seal = file.plan, _sealed(file).seal
        if not plan.left_out:
            return
        people = range(plan.left_out)
        outcomes = tuple(
            Outcome(
                n, f"out{n}", f"out{n}@{plan.run_id}.example", RecipientState.SUPPRESSED, "no_consent", BEGIN_UTC, ""
            )
            for n in people
        )
        line = JournalMessage(
            PROJECT, plan.run_id, seal, "ns-0", "planner", 0, outcomes, (), pack_settled(people), None
        )
        subject = journal_subject(plan.run_id, seal, "ns-0")
        try:
            await self._bus.publish(subject, encode_journal(line), message_id=subject, expected_last_subject_sequence=0)
        except SequenceConflict:
            return  # an earlier life of this planner told it

    async def _rest(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _surely(self, what: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await what()
            except BusError:
                await asyncio.sleep(self._randomness.uniform(0.1, 0.5))


def address_of(plan: RunPlan, person: int) -> str:
    """Return somebody's address; its domain names the run."""
    return f"p{person}@{plan.run_id}.example"


def _sealed(file: RunFile) -> RunOrder:
    assert file.order is not None, "nothing is posted before it is sealed"
    return file.order


async def _decided(file: RunFile) -> RunOrder:
    return replace(_sealed(file), version=file.version)


def _audience(plan: RunPlan, seal: int) -> list[SealChunk]:
    people = []
    for person in plan.people_of(seal):
        values: dict[str, object] = {"seal": str(seal)}
        if person < plan.unfit:
            values["unfit"] = True
        people.append(Recipient(0, f"g{person}", address_of(plan, person), "", values))
    return [SealChunk(people)]


def draft_of(plan: RunPlan, seal: int) -> RunOrder:
    """Return a plan's order as it is before it is sealed."""
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
        pace_per_second=plan.pace_per_second,
    )
