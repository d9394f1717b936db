"""What the simulator makes up does what the real thing does: the same checks are run against both."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from todoku.bus.conformance import check_bus
from todoku.bus.errors import BusUnavailable, PublishUnknown
from todoku.delivery.engine.journal import RecordState
from todoku.delivery.simulation.bugs import BUGS
from todoku.delivery.simulation.bus import Board, SimBus
from todoku.delivery.simulation.errors import ProcessKilled
from todoku.delivery.simulation.laboratory import Bench, in_calm_world
from todoku.delivery.simulation.machines import Machine, Process
from todoku.delivery.simulation.network import Network, Weather
from todoku.delivery.simulation.notes import Disk, SimAnswers
from todoku.delivery.simulation.server import BusServer
from todoku.delivery.simulation.world import World
from todoku.delivery.transports.conformance import WatchingSink, check_without_relay, envelopes_for
from todoku.delivery.types import Answer, AnswerKind


@pytest.mark.parametrize("clustered", [False, True])
def test_the_made_up_bus_does_what_nats_does(clustered: bool) -> None:
    in_calm_world(lambda bench: check_bus(bench.bus, "token"), clustered=clustered)


def test_the_check_finds_a_bus_without_fences() -> None:
    async def program(bench: Bench) -> None:
        await check_bus(BUGS["skip-fence"].bus(bench.bus.network, bench.process, bench.bus.board), "token")

    with pytest.raises(AssertionError):
        in_calm_world(program)


def test_the_made_up_transport_does_what_transports_do() -> None:
    in_calm_world(lambda bench: check_without_relay(bench.transport))


def test_what_the_transport_says_is_what_the_relay_did() -> None:
    async def program(bench: Bench) -> None:
        bench.relay.manners.temporary = bench.relay.manners.permanent = 0.15
        bench.relay.manners.drop_before = bench.relay.manners.drop_after = 0.1
        envelopes = envelopes_for(["accept"] * 300)
        sink = WatchingSink()
        answers = await bench.transport.send(envelopes, sink)
        assert {answer.kind for answer in answers} == set(AnswerKind)
        assert sorted(answer.ref for answer in answers) == list(range(300))
        for answer in answers:
            taken = envelopes[answer.ref].rcpt_to in bench.taken
            if answer.kind is not AnswerKind.UNKNOWN:
                assert taken == (answer.kind is AnswerKind.ACCEPTED), f"{answer.kind}, and the relay: {taken}"
        assert len(set(bench.taken)) == len(bench.taken)

    in_calm_world(program)


def test_time_outs_and_tasks_run_on_virtual_time() -> None:
    async def program(bench: Bench) -> list[str]:
        said: list[str] = []

        async def say(word: str, after_seconds: float) -> None:
            await asyncio.sleep(after_seconds)
            said.append(word)

        async def say_all() -> None:
            async with asyncio.timeout(100.0), asyncio.TaskGroup() as group:
                group.create_task(say("first", 10.0))
                group.create_task(say("second", 99.0))
                group.create_task(say("never", 101.0))

        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await say_all()
        assert asyncio.get_running_loop().time() - began == pytest.approx(100.0)
        return said

    assert in_calm_world(program) == ["first", "second"]


def test_who_waits_for_the_last_bit_of_a_span_does_not_wait_for_ever() -> None:
    """Seed 19480: what was left rounded to less than the clock could show, and its time-out came at the same moment."""

    async def program(bench: Bench) -> int:
        bench.process.machine.rate, bench.process.machine._uptime_seconds = 0.95, 0.0  # where rounding bites most
        loop, most = asyncio.get_running_loop(), 0
        for number in range(1, 400):
            end, times = loop.time() + number * 0.00137, 0
            while (left := end - loop.time()) > 0 and times < 100:
                times += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await asyncio.Event().wait()
            most = max(most, times)
        return most

    assert in_calm_world(program) < 5


def test_a_paused_process_finds_its_time_outs_over_and_its_clock_ahead() -> None:
    async def program(bench: Bench) -> tuple[float, float]:
        before = bench.process.monotonic_seconds()
        bench.process.pause(30.0)
        after = bench.process.monotonic_seconds()
        await asyncio.sleep(1.0)
        return after - before, bench.process.monotonic_seconds() - before

    at_once, later = in_calm_world(program)
    assert at_once == pytest.approx(30.0)
    assert later == pytest.approx(31.0)


def test_a_killed_process_does_nothing_more_not_even_a_finally() -> None:
    world = World(1)
    process = Process(Machine(world, "m"), "p")
    said = []

    async def program() -> None:
        try:
            process.step()
            await asyncio.sleep(5.0)
        finally:
            try:
                process.step()
                said.append("a port still works")
            except ProcessKilled:
                pass

    process.loop.start(program())
    world.at(1.0, process.kill)
    world.run(20.0, lambda: False)
    process.loop.dispose()
    assert said == []


@pytest.mark.parametrize("lost_on_the_way_back", [False, True])
def test_a_publish_whose_answer_is_lost_may_be_stored_or_not(lost_on_the_way_back: bool) -> None:
    """Both are seen over some seeds, and both are PublishUnknown to the process."""
    seen = set()
    for seed in range(40):
        world = World(seed)
        board = Board()
        server = BusServer(board.stored)
        network = Network(world, server, Weather(latency_seconds=0.001, lost=0.5))
        process = Process(Machine(world, "m"), "p")
        bus = SimBus(network, process, board)

        async def program(bus: SimBus = bus) -> str:
            try:
                await bus.publish("journal.a.1.0", b"x")
            except PublishUnknown:
                return "unknown"
            except BusUnavailable:
                return "unavailable"
            return "stored"

        task = process.loop.start(program())
        world.run(30.0, task.done)
        stored = server.last("JOURNAL", "journal.a.1.0", world.now) is not None
        assert task.result() != "stored" or stored
        if task.result() == "unknown":
            seen.add(stored)
        process.loop.dispose()
    assert lost_on_the_way_back in seen


def test_notes_prove_their_gaps_only_while_the_machine_runs_on() -> None:
    world = World(3)
    machine = Machine(world, "m")
    disk = Disk(machine)
    dead, heir = Process(machine, "dead"), Process(machine, "heir")
    notes = SimAnswers(disk, dead, "dead").begin("run", 1, 0)
    notes.mark(1, 7)
    notes.answer(1, 7, Answer(7, AnswerKind.ACCEPTED, "250 ok"))
    looking = SimAnswers(disk, heir, "heir")
    assert looking.read("dead", "run", 1, 0, 1).state is RecordState.PARTIAL
    dead.kill()
    record = looking.read("dead", "run", 1, 0, 1)
    assert record.state is RecordState.COMPLETE
    assert record.marks == {7}
    assert record.answers[7].kind is AnswerKind.ACCEPTED
    machine.boots += 1
    assert looking.read("dead", "run", 1, 0, 1).state is RecordState.PARTIAL
    assert looking.read("elsewhere", "run", 1, 0, 1).state is RecordState.ABSENT
