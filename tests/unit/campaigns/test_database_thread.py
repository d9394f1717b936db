"""A hung call delays nobody but whoever waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from todoku.campaigns.database_thread import DatabaseThread, DatabaseTooSlow


async def test_results_and_errors_come_back_in_order() -> None:
    thread = DatabaseThread("test")
    assert await thread(lambda: threading.current_thread().name) == "test"
    assert await asyncio.gather(*(thread(int, n) for n in range(5))) == list(range(5))
    with pytest.raises(ZeroDivisionError):
        await thread(lambda: 1 // 0)
    await thread.close()
    await thread.close()


async def test_a_call_that_hangs_is_given_up_and_what_waits_behind_it_is_not_begun() -> None:
    thread = DatabaseThread("test", limit_seconds=0.02)
    release = threading.Event()
    begun: list[str] = []
    try:
        with pytest.raises(DatabaseTooSlow) as caught:
            await thread(release.wait)
        assert caught.value.transient
        with pytest.raises(DatabaseTooSlow):
            await thread(begun.append, "behind it")
    finally:
        release.set()
    assert await thread(lambda: "again") == "again"
    assert begun == []
    await thread.close()


async def test_a_call_that_is_not_waited_for_any_more_hurts_nobody() -> None:
    thread = DatabaseThread("test")
    release = threading.Event()
    waiting = asyncio.create_task(thread(release.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    release.set()
    assert await thread(lambda: 7) == 7
    await thread.close()
