"""A calm world for one program: to try on the made-up bus and relay what is tried on the real ones."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from todoku.delivery.simulation.bus import Board, SimBus
from todoku.delivery.simulation.machines import Machine, Process
from todoku.delivery.simulation.network import Network, Weather
from todoku.delivery.simulation.notes import Disk, SimAnswers
from todoku.delivery.simulation.relay import Attempt, Relay, SimTransport
from todoku.delivery.simulation.server import BusServer
from todoku.delivery.simulation.world import World
from todoku.delivery.types import Answer

T = TypeVar("T")

_LONGEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What a program finds in a calm world. transport and answers are those of its process.

    taken: addresses whose message the relay has, in order.
    """

    process: Process
    bus: SimBus
    transport: SimTransport
    answers: SimAnswers
    relay: Relay
    taken: list[str]


class _Taken:
    def __init__(self) -> None:
        self.addresses: list[str] = []

    def completing(self, attempt: Attempt) -> None:
        """Nothing is looked at."""

    def accepted(self, attempt: Attempt) -> None:
        """Remember who has it."""
        self.addresses.append(attempt.envelope.rcpt_to)

    def heard(self, attempt: Attempt, answer: Answer) -> None:
        """Nothing is looked at."""


def in_calm_world(program: Callable[[Bench], Coroutine[Any, Any, T]], *, seed: int = 0, clustered: bool = False) -> T:
    """Run a program to its end in a world where nothing breaks; raises what it raises, TimeoutError after 600 s."""
    world = World(seed)
    board = Board()
    network = Network(world, BusServer(board.stored, clustered=clustered), Weather(latency_seconds=0.002))
    machine = Machine(world, "calm")
    process = Process(machine, "program")
    taken = _Taken()
    relay = Relay(world, taken)
    bench = Bench(
        process,
        SimBus(network, process, board),
        SimTransport(relay, process, connections=2, depth=3, patience_seconds=5.0),
        SimAnswers(Disk(machine), process, process.name),
        relay,
        taken.addresses,
    )
    task = process.loop.start(program(bench))
    try:
        if not world.run(_LONGEST_SECONDS, task.done):
            raise TimeoutError("the program did not end")
        return task.result()
    finally:
        process.loop.dispose()
