"""Machines with clocks of their own, and processes that can be paused and killed between any two steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from todoku.delivery.simulation.errors import ProcessKilled
from todoku.delivery.simulation.loop import SimLoop
from todoku.delivery.simulation.world import World

BEGIN_UTC = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
_NEVER = 1 << 60


class Machine:
    """One machine. rate: how fast its clocks go; wall_seconds: how far its wall clock is off; boots: restarts."""

    def __init__(self, world: World, name: str, *, rate: float = 1.0, wall_seconds: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.rate = rate
        self.wall_seconds = wall_seconds
        self.boots = 1
        self.cut_from_bus_until = 0.0
        self.cut_from_relay_until = 0.0
        self.disk_full_until = 0.0
        self.processes: list[Process] = []
        self._uptime_seconds = world.random.uniform(0.0, 10_000.0)

    def monotonic_at(self, true_time: float) -> float:
        """Return what the monotonic clock shows at a true time."""
        return self._uptime_seconds + true_time * self.rate

    def true_time_of(self, monotonic_seconds: float) -> float:
        """Return the true time at which the monotonic clock shows this."""
        return (monotonic_seconds - self._uptime_seconds) / self.rate

    def utc_at(self, true_time: float) -> datetime:
        """Return what the wall clock shows at a true time."""
        return BEGIN_UTC + timedelta(seconds=true_time * self.rate + self.wall_seconds)

    def living(self) -> list[Process]:
        """Return the processes that run or are paused."""
        return [process for process in self.processes if not process.dead]


class Process:
    """One process: an event loop on a machine.

    Every port of the code under simulation calls `step` before and after each effect. There the process may be
    killed (ProcessKilled flies), or paused: then its own time jumps to the moment it is resumed, so that all it does
    and reads from here on happens then.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.world = machine.world
        self.name = name
        self.dead = False
        self.died_at = 0.0
        self.busy_until = 0.0
        self.steps = 0
        self.kill_at_step = _NEVER
        self.pause_at_step = _NEVER
        self.pause_seconds = 0.0
        self.on_death: Callable[[], None] | None = None
        self.on_leave: Callable[[], None] | None = None  # asks it to end in peace
        self.loop = SimLoop(self)  # type: ignore[abstract]  # it has no I/O: what is missing is never asked for
        machine.processes.append(self)

    @property
    def now(self) -> float:
        """Return the true time at which this process does what it does now."""
        world_now = self.world.now
        return self.busy_until if self.busy_until > world_now else world_now

    def now_utc(self) -> datetime:
        """Return the wall clock; with `monotonic_seconds` this makes a process a kernel Clock."""
        return self.machine.utc_at(self.now)

    def monotonic_seconds(self) -> float:
        """Return the monotonic clock of the machine."""
        return self.machine.monotonic_at(self.now)

    def true_time_of(self, monotonic_seconds: float) -> float:
        """Return the true time at which that clock shows this."""
        return self.machine.true_time_of(monotonic_seconds)

    def step(self) -> None:
        """Take one step, or die before it, or be paused before it."""
        if self.dead:
            raise ProcessKilled(self.name)
        self.steps += 1
        if self.steps >= self.pause_at_step:
            self.pause_at_step = _NEVER
            self.pause(self.pause_seconds)
        if self.steps >= self.kill_at_step:
            self.kill()
            raise ProcessKilled(self.name)

    def count_callback(self) -> None:
        """Count one callback of the event loop; the process may die before it."""
        self.steps += 1
        if self.steps >= self.kill_at_step:
            self.kill()

    def pause(self, seconds: float) -> None:
        """Stop it for so many true seconds, as SIGSTOP and SIGCONT do."""
        self.busy_until = self.now + seconds
        self.world.say(self.name, "paused", seconds=round(seconds, 3))

    @property
    def paused(self) -> bool:
        """Tell whether it stands still."""
        return self.busy_until > self.world.now

    def kill(self) -> None:
        """End it at once: nothing of it runs any more, not even a `finally`."""
        if self.dead:
            return
        self.dead = True
        self.died_at = self.world.now
        self.world.say(self.name, "killed", step=self.steps)
        if self.on_death is not None:
            self.on_death()

    def then(self, when: float, what: Callable[[], None]) -> None:
        """Let an effect of this process leave it at a time of its own; a kill before that takes it back."""
        if when <= self.world.now:
            what()
        else:
            self.world.at(when, lambda: None if self.dead else what())
