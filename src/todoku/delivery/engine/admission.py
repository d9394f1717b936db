"""Who of one batch may leave now: the paces of the run, of its way out and of the recipients' domains together.

A message leaves only when all its limits allow it; a domain that has to wait holds up nobody else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from todoku.delivery.engine.options import SenderOptions
from todoku.delivery.engine.pace import Limit, Paces, domain_limit, run_limit, transport_limit
from todoku.delivery.types import RunOrder

AddressOf = Callable[[int], str]

GATHER_SECONDS = 0.25  # a paced window waits so long to be worth a line in the journal


class Admission:
    """The limits of one batch under one order. address_of: the recipient's address, by index."""

    def __init__(self, paces: Paces, options: SenderOptions, order: RunOrder, address_of: AddressOf) -> None:
        self._paces = paces
        self._address_of = address_of
        self.order = order
        self._general: list[Limit] = []
        if order.pace_per_second > 0:
            self._general.append(run_limit(order.run_id, order.pace_per_second))
        transport_pace = options.transport_paces.get(order.transport, 0.0)
        if transport_pace > 0:
            self._general.append(transport_limit(order.transport, transport_pace))
        self._by_domain = {
            domain: domain_limit(domain, pace) for domain, pace in options.domain_paces.items() if pace > 0
        }
        self._domains: dict[int, Limit | None] = {}

    @property
    def limited(self) -> bool:
        """Tell whether there is any limit at all."""
        return bool(self._general or self._by_domain)

    def window(self, most: int) -> int:
        """Return how many messages a window is worth: what may leave while one gathers."""
        paced = [math.ceil(limit.per_second * GATHER_SECONDS) for limit in self._general]
        return max(1, min([most, *paced]))

    def choose(self, candidates: Iterable[int], most: int, prepared: Iterable[int]) -> list[int]:
        """Return who is worth preparing: no more of a limited domain than may leave soon, those prepared included."""
        if not self._by_domain:
            return [index for index, _ in zip(candidates, range(most), strict=False)]
        taken = Counter(limit for index in prepared if (limit := self._domain_of(index)) is not None)
        chosen: list[int] = []
        for index in candidates:
            if len(chosen) >= most:
                break
            limit = self._domain_of(index)
            if limit is not None:
                soon = max(self._paces.available(limit), math.ceil(limit.per_second * GATHER_SECONDS))
                if taken[limit] >= soon:
                    continue
                taken[limit] += 1
            chosen.append(index)
        return chosen

    def gather_seconds(self, count: int) -> float:
        """Return how long to wait so that a paced window is not smaller than it need be; 0 when it is full."""
        waits = [self._paces.seconds_until(limit, count) for limit in self._lacking(count)]
        return min(max(waits, default=0.0), GATHER_SECONDS)

    def admit(self, indexes: Sequence[int]) -> list[int]:
        """Return who may leave now, and use up that much of every limit."""
        room = min([len(indexes), *(self._paces.available(limit) for limit in self._general)])
        if room <= 0:
            return []
        left: dict[Limit, int] = {}
        admitted: list[int] = []
        used: Counter[Limit] = Counter()
        for index in indexes:
            if len(admitted) >= room:
                break
            limit = self._domain_of(index)
            if limit is not None:
                if limit not in left:
                    left[limit] = self._paces.available(limit)
                if left[limit] <= 0:
                    continue
                left[limit] -= 1
                used[limit] += 1
            admitted.append(index)
        for limit in self._general:
            used[limit] = len(admitted)
        for limit, count in used.items():
            self._paces.take(limit, count)
        return admitted

    def general_wait_seconds(self) -> float:
        """Return how long until the run and its way out may send at all; 0 when now."""
        return max((self._paces.seconds_until(limit, 1) for limit in self._lacking(1)), default=0.0)

    def domain_wait_seconds(self, indexes: Iterable[int]) -> float:
        """Return how long until the first of these may leave, by their domains."""
        limits = {limit for index in indexes if (limit := self._domain_of(index)) is not None}
        return min((self._paces.seconds_until(limit, 1) for limit in limits), default=0.0)

    def queue_seconds(self, indexes: Iterable[int]) -> float:
        """Return after how long a batch should come back of which these wait for their domains."""
        counts = Counter(limit for index in indexes if (limit := self._domain_of(index)) is not None)
        return min((self._paces.queue(limit, count) for limit, count in counts.items()), default=0.0)

    def _lacking(self, count: int) -> list[Limit]:
        return [limit for limit in self._general if self._paces.available(limit) < count]

    def _domain_of(self, index: int) -> Limit | None:
        if not self._by_domain:
            return None
        if index not in self._domains:
            domain = self._address_of(index).rpartition("@")[2].lower()
            self._domains[index] = self._by_domain.get(domain)
        return self._domains[index]
