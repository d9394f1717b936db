"""The row of one mail, with texts and numbers that PostgreSQL can hold. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from todoku.intake.fates import Fate, Received
from todoku.intake.source_days import cursor_text
from todoku.intake.store import MailLine

_INT_MAX = 2**31 - 1
_BIGINT_MAX = 2**63 - 1


def mail_line(mail: Received, final: tuple[Fate, UUID | None]) -> MailLine:
    """Return the row of a mail. final: where it ended, and the reservation that it is about, when there is one."""
    fate, reservation_id = final
    arrival, reading = mail.arrival, mail.outcome.reading
    facts = reading.facts if reading is not None else None
    return MailLine(
        arrival_id=arrival.arrival_id,
        project_id=mail.project_id,
        source=_text(arrival.source, 64),
        stream_sequence=mail.sequence,
        state=fate.state,
        reason=_text(fate.reason, 200),
        site=_text((reading.site if reading else None) or arrival.site or "", 40) or None,
        shop_code=_text(arrival.shop_code or "", 40) or None,
        shop_text=_text(facts.shop or "", 500) or None if facts else None,
        subject=_text(reading.subject, 1000) if reading else "",
        sender=_text(reading.sender, 500) if reading else "",
        rcpt_to=_text(arrival.rcpt_to, 500),
        vault_key=_text(arrival.vault_key, 200),
        sha256=_text(arrival.sha256, 64),
        size_bytes=min(arrival.size_bytes, _BIGINT_MAX),
        arrived_at=arrival.received_at_utc,
        issued_at=_moment(reading.issued_at if reading else None),
        lossy_characters=min(reading.lossy_characters, _INT_MAX) if reading else 0,
        reservation_id=reservation_id,
        cursor=cursor_text(arrival.cursor),
        at_source=_moment(arrival.at_source_utc),
        rules=mail.outcome.rules,
    )


def _text(text: str, most: int) -> str:
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")[:most]


def _moment(moment: datetime | None) -> datetime | None:
    if moment is None or not 2 < moment.year < 9998:  # beyond, a change of zone leaves what datetime can hold
        return None
    return moment.astimezone(UTC)
