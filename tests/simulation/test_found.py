"""What seeds found in the engine, each as a small case of its own: scenarios change, and seeds with them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from todoku.bus.streams import RUNS_BUCKET
from todoku.delivery.engine.agenda import Agenda, RetryRules
from todoku.delivery.engine.codec import decode_order
from todoku.delivery.engine.journal import Rest
from todoku.delivery.engine.pace import Paces, run_limit
from todoku.delivery.engine.runs import pass_on_order
from todoku.delivery.engine.sender import Sender
from todoku.delivery.simulation.laboratory import Bench, in_calm_world
from todoku.delivery.simulation.office import draft_of
from todoku.delivery.simulation.scenario import RunPlan
from todoku.delivery.types import Renderer, RunOrder
from todoku.kernel.retry import BackOff

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
RULES = RetryRules(2, BackOff(0.5, 5.0), BackOff(30.0, 900.0), random.Random(1))

PLAN = RunPlan(1, 3, 0, 0, 3, 0.0, 1.0, 60.0, (), ())


def test_who_was_settled_for_a_dead_sender_does_not_wake_from_a_rest() -> None:
    """They were deferred once, then in the window with which their sender died: the line that the heir reads has both.

    Sent again, they would have had the message twice (I1).
    """
    over = NOW - timedelta(seconds=1)
    agenda = Agenda([1], [Rest(0, 1, over), Rest(1, 1, over)], RULES, NOW)
    agenda.wake(NOW)
    assert agenda.take(10) == [1]
    assert [one.index for one in agenda.rests] == [1]


def test_a_clock_that_is_set_back_lets_nobody_rest_for_an_hour() -> None:
    agenda = Agenda([0], [], RULES, NOW)
    agenda.take(1)
    agenda.rest(0, NOW + timedelta(hours=1))
    assert agenda.seconds_until_next(NOW) <= 900.0
    agenda.wake(NOW)
    assert list(agenda.ready) == [0], "a visit that waits where it is would wait for an hour"


@pytest.mark.parametrize("milliseconds", range(12))
def test_a_slice_that_was_on_its_way_while_the_clock_was_set_back_holds_nobody_up(milliseconds: int) -> None:
    async def program(bench: Bench) -> tuple[int, float]:
        paces, limit = Paces(bench.bus, bench.process), run_limit("run", 20.0)
        bench.process.machine.wall_seconds = 3_600.0
        paces.available(limit)  # asks for a slice by the wrong clock
        await asyncio.sleep(milliseconds / 1_000)
        bench.process.machine.wall_seconds = 0.0
        paces.available(limit)  # notices the clock, perhaps before the slice is in
        await asyncio.sleep(0.1)
        wait_seconds = paces.seconds_until(limit, 1)  # a batch that has to wait for so long is put back
        for _ in range(5):
            usable = paces.available(limit)
            await asyncio.sleep(0.1)
        await paces.close()
        return usable, wait_seconds

    usable, wait_seconds = in_calm_world(program)
    assert usable > 0
    assert wait_seconds < 1.0


def test_a_sender_that_is_sent_away_before_it_has_read_the_board_sweeps_no_notes() -> None:
    """The notes are a killed sender's; without them its whole open window would be unknown (I3)."""

    async def program(bench: Bench) -> bool:
        mine = bench.answers.begin("run", 1, 0)
        mine.mark(1, 0)
        mine.close()
        stop = asyncio.Event()
        sender = Sender(bench.bus, bench.transport, _never_asked, bench.process, bench.answers)
        task = asyncio.create_task(sender.run(stop))
        stop.set()
        await task
        return bench.answers.read(bench.process.name, "run", 1, 0, 1).marks == {0}

    assert in_calm_world(program)


def test_a_planner_that_stood_still_does_not_overwrite_what_its_successor_left_as_it_was() -> None:
    """It read "paused" and stood still; the run was resumed, and the board still said "sealed", so nothing was written.

    Its late write then paused the run for ever.
    """
    sealed = draft_of(PLAN, 1)

    async def program(bench: Bench) -> list[str]:
        async def resumed() -> RunOrder:
            return replace(sealed, version=3)

        async def stood_still() -> RunOrder:
            assert await pass_on_order(bench.bus, sealed.run_id, resumed) is not None
            return replace(sealed, version=2, state="paused")

        async def first() -> RunOrder:
            return replace(sealed, version=1)

        await pass_on_order(bench.bus, sealed.run_id, first)
        assert await pass_on_order(bench.bus, sealed.run_id, stood_still) is None
        return await _board(bench, sealed.run_id)

    assert in_calm_world(program) == ["sealed"]


def test_an_order_that_was_put_while_its_run_was_closed_is_taken_off_again() -> None:
    sealed = draft_of(PLAN, 1)

    async def program(bench: Bench) -> list[str]:
        answers: list[RunOrder | None] = [sealed, None]  # closed by another planner in between

        async def decided() -> RunOrder | None:
            return answers.pop(0)

        assert await pass_on_order(bench.bus, sealed.run_id, decided) is None
        return await _board(bench, sealed.run_id)

    assert in_calm_world(program) == []


async def _board(bench: Bench, run_id: str) -> list[str]:
    entry = await bench.bus.bucket(RUNS_BUCKET).get(run_id)
    return [] if entry is None else [decode_order(entry.value).state]


def _never_asked(subject_template: str, html_template: str, text_template: str) -> Renderer:
    raise AssertionError("there is no run to be rendered")
