"""What one seed plays: how many machines, which runs, how bad the weather, which faults. All drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from todoku.delivery.simulation.network import Weather
from todoku.delivery.simulation.relay import Manners
from todoku.delivery.simulation.world import chance_of

FAULTS = (
    "kill",
    "kill_soon",
    "pause",
    "pause_soon",
    "reboot",
    "cut_bus",
    "cut_relay",
    "crash_bus",
    "jump_clock",
    "relay_down",
    "disk_full",
    "leave",
)
_BIG_RUN_ONE_IN = 400


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run. All times are true seconds from the beginning. acts: when the planner posts which state.

    refresh_at: when a newer seal replaces the first one, if the planner does not know yet that the run has begun.
    """

    number: int
    people: int
    left_out: int
    unfit: int
    batch_size: int
    seal_at: float
    due_at: float
    finish_after: float
    acts: tuple[tuple[float, str], ...]
    stops: tuple[tuple[float, int], ...]  # when, which person
    pace_per_second: float = 0.0
    refresh_at: float | None = None
    came: int = 0
    went: int = 0

    def people_of(self, seal: int) -> range:
        """Return the numbers of the people of a seal: in the second the first few have gone and some have come."""
        return range(self.people) if seal == 1 else range(min(self.went, self.people), self.people + self.came)

    @property
    def run_id(self) -> str:
        """Return an id as runs have them."""
        return f"0193{self.number:04x}0000700080000000{self.number:08x}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something bad. seconds: how long it lasts, where it lasts. dice: for what the kind has to choose."""

    at: float
    kind: str
    seconds: float
    dice: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One seed's play. calm_at: then all faults are over and everybody is alive."""

    seed: int
    machines: int
    clustered: bool
    senders_each: int
    connections: int
    depth: int
    window: int
    first_window: int
    batches_at_once: int
    visits_at_once: int
    arm_seconds: float
    signing_seconds: float
    way_pace: float
    domain_pace: float
    lease_seconds: float
    immediate_retries: int
    patience_seconds: float
    rates: tuple[float, ...]
    runs: tuple[RunPlan, ...]
    faults: tuple[Fault, ...]
    weather: Weather
    manners: Manners
    calm_at: float
    planner_dies: bool
    peaceful: bool


def draw(seed: int) -> Scenario:
    """Draw a scenario; the same seed gives the same."""
    chance = chance_of(seed * 7919 + 1)
    calm = chance.random() < 0.04  # nothing bad happens: this is how punctuality is seen
    calm_at = 1.0 if calm else chance.choice((4.0, 8.0, 8.0, 16.0)) * chance.uniform(0.7, 1.0)
    machines = chance.choice((1, 1, 2, 2, 3))
    big = chance.randrange(_BIG_RUN_ONE_IN) == 0
    return Scenario(
        seed=seed,
        machines=machines,
        clustered=chance.random() < 0.4,
        senders_each=chance.choice((1, 1, 2) if machines > 1 else (1, 2, 2)),
        connections=chance.choice((1, 1, 2, 3)),
        depth=chance.choice((1, 2, 4)),
        window=100 if big else chance.choice((1, 2, 3, 4, 6)),
        first_window=20 if big else chance.choice((1, 2, 5)),
        batches_at_once=chance.choice((1, 2, 3)),
        visits_at_once=chance.choice((1, 2, 256, 256)),
        arm_seconds=chance.choice((0.3, 30.0, 30.0)),
        signing_seconds=chance.choice((0.0, 0.0, 0.02)),
        way_pace=0.0 if big or chance.random() > 0.1 else 25.0,
        domain_pace=0.0 if big or chance.random() > 0.1 else 15.0,
        lease_seconds=chance.choice((0.6, 1.5, 3.0)),
        immediate_retries=chance.choice((0, 1, 2)),
        patience_seconds=chance.choice((0.5, 2.0, 5.0)),
        rates=tuple(1.0 + (0.0 if calm else chance.choice((0.0, 0.0, -0.05, 0.05, 0.001))) for _ in range(machines)),
        runs=tuple(_run(chance, number, calm_at, big=big) for number in range(1, chance.choice((1, 1, 2, 3)) + 1)),
        faults=() if calm else _faults(chance, calm_at),
        weather=Weather(latency_seconds=0.002) if calm else _weather(chance),
        manners=Manners() if calm else _manners(chance),
        calm_at=calm_at,
        planner_dies=not calm and chance.random() < 0.2,
        peaceful=calm,
    )


def _run(chance: random.Random, number: int, calm_at: float, *, big: bool) -> RunPlan:
    people = chance.randrange(200, 1_200) if big else chance.choice((0, 1, 2, 5, 9, 14, 20, 30))
    due_at = chance.uniform(1.0, 3.0)
    acts: list[tuple[float, str]] = []
    when = due_at + chance.uniform(-0.5, 1.0)
    while chance.random() < 0.3:
        acts.append((when, "paused"))
        when += chance.uniform(0.0, 2.0)
        acts.append((when, "sealed"))
        when += chance.uniform(0.0, 2.0)
    if chance.random() < 0.1:
        acts.append((when, "stopped"))
    refreshed = chance.random() < 0.35
    said_stop = chance.choice((0, 0, 1, 3)) if people else 0
    return RunPlan(
        number=number,
        people=people,
        left_out=chance.choice((0, 0, 2)),
        unfit=chance.choice((0, 0, 1)) if people else 0,
        batch_size=500 if big else chance.choice((2, 5, 10, 20)),
        seal_at=chance.uniform(0.0, 0.5),
        due_at=due_at,
        finish_after=chance.choice((3_600.0, 3_600.0, calm_at * 0.7, 30.0)),
        acts=tuple(acts),
        stops=tuple((chance.uniform(0.0, due_at + 3.0), chance.randrange(people)) for _ in range(said_stop)),
        pace_per_second=0.0 if big or chance.random() > 0.15 else 15.0,
        refresh_at=due_at + chance.choice((-0.5, 0.0, 0.05, 0.3)) + chance.uniform(-0.1, 0.1) if refreshed else None,
        came=chance.choice((0, 1, 6)),
        went=chance.choice((0, 1, 3)),
    )


def _faults(chance: random.Random, calm_at: float) -> tuple[Fault, ...]:
    """A few kinds of faults only, and these often: their combinations are what a seed is for."""
    kinds = [kind for kind in FAULTS if chance.random() < 0.3] or ["kill_soon"]
    count = chance.choice((1, 2, 4, 7, 11))
    return tuple(
        Fault(
            at=chance.uniform(0.3, calm_at),
            kind=chance.choice(kinds),
            seconds=chance.choice((0.05, 0.5, 2.0, 6.0)) * chance.uniform(0.5, 1.5),
            dice=chance.random(),
        )
        for _ in range(count)
    )


def _weather(chance: random.Random) -> Weather:
    return Weather(
        latency_seconds=chance.choice((0.001, 0.01, 0.1)),
        lost=chance.choice((0.0, 0.0, 0.01, 0.05)),
        late=chance.choice((0.0, 0.0, 0.01)),
        latest_seconds=chance.choice((1.0, 8.0)),
        stale=chance.choice((0.0, 0.0, 0.1, 0.5)),
    )


def _manners(chance: random.Random) -> Manners:
    return Manners(
        latency_seconds=chance.choice((0.001, 0.02, 0.2)),
        temporary=chance.choice((0.0, 0.0, 0.1, 0.4)),
        permanent=chance.choice((0.0, 0.05)),
        drop_before=chance.choice((0.0, 0.0, 0.1)),
        drop_after=chance.choice((0.0, 0.0, 0.05)),
        door_before_end=chance.choice((0.0, 0.5, 1.0)),
        slow=chance.choice((0.0, 0.0, 0.1)),
    )
