"""What a sender holds in memory of KV `runs` and `stops`, kept true by watches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from todoku.bus.buckets import Watch
from todoku.bus.connection import Bus
from todoku.bus.errors import KeyExists, RevisionConflict
from todoku.bus.streams import RUNS_BUCKET, STOPS_BUCKET
from todoku.delivery.engine.codec import decode_order, encode_order
from todoku.delivery.errors import UnreadablePayload
from todoku.delivery.types import RunOrder
from todoku.kernel.addresses import comparable_address

log = structlog.get_logger(__name__)

Decided = Callable[[], Awaitable[RunOrder | None]]

GO = "sealed"
PAUSED = "paused"
STOPPED = "stopped"


async def pass_on_order(bus: Bus, run_id: str, decided: Decided) -> RunOrder | None:
    """Bring a run's entry in KV `runs` to what is decided; return that order, None when nothing was to be passed on.

    decided: reads what is decided now, None when the run is over; asked after the entry, which is written under its
    revision. Every decision raises the order's version, so it is written even when it says what the entry says: a
    planner that stands still on an older decision, or that died with its write on the way, then loses that write.
    None also when another planner wrote meanwhile; ask again. Raises the bus's errors and those of decided.
    """
    bucket = bus.bucket(RUNS_BUCKET)
    entry = await bucket.get(run_id)
    order = await decided()
    if order is None or (entry is not None and _says(entry.value, order)):
        return order
    try:
        if entry is not None:
            await bucket.update(run_id, encode_order(order), entry.revision)
            return order
        revision = await bucket.create(run_id, encode_order(order))
    except (KeyExists, RevisionConflict):
        return None
    if await decided() is None:  # it was closed in between, and nobody would take it off the board again
        await bucket.delete_revision(run_id, revision)
        return None
    return order


def _says(entry: bytes, order: RunOrder) -> bool:
    try:
        return decode_order(entry) == order
    except UnreadablePayload:
        return False


async def remove_order(bus: Bus, run_id: str) -> None:
    """Take a run off the board; senders forget it within moments. Removing nothing is no error."""
    await bus.bucket(RUNS_BUCKET).delete(run_id)


async def put_stop(bus: Bus, project_id: str, address: str, reason: str) -> None:
    """Tell all senders that this address must not be mailed any more; counts for messages not handed over yet."""
    await bus.bucket(STOPS_BUCKET).put(stop_key(project_id, address), reason.encode())


async def remove_stop(bus: Bus, project_id: str, address: str) -> None:
    """Take the stop back, when the person agreed again or a new seal knows of it."""
    await bus.bucket(STOPS_BUCKET).delete(stop_key(project_id, address))


def stop_key(project_id: str, address: str) -> str:
    """Return the key of an address in KV `stops`: hashed, because not every address can be a key."""
    return f"{project_id}.{hashlib.sha256(comparable_address(address).encode()).hexdigest()[:40]}"


class RunBook:
    """The active runs. on_change is called after each change, so that a waiting sender looks again."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._orders: dict[str, RunOrder] = {}  # by run id
        self._run_of_key: dict[str, str] = {}
        self.stopped: set[str] = set()  # runs that a person stopped; looked at before each message
        self._on_change = on_change
        self._watch: Watch | None = None

    async def start(self, bus: Bus) -> None:
        """Read all present orders and go on watching; raises BusUnavailable."""
        self._watch = await bus.bucket(RUNS_BUCKET).watch(self._take)

    async def stop(self) -> None:
        """End the watch."""
        if self._watch is not None:
            await self._watch.stop()

    def get(self, run_id: str) -> RunOrder | None:
        """Return the run's order as it stands now, None when the run is off the board."""
        return self._orders.get(run_id)

    def orders(self) -> list[RunOrder]:
        """Return all orders, whatever their state."""
        return list(self._orders.values())

    def next_due(self, now_utc: datetime) -> datetime | None:
        """Return the nearest due time that is still to come."""
        return min((order.due_at_utc for order in self._orders.values() if order.due_at_utc > now_utc), default=None)

    def _take(self, key: str, value: bytes | None) -> None:
        if value is None:
            run_id = self._run_of_key.pop(key, "")
            self._orders.pop(run_id, None)
            self.stopped.discard(run_id)
        else:
            try:
                order = decode_order(value)
            except UnreadablePayload as error:
                log.error("delivery.order_unreadable", key=key, error=str(error))
                return
            self._run_of_key[key] = order.run_id
            self._orders[order.run_id] = order
            if order.state == STOPPED:
                self.stopped.add(order.run_id)
            else:
                self.stopped.discard(order.run_id)
        self._on_change()


class StopBook:
    """Suppressions newer than the seals, by project and hashed address."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._watch: Watch | None = None

    async def start(self, bus: Bus) -> None:
        """Read all present stops and go on watching; raises BusUnavailable."""
        self._watch = await bus.bucket(STOPS_BUCKET).watch(self._take)

    async def stop(self) -> None:
        """End the watch."""
        if self._watch is not None:
            await self._watch.stop()

    def __bool__(self) -> bool:
        """Tell whether there is any stop at all."""
        return bool(self._reasons)

    def reason(self, project_id: str, address: str) -> str:
        """Return why the address must not be mailed, "" when it may."""
        if not self._reasons:
            return ""
        return self._reasons.get(stop_key(project_id, address), "")

    def _take(self, key: str, value: bytes | None) -> None:
        if value is None:
            self._reasons.pop(key, None)
        else:
            self._reasons[key] = value.decode("utf-8", "replace") or "stopped"


async def wait_for_change(changed: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await changed.wait()
    except TimeoutError:
        return
