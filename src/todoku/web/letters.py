"""A mail as a page shows it: read again from the vault, its evidence marked."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from todoku import extraction
from todoku.bus.errors import BusError
from todoku.extraction.types import Evidence
from todoku.intake import counting
from todoku.intake import queries as intake
from todoku.intake.types import MailDetail, OnTheBus
from todoku.kernel.errors import TodokuError
from todoku.mail.errors import Unreadable
from todoku.mail.parse import parse_mail
from todoku.mail.types import ParsedMail
from todoku.web.live import hub
from todoku.web.safe_html import mark_evidence

log = structlog.get_logger(__name__)

RAW_SHOWN_BYTES = 200_000
# Sites state one value in several places; on the page they belong to one field.
_FIELD_OF = {
    "guest": "guest.name",
    "start_date": "start",
    "start_time": "start",
    "year_date": "start",
    "stay": "start",
    "end": "start",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail, ready to be shown. missing: why it can't be shown, in words; then the rest is empty."""

    detail: MailDetail
    missing: str = ""
    subject: SafeString | str = ""
    sender: str = ""
    text: SafeString | str = ""
    marked: frozenset[str] = frozenset()
    has_html: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[tuple[str, str, int], ...] = ()


def open_letter(detail: MailDetail) -> Letter:
    """Read the mail again, so that the page shows what the bytes say and not what was remembered."""
    try:
        raw = raw_bytes(detail)
    except (TodokuError, TimeoutError, OSError) as error:
        log.warning("web.mail_not_readable", arrival_id=str(detail.row.arrival_id), error=str(error))
        return Letter(detail, missing=_("The mail is kept, but the vault does not answer now. Try again in a moment."))
    try:
        parsed = parse_mail(raw)
        reading = extraction.read_parsed(parsed, received_at=detail.row.arrived_at_utc)
    except Unreadable as error:
        return Letter(
            detail,
            subject=detail.row.subject,
            sender=detail.row.sender,
            text=as_text(raw),
            missing=_("This mail is broken: %(why)s Below are its bytes as they came.") % {"why": error},
        )
    evidence = [
        Evidence(_FIELD_OF.get(one.field, one.field), one.source, one.start, one.end) for one in reading.evidence
    ]
    return Letter(
        detail,
        subject=mark_evidence(reading.subject, evidence, "subject"),
        sender=_sender(parsed),
        text=mark_evidence(reading.text, evidence, "text"),
        marked=frozenset(one.field for one in evidence if one.source == "text"),
        has_html=parsed.html is not None,
        headers=parsed.headers,
        attachments=tuple((part.filename, part.content_type, len(part.content)) for part in parsed.attachments),
    )


def find_letter(project_id: str, arrival_id: object) -> Letter:
    """Return the letter of one arrival; raises intake.errors.MailMissing."""
    return open_letter(intake.get_mail(project_id, arrival_id))  # type: ignore[arg-type]


def raw_bytes(detail: MailDetail) -> bytes:
    """Return the mail as it came."""
    return hub.raw_mail(detail.vault_key)


def as_text(raw: bytes) -> str:
    """Return bytes as text that a browser can show, at most RAW_SHOWN_BYTES of them."""
    return raw[:RAW_SHOWN_BYTES].decode("utf-8", "replace").replace("\x00", "␀")


def count_on_bus(project_id: str) -> OnTheBus | None:
    """Return what the bus says arrived; None when the bus can't be asked, which is not the same as 0."""
    try:
        return hub.ask_bus(lambda bus: counting.count_on_bus(bus, project_id))
    except (BusError, TimeoutError):
        return None


def _sender(parsed: ParsedMail) -> str:
    name, address = parsed.sender.name, parsed.sender.address
    return f"{name} <{address}>" if name else address
