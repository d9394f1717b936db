"""Paces: so many messages a second, over any number of senders.

Purpose     keep a run, a way out or a recipients' domain at its pace, however many senders work at it.
Reads       KV `paces`: for each limit the moment up to which its messages are given out.
Writes      the same, by compare-and-set, a slice of a quarter of a second (at least one message) at a time.
Guarantees  each message of a limit has its own moment, one after the other at the pace, given to one sender; it leaves
            within half a second from that moment or is forfeited. So in any t seconds at most pace x (t + 0.5) + 1
            messages leave, whatever the number of senders (GCRA, ITU-T I.371, with the burst of half a second). A
            sender that dies loses a slice. A bus that is away grants nothing: slower, never faster.
Known limits  the moments are wall clock: senders whose clocks differ by d seconds may together send pace x d more. A
            moment that lies further ahead than any sender could have put it (a clock that jumped) is not believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, KeyExists, RevisionConflict
from todoku.bus.streams import PACES_BUCKET
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

SLICE_SECONDS = 0.25
LATE_SECONDS = 0.5  # a message that has not left by then is forfeited
_AHEAD_SECONDS = 0.5  # a slice that begins later is left to others for now
_SKEW_SECONDS = 5.0  # clocks that differ by more are not to be trusted at all
_SHORTEST_WAIT_SECONDS = 0.005
_TRIES = 5
_TROUBLE = BackOff(base_seconds=0.2, cap_seconds=2.0)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
_EPSILON = 1e-6


class Limit(NamedTuple):
    """A pace that several senders share. key: in KV `paces`."""

    key: str
    per_second: float


def run_limit(run_id: str, per_second: float) -> Limit:
    """Return the limit of one run."""
    return Limit(f"run.{_token(run_id)}", per_second)


def transport_limit(name: str, per_second: float) -> Limit:
    """Return the limit of one way out."""
    return Limit(f"transport.{_token(name or 'default')}", per_second)


def domain_limit(domain: str, per_second: float) -> Limit:
    """Return the limit of one recipients' domain."""
    return Limit(f"domain.{_token(domain.lower())}", per_second)


@dataclass(slots=True)
class Slice:
    """Messages given to one sender: number i may leave from begin + i / pace on, for LATE_SECONDS. Pure."""

    begin_seconds: float
    per_second: float
    count: int
    used: int = 0

    def usable(self, now_seconds: float) -> int:
        """Return how many may leave now; those that are too late are gone."""
        since = (now_seconds - self.begin_seconds) * self.per_second + _EPSILON
        if since < 0:
            return 0
        gone = math.ceil(since - LATE_SECONDS * self.per_second - 2 * _EPSILON)
        self.used = min(self.count, max(self.used, gone))
        return max(0, min(self.count, int(since) + 1) - self.used)

    def moment_of(self, nth: int) -> float:
        """Return when the nth message from here on (1 = the next) may leave."""
        return self.begin_seconds + (self.used + nth - 1) / self.per_second

    @property
    def left(self) -> int:
        """Return how many are not used and not gone."""
        return self.count - self.used


def next_slice(given_until_seconds: float, per_second: float, now_seconds: float) -> Slice:
    """Return the slice that follows what was given out; its end is the next `given_until`. Pure."""
    count = max(1, round(per_second * SLICE_SECONDS))
    if given_until_seconds > now_seconds + count / per_second + _AHEAD_SECONDS + _SKEW_SECONDS:
        given_until_seconds = now_seconds  # no sender gives out so far ahead: a clock was wrong
    return Slice(max(given_until_seconds, now_seconds), per_second, count)


def end_of(given: Slice) -> float:
    """Return the moment up to which this slice gives out."""
    return given.begin_seconds + given.count / given.per_second


@dataclass(slots=True)
class _Account:
    limit: Limit
    slices: list[Slice] = field(default_factory=list)
    leasing: asyncio.Task[None] | None = None
    not_before_seconds: float = 0.0  # asking for another slice earlier would be in vain
    queued_until_seconds: float = 0.0  # by when those are served who were told to come back


class Paces:
    """This sender's share of all limits. Ask `available`, then `take` what is used."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._latest_seconds = 0.0

    def available(self, limit: Limit) -> int:
        """Return how many messages may leave now; sees to it in the background that there will be more."""
        account, now_seconds = self._account(limit), self._now_seconds()
        usable = sum(one.usable(now_seconds) for one in account.slices)
        account.slices = [one for one in account.slices if one.left]
        if sum(one.left for one in account.slices) <= usable:
            self._ask(account, now_seconds)
        return usable

    def take(self, limit: Limit, count: int) -> None:
        """Use so many of those that `available` told of just now."""
        for one in self._account(limit).slices:
            taken = min(count, one.left)
            one.used += taken
            count -= taken

    def seconds_until(self, limit: Limit, count: int) -> float:
        """Return after how long so many may leave, as far as is known; at least the time to ask again."""
        account, now_seconds = self._account(limit), self._now_seconds()
        for one in account.slices:
            if count <= one.left:
                return max(_SHORTEST_WAIT_SECONDS, one.moment_of(count) - now_seconds)
            count -= one.left
        last = max((end_of(one) for one in account.slices), default=0.0)
        return max(2 * _SHORTEST_WAIT_SECONDS, last - now_seconds, account.not_before_seconds - now_seconds)

    def queue(self, limit: Limit, count: int) -> float:
        """Return after how long so many may be served behind all that were queued before; this sender's view."""
        account, now_seconds = self._account(limit), self._now_seconds()
        longest = now_seconds + 3600.0
        begin = min(max(account.queued_until_seconds, now_seconds), longest)
        account.queued_until_seconds = begin + count / limit.per_second
        return begin - now_seconds + self.seconds_until(limit, 1)

    def forget(self, limit: Limit) -> None:
        """Forget the limit of a run that is over."""
        account = self._accounts.pop(limit.key, None)
        if account is not None and account.leasing is not None:
            account.leasing.cancel()

    async def close(self) -> None:
        """Stop asking for slices."""
        tasks = [account.leasing for account in self._accounts.values() if account.leasing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _account(self, limit: Limit) -> _Account:
        account = self._accounts.get(limit.key)
        if account is None or account.limit != limit:
            if account is not None and account.leasing is not None:
                account.leasing.cancel()
            account = self._accounts[limit.key] = _Account(limit)
        return account

    def _ask(self, account: _Account, now_seconds: float) -> None:
        if account.leasing is None and now_seconds >= account.not_before_seconds:
            account.leasing = asyncio.create_task(self._lease(account))

    async def _lease(self, account: _Account) -> None:
        try:
            await self._try_lease(account)
        except BusError as error:
            log.warning("delivery.pace_waits_for_bus", limit=account.limit.key, error=error.what)
            account.not_before_seconds = self._now_seconds() + _TROUBLE.base_seconds
        finally:
            account.leasing = None

    async def _try_lease(self, account: _Account) -> None:
        """Get the next slice by compare-and-set; when it begins too late, remember when to ask again."""
        bucket, key = self._bus.bucket(PACES_BUCKET), account.limit.key
        for _ in range(_TRIES):
            entry = await bucket.get(key)
            given_until = _read(entry.value) if entry is not None else 0.0
            now_seconds = self._now_seconds()
            found = next_slice(given_until, account.limit.per_second, now_seconds)
            if found.begin_seconds > now_seconds + _AHEAD_SECONDS:
                account.not_before_seconds = found.begin_seconds - _AHEAD_SECONDS
                return
            value = msgspec.msgpack.encode(end_of(found))
            try:
                if entry is None:
                    await bucket.create(key, value)
                else:
                    await bucket.update(key, value, entry.revision)
            except (KeyExists, RevisionConflict):
                continue  # another sender was faster
            # one that was on its way while the clock was set back begins in an hour: it must not hold up everybody
            if found.begin_seconds <= self._now_seconds() + _AHEAD_SECONDS + _SKEW_SECONDS:
                account.slices.append(found)
            return
        account.not_before_seconds = self._now_seconds() + SLICE_SECONDS / 4

    def _now_seconds(self) -> float:
        """Return the time; when the clock was set back, what was given out for later is given up."""
        now_seconds = self._clock.now_utc().timestamp()
        if now_seconds < self._latest_seconds - _SKEW_SECONDS:
            for account in self._accounts.values():
                account.slices.clear()
                account.not_before_seconds = account.queued_until_seconds = 0.0
            self._latest_seconds = 0.0
        self._latest_seconds = max(self._latest_seconds, now_seconds)
        return now_seconds


async def forget_run_pace(bus: Bus, run_id: str) -> None:
    """Remove what KV `paces` holds about a run that is over. Raises the bus's errors."""
    await bus.bucket(PACES_BUCKET).delete(run_limit(run_id, 1.0).key)


def _read(value: bytes) -> float:
    try:
        return msgspec.msgpack.decode(value, type=float)
    except msgspec.MsgspecError:
        return 0.0  # what nobody can read holds nobody up: the next slice writes it anew


def _token(text: str) -> str:
    return text if _TOKEN.match(text) else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
