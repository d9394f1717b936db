"""Who collects a source: one process at a time, and another when that one is silent.

STRATEGY  The owner writes the source's key in KV `owners` every third of the lease, compare-and-set. Another process
          takes over when the key's revision stood still for a lease and a half by its own monotonic clock, so clocks
          of two machines are never compared; at once when the owner was a process of this machine that is gone. It
          saves work and fences nothing: two collectors of one source make
          second arrivals with the same vault key, which the reader counts as `duplicate`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, KeyExists, RevisionConflict
from todoku.bus.streams import OWNERS_BUCKET
from todoku.kernel.clock import Clock
from todoku.kernel.waiting import rest

log = structlog.get_logger(__name__)

LEASE_SECONDS: Final = 30.0


class Owner(msgspec.Struct, frozen=True):
    """One process, so that another on the same machine can tell whether it is gone.

    machine: one boot of one kernel and one space of process ids (a container has its own). started: in clock ticks
    since boot, because ids are used again.
    """

    machine: str
    pid: int
    started: int

    @classmethod
    def this_process(cls) -> Owner:
        """Return the process that asks."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").stat().st_ino
        return cls(f"{boot}/{space}", os.getpid(), started(os.getpid()))

    @property
    def is_gone(self) -> bool:
        """Tell whether it ran on this machine and does not any more; False for what can't be known from here."""
        return self.machine == Owner.this_process().machine and started(self.pid) != self.started


def started(pid: int) -> int:
    """Return when a process began, in ticks since boot; -1 when there is none, or only what its parent must bury."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    state, *rest = words.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(rest[18])  # proc(5): field 22 of the line


class Ownership:
    """The right to collect one source."""

    def __init__(self, bus: Bus, clock: Clock, key: str, owner: Owner, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """key: `<project>.<source>`."""
        self._bucket = bus.bucket(OWNERS_BUCKET)
        self._clock = clock
        self._key = key
        self._value = msgspec.msgpack.encode(owner)
        self._lease_seconds = lease_seconds
        self._revision = 0
        self._seen_revision = -1
        self._seen_seconds = 0.0

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait until this process is the owner; False when stop came first. A bus that is away is waited for."""
        while not stop.is_set():
            try:
                if await self._try():
                    log.info("source.owned", key=self._key)
                    return True
            except (RevisionConflict, KeyExists):
                continue  # another was quicker: look at what it wrote
            except BusError as error:
                log.warning("source.owner_unknown", key=self._key, error=error.what)
            await rest(stop, self._lease_seconds / 3)
        return False

    async def keep(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        """Renew until stop; set lost when another process has taken the source."""
        while not stop.is_set():
            await rest(stop, self._lease_seconds / 3)
            try:
                self._revision = await self._bucket.update(self._key, self._value, self._revision)
            except RevisionConflict:
                log.warning("source.owner_lost", key=self._key, todo="nothing: another process collects it now")
                lost.set()
                return
            except BusError as error:
                log.warning("source.owner_not_renewed", key=self._key, error=error.what)

    async def release(self) -> None:
        """Let another process have it at once; a bus that is away makes it wait for the lease."""
        try:
            await self._bucket.delete_revision(self._key, self._revision)
        except BusError as error:
            log.info("source.owner_not_released", key=self._key, error=error.what)

    async def _try(self) -> bool:
        entry = await self._bucket.get(self._key)
        if entry is None:
            self._revision = await self._bucket.create(self._key, self._value)
            return True
        now_seconds = self._clock.monotonic_seconds()
        if _is_gone(entry.value):
            self._revision = await self._bucket.update(self._key, self._value, entry.revision)
            return True
        if entry.revision != self._seen_revision:
            self._seen_revision, self._seen_seconds = entry.revision, now_seconds
            return False
        if now_seconds - self._seen_seconds < 1.5 * self._lease_seconds:
            return False
        self._revision = await self._bucket.update(self._key, self._value, entry.revision)
        return True


def _is_gone(value: bytes) -> bool:
    try:
        return msgspec.msgpack.decode(value, type=Owner).is_gone
    except msgspec.MsgspecError:
        return False
