"""The lease on one delivered batch: renewed while work goes on, and known to be over by one's own clock."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import structlog

from todoku.bus.consumers import Delivered
from todoku.bus.errors import BusError
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)


class Lease:
    """Tell the bus every third of the lease that work goes on; `expired` by the monotonic clock, pauses included.

    The lease saves work, it fences nothing: that is done by the sequence of the journal.
    """

    def __init__(self, delivered: Delivered, clock: Clock, lease_seconds: float) -> None:
        self._delivered = delivered
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._until_seconds = clock.monotonic_seconds() + lease_seconds
        self._renewing: asyncio.Task[None] | None = None
        self._now_seconds = clock.monotonic_seconds

    @property
    def expired(self) -> bool:
        """Tell whether another sender may have the batch by now."""
        return self._now_seconds() >= self._until_seconds

    async def __aenter__(self) -> Self:
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        renewing, self._renewing = self._renewing, None  # kept, it would be a circle with all of the batch in it
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            asked_seconds = self._clock.monotonic_seconds()
            if self.expired:
                return  # a paused process woke up: what another sender owns is not asked for again
            try:
                await self._delivered.extend()
            except BusError as error:
                log.warning("delivery.lease_not_renewed", error=error.what)
            else:
                self._until_seconds = asked_seconds + self._lease_seconds
