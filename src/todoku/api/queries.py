"""Reads of the api room."""

from __future__ import annotations

from todoku.api.models import ApiKey
from todoku.api.types import KeyInfo, Scope


def list_keys(project_id: str) -> list[KeyInfo]:
    """Return the project's keys, newest first, revoked ones too."""
    return [info(row) for row in ApiKey.objects.filter(project_id=project_id).order_by("-created_at", "-id")]


def info(row: ApiKey) -> KeyInfo:
    """Return a row as others may see it."""
    return KeyInfo(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes)),
        created_by=row.created_by,
        created_at_utc=row.created_at,
        last_used_at_utc=row.last_used_at,
        revoked_at_utc=row.revoked_at,
    )
