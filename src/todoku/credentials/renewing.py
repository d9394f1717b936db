"""Renew credentials at two thirds of their life, and prove each new secret by a real login before the old one goes.

STRATEGY  One process at a time (KV `owners`) goes through the inventory every half minute, and at once when somebody
          changed it. A credential is due at 2/3 of its life with jitter, at once when its server refuses it, and, by
          files, whenever the files say something new. What fails is tried again: after a minute, two, four … an hour at
          most, and never later than a twelfth of the life; at authorities of certificates, which count tries, after
          five minutes, ten, twenty … The new secret logs in to each source that names the credential; what a server
          refuses is taken back. A certificate that our doors show is proven by a handshake in memory instead.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.acme import names_differ, suggested_renewal
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import CredentialError, RenewalFailed
from todoku.credentials.facts import life_left
from todoku.credentials.hooks import Tools, renew
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.proof import require_servable
from todoku.credentials.types import CredentialRecord, Notes, Renewed
from todoku.kernel.clock import Clock
from todoku.kernel.errors import TodokuError
from todoku.kernel.waiting import rest
from todoku.sources.credentials import Credential, CredentialKind, NotedKeyring
from todoku.sources.errors import CannotLook, Cause, SourceError
from todoku.sources.kinds import open_source
from todoku.sources.ownership import Owner, Ownership
from todoku.sources.registry import WEBHOOK, SourceBook, SourceEntry

log = structlog.get_logger(__name__)

DUE_BELOW: Final = 1 / 3  # of its life left
JITTER: Final = 0.05
LOOK_EVERY_SECONDS: Final = 30.0
_FIRST_RETRY: Final = timedelta(minutes=1)
_FIRST_RETRY_AT_AUTHORITY: Final = timedelta(minutes=5)  # Let's Encrypt: five failures of a name an hour
_ASK_AGAIN_SECONDS: Final = 6 * 3_600.0  # RFC 9773 section 4.3.3
_LAST_RETRY: Final = timedelta(hours=1)
_OWNED: Final = "_all.renewal"


class Renewer:
    """Renews the credentials of all projects."""

    def __init__(self, bus: Bus, cipher: SecretCipher, clock: Clock) -> None:
        self._bus = bus
        self._cipher = cipher
        self._clock = clock
        self._book = CredentialBook(bus, cipher, clock)
        self._tools = Tools(clock, ChallengeShelf(bus, clock))
        self._changed = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._suggested: dict[str, tuple[float, datetime | None]] = {}  # by key: when to ask again, and what was said

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until stop is set; a bus that is away is waited for, one that fails stops no other."""
        while not stop.is_set():
            ownership = Ownership(self._bus, self._clock, _OWNED, Owner.this_process())
            if not await ownership.acquire(stop):
                return
            end, lost = asyncio.Event(), asyncio.Event()
            keeping = asyncio.create_task(ownership.keep(end, lost))
            watch = await self._bus.bucket(CREDENTIALS_BUCKET).follow(self._hear, stop)
            try:
                while not stop.is_set() and not lost.is_set():
                    self._changed.clear()
                    try:
                        await until_stopped(self.renew_due(), stop)
                    except BusError as error:
                        log.warning("credentials.renewal_waits", error=error.what)
                    await until_stopped(rest(self._changed, LOOK_EVERY_SECONDS), stop)
            finally:
                if watch is not None:
                    await watch.stop()
                end.set()
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await ownership.release()

    def _hear(self, key: str, _value: bytes | None) -> None:
        if key.count(".") == 1:  # a credential, not what became of one
            self._changed.set()

    async def renew_due(self) -> list[str]:
        """Renew what is due; return the keys of those for which that was tried."""
        tried = []
        for record in await self._book.records():
            if not record.renewal:
                continue
            notes = await self._book.notes(record.key)
            if not self._is_due(record, notes) and not await self._is_asked_for(record, notes):
                continue
            if await self.renew(record):
                tried.append(record.key)
        return tried

    async def renew(self, record: CredentialRecord) -> bool:
        """Renew one now; False when its hook had nothing new. What fails is noted and leaves the old one in use."""
        now_utc = self._clock.now_utc()
        try:
            secrets = self._cipher.open(record.key, (record.candidate or record.current).sealed)
            fresh = await renew(record.renewal, secrets, self._tools)
            if dict(fresh.secrets) == secrets:
                if record.renewal["by"] == "file":
                    return False
                raise RenewalFailed("the secret that was given is the old one", kept="the old secret")
            await self._take(record, fresh)
        except (CredentialError, SourceError) as error:
            await self._note(record, now_utc, error.what)
            return True
        await self._note(record, now_utc, "")
        return True

    async def _take(self, record: CredentialRecord, fresh: Renewed) -> None:
        """Offer the new secret and prove it; raises when a server refuses it, and takes it back."""
        project_id, credential_id = record.project_id, record.credential_id
        if record.kind is CredentialKind.TLS_CERTIFICATE:
            require_servable(fresh.secrets, record.renewal.get("domains", "").split())
            await self._book.install(project_id, credential_id, fresh.secrets)
            return
        await self._book.offer(project_id, credential_id, fresh.secrets, not_after_utc=fresh.not_after_utc)
        offered = (await self._book.record(project_id, credential_id)).candidate
        if offered is None:
            return  # a source was quicker, and its server has accepted it
        credential = Credential(credential_id, record.kind, fresh.secrets)
        proven = False
        for entry in await SourceBook(self._bus).list(project_id):
            if credential_id in entry.credential_ids and entry.kind != WEBHOOK:
                try:
                    proven = await self._proves(entry, credential) or proven
                except CannotLook as error:
                    await self._book.withdraw(project_id, credential_id, offered)
                    raise RenewalFailed(f"not accepted: {error.what}", kept="the old secret, in use") from error
        if proven:
            await self._book.promote(project_id, credential_id, offered)

    async def _proves(self, entry: SourceEntry, credential: Credential) -> bool:
        """Tell whether the source's server lets us in; raises CannotLook when it refuses, False when it is away."""
        source = open_source(entry, NotedKeyring([credential]), self._clock)
        try:
            async for _ in source.list_mails():
                break
        except CannotLook as error:
            if error.cause is Cause.CREDENTIAL:
                raise
            return False
        except TodokuError:
            return False
        finally:
            await source.close()
        return True

    async def _note(self, record: CredentialRecord, at_utc: datetime, why: str) -> None:
        names = {"project_id": record.project_id, "credential": record.credential_id, "by": record.renewal["by"]}
        if why:
            self._failures[record.key] = self._failures.get(record.key, 0) + 1
            log.error("credential.not_renewed", **names, why=why, todo="the old one stays in use; renew it by hand")
        else:
            self._failures.pop(record.key, None)
            log.info("credential.renewed", **names)
        told = {"renewal_at_utc": at_utc, "renewal_why": why}
        await self._book.note(record.key, lambda notes: msgspec.structs.replace(notes, **told))

    def _is_due(self, record: CredentialRecord, notes: Notes) -> bool:
        now_utc = self._clock.now_utc()
        secret = record.candidate or record.current
        left = life_left(secret.facts, secret.set_at_utc, now_utc)
        if notes.renewal_why and notes.renewal_at_utc is not None:
            return now_utc >= notes.renewal_at_utc + self._pause(record, left)
        if record.renewal["by"] == "file":
            return True
        if record.kind is CredentialKind.TLS_CERTIFICATE and not secret.facts.fingerprint:
            return True  # none was given so far
        refused_utc = notes.refused_at_utc
        if refused_utc is not None and refused_utc > max(notes.used_at_utc or secret.set_at_utc, secret.set_at_utc):
            return True
        return left is not None and left < DUE_BELOW + _jitter(record.key)

    async def _is_asked_for(self, record: CredentialRecord, notes: Notes) -> bool:
        """Tell whether a certificate is to be ordered before its time: for other hosts, or because the authority asks.

        It is asked every six hours (RFC 9773).
        """
        if record.renewal["by"] != "acme" or notes.renewal_why or not record.current.facts.fingerprint:
            return False
        now_seconds = self._clock.monotonic_seconds()
        ask_again_seconds, suggested_utc = self._suggested.get(record.key, (now_seconds, None))
        try:
            secrets = self._cipher.open(record.key, record.current.sealed)
            if names_differ(record.renewal, secrets):
                return True
            if now_seconds >= ask_again_seconds:
                self._suggested[record.key] = (now_seconds + _ASK_AGAIN_SECONDS, suggested_utc)
                suggested_utc = await suggested_renewal(record.renewal, secrets)
                self._suggested[record.key] = (now_seconds + _ASK_AGAIN_SECONDS, suggested_utc)
        except CredentialError as error:
            log.warning("credential.suggestion_not_had", credential=record.credential_id, error=error.what)
        return suggested_utc is not None and self._clock.now_utc() >= suggested_utc

    def _pause(self, record: CredentialRecord, left: float | None) -> timedelta:
        doublings = min(self._failures.get(record.key, 1) - 1, 10)
        first = _FIRST_RETRY_AT_AUTHORITY if record.renewal.get("by") == "acme" else _FIRST_RETRY
        pause = min(first * (1 << doublings), _LAST_RETRY)
        facts = record.current.facts
        if left is None or facts.not_after_utc is None:
            return pause
        life = facts.not_after_utc - (facts.not_before_utc or record.current.set_at_utc)
        return max(min(pause, life / 12), first if first > _FIRST_RETRY else timedelta(seconds=10))


async def until_stopped(work: Coroutine[Any, Any, object], stop: asyncio.Event) -> None:
    """Do the work, and leave it where it stands when stop is set; raises what it raised."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _jitter(key: str) -> float:
    """Return a part of the life, always the same for one credential: a fleet must not renew at one moment."""
    return JITTER * (hashlib.blake2b(key.encode(), digest_size=2).digest()[0] / 255)
