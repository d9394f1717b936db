"""Read mails whose bytes are in the vault: by the reader when they arrive, by a replay when rules were mended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Final

import structlog

from todoku.intake.extracting import RawMail, ReadOutcome, read_all
from todoku.sources.types import Arrival
from todoku.vault.errors import VaultError, VaultMissing
from todoku.vault.types import Vault

log = structlog.get_logger(__name__)

PORTION_OCTETS: Final = 64 * 1024 * 1024  # raw mails in memory: 200 of 64 MB would be 12 GB


def portions(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield parts of a batch that may be in memory together; a mail that is larger than that comes alone."""
    begin = octets = 0
    for place, size in enumerate(sizes):
        if place > begin and octets + size > PORTION_OCTETS:
            yield slice(begin, place)
            begin, octets = place, 0
        octets += size
    if begin < len(sizes):
        yield slice(begin, len(sizes))


async def read_kept(
    vault: Vault, arrivals: Sequence[Arrival], executor: Executor | None = None
) -> list[ReadOutcome | None]:
    """Return what each mail says, in order; None when only now is the wrong time to ask the vault.

    Bytes that will never be there again are an outcome too. executor: where mails are read, None = a thread.
    """
    contents = [
        _content(arrival, found)
        for arrival, found in zip(arrivals, await vault.get_many([one.vault_key for one in arrivals]), strict=True)
    ]
    readable = [
        RawMail(str(arrival.arrival_id), content, arrival.received_at_utc)
        for arrival, content in zip(arrivals, contents, strict=True)
        if isinstance(content, bytes)
    ]
    loop = asyncio.get_running_loop()
    outcomes = iter(await loop.run_in_executor(executor, read_all, readable) if readable else [])
    return [next(outcomes) if isinstance(content, bytes) else content for content in contents]


def _content(arrival: Arrival, found: bytes | VaultError) -> bytes | ReadOutcome | None:
    if isinstance(found, bytes):
        return found
    arrival_id = str(arrival.arrival_id)
    if found.transient:
        log.warning("mail.vault_away", arrival_id=arrival_id, error=str(found))
        return None
    log.error("mail.bytes_lost", arrival_id=arrival_id, vault_key=arrival.vault_key, error=str(found))
    return ReadOutcome(None, "bytes_missing" if isinstance(found, VaultMissing) else "bytes_corrupt")
