"""Whose turn it is among the runs. Pure.

Purpose     deficit round robin, window by window: every run that may work has a visit of its own at once, whatever
            the others do; spare capacity goes to further batches of the runs in turn.
How         each visit hands one window at a time to the transport, whose queue is fair between runs by octets. So the
            quantum is a window, and the deficit is kept where the octets are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

_FEW_VISITS = 8
_MOST_IDLE = 8  # visits of one run that may wait in memory
_SMALLEST_WINDOW = 10


class Turn(Protocol):
    """What a visit asks about the others."""

    @property
    def window(self) -> int:
        """Return how many messages the next window may have."""
        ...

    @property
    def may_idle(self) -> bool:
        """Tell whether this visit may wait where it is; else its batch goes back to the bus for a while."""
        ...

    def give_back(self) -> bool:
        """Tell whether a run without any visit waits for this one's place; asks one visit for each such run."""
        ...

    def idle(self, *, run_may_go_on: bool) -> AbstractContextManager[None]:
        """Do not count this visit as work while it waits. run_may_go_on: other batches of its run need not wait."""
        ...


class Turns:
    """Count visits and choose who begins the next one.

    batches_at_once: so many visits keep one way out busy. visits_at_once: most visits in all, for the memory's sake.
    """

    def __init__(self, batches_at_once: int, visits_at_once: int, window: int) -> None:
        self._batches_at_once = batches_at_once
        self._visits_at_once = visits_at_once
        self._window = window
        self._order: list[str] = []
        self._visits: Counter[str] = Counter()  # by run, those that wait included
        self._working: Counter[str] = Counter()  # by run, without those that wait
        self._working_on: Counter[str] = Counter()  # by way out
        self.total = 0
        self._waiting = 0  # runs that could work and have no visit, when all places were taken
        self._leaving = 0  # visits that were asked to make room for them

    def add(self, run_id: str) -> None:
        """Let a run take part; who is new goes first."""
        if run_id not in self._order:
            self._order.insert(0, run_id)

    def remove(self, run_id: str) -> None:
        """Forget a run; visits under way end by themselves."""
        if run_id in self._order:
            self._order.remove(run_id)

    def visits(self, run_id: str) -> int:
        """Return how many visits this run has."""
        return self._visits[run_id]

    def next(self, way_of: Callable[[str], str | None]) -> str | None:
        """Return the run that may begin a visit now, None when none may.

        way_of: name of the way out of a run that could work now, None for a run that could not.
        """
        self._waiting = 0
        full = self.total >= self._visits_at_once
        may_share = not full and self._has_spare_capacity()
        spare: int | None = None
        for position, run_id in enumerate(self._order):
            if run_id in self._working and (spare is not None or not may_share):
                continue
            if full and run_id in self._visits:
                continue
            way = way_of(run_id)
            if way is None:
                continue
            if full:
                self._waiting += 1
            elif run_id not in self._working:
                return self._to_the_end(position)
            elif self._working_on[way] < self._batches_at_once:
                spare = position
        return None if spare is None else self._to_the_end(spare)

    def _has_spare_capacity(self) -> bool:
        return not self._working_on or min(self._working_on.values()) < self._batches_at_once

    @property
    def crowded(self) -> bool:
        """Tell whether runs wait for places that nobody was asked to leave yet."""
        return self._waiting > self._leaving

    def ask_to_leave(self) -> bool:
        """Tell a visit whether it must make room; the number of those who are asked is that of the runs that wait."""
        if not self.crowded:
            return False
        self._leaving += 1
        return True

    def begin(self, run_id: str, way: str) -> RunTurn:
        """Begin a visit; call `end` of what is returned, whatever happens."""
        self.total += 1
        self._visits[run_id] += 1
        self.count_work(run_id, way, 1)
        return RunTurn(self, run_id, way)

    def end(self, run_id: str, way: str, *, made_room: bool) -> None:
        """End a visit. made_room: it was asked to."""
        self.total -= 1
        if made_room:
            self._leaving -= 1
            self._waiting -= 1
        _change(self._visits, run_id, -1)
        self.count_work(run_id, way, -1)

    def count_work(self, run_id: str, way: str, change: int, *, of_run: bool = True) -> None:
        """Count a visit that begins or ceases to work, on its way out and, unless of_run is False, for its run."""
        if of_run:
            _change(self._working, run_id, change)
        _change(self._working_on, way, change)

    @property
    def window(self) -> int:
        """Return how many messages a window may have: fewer when many runs share the memory and the wire."""
        if self.total <= _FEW_VISITS:
            return self._window
        return max(min(_SMALLEST_WINDOW, self._window), self._window * _FEW_VISITS // self.total)

    def _to_the_end(self, position: int) -> str:
        run_id = self._order.pop(position)
        self._order.append(run_id)
        return run_id


class RunTurn:
    """One visit's place among the others."""

    __slots__ = ("_makes_room", "_run_id", "_turns", "_way")

    def __init__(self, turns: Turns, run_id: str, way: str) -> None:
        self._turns = turns
        self._run_id = run_id
        self._way = way
        self._makes_room = False

    @property
    def window(self) -> int:
        """Return how many messages the next window may have."""
        return self._turns.window

    @property
    def may_idle(self) -> bool:
        """Tell whether this visit may wait where it is: a few of a run's may, not all its batches."""
        return self._turns.visits(self._run_id) <= _MOST_IDLE and not self._turns.crowded

    def give_back(self) -> bool:
        """Tell whether a run without any visit waits for this one's place; asks one visit for each such run."""
        self._makes_room = self._makes_room or self._turns.ask_to_leave()
        return self._makes_room

    @contextmanager
    def idle(self, *, run_may_go_on: bool) -> Iterator[None]:
        """Do not count this visit as work while it waits. run_may_go_on: other batches of its run need not wait."""
        self._turns.count_work(self._run_id, self._way, -1, of_run=run_may_go_on)
        try:
            yield
        finally:
            self._turns.count_work(self._run_id, self._way, 1, of_run=run_may_go_on)

    def end(self) -> None:
        """End the visit."""
        self._turns.end(self._run_id, self._way, made_room=self._makes_room)


def _change(counter: Counter[str], key: str, change: int) -> None:
    counter[key] += change
    if not counter[key]:
        del counter[key]
