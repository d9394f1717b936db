"""The only writes of the api room: making, opening and revoking keys."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import structlog

from todoku.api.errors import KeyInvalid, KeyMissing, RequestInvalid
from todoku.api.models import ApiKey
from todoku.api.queries import info
from todoku.api.types import KeyInfo, NewKey, Scope
from todoku.kernel.clock import Clock
from todoku.kernel.ids import new_id
from todoku.projects import queries as projects

log = structlog.get_logger(__name__)

USED_WITHIN = timedelta(minutes=1)  # a busy key costs one write a minute, not one a call
_TOKEN = re.compile(r"tdk_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


def create_key(project_id: str, *, name: str, scopes: Iterable[Scope], by: str, clock: Clock) -> NewKey:
    """Make a key for one project; its token is in the answer and nowhere else.

    Raises ProjectMissing; RequestInvalid when the name is empty or too long, or no scope was given.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= 100:
        raise RequestInvalid("name", "a key needs a name of 1 to 100 characters")
    chosen = sorted(set(scopes))
    if not chosen:
        raise RequestInvalid("scopes", "a key needs at least one scope")
    projects.get_project(project_id)
    secret = secrets.token_urlsafe(32)
    row = ApiKey.objects.create(
        id=new_id(),
        project_id=project_id,
        name=name,
        secret_hash=_hash(secret),
        scopes=[one.value for one in chosen],
        created_by=by,
        created_at=clock.now_utc(),
    )
    log.info("api.key_created", project_id=project_id, key_id=str(row.id), by=by)
    return NewKey(info(row), f"tdk_{row.id.hex}_{secret}")


def revoke_key(project_id: str, key_id: UUID, *, by: str, clock: Clock) -> None:
    """Let a key open nothing from now on; doing it again changes nothing. Raises KeyMissing."""
    found = ApiKey.objects.filter(project_id=project_id, id=key_id)
    if not found.exists():
        raise KeyMissing(f"there is no key {key_id} in this project")
    if found.filter(revoked_at=None).update(revoked_at=clock.now_utc()):
        log.info("api.key_revoked", project_id=project_id, key_id=str(key_id), by=by)


def open_with(token: str, *, clock: Clock) -> KeyInfo:
    """Return the key that this token belongs to; raises KeyInvalid, whatever is wrong with it."""
    parts = _TOKEN.fullmatch(token)
    row = ApiKey.objects.filter(id=UUID(parts[1]), revoked_at=None).first() if parts else None
    if parts is None or row is None or not hmac.compare_digest(row.secret_hash, _hash(parts[2])):
        raise KeyInvalid("this key opens nothing", todo="send `Authorization: Bearer tdk_…` with a key in use")
    now_utc = clock.now_utc()
    if row.last_used_at is None or now_utc - row.last_used_at > USED_WITHIN:
        ApiKey.objects.filter(id=row.id).update(last_used_at=now_utc)
    return info(row)


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
