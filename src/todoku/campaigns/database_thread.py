"""A thread for synchronous database calls that keeps a hung database from hanging the event loop, or the exit."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import Error as DatabaseError
from django.db import connection

from todoku.campaigns.errors import CampaignsError

P = ParamSpec("P")
Result = TypeVar("Result")

_END_SECONDS = 3.0


class DatabaseTooSlow(CampaignsError):
    """A database call took too long. It may still be carried out: every call of the planner may be repeated."""

    transient = True


class DatabaseThread:
    """Calls one after the other in one thread with its own connection.

    A call that takes longer than limit_seconds raises DatabaseTooSlow; one that waits behind it is not begun then. The
    thread is a daemon: a call that never returns can't keep the process from ending.
    """

    def __init__(self, name: str, *, limit_seconds: float = 60.0) -> None:
        self._limit_seconds = limit_seconds
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], _Answer] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        self._closed = False

    async def __call__(self, call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Return what the call returns; raises what it raises, DatabaseTooSlow, RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("the thread has ended")
        answer: _Answer = _Answer(asyncio.get_running_loop())
        self._calls.put((partial(call, *args, **kwargs), answer))
        try:
            async with asyncio.timeout(self._limit_seconds):
                return await answer.future  # type: ignore[return-value]
        except TimeoutError:
            raise DatabaseTooSlow(
                f"the database did not answer within {self._limit_seconds:.0f} s",
                kept="what is sealed leaves without it",
                todo="look at the database",
            ) from None
        finally:
            answer.wanted = False

    async def close(self) -> None:
        """End the thread after the call it is at, and its connection; waits a few seconds at most. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join, _END_SECONDS)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, answer = item
            if not answer.wanted:
                continue
            try:
                result = call()
            except DatabaseError as error:
                connection.close()  # a connection that broke stays broken; the next call opens a new one
                answer.fail(error)
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                answer.fail(error)
            else:
                answer.give(result)
        connection.close()


class _Answer:
    """Carries a result from the thread to the loop that asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[object] = loop.create_future()
        self.wanted = True

    def give(self, result: object) -> None:
        self._tell(self.future.set_result, result)

    def fail(self, error: BaseException) -> None:
        self._tell(self.future.set_exception, error)

    def _tell(self, act: Callable[..., None], value: object) -> None:
        def tell() -> None:
            if not self.future.done():
                act(value)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more
