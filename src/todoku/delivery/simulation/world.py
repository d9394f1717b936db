"""The world: one line of true time, one source of chance, one list of what happens next."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from todoku.delivery.simulation.errors import SimulationStuck

_MOST_EVENTS = 3_000_000  # a seed needs a few thousand; more means that something spins without time going on


class World:
    """Everything that is to happen, in the order of true time; what happens at one moment comes in random order."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.seed = seed
        self.now = 0.0
        self.random = chance_of(seed)
        self.traced = traced
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.events = 0
        self._heap: list[tuple[float, float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Let something happen at a true time, or now when that is past."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self.random.random(), self._count, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Let something happen so many true seconds from now."""
        self.at(self.now + seconds, what)

    def run(self, until: float, done: Callable[[], bool]) -> bool:
        """Go on until `done`, a violation, or the time; tell whether it was done. Raises SimulationStuck."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= until and not self.violations:
            self.now, _, _, what = pop(heap)
            self.events += 1
            what()
            if done():
                return True
            if self.events > _MOST_EVENTS:
                raise self._stuck()
        if not self.violations:
            self.now = max(self.now, until)
        return done()

    def may_go_on(self) -> bool:
        """Tell a process whether nothing else is to happen at this moment, so that its next round may follow at once.

        Raises SimulationStuck when it never stops.
        """
        self.events += 1
        if self.events > _MOST_EVENTS:
            raise self._stuck()
        return not self.violations and (not self._heap or self._heap[0][0] > self.now)

    def _stuck(self) -> SimulationStuck:
        return SimulationStuck(f"seed {self.seed}: {self.events:,} events and time stands at {self.now:.3f} s")

    def say(self, who: str, event: str, /, **details: Any) -> None:
        """Add a line to the trace; callers ask `traced` first where it would cost."""
        if self.traced:
            words = " ".join(f"{name}={value}" for name, value in details.items())
            self.trace.append(f"{self.now:10.4f}  {who:<12} {event} {words}".rstrip())

    def violated(self, invariant: str, what: str) -> None:
        """Note that an invariant does not hold; the world ends after this event."""
        self.violations.append(f"{invariant}: {what} (at {self.now:.4f} s)")
        self.say("judge", f"VIOLATION {invariant}", what=what)


def chance_of(seed: int) -> random.Random:
    """Return a source of chance that repeats itself."""
    return random.Random(seed)  # noqa: S311 - nothing secret: it must repeat itself
