"""Answers to an authority that asks whether a host name is ours (RFC 8555 section 8.3), where every door finds them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import msgspec

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.errors import RenewalFailed
from todoku.kernel.clock import Clock

VALID_FOR: Final = timedelta(hours=1)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{22,128}\Z")  # at least 128 bits (RFC 8555 section 8.1)


class _Answer(msgspec.Struct, frozen=True):
    """One answer; nothing of it is secret, since whoever asks is told it."""

    text: str
    until_utc: datetime


class ChallengeShelf:
    """Puts answers into KV `credentials` and finds them again, from any process of any machine."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bucket = bus.bucket(CREDENTIALS_BUCKET)
        self._clock = clock

    async def put(self, token: str, text: str) -> None:
        """Let the door answer the token with the text, for an hour at most.

        Raises RenewalFailed for a token that no authority should give, and the bus's transient errors.
        """
        if not _TOKEN.match(token):
            raise RenewalFailed("the authority gave a token that can be guessed or is none", kept="the old certificate")
        answer = _Answer(text, self._clock.now_utc() + VALID_FOR)
        await self._bucket.put(_key(token), msgspec.msgpack.encode(answer))

    async def find(self, token: str) -> str | None:
        """Return the answer, None when there is none; raises the bus's transient errors."""
        entry = await self._bucket.get(_key(token)) if _TOKEN.match(token) else None
        if entry is None:
            return None
        try:
            answer = msgspec.msgpack.decode(entry.value, type=_Answer)
        except msgspec.MsgspecError:
            return None
        return answer.text if self._clock.now_utc() < answer.until_utc else None

    async def remove(self, token: str) -> None:
        """Take an answer away; raises the bus's transient errors."""
        if _TOKEN.match(token):
            await self._bucket.delete(_key(token))

    async def tidy(self) -> None:
        """Remove what was left by an order whose process died; raises the bus's transient errors."""
        for key in await self._bucket.keys():
            parts = key.split(".")
            if parts[0] == "_challenge" and len(parts) == 3 and await self.find(parts[1]) is None:
                await self._bucket.delete(key)


def _key(token: str) -> str:
    return f"_challenge.{token}.answer"
