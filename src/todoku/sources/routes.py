"""Which project an intake address belongs to, known without asking a database."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import msgspec
import structlog

from todoku.bus.buckets import Watch
from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import ADDRESSES_BUCKET
from todoku.kernel.retry import BackOff
from todoku.sources.types import Route

log = structlog.get_logger(__name__)

_BACK_OFF: Final = BackOff(base_seconds=0.2, cap_seconds=5.0)


class RouteBook:
    """The intake addresses in memory, kept fresh from KV `addresses`.

    Until the first load is complete `ready` is False, and the door has to put every mail off: an address that is only
    not loaded yet must not count as unknown. Once ready it stays so; with the bus away it knows what it last knew.
    """

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.bucket(ADDRESSES_BUCKET)
        self._routes: dict[str, Route] = {}
        self._loaded = asyncio.Event()
        self._watch: Watch | None = None
        self._loading: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Tell whether every address that was known at the start is loaded."""
        return self._loaded.is_set()

    async def start(self) -> None:
        """Begin loading, and return at once; trying goes on until it succeeds."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="route-book")

    async def until_ready(self, timeout_seconds: float) -> None:
        """Wait for the first complete load; raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            await self._loaded.wait()

    async def stop(self) -> None:
        """End the watch; what is known stays known. Idempotent."""
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.stop()

    def resolve(self, rcpt_to: str) -> Route | None:
        """Return what the address stands for, None when nobody owns it. Case and `+extension` do not matter.

        The domain is not looked at: which domain is ours is the door's to say.
        """
        local_part = local_part_of(rcpt_to)
        found = self._routes.get(local_part)
        if found is None and "+" in local_part:
            found = self._routes.get(local_part.partition("+")[0])
        return found

    async def _load(self) -> None:
        randomness = random.Random()  # noqa: S311  # spreads retries, guards nothing
        attempt = 0
        while True:
            try:
                self._watch = await self._bucket.watch(self._changed)
                break
            except BusError as error:
                log.warning("routes.not_loaded", attempt=attempt, error=str(error))
                await asyncio.sleep(_BACK_OFF.wait_seconds(attempt, randomness=randomness))
                attempt += 1
        self._loaded.set()
        log.info("routes.loaded", addresses=len(self._routes))

    def _changed(self, key: str, value: bytes | None) -> None:
        if value is None:
            self._routes.pop(key, None)
            return
        try:
            self._routes[key] = msgspec.msgpack.decode(value, type=Route)
        except msgspec.MsgspecError as error:
            # the old route stays: a value nobody can read is no reason to call a good address unknown
            log.error("routes.unreadable", address=key, error=str(error))


def local_part_of(address: str) -> str:
    """Return the part before the last @, case-folded; the whole text when there is no @."""
    local_part, at, _ = address.rpartition("@")
    return (local_part if at else address).casefold()
