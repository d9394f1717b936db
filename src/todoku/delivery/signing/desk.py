"""The desk where messages get their signatures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from todoku.delivery.signing.crew import SigningCrew
from todoku.delivery.signing.key_folder import KeyFolder
from todoku.delivery.types import Signer
from todoku.kernel.clock import Clock
from todoku.mail.compose import UnsafeAddress, header_domain
from todoku.mail.dkim import DkimKey, DraftSignature, draft_signatures, put_in_front

_DRAFTS_AT_ONCE = 25  # so many the event loop makes before it may read answers: about 0.7 ms
_MOST_AT_ONCE = 64  # digests that a process signs before it looks for other runs' messages: about 25 ms of RSA


class SigningDesk:
    """Signers for any number of runs that share one crew of processes and one folder of keys."""

    def __init__(self, keys: KeyFolder, clock: Clock, *, processes: int = 0) -> None:
        """Prepare; processes start when there is something to sign. processes: 0 = as many as cores may be used."""
        self._keys = keys
        self._clock = clock
        self._processes = processes or len(os.sched_getaffinity(0))
        self._crew = SigningCrew(self._processes)

    def signer_of(self, sender_address: str) -> Signer | None:
        """Return the signer for mail From this address; None when neither its domain nor one above has a key."""
        try:
            domain = header_domain(sender_address.rpartition("@")[2]).lower()
        except UnsafeAddress:
            return None  # the composer refuses such a sender with better words
        return _DomainSigner(self, domain) if self._keys.keys_of(domain) else None

    def domains(self) -> list[str]:
        """Return the domains that have keys in use."""
        return self._keys.domains()

    async def close(self) -> None:
        """Let the processes end when what they have is signed."""
        await self._crew.close()

    async def sign(self, contents: Sequence[bytes], domain: str) -> list[bytes]:
        """Return the messages signed with the domain's keys of this moment, in order; raises Unsignable."""
        keys = self._keys.keys_of(domain)
        if not keys or not contents:
            return list(contents)
        signed_at = self._clock.now_utc()
        drafts: list[list[DraftSignature]] = []
        for begin in range(0, len(contents), _DRAFTS_AT_ONCE):
            drafts += draft_signatures(contents[begin : begin + _DRAFTS_AT_ONCE], keys, signed_at)
            await asyncio.sleep(0)
        columns = zip(*drafts, strict=True)
        signatures = await asyncio.gather(*(self._signatures(*one) for one in zip(keys, columns, strict=True)))
        return [
            put_in_front(content, [(draft.opening, one) for draft, one in zip(row, mine, strict=True)])
            for content, row, mine in zip(contents, drafts, zip(*signatures, strict=True), strict=True)
        ]

    async def _signatures(self, key: DkimKey, drafts: Sequence[DraftSignature]) -> list[bytes]:
        digests = [draft.digest for draft in drafts]
        share = min(_MOST_AT_ONCE, -(-len(digests) // self._processes))
        pem = key.pem()
        shares = [digests[at : at + share] for at in range(0, len(digests), share)]
        return [one for part in await asyncio.gather(*(self._crew.sign(pem, some) for some in shares)) for one in part]


class _DomainSigner:
    """A delivery.types.Signer for one domain."""

    def __init__(self, desk: SigningDesk, domain: str) -> None:
        self._desk = desk
        self._domain = domain

    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        """Return each message with its signature headers in front, in order; raises Unsignable."""
        return await self._desk.sign(contents, self._domain)
