"""What one process remembers of calls, bounded: octets that are in memory, and mails that were handed over."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_REMEMBERED: Final = 10_000
MAX_HELD_BYTES: Final = 256 * 1024 * 1024  # bodies; reading one may take three times its size for a moment


class Octets:
    """How many octets of bodies are in memory."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self._left = limit

    @property
    def left(self) -> int:
        """Return how many more may come in."""
        return self._left

    def take(self, octets: int) -> bool:
        """Count octets that came; return False, and count nothing, when there is no room for them."""
        if octets > self._left:
            return False
        self._left -= octets
        return True

    def give_back(self, octets: int) -> None:
        """Count octets as gone."""
        self._left += octets


class Remembered:
    """A text under each of the last so many keys; the one that was used longest ago is forgotten first."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def get(self, key: bytes) -> str | None:
        """Return what is remembered under the key."""
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    def put(self, key: bytes, text: str) -> None:
        """Remember a text."""
        self._known[key] = text
        self._known.move_to_end(key)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
