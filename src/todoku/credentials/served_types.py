"""What is known of the things that our own doors show: certificates of TLS, and keys that sign mail."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from todoku.credentials.types import Condition, Facts, Notes


class ServedKind(StrEnum):
    """What kind of thing it is."""

    TLS_CERTIFICATE = "tls_certificate"
    DKIM_KEY = "dkim_key"


class Place(StrEnum):
    """Where it is used."""

    SMTP_DOOR = "smtp_door"  # STARTTLS of the SMTP and LMTP doors
    SIGNATURES = "signatures"  # of messages that leave
    INVENTORY = "inventory"  # kept here, for doors of any machine


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One thing as the process saw it that uses it.

    name: the host names of a certificate with blanks, or the DNS name of a DKIM record. domain: of a DKIM key.
    facts: None when there is nothing to show. in_use: False for a key that waits. since_utc: when its file was written.
    used_at_utc: the last handshake, the last signature. trouble, trouble_at_utc: why what is in the files now is not
    used, and since when. credential_id: the installation's credential that it was taken from. record: the text that DNS
    must answer with.
    """

    kind: ServedKind
    place: Place
    name: str
    facts: Facts | None
    domain: str = ""
    in_use: bool = True
    since_utc: datetime | None = None
    used_at_utc: datetime | None = None
    trouble: str = ""
    trouble_at_utc: datetime | None = None
    credential_id: str = ""
    record: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that one role of one machine saw at one moment, as KV `credentials` has it (msgpack)."""

    role: str
    machine: str
    at_utc: datetime
    sightings: list[Sighting]


class DnsFinding(StrEnum):
    """What DNS said when somebody asked for a key's record."""

    FOUND = "found"
    ABSENT = "absent"
    ANOTHER = "another"  # a record with another key
    REVOKED = "revoked"  # an empty key: RFC 6376 section 3.6.1
    NO_ANSWER = "no_answer"  # nobody knows: time-out, or a server in trouble


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The last answer, and when it was given."""

    finding: DnsFinding
    asked_at_utc: datetime
    record: str  # that was expected


class ServedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the installation's inventory, as pages, alerts and the terminal see it.

    machine: where it is used, "" for what is kept in the inventory. seen_at_utc: when its process last told of it, None
    for the inventory. renewed_by: the hook of the credential that it comes from, "" = somebody else renews its files.
    shown_by: of a credential: the machines whose doors show it.
    """

    kind: ServedKind
    place: Place
    name: str
    machine: str
    facts: Facts
    notes: Notes
    condition: Condition
    life_left: float | None
    in_use: bool
    domain: str = ""
    since_utc: datetime | None = None
    seen_at_utc: datetime | None = None
    credential_id: str = ""
    renewed_by: str = ""
    record: str = ""
    dns: DnsAnswer | None = None
    shown_by: list[str] = []
