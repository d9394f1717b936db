"""How many fetched mails may be held while they are being kept."""

from __future__ import annotations

import asyncio
from typing import Final

MOST_OCTETS: Final = 64 * 1024 * 1024
LEAST_EACH: Final = 256 * 1024  # what any mail counts as: so 256 at most; with 64 disk and bus wait for mails


class Hands:
    """Room for mails between their source and vault and bus; of one event loop.

    Vault and bus store together what comes together, so many small mails at once are cheap; large ones fill the room
    alone, and one that is larger than the room is taken when nothing else is held. What was fetched and waits for room
    is counted by nobody: sources tell no sizes, so one mail for each of those that fetch at once comes on top.
    """

    def __init__(self, most_octets: int = MOST_OCTETS) -> None:
        self._most = most_octets
        self._held = 0
        self._freed = asyncio.Event()

    async def take(self, octets: int) -> int:
        """Wait until there is room and return what is to be given back."""
        share = max(octets, LEAST_EACH)
        while self._held and self._held + share > self._most:
            self._freed.clear()
            await self._freed.wait()
        self._held += share
        return share

    def give_back(self, share: int) -> None:
        """Make room again."""
        self._held -= share
        self._freed.set()
