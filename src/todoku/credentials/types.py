"""What the inventory knows of a credential; the secret itself only encrypted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from todoku.sources.credentials import CredentialKind

INSTALLATION: Final = "_installation"  # whose credentials belong to no project: what our own doors show


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of a secret without showing it.

    issuer: who gave it, "" when nobody says. not_before_utc, not_after_utc: its life, None when it has no end by itself
    or does not say. fingerprint: SHA-256 of a certificate in hex, else "".
    """

    issuer: str = ""
    subject: str = ""
    not_before_utc: datetime | None = None
    not_after_utc: datetime | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """New secrets. not_after_utc: their end when the issuer told it beside them."""

    secrets: Mapping[str, str] = field(repr=False)
    not_after_utc: datetime | None = None


class SealedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret, encrypted, with its facts. set_at_utc: since when it is here."""

    sealed: bytes
    facts: Facts
    set_at_utc: datetime


class CredentialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the inventory, as KV `credentials` has it (msgpack).

    candidate: a renewed secret that no server has accepted yet; the current one stays in use until one has. renewal:
    how a new secret is had, by the hook's own names, {} = by hand. note: a person's words.
    """

    project_id: str
    credential_id: str
    kind: CredentialKind
    current: SealedSecret
    candidate: SealedSecret | None = None
    renewal: dict[str, str] = {}
    note: str = ""

    @property
    def key(self) -> str:
        """Return its key in KV."""
        return f"{self.project_id}.{self.credential_id}"


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a credential; written beside it, so that a use never collides with a change.

    used_at_utc: when a server last let us in. refused_at_utc, refused_why: when one last did not, and its words.
    renewal_at_utc, renewal_why: the last try to renew; "" = it succeeded.
    """

    used_at_utc: datetime | None = None
    refused_at_utc: datetime | None = None
    refused_why: str = ""
    renewal_at_utc: datetime | None = None
    renewal_why: str = ""


class Condition(StrEnum):
    """What is to be said of a credential at this moment, the worst first."""

    NOT_SEEN = "not_seen"  # the process that serves it has said nothing for a while
    UNREADABLE = "unreadable"  # its file can't be used, and there is no other
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REFUSED = "refused"  # the last login with it was refused
    RENEWAL_FAILED = "renewal_failed"
    NOT_IN_DNS = "not_in_dns"  # mail is signed with it, and DNS does not answer with its record
    NEAR_ITS_END = "near_its_end"  # less than a sixth of its life is left
    ENDING = "ending"  # less than a third
    WAITING = "waiting"  # made, not in use yet, or no longer
    UNPROVEN = "unproven"  # no server has let us in with it so far, or nobody has asked for it
    GOOD = "good"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row as pages, alerts and the terminal see it: everything but the secret."""

    credential_id: str
    kind: CredentialKind
    facts: Facts
    notes: Notes
    condition: Condition
    life_left: float | None  # fraction of its life, 0-1; None without an end
    renewed_by: str  # the hook's name, "" = by hand
    has_candidate: bool
    note: str = ""
