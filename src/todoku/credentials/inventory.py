"""The inventory of credentials, kept on the bus; every call is about one project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
import structlog

from todoku.bus.buckets import Bucket
from todoku.bus.connection import Bus
from todoku.bus.errors import KeyExists, RevisionConflict
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.acme import ACCOUNT_KEY, new_account_key
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import BadCredential, CredentialExists, CredentialUnknown
from todoku.credentials.facts import condition_of, facts_of, life_left
from todoku.credentials.hooks import require_renewal
from todoku.credentials.types import INSTALLATION, CredentialRecord, Notes, Row, SealedSecret
from todoku.kernel.clock import Clock
from todoku.kernel.ids import require_subject_token
from todoku.sources.credentials import Credential, CredentialKind

log = structlog.get_logger(__name__)

_NOTES = ".notes"
_TRIES = 8  # of a compare-and-set among a few processes


class CredentialBook:
    """Adds, replaces, promotes and lists; gives no secret away."""

    def __init__(self, bus: Bus, cipher: SecretCipher, clock: Clock) -> None:
        self._bucket: Bucket = bus.bucket(CREDENTIALS_BUCKET)
        self._cipher = cipher
        self._clock = clock

    async def add(
        self, project_id: str, credential_id: str, kind: CredentialKind, secrets: Mapping[str, str], *, note: str = ""
    ) -> None:
        """Keep a first secret under a new name; raises CredentialExists, BadCredential, the bus's transient errors."""
        if (kind is CredentialKind.TLS_CERTIFICATE) is not (project_id == INSTALLATION):
            raise BadCredential(
                "certificates that our doors show are the installation's, and nothing else is",
                todo="certificates by `todoku certificate`, everything else by `todoku credential -p PROJECT`",
            )
        record = CredentialRecord(
            project_id=project_id,
            credential_id=credential_id,
            kind=kind,
            current=self._sealed(_key(project_id, credential_id), kind, secrets),
            note=note,
        )
        try:
            await self._bucket.create(record.key, msgspec.msgpack.encode(record))
        except KeyExists as error:
            raise CredentialExists(
                f"there is a credential named {credential_id} already", todo="replace it, or choose another name"
            ) from error
        log.info("credential.added", project_id=project_id, credential=credential_id, kind=kind)

    async def offer(
        self, project_id: str, credential_id: str, secrets: Mapping[str, str], *, not_after_utc: datetime | None = None
    ) -> None:
        """Put a newer secret beside the current one: it is tried first, and replaces it when a server accepts it.

        Raises CredentialUnknown, BadCredential.
        """

        def change(record: CredentialRecord) -> CredentialRecord:
            if record.kind is CredentialKind.TLS_CERTIFICATE:
                raise BadCredential("no server accepts a certificate of ours", todo="todoku certificate replace")
            sealed = self._sealed(record.key, record.kind, secrets, not_after_utc)
            return msgspec.structs.replace(record, candidate=sealed)

        await self._change(project_id, credential_id, change)
        log.info("credential.offered", project_id=project_id, credential=credential_id)

    async def install(self, project_id: str, credential_id: str, secrets: Mapping[str, str]) -> None:
        """Replace the secret at once: for what needs no server to accept it, after it was proven.

        What is not among the secrets (the key of an account) stays. Raises CredentialUnknown, BadCredential,
        SecretsLocked.
        """

        def change(record: CredentialRecord) -> CredentialRecord:
            kept = self._cipher.open(record.key, record.current.sealed)
            sealed = self._sealed(record.key, record.kind, {**kept, **secrets})
            return msgspec.structs.replace(record, current=sealed, candidate=None)

        await self._change(project_id, credential_id, change)
        log.info("credential.installed", project_id=project_id, credential=credential_id)

    async def add_secrets(self, project_id: str, credential_id: str, extra: Mapping[str, str]) -> None:
        """Put more secrets beside those in use: what a hook needs itself. Raises CredentialUnknown, SecretsLocked."""

        def change(record: CredentialRecord) -> CredentialRecord:
            secrets = {**self._cipher.open(record.key, record.current.sealed), **extra}
            current = msgspec.structs.replace(record.current, sealed=self._cipher.seal(record.key, secrets))
            return msgspec.structs.replace(record, current=current)

        await self._change(project_id, credential_id, change)
        log.info("credential.secrets_added", project_id=project_id, credential=credential_id, names=sorted(extra))

    async def promote(self, project_id: str, credential_id: str, candidate: SealedSecret) -> bool:
        """Let the candidate be the current secret, when it still is that one; tell whether it was."""
        promoted = False

        def change(record: CredentialRecord) -> CredentialRecord:
            nonlocal promoted
            promoted = record.candidate == candidate
            return msgspec.structs.replace(record, current=candidate, candidate=None) if promoted else record

        await self._change(project_id, credential_id, change)
        if promoted:
            log.info("credential.promoted", project_id=project_id, credential=credential_id)
        return promoted

    async def withdraw(self, project_id: str, credential_id: str, candidate: SealedSecret) -> None:
        """Take a candidate back that a server did not accept, when it still is that one."""

        def change(record: CredentialRecord) -> CredentialRecord:
            return msgspec.structs.replace(record, candidate=None) if record.candidate == candidate else record

        await self._change(project_id, credential_id, change)
        log.warning("credential.withdrawn", project_id=project_id, credential=credential_id)

    async def renew_by(self, project_id: str, credential_id: str, renewal: dict[str, str]) -> None:
        """Set how a new secret is had; {} = by hand. Raises CredentialUnknown, BadCredential.

        By ACME, the key of the account is made here, so that tries that fail do not open an account each.
        """
        require_renewal(renewal)
        by_acme = renewal.get("by") == "acme"

        def change(record: CredentialRecord) -> CredentialRecord:
            if by_acme and record.kind is not CredentialKind.TLS_CERTIFICATE:
                raise BadCredential("ACME gives certificates that our doors show, and nothing else")
            current = self._with_account(record) if by_acme else record.current
            return msgspec.structs.replace(record, renewal=dict(renewal), current=current)

        await self._change(project_id, credential_id, change)
        log.info("credential.renewal_set", project_id=project_id, credential=credential_id, hook=renewal.get("by", ""))

    async def remove(self, project_id: str, credential_id: str) -> None:
        """Forget a credential and its notes; raises CredentialUnknown."""
        key = _key(project_id, credential_id)
        if await self._bucket.get(key) is None:
            raise _unknown(credential_id)
        await self._bucket.delete(key)
        await self._bucket.delete(key + _NOTES)
        log.info("credential.removed", project_id=project_id, credential=credential_id)

    async def rows(self, project_id: str) -> list[Row]:
        """Return the project's inventory by name, without secrets."""
        beginning = f"{project_id}."
        keys = [key for key in await self._record_keys() if key.startswith(beginning)]
        rows = []
        for key in keys:
            entry = await self._bucket.get(key)
            if entry is not None:
                rows.append(self._row(decode_record(entry.value), await self.notes(key)))
        return rows

    async def records(self) -> list[CredentialRecord]:
        """Return the rows of all projects, for who renews them; one that can't be read is logged and left out."""
        found = []
        for key in await self._record_keys():
            entry = await self._bucket.get(key)
            if entry is None:
                continue
            try:
                found.append(decode_record(entry.value))
            except BadCredential as error:
                log.error("credential.unreadable", key=key, error=error.what)
        return found

    async def record(self, project_id: str, credential_id: str) -> CredentialRecord:
        """Return the row as it is kept, with its secrets encrypted; raises CredentialUnknown."""
        entry = await self._bucket.get(_key(project_id, credential_id))
        if entry is None:
            raise _unknown(credential_id)
        return decode_record(entry.value)

    async def open(self, project_id: str, credential_id: str) -> Credential:
        """Return the credential with its secret, to log in with; raises CredentialUnknown, SecretsLocked.

        A candidate goes before the secret that it is to replace.
        """
        record = await self.record(project_id, credential_id)
        secret = record.candidate or record.current
        return Credential(credential_id, record.kind, self._cipher.open(record.key, secret.sealed))

    async def notes(self, key: str) -> Notes:
        """Return what became of a credential. key: `<project>.<id>`."""
        entry = await self._bucket.get(key + _NOTES)
        return decode_notes(entry.value) if entry is not None else Notes()

    async def note(self, key: str, change: Callable[[Notes], Notes]) -> None:
        """Change the notes of a credential, whoever else does so; raises the bus's transient errors."""
        for _ in range(_TRIES):
            entry = await self._bucket.get(key + _NOTES)
            try:
                if entry is None:
                    await self._bucket.create(key + _NOTES, msgspec.msgpack.encode(change(Notes())))
                else:
                    notes = change(decode_notes(entry.value))
                    await self._bucket.update(key + _NOTES, msgspec.msgpack.encode(notes), entry.revision)
            except (KeyExists, RevisionConflict):
                continue
            return
        log.warning("credential.not_noted", key=key)

    async def encrypt_anew(self) -> int:
        """Encrypt every secret of every project with the newest key; return how many. Raises SecretsLocked."""
        count = 0
        for key in await self._record_keys():
            project_id, credential_id = key.split(".")
            await self._change(project_id, credential_id, self._encrypted_anew)
            count += 1
        log.info("credential.encrypted_anew", credentials=count)
        return count

    async def _record_keys(self) -> list[str]:
        """Return the keys of credentials: those of notes, reports and challenges have another dot."""
        return [key for key in await self._bucket.keys() if key.count(".") == 1]

    def _with_account(self, record: CredentialRecord) -> SealedSecret:
        secrets = self._cipher.open(record.key, record.current.sealed)
        if secrets.get(ACCOUNT_KEY):
            return record.current
        sealed = self._cipher.seal(record.key, {**secrets, ACCOUNT_KEY: new_account_key()})
        return msgspec.structs.replace(record.current, sealed=sealed)

    def _encrypted_anew(self, record: CredentialRecord) -> CredentialRecord:
        def anew(secret: SealedSecret) -> SealedSecret:
            opened = self._cipher.open(record.key, secret.sealed)
            return msgspec.structs.replace(secret, sealed=self._cipher.seal(record.key, opened))

        candidate = anew(record.candidate) if record.candidate is not None else None
        return msgspec.structs.replace(record, current=anew(record.current), candidate=candidate)

    def _sealed(
        self, key: str, kind: CredentialKind, secrets: Mapping[str, str], not_after_utc: datetime | None = None
    ) -> SealedSecret:
        facts = facts_of(kind, secrets, not_after_utc=not_after_utc)
        return SealedSecret(sealed=self._cipher.seal(key, secrets), facts=facts, set_at_utc=self._clock.now_utc())

    async def _change(
        self, project_id: str, credential_id: str, change: Callable[[CredentialRecord], CredentialRecord]
    ) -> None:
        key = _key(project_id, credential_id)
        for _ in range(_TRIES):
            entry = await self._bucket.get(key)
            if entry is None:
                raise _unknown(credential_id)
            before = decode_record(entry.value)
            after = change(before)
            if after == before:
                return
            try:
                await self._bucket.update(key, msgspec.msgpack.encode(after), entry.revision)
            except RevisionConflict:
                continue
            return
        raise RevisionConflict(f"the credential {credential_id} is being changed by others", todo="try again")

    def _row(self, record: CredentialRecord, notes: Notes) -> Row:
        facts, now_utc = record.current.facts, self._clock.now_utc()
        left = life_left(facts, record.current.set_at_utc, now_utc)
        return Row(
            credential_id=record.credential_id,
            kind=record.kind,
            facts=facts,
            notes=notes,
            condition=condition_of(facts, notes, left, now_utc),
            life_left=left,
            renewed_by=record.renewal.get("by", ""),
            has_candidate=record.candidate is not None,
            note=record.note,
        )


def decode_record(value: bytes) -> CredentialRecord:
    """Read a row; raises BadCredential."""
    try:
        return msgspec.msgpack.decode(value, type=CredentialRecord)
    except msgspec.MsgspecError as error:
        raise BadCredential("what the bus has about a credential can't be read") from error


def decode_notes(value: bytes) -> Notes:
    """Read notes; what can't be read counts as none."""
    try:
        return msgspec.msgpack.decode(value, type=Notes)
    except msgspec.MsgspecError:
        return Notes()


def _key(project_id: str, credential_id: str) -> str:
    try:
        return f"{require_subject_token(project_id)}.{require_subject_token(credential_id)}"
    except ValueError as error:
        raise BadCredential(str(error), todo="give it a short name such as imap-ginza-2026") from error


def _unknown(credential_id: str) -> CredentialUnknown:
    return CredentialUnknown(f"there is no credential named {credential_id} in this project")
