"""The ordered lists that sources log in with, always as the inventory says now.

STRATEGY  The inventory is watched, so a login asks memory and not the bus. What becomes of a login is put into a queue
          and written by one task: a source never waits for a note. A candidate is tried before the secret that it is
          to replace; its first success makes it the current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import CredentialError
from todoku.credentials.inventory import CredentialBook, decode_record
from todoku.credentials.types import CredentialRecord, Notes, SealedSecret
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff
from todoku.sources.credentials import Credential, Keyring

log = structlog.get_logger(__name__)

CANDIDATE: Final = "~new"
_USE_NOTED_EVERY_SECONDS: Final = 30.0  # a poll a second would write a note a second
_BACK_OFF: Final = BackOff(base_seconds=0.2, cap_seconds=5.0)
_LONGEST_WHY: Final = 500


class _Told(msgspec.Struct, frozen=True):
    """What a source told of one login. why: "" = it worked. candidate: the secret, when it was one."""

    key: str
    at_utc: datetime
    why: str
    candidate: SealedSecret | None


class KeyringDesk:
    """Keyrings for the sources of one process; `run` must be running."""

    def __init__(self, bus: Bus, cipher: SecretCipher, clock: Clock) -> None:
        self._bus = bus
        self._cipher = cipher
        self._clock = clock
        self._book = CredentialBook(bus, cipher, clock)
        self._records: dict[str, CredentialRecord] = {}
        self._told: asyncio.Queue[_Told] = asyncio.Queue()
        self._noted_seconds: dict[str, float] = {}
        self._loaded = asyncio.Event()

    async def until_loaded(self) -> None:
        """Return when every credential that the bus had is known."""
        await self._loaded.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the inventory and write notes until stop is set; a bus that is away is waited for."""
        watch = await self._bus.bucket(CREDENTIALS_BUCKET).follow(self._changed, stop)
        self._loaded.set()
        writing = asyncio.create_task(self._write_notes())
        try:
            await stop.wait()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if watch is not None:
                await watch.stop()

    def keyring(self, project_id: str, credential_ids: Sequence[str]) -> Keyring:
        """Return the list of these credentials, in this order."""
        return _DeskKeyring(self, [f"{project_id}.{credential_id}" for credential_id in credential_ids])

    def credentials_of(self, keys: Sequence[str]) -> list[Credential]:
        """Return what may be tried now: in order, those that are out of their life last, since our clock may err."""
        now_utc = self._clock.now_utc()
        alive: list[Credential] = []
        over: list[Credential] = []
        for key in keys:
            record = self._records.get(key)
            if record is None:
                log.error("credential.missing", key=key, todo="add it, or take it off the source's list")
                continue
            for secret, suffix in ((record.candidate, CANDIDATE), (record.current, "")):
                if secret is None:
                    continue
                opened = self._opened(record, secret, suffix)
                if opened is not None:
                    facts = secret.facts
                    is_over = facts.not_after_utc is not None and facts.not_after_utc <= now_utc
                    (over if is_over else alive).append(opened)
        return alive + over

    def tell(self, key: str, credential_id: str, why: str) -> None:
        """Take a note of a login. why: "" = the server let us in."""
        record = self._records.get(key)
        is_candidate = credential_id.endswith(CANDIDATE)
        candidate = record.candidate if record is not None and is_candidate else None
        now_seconds = self._clock.monotonic_seconds()
        noted_seconds = self._noted_seconds.get(key)
        if why or candidate is not None:
            self._noted_seconds.pop(key, None)
        elif noted_seconds is not None and now_seconds - noted_seconds < _USE_NOTED_EVERY_SECONDS:
            return
        else:
            self._noted_seconds[key] = now_seconds
        if why:
            log.error("credential.refused", key=key, candidate=is_candidate, why=why)
        self._told.put_nowait(_Told(key, self._clock.now_utc(), why[:_LONGEST_WHY], candidate))

    def _opened(self, record: CredentialRecord, secret: SealedSecret, suffix: str) -> Credential | None:
        try:
            secrets = self._cipher.open(record.key, secret.sealed)
        except CredentialError as error:
            log.error("credential.locked", key=record.key, error=error.what, todo=error.todo)
            return None
        return Credential(record.credential_id + suffix, record.kind, secrets)

    def _changed(self, key: str, value: bytes | None) -> None:
        if key.count(".") != 1:
            return  # notes
        if value is None:
            self._records.pop(key, None)
            return
        try:
            self._records[key] = decode_record(value)
        except CredentialError as error:
            log.error("credential.unreadable", key=key, error=error.what)  # what was known stays in use

    async def _write_notes(self) -> None:
        while True:
            told = await self._told.get()
            attempt = 0
            while True:
                try:
                    await self._write(told)
                    break
                except BusError as error:
                    log.warning("credential.note_waits", key=told.key, error=error.what)
                    await asyncio.sleep(_BACK_OFF.wait_seconds(attempt))
                    attempt += 1
                except CredentialError:
                    break  # removed meanwhile

    async def _write(self, told: _Told) -> None:
        project_id, credential_id = told.key.split(".")
        if told.why:
            if told.candidate is not None:  # the current one has not been refused
                failed = {"renewal_at_utc": told.at_utc, "renewal_why": f"not accepted: {told.why}"}
                await self._book.note(told.key, lambda notes: msgspec.structs.replace(notes, **failed))
                return
            refused = {"refused_at_utc": told.at_utc, "refused_why": told.why}
            await self._book.note(told.key, lambda notes: msgspec.structs.replace(notes, **refused))
            return
        if told.candidate is not None:
            await self._book.promote(project_id, credential_id, told.candidate)
        await self._book.note(told.key, lambda notes: _used(notes, told))


def _used(notes: Notes, told: _Told) -> Notes:
    if told.candidate is None:
        return msgspec.structs.replace(notes, used_at_utc=told.at_utc)
    return msgspec.structs.replace(notes, used_at_utc=told.at_utc, renewal_at_utc=told.at_utc, renewal_why="")


class _DeskKeyring:
    """A Keyring whose list stands in the inventory."""

    def __init__(self, desk: KeyringDesk, keys: Sequence[str]) -> None:
        self._desk = desk
        self._keys = {key.partition(".")[2]: key for key in keys}

    def in_order(self) -> Sequence[Credential]:
        """Return those that may be tried now."""
        return self._desk.credentials_of(list(self._keys.values()))

    def used(self, credential_id: str) -> None:
        """Note a login."""
        self._desk.tell(self._keys[credential_id.removesuffix(CANDIDATE)], credential_id, "")

    def refused(self, credential_id: str, why: str) -> None:
        """Note a refusal."""
        self._desk.tell(self._keys[credential_id.removesuffix(CANDIDATE)], credential_id, why or "refused")
