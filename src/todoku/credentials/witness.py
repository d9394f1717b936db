"""Tell of what this process shows to others: the door's certificate, the keys that sign its mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.credentials.served_types import Place, ServedKind, Sighting
from todoku.credentials.sightings import TOLD_EVERY_SECONDS, SightingBook
from todoku.credentials.types import Facts
from todoku.delivery.signing import KeyFile, KeyFolder
from todoku.delivery.types import Signer
from todoku.kernel.clock import Clock
from todoku.kernel.waiting import rest
from todoku.mail.compose import UnsafeAddress, header_domain
from todoku.sources.smtp import ServedCertificate

log = structlog.get_logger(__name__)

SignerOf = Callable[[str], Signer | None]

_TIDIED_EVERY: Final = 2_880  # reports: a day
_LAST_WORD_SECONDS: Final = 2.0  # a process that ends must not wait for a bus that is away


class Witness:
    """Writes a report of what one role sees, every TOLD_EVERY_SECONDS, so that silence means that it is gone."""

    def __init__(self, bus: Bus, clock: Clock, role: str, *, machine: str, home: str) -> None:
        self._book = SightingBook(bus, clock)
        self._role = role
        self._machine = machine
        self._home = home
        self._complaint = ""

    async def run(self, see: Callable[[], list[Sighting]], stop: asyncio.Event) -> None:
        """Tell until stop is set, and once more then; a bus that is away is waited for.

        see: called on a thread of its own, because it may read files. Raises nothing: what goes wrong here must not end
        a role that receives or sends.
        """
        count = 0
        while not stop.is_set():
            if await self._tell(see) and count % _TIDIED_EVERY == 0:
                await self._tidy()
            count += 1
            await rest(stop, TOLD_EVERY_SECONDS)
        try:
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await self._tell(see)
        except TimeoutError:
            return

    async def _tell(self, see: Callable[[], list[Sighting]]) -> bool:
        complaint = ""
        try:
            await self._book.tell(self._role, self._machine, self._home, await asyncio.to_thread(see))
        except BusError as error:
            complaint = error.what
        except Exception as error:  # noqa: BLE001  # a folder that can't be walked, a file that is no key
            complaint = f"{type(error).__name__}: {error}"
        if complaint and complaint != self._complaint:
            log.error("credential.not_told", role=self._role, error=complaint)
        self._complaint = complaint
        return not complaint

    async def _tidy(self) -> None:
        try:
            await self._book.forget_old()
        except BusError as error:
            log.info("credential.not_tidied", error=error.what)


def see_certificate(served: ServedCertificate, credential_id: str, fallback_name: str) -> Sighting:
    """Return how the door's certificate stands. fallback_name: what it is called while there is none."""
    standing = served.standing()
    facts = standing.facts
    told = None
    if facts is not None:
        told = Facts(
            issuer=facts.issuer,
            not_before_utc=facts.not_before_utc,
            not_after_utc=facts.not_after_utc,
            fingerprint=facts.fingerprint,
        )
    return Sighting(
        kind=ServedKind.TLS_CERTIFICATE,
        place=Place.SMTP_DOOR,
        name=" ".join(facts.names) if facts is not None else fallback_name,
        facts=told,
        since_utc=standing.written_at_utc,
        used_at_utc=standing.used_at_utc,
        trouble=standing.trouble,
        trouble_at_utc=standing.trouble_at_utc,
        credential_id=credential_id,
    )


class SignatureNotes:
    """When mail of each sender's domain was last signed; in memory, and told every TOLD_EVERY_SECONDS."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._signed: dict[str, datetime] = {}

    def noting(self, signer_of: SignerOf) -> SignerOf:
        """Return the same signers, of which each notes what it signed."""

        def noted(sender_address: str) -> Signer | None:
            signer = signer_of(sender_address)
            if signer is None:
                return None
            try:
                domain = header_domain(sender_address.rpartition("@")[2]).lower()
            except UnsafeAddress:
                return signer
            return _NotingSigner(signer, self, domain)

        return noted

    def signed(self, domain: str) -> None:
        """Note a signature."""
        self._signed[domain] = self._clock.now_utc()

    def last_of(self, key_domain: str, key_domains: set[str]) -> datetime | None:
        """Return when a key's domain last signed: mail of a domain is signed by the nearest domain above with keys."""
        times = [at_utc for domain, at_utc in list(self._signed.items()) if _nearest(domain, key_domains) == key_domain]
        return max(times, default=None)


class _NotingSigner:
    def __init__(self, signer: Signer, notes: SignatureNotes, domain: str) -> None:
        self._signer = signer
        self._notes = notes
        self._domain = domain

    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        """Sign, and note that it was done."""
        signed = await self._signer.sign(contents)
        if signed:
            self._notes.signed(self._domain)
        return signed


def see_keys(folder: KeyFolder, notes: SignatureNotes) -> list[Sighting]:
    """Return how each DKIM key of the folder stands."""
    files = folder.survey()
    signing = {file.domain for file in files if file.in_use and file.key is not None}
    return [_key(file, notes.last_of(file.domain, signing) if file.in_use else None) for file in files]


def _key(file: KeyFile, used_at_utc: datetime | None) -> Sighting:
    key = file.key
    return Sighting(
        kind=ServedKind.DKIM_KEY,
        place=Place.SIGNATURES,
        name=f"{file.selector}._domainkey.{file.domain}",
        domain=file.domain,
        facts=Facts(subject=key.algorithm) if key is not None else None,
        in_use=file.in_use,
        since_utc=file.made_at_utc,
        used_at_utc=used_at_utc,
        trouble=file.trouble,
        trouble_at_utc=file.made_at_utc if file.trouble else None,
        record=key.record() if key is not None else "",
    )


def _nearest(domain: str, key_domains: set[str]) -> str:
    while domain and domain not in key_domains:
        domain = domain.partition(".")[2]
    return domain
