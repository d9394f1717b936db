"""One seed from beginning to end: the world is made, senders and planner live in it, faults come, the judge looks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from todoku.delivery.engine.options import SenderOptions, SignerOf, unsigned
from todoku.delivery.engine.sender import Sender
from todoku.delivery.simulation.bugs import SOUND, Bug
from todoku.delivery.simulation.bus import Board, SimBus
from todoku.delivery.simulation.judge import Judge
from todoku.delivery.simulation.machines import Machine, Process
from todoku.delivery.simulation.network import Network, Weather
from todoku.delivery.simulation.notes import Disk
from todoku.delivery.simulation.office import Office, RunFile
from todoku.delivery.simulation.relay import Manners, Relay
from todoku.delivery.simulation.scenario import Fault, Scenario, draw
from todoku.delivery.simulation.server import BusServer, Stored
from todoku.delivery.simulation.world import World, chance_of
from todoku.delivery.types import Rendered, Renderer, Unrenderable
from todoku.kernel.retry import BackOff

_GRACE_SECONDS = (1.0, 1.0, 1.0, 10.0)  # so long after the last run was closed zombies may still try something
_PUNCTUAL_SECONDS = 1.0  # when nothing bad happens a run begins so soon after its due time
_PATIENCE_SECONDS = 150.0  # after all faults are over everything must have come to rest by then
_CONSUMERS_LOST_FROM = 0.85  # dice of a bus crash from which on the server comes back without its consumers
_CALM_LATENCY_SECONDS = 0.002


@dataclass(slots=True)
class Result:
    """What one seed came to."""

    seed: int
    violations: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)


def play(seed: int, *, bug: Bug = SOUND, traced: bool = False) -> Result:
    """Play one seed; the same seed gives the same, event for event."""
    stage = _Stage(draw(seed), bug, traced=traced)
    with bug.planted(), _fixed_chance(seed):
        try:
            stage.run()
        finally:
            stage.dispose()
    return stage.result()


@contextmanager
def _fixed_chance(seed: int) -> Iterator[None]:
    """Let also those back-offs repeat themselves that ask Python's own source of chance."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


class _Stage:
    def __init__(self, scenario: Scenario, bug: Bug, *, traced: bool) -> None:
        self.scenario = scenario
        self.bug = bug
        self.world = World(scenario.seed, traced=traced)
        self.judge = Judge(self.world, max(scenario.window, scenario.first_window), scenario.lease_seconds)
        self.board = Board()
        self.network = Network(self.world, BusServer(self._stored, clustered=scenario.clustered), scenario.weather)
        self.relay = Relay(self.world, self.judge)
        self.relay.manners = scenario.manners
        self.office = Machine(self.world, "office")
        self.machines = [Machine(self.world, f"m{n}", rate=rate) for n, rate in enumerate(scenario.rates, start=1)]
        self.disks = {machine.name: Disk(machine) for machine in self.machines}
        self.judge.disks = list(self.disks.values())
        self.files = [RunFile(plan, self.judge.run(plan.run_id)) for plan in scenario.runs]
        self.counts: Counter[str] = Counter()
        self.born = 0
        self.calm = False
        self._open_runs = len(self.files)

    def run(self) -> None:
        """Let it happen."""
        for machine in self.machines:
            for _ in range(self.scenario.senders_each):
                self._start_sender(machine)
        self._start_office()
        for fault in self.scenario.faults:
            self.world.at(fault.at, partial(self._fault, fault))
        self.world.at(self.scenario.calm_at, self._calm_down)
        if self.world.run(self.scenario.calm_at + _PATIENCE_SECONDS, self._all_closed):
            asleep = [process.busy_until for machine in self.machines for process in machine.living()]
            ends_at = max([self.world.now, *asleep]) + self.world.random.choice(_GRACE_SECONDS)
            self.world.run(ends_at, lambda: False)
        if not self.world.violations:
            self._check_programs()
            self.judge.check_end(self._was_stopped)
            if self.scenario.peaceful:
                self._check_punctual()

    def dispose(self) -> None:
        """Unwind every process, the dead ones too."""
        for machine in (self.office, *self.machines):
            for process in machine.processes:
                process.loop.dispose()

    def result(self) -> Result:
        """Return what it came to."""
        self.counts["events"] += self.world.events
        self.counts["delivered"] += self.judge.accepted_count
        self.counts["unknown"] += self.judge.unknown_count
        return Result(self.scenario.seed, self.world.violations, self.counts, self.world.trace)

    # --- processes ---

    def _start_sender(self, machine: Machine) -> None:
        if self.calm and machine.living():
            return
        self.born += 1
        scenario = self.scenario
        process = Process(machine, f"s{self.born}")
        process.on_death = partial(self._sender_died, machine)
        bus = self.bug.bus(self.network, process, self.board, self.judge)
        options = self._options(process)
        transport = self.bug.transport(
            self.relay,
            process,
            connections=scenario.connections,
            depth=scenario.depth,
            patience_seconds=scenario.patience_seconds,
        )
        answers = self.bug.answers(self.disks[machine.name], process, process.name)
        signer_of = _unhurried(process, scenario.signing_seconds) if scenario.signing_seconds else unsigned
        sender = Sender(bus, transport, _renderer, process, answers, options, signer_of=signer_of)
        self.world.say(process.name, "starts", machine=machine.name)
        process.loop.start(self._sender_life(sender, process))

    def _options(self, process: Process) -> SenderOptions:
        scenario = self.scenario
        domains = (f"{plan.run_id}.example" for plan in scenario.runs)
        return SenderOptions(
            window=scenario.window,
            batches_at_once=scenario.batches_at_once,
            visits_at_once=scenario.visits_at_once,
            arm_seconds=scenario.arm_seconds,
            first_window=scenario.first_window,
            lease_seconds=scenario.lease_seconds,
            immediate_retries=scenario.immediate_retries,
            retry_wait=BackOff(0.05, 0.2),
            deferral_wait=BackOff(0.2, 1.5),
            relay_wait=BackOff(0.2, 1.5),
            transport_paces={"": scenario.way_pace} if scenario.way_pace else {},
            domain_paces=dict.fromkeys(domains, scenario.domain_pace) if scenario.domain_pace else {},
            sender_id=process.name,
            randomness=chance_of(scenario.seed * 1_000 + self.born),
        )

    async def _sender_life(self, sender: Sender, process: Process) -> None:
        stop = asyncio.Event()
        process.on_leave = stop.set
        await sender.run(stop)
        process.kill()  # it ended in peace

    def _sender_died(self, machine: Machine) -> None:
        self.counts["deaths"] += 1
        seconds = self.world.random.choice((0.01, 0.3, 2.0))
        self.world.after(seconds, partial(self._start_sender, machine))

    def _start_office(self) -> None:
        self.born += 1
        process = Process(self.office, f"planner{self.born}")
        if self.scenario.planner_dies and not self.calm:
            process.kill_at_step = self.world.random.randrange(10, 300)
            process.on_death = lambda: self.world.after(self.world.random.uniform(0.1, 2.0), self._start_office)
        bus = SimBus(self.network, process, self.board)
        office = Office(bus, process, chance_of(self.scenario.seed * 1_000 + self.born), self._run_closed)
        process.loop.start(office.work(self.files))

    # --- faults ---

    def _fault(self, fault: Fault) -> None:
        if self.calm:
            return
        self.counts[fault.kind] += 1
        self.world.say("fault", fault.kind, seconds=round(fault.seconds, 3))
        chance = self.world.random
        machine = chance.choice(self.machines)
        now = self.world.now
        until = now + fault.seconds
        if fault.kind == "crash_bus":
            self.network.crash(fault.seconds, fault.dice)
            if fault.dice > _CONSUMERS_LOST_FROM:
                self.network.server.forget_durables()
        elif fault.kind == "relay_down":
            self.relay.down_until = until
        elif fault.kind == "cut_bus":
            machine.cut_from_bus_until = until
        elif fault.kind == "cut_relay":
            machine.cut_from_relay_until = until
        elif fault.kind == "disk_full":
            machine.disk_full_until = until
        elif fault.kind == "jump_clock":
            machine.wall_seconds += chance.choice((-3_600.0, 3_600.0, -2.0, 2.0))
        elif fault.kind == "reboot":
            self._reboot(machine)
        else:
            self._trouble(fault, machine)

    def _trouble(self, fault: Fault, machine: Machine) -> None:
        """What befalls one process."""
        living = machine.living()
        if not living:
            return
        process = self.world.random.choice(living)
        steps = process.steps + 1 + int(fault.dice * fault.dice * 400)
        if fault.kind == "kill":
            process.kill()
        elif fault.kind == "kill_soon":
            process.kill_at_step = steps
        elif fault.kind == "pause":
            process.pause(fault.seconds)
        elif fault.kind == "pause_soon":
            process.pause_at_step, process.pause_seconds = steps, fault.seconds
        elif fault.kind == "leave" and process.on_leave is not None:
            process.loop.deliver(process.on_leave)

    def _reboot(self, machine: Machine) -> None:
        self.disks[machine.name].lose_power()
        machine.boots += 1
        for process in machine.living():
            process.kill()

    def _calm_down(self) -> None:
        """End all faults; whoever is paused wakes up soon, and every machine has a sender."""
        self.calm = True
        self.network.weather = Weather(latency_seconds=_CALM_LATENCY_SECONDS)
        self.relay.manners = Manners(latency_seconds=_CALM_LATENCY_SECONDS)
        self.relay.down_until = self.network.down_until = 0.0
        for machine in self.machines:
            machine.cut_from_bus_until = machine.cut_from_relay_until = machine.disk_full_until = 0.0
            machine.wall_seconds = 0.0
            for process in machine.living():
                process.kill_at_step = process.pause_at_step = 1 << 60
            self._start_sender(machine)
        for process in self.office.living():
            process.kill_at_step = 1 << 60

    # --- the end ---

    def _all_closed(self) -> bool:
        return self._open_runs == 0

    def _run_closed(self) -> None:
        self._open_runs -= 1

    def _was_stopped(self, run_id: str) -> bool:
        return any(file.stopped for file in self.files if file.plan.run_id == run_id)

    def _check_programs(self) -> None:
        if not self._all_closed():
            open_runs = [(file.plan.number, file.book.pending) for file in self.files if not file.closed]
            self.world.violated("liveness", f"runs (number, pending) {open_runs} did not come to rest")
        for machine in (self.office, *self.machines):
            for process in machine.processes:
                for failure in (*process.loop.failures, *process.loop.failed_tasks()):
                    self.world.violated("program", f"{process.name}: {failure}")

    def _check_punctual(self) -> None:
        """Where nothing bad happens a run begins on its second: nothing but the bus and a sender is needed."""
        for file in self.files:
            late_seconds = file.book.started_at - file.plan.due_at
            if not file.plan.acts and late_seconds > _PUNCTUAL_SECONDS:
                self.world.violated("I5", f"run {file.plan.number} began {late_seconds:.3f} s late in a calm world")

    def _stored(self, message: Stored) -> None:
        self.judge.stored(message)
        self.board.stored(message)


class _UnhurriedSigner:
    """Signs nothing, and takes its time, as threads do."""

    def __init__(self, process: Process, seconds: float) -> None:
        self._process = process
        self._seconds = seconds

    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        """Return the messages as they are, a moment later."""
        await asyncio.sleep(self._seconds * self._process.world.random.random())
        return list(contents)


def _unhurried(process: Process, seconds: float) -> SignerOf:
    signer = _UnhurriedSigner(process, seconds)
    return lambda _sender_address: signer


class _PlainRenderer:
    """Templates that say from which seal a message is."""

    def render(self, values: Mapping[str, Any]) -> Rendered:
        """Return a message that names its seal; raises Unrenderable for those who are marked as unfit."""
        if "unfit" in values:
            raise Unrenderable("guest_name", "missing")
        return Rendered(f"seal-{values['seal']}", "", "text")


def _renderer(subject_template: str, html_template: str, text_template: str) -> Renderer:
    return _PlainRenderer()
