"""An asyncio event loop of a simulated process: real tasks, futures and time-outs on virtual time, without I/O."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from todoku.delivery.simulation.world import World

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_set_running = asyncio._set_running_loop
_MOST_ROUNDS = 200
_CLOCK_SECONDS = 1e-9  # the resolution of a machine's clock


class Host(Protocol):
    """The process to which a loop belongs."""

    dead: bool
    busy_until: float

    @property
    def world(self) -> World:
        """Return where it lives."""
        ...

    @property
    def paused(self) -> bool:
        """Tell whether it stands still."""
        ...

    def monotonic_seconds(self) -> float:
        """Return the monotonic clock of its machine."""
        ...

    def true_time_of(self, monotonic_seconds: float) -> float:
        """Return the true time at which that clock shows this."""
        ...

    def count_callback(self) -> None:
        """Count one callback; the process may die before it."""
        ...


class SimLoop(asyncio.AbstractEventLoop):
    """What asyncio needs of a loop and no more.

    All callbacks that are ready run as one round, as in asyncio; between two rounds other processes and the network
    have their turn. Callbacks keep the order in which they were asked for; what comes from outside comes in the
    order of the world, except to a paused process, where it is shuffled with the time-outs that fire late.
    """

    def __init__(self, process: Host) -> None:
        self._process = process
        self._world = process.world
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scheduled = False
        self._over = False
        self._failed: list[asyncio.Task[Any]] = []
        self.failures: list[str] = []

    # --- what asyncio calls ---

    def time(self) -> float:
        """Return the monotonic clock of the machine."""
        return self._process.monotonic_seconds()

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run the callback in the next round."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._scheduled:
            self._schedule()
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Do as `call_soon`: there are no threads here."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run the callback after so many seconds of this machine."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run the callback when the machine's monotonic clock shows this."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._over:
            # a real clock moves on while a timer is set; else who waits for the last 1e-16 s of a span waits for ever
            due = max(self._process.true_time_of(when), self._world.now + _CLOCK_SECONDS)
            self._world.at(due, partial(self._timer_due, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """Return a task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def get_debug(self) -> bool:
        """Return False: asyncio's own checks look at real time."""
        return False

    def is_running(self) -> bool:
        """Return True: between two rounds the process waits, it does not end."""
        return not self._process.dead

    def is_closed(self) -> bool:
        """Tell whether nothing runs any more."""
        return self._over

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught; a process that was killed has nothing to say, and of tasks `failed_tasks` tells."""
        if not self._process.dead and not self._over and not isinstance(context.get("future"), asyncio.Task):
            self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is passed over when it is due."""

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task._log_traceback and not self._process.dead:
            self._failed.append(task)

    def failed_tasks(self) -> list[str]:
        """Return the errors of ended tasks that nobody has asked for; none of a process that was killed meanwhile.

        asyncio tells of them when it collects garbage, which is at another moment each time a seed is played.
        """
        if self._process.dead:
            return []
        return [f"{_name_of(task)}: {task.exception()!r}" for task in self._failed if task._log_traceback]

    # --- what the world calls ---

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin the program of this process."""
        return self.create_task(coroutine)

    def deliver(self, callback: Callable[[], object]) -> None:
        """Hand in something from outside: an answer, a delivery, the end of a connection."""
        if self._process.dead or self._over:
            return
        handle = asyncio.Handle(callback, (), self)
        if self._process.paused and self._world.random.random() < 0.5:
            self._ready.appendleft(handle)
        else:
            self._ready.append(handle)
        if not self._scheduled:
            self._schedule()

    def deliver_in_order(self, callback: Callable[[], object]) -> None:
        """Hand in one of several things that come on one connection."""
        if not self._process.dead and not self._over:
            self.call_soon(callback)

    def dispose(self) -> None:
        """Unwind what is left of all coroutines after the end of the world, so that nothing complains."""
        self._over = True
        self._process.dead = True
        self._process.busy_until = 0.0
        for _ in range(_MOST_ROUNDS):
            for task in list(self._tasks):
                task.cancel()
            if not self._ready:
                break
            self._round()
        self._ready.clear()

    def _timer_due(self, handle: asyncio.TimerHandle) -> None:
        if handle.cancelled() or self._process.dead:
            return
        self._ready.append(handle)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        if not self._over and not self._process.dead:
            self._scheduled = True
            self._world.at(self._process.busy_until, self._turn)

    def _turn(self) -> None:
        """Run round after round, as long as nobody else has anything to do at this moment."""
        process, world = self._process, self._world
        while self._ready and not process.dead and not process.paused:
            self._round()  # what it makes ready needs no new turn: `_scheduled` still holds
            if not world.may_go_on():
                break
        self._scheduled = False
        if self._ready and not process.dead:
            self._schedule()

    def _round(self) -> None:
        """Run what is ready now; stop in the middle when the process was killed or paused."""
        process, ready = self._process, self._ready
        was_dead = process.dead
        _set_running(self)
        try:
            for _ in range(len(ready)):
                if not was_dead:
                    process.count_callback()
                    if process.dead:
                        return  # what is ready stays, to be unwound at the end of the world
                handle = ready.popleft()
                if handle.cancelled():
                    continue
                handle._run()
                if process.dead and not was_dead:
                    return
                if process.busy_until > self._world.now:
                    return
        finally:
            _set_running(None)


def _name_of(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "a task")
