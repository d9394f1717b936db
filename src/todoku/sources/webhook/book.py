"""A book of webhooks in memory, and tokens for it."""

from __future__ import annotations

import re
import secrets
from typing import Final

from todoku.sources.webhook.types import WebhookPlace

TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")  # 22 characters of base64 are 128 bits


def new_token() -> str:
    """Return a token that nobody can guess: 256 bits, 43 characters that need no escape in an address."""
    return secrets.token_urlsafe(32)


class MemoryBook:
    """Places by token, set by whoever holds the book. used, refused: (source, what), in order, for whoever asks."""

    def __init__(self) -> None:
        self._places: dict[str, WebhookPlace] = {}
        self.proven: list[tuple[str, str]] = []
        self.not_proven: list[tuple[str, str]] = []

    def add(self, place: WebhookPlace, token: str = "") -> str:
        """Let a token lead to the place, instead of where it led before, and return it."""
        token = token or new_token()
        self._places[token] = place
        return token

    async def find(self, token: str) -> WebhookPlace | None:
        """Return the place of a token."""
        return self._places.get(token)

    def used(self, place: WebhookPlace, credential_id: str) -> None:
        """Note that a secret proved a call."""
        self.proven.append((place.place.source, credential_id))

    def refused(self, place: WebhookPlace, why: str) -> None:
        """Note that a call was not proven."""
        self.not_proven.append((place.place.source, why))
