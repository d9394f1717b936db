"""The shape of a vault: bytes kept by their hash, append-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from todoku.vault.errors import VaultError


@dataclass(frozen=True, slots=True)
class Stored:
    """What a put says: the key (`<project>/<sha256 hex>`), the size, and whether these bytes were new."""

    key: str
    sha256: str
    size_bytes: int
    created: bool


class Vault(Protocol):
    """Keep bytes for good. Every implementation passes `check_vault`."""

    async def put(self, project_id: str, content: bytes) -> Stored:
        """Keep the bytes; on return they survive a power cut (fsynced). Idempotent.

        Raises VaultUnavailable (transient: do not acknowledge the source) and VaultFull (transient).
        """
        ...

    async def get(self, key: str) -> bytes:
        """Return the bytes; raises VaultMissing when the key is unknown, VaultCorrupt when the hash differs."""
        ...

    async def get_many(self, keys: Sequence[str]) -> list[bytes | VaultError]:
        """Return for each key, in order, the bytes or the error that `get` would raise."""
        ...

    async def close(self) -> None:
        """Release files and connections; what was put stays."""
        ...
