"""Keys of the api."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from todoku.projects.signatures import address_in, sign


class Scope(StrEnum):
    """What a key may do: look (with the names behind the numbers), or act as well."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key as lists show it; its secret is known to nobody but its holder."""

    id: UUID
    project_id: str
    name: str
    scopes: frozenset[Scope]
    created_by: str
    created_at_utc: datetime
    last_used_at_utc: datetime | None
    revoked_at_utc: datetime | None

    @property
    def by(self) -> str:
        """Return how audit lines name this key, with the address of its holder where it is a person's."""
        return sign(f"api: {self.name}", address_in(self.created_by))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. token: shown once, never kept."""

    info: KeyInfo
    token: str
