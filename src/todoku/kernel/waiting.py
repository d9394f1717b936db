"""Rest for a while, unless it is time to stop."""

from __future__ import annotations

import asyncio


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Return after so many seconds, or at once when stop is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
