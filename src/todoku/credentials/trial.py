"""Try a source once, step by step: what "test now" on the page and `todoku source test` do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from todoku.credentials.errors import CredentialError
from todoku.credentials.inventory import CredentialBook
from todoku.kernel.clock import Clock
from todoku.sources.credentials import Credential, NotedKeyring
from todoku.sources.errors import BadSource, CannotLook, SourceError
from todoku.sources.kinds import kind_of, open_source, webhook_settings
from todoku.sources.registry import WEBHOOK, SourceEntry

MOST_LISTED: Final = 1_000


class StepKind(StrEnum):
    """What a step was about; pages have words of their own for each."""

    SETTINGS = "settings"
    NO_CREDENTIAL = "no_credential"
    CREDENTIAL = "credential"  # it could not be opened here
    LISTED = "listed"
    CALLED = "called"  # a webhook waits for its provider
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, and what came of it. words: for a terminal. credential_id, count, cause: where there is one."""

    kind: StepKind
    fine: bool
    words: str
    credential_id: str = ""
    count: int = 0
    cause: str = ""
    why: str = ""


async def try_source(entry: SourceEntry, inventory: CredentialBook, clock: Clock) -> AsyncIterator[Step]:
    """Give the settings, then for each credential a login and a listing. Changes nothing; raises the bus's errors."""
    try:
        if entry.kind == WEBHOOK:
            webhook_settings(entry)
        else:
            open_source(entry, NotedKeyring([]), clock)
    except BadSource as error:
        yield Step(StepKind.SETTINGS, False, error.what, why=error.what)
        return
    yield Step(StepKind.SETTINGS, True, f"the settings of {entry.source} can be used")
    if entry.kind == WEBHOOK:
        yield Step(StepKind.CALLED, True, "it waits for the calls of its provider")
        return
    if not kind_of(entry).logs_in_with:
        yield await _listed(entry, None, clock)
        return
    if not entry.credential_ids:
        yield Step(StepKind.NO_CREDENTIAL, False, "there is no credential to log in with")
    for credential_id in entry.credential_ids:
        try:
            credential = await inventory.open(entry.project_id, credential_id)
        except CredentialError as error:
            yield Step(StepKind.CREDENTIAL, False, error.what, credential_id, why=error.what)
            continue
        yield await _listed(entry, credential, clock)


async def _listed(entry: SourceEntry, credential: Credential | None, clock: Clock) -> Step:
    credential_id = credential.credential_id if credential is not None else ""
    name = f"{credential_id}: " if credential_id else ""
    source = open_source(entry, NotedKeyring([credential] if credential is not None else []), clock)
    count = 0
    try:
        async for _ in source.list_mails():
            count += 1
            if count >= MOST_LISTED:
                break
    except CannotLook as error:
        words = f"{name}{error.cause}: {error.what}"
        return Step(StepKind.TROUBLE, False, words, credential_id, cause=error.cause.value, why=error.what)
    except SourceError as error:
        return Step(StepKind.TROUBLE, False, f"{name}{error.what}", credential_id, why=error.what)
    finally:
        await source.close()
    more = " or more" if count >= MOST_LISTED else ""
    logged_in = "logged in; " if credential_id else ""
    return Step(StepKind.LISTED, True, f"{name}{logged_in}{count}{more} mails are listed", credential_id, count)
