"""Whose turn it is within one batch: who is ready, and who rests after a temporary answer. Pure.

Each recipient has a back-off of their own, so that one domain's grey list holds up nobody else in the batch.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from todoku.delivery.engine.journal import Rest
from todoku.kernel.retry import BackOff


@dataclass(frozen=True, slots=True)
class RetryRules:
    """immediate: so many quick retries after `quick`, all later ones after `slow` (Postfix, RFC 5321 4.5.4.1)."""

    immediate: int
    quick: BackOff
    slow: BackOff
    randomness: random.Random

    def wait_seconds(self, tries: int) -> float:
        """Return how long to wait after so many temporary answers."""
        if tries <= self.immediate:
            return self.quick.wait_seconds(tries - 1, randomness=self.randomness)
        return self.slow.wait_seconds(tries - 1 - self.immediate, randomness=self.randomness)


class Agenda:
    """All of a batch's pending recipients, by index."""

    __slots__ = ("_asleep", "_ready", "_rests", "_rules")

    def __init__(self, pending: Iterable[int], resting: Iterable[Rest], rules: RetryRules, now_utc: datetime) -> None:
        """resting: as the journal's last line says; a rest that a clock set too far ahead is cut to the longest.

        Who rests in that line and was settled since (in the window of a sender that died) is not asked again.
        """
        self._rules = rules
        waiting = list(pending)
        known = set(waiting)
        latest_utc = now_utc + timedelta(seconds=rules.slow.cap_seconds)
        self._rests = {
            one.index: Rest(one.index, one.tries, min(one.until_utc, latest_utc))
            for one in resting
            if one.index in known
        }
        self._asleep = set(self._rests)
        self._ready = [index for index in waiting if index not in self._asleep]

    def __bool__(self) -> bool:
        """Tell whether anybody is ready or asleep."""
        return bool(self._ready or self._asleep)

    @property
    def ready(self) -> Sequence[int]:
        """Return who may be asked now, in order."""
        return self._ready

    @property
    def rests(self) -> list[Rest]:
        """Return everybody pending who had a temporary answer, for the journal."""
        return list(self._rests.values())

    def wake(self, now_utc: datetime) -> None:
        """Make those ready whose rest is over."""
        if self._asleep:
            # nobody was told to rest for longer than twice the longest rest: the clock was set back since
            impossible_utc = now_utc + timedelta(seconds=2 * self._rules.slow.cap_seconds)
            awake = sorted(
                index for index in self._asleep if not now_utc < self._rests[index].until_utc <= impossible_utc
            )
            self._asleep.difference_update(awake)
            self._ready += awake

    def take(self, count: int) -> list[int]:
        """Take the next so many from those who are ready."""
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def take_these(self, indexes: Collection[int]) -> None:
        """Take these from those who are ready."""
        chosen = set(indexes)
        self._ready = [index for index in self._ready if index not in chosen]

    def put_back(self, indexes: Iterable[int]) -> None:
        """Let these be ready again, first of all."""
        self._ready = [*indexes, *self._ready]

    def rest(self, index: int, now_utc: datetime, *, counted: bool = True) -> None:
        """Let a recipient rest after a temporary answer. counted False: it was about the relay, not the recipient."""
        before = self._rests.get(index)
        tries = (before.tries if before is not None else 0) + counted
        wait = self._rules.wait_seconds(max(tries, 1))
        self._rests[index] = Rest(index, tries, now_utc + timedelta(seconds=wait))
        self._asleep.add(index)

    def settle(self, indexes: Iterable[int]) -> None:
        """Forget the tries of recipients who have a terminal state."""
        if self._rests:
            for index in indexes:
                self._rests.pop(index, None)

    def seconds_until_next(self, now_utc: datetime) -> float:
        """Return how long until the first rest is over; 0 when somebody is ready.

        Never longer than the longest rest: a clock that was set back by an hour must not make a batch wait for one.
        """
        if self._ready or not self._asleep:
            return 0.0
        seconds = (min(self._rests[index].until_utc for index in self._asleep) - now_utc).total_seconds()
        return min(max(0.0, seconds), self._rules.slow.cap_seconds)
