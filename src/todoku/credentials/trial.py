"""Try a source once, step by step: what "test now" on the page and `todoku source test` do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from todoku.credentials.errors import CredentialError
from todoku.credentials.inventory import CredentialBook
from todoku.kernel.clock import Clock
from todoku.sources.credentials import Credential, NotedKeyring
from todoku.sources.errors import BadSource, CannotLook, SourceError
from todoku.sources.kinds import kind_of, open_source
from todoku.sources.registry import SourceEntry

MOST_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """One step, and what came of it."""

    fine: bool
    words: str


async def try_source(entry: SourceEntry, inventory: CredentialBook, clock: Clock) -> AsyncIterator[Step]:
    """Give the settings, then for each credential a login and a listing. Changes nothing; raises the bus's errors."""
    try:
        kind = kind_of(entry)
        open_source(entry, NotedKeyring([]), clock)
    except BadSource as error:
        yield Step(False, error.what)
        return
    yield Step(True, f"the settings of {entry.source} can be used")
    if not kind.logs_in_with:
        yield await _listed(entry, None, clock)
        return
    if not entry.credential_ids:
        yield Step(False, "there is no credential to log in with")
    for credential_id in entry.credential_ids:
        try:
            credential = await inventory.open(entry.project_id, credential_id)
        except CredentialError as error:
            yield Step(False, error.what)
            continue
        yield await _listed(entry, credential, clock)


async def _listed(entry: SourceEntry, credential: Credential | None, clock: Clock) -> Step:
    name = f"{credential.credential_id}: " if credential is not None else ""
    source = open_source(entry, NotedKeyring([credential] if credential is not None else []), clock)
    count = 0
    try:
        async for _ in source.list_mails():
            count += 1
            if count >= MOST_LISTED:
                break
    except CannotLook as error:
        return Step(False, f"{name}{error.cause}: {error.what}")
    except SourceError as error:
        return Step(False, f"{name}{error.what}")
    finally:
        await source.close()
    logged_in = "logged in; " if credential is not None else ""
    return Step(True, f"{name}{logged_in}{count}{' or more' if count >= MOST_LISTED else ''} mails are listed")
