"""What every source makes of a mail: an Arrival on the MAIL stream, after the vault has the bytes."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A mail has arrived; the message body on `mail.<project>.<source>` (msgpack).

    arrival_id: one handing-over, made before the first publish and used as Nats-Msg-Id. vault_key: where the raw bytes
    are. rcpt_to: envelope recipient, "" for imports. shop_code / site: what the address was made for, None when the
    address says nothing. cursor: the source's own name for the mail (path, UID, key), "" for SMTP.
    """

    arrival_id: UUID
    project_id: str
    source: str
    vault_key: str
    sha256: str
    size_bytes: int
    received_at_utc: datetime
    mail_from: str = ""
    rcpt_to: str = ""
    shop_code: str | None = None
    site: str | None = None
    cursor: str = ""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What an intake address stands for; the value in KV `addresses` under the case-folded local part (msgpack)."""

    project_id: str
    shop_code: str | None = None
    site: str | None = None
