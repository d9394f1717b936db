"""Postmark inbound: JSON with the whole mail (`RawEmail`, "Include raw email content"), or with its pieces.

Source: postmarkapp.com/developer/webhooks/inbound-webhook.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.forms import read_json
from todoku.sources.webhook.proofs import first_that_proves, proven_by_password
from todoku.sources.webhook.types import Attached, Call, Handed, Parts, Provider, WebhookPlace, tidy_address


def read_postmark(call: Call, place: WebhookPlace) -> Handed:
    """Return what a call hands over; raises CredentialRefused, MalformedCall."""
    credential_id = first_that_proves(
        place.secrets, lambda secret: proven_by_password(call, secret), "the password of the call"
    )
    event = read_json(call.body)
    if event.get("RecordType", "Inbound") != "Inbound":
        raise MalformedCall(f"the call tells of {event['RecordType']!r}", todo="set the hook at the inbound stream")
    headers = list(_headers_of(event))
    mail_from = ""
    if headers and headers[0][0].lower() == "return-path":  # added by Postmark, and not in the mail
        mail_from = tidy_address(headers.pop(0)[1])
    raw = event.get("RawEmail")
    parts = None
    if not isinstance(raw, str) or not raw:
        if "From" not in event and "FromFull" not in event:
            raise MalformedCall("the call has neither `RawEmail` nor `From`")
        parts = _parts_of(event, headers)
    return Handed(
        # JSON is text; Postmark has read what is not ASCII as UTF-8, so this gives back what can be had
        raw=raw.encode("utf-8", "surrogatepass") if parts is None and isinstance(raw, str) else None,
        parts=parts,
        identity=tidy_address(event.get("MessageID")),
        mail_from=mail_from,
        rcpt_to=tidy_address(event.get("OriginalRecipient")),
        credential_id=credential_id,
    )


def _parts_of(event: dict[str, Any], headers: list[tuple[str, str]]) -> Parts:
    there = {name.lower() for name, _ in headers}
    beside = [("From", _addresses([event.get("FromFull")]) or str(event.get("From") or ""))]
    beside += [(name, _addresses(event.get(f"{name}Full")) or str(event.get(name) or "")) for name in ("To", "Cc")]
    beside += [(name, str(event.get(name.replace("-", "")) or "")) for name in ("Subject", "Date", "Reply-To")]
    first = [(name, value) for name, value in beside if value and name.lower() not in there]
    return Parts(
        Provider.POSTMARK,
        tuple(first + headers),
        text=_text(event.get("TextBody")),
        html=_text(event.get("HtmlBody")),
        attached=tuple(_attached(event.get("Attachments"))),
    )


def _headers_of(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for header in _dicts(event.get("Headers")):
        yield str(header.get("Name") or ""), str(header.get("Value") or "")


def _addresses(found: object) -> str:
    return ", ".join(_address(one) for one in _dicts(found) if one.get("Email"))


def _address(one: dict[str, Any]) -> str:
    name = str(one.get("Name") or "").replace("\\", "").replace('"', "")
    return f'"{name}" <{one["Email"]}>' if name else str(one["Email"])


def _attached(found: object) -> Iterator[Attached]:
    for one in _dicts(found):
        content = one.get("Content") or one.get("Data") or ""  # "Data" in Postmark's own test calls
        try:
            plain = base64.b64decode(str(content))
        except (binascii.Error, ValueError) as error:
            raise MalformedCall(f"an attachment is no base64: {error}") from error
        name, kind = str(one.get("Name") or ""), str(one.get("ContentType") or "")
        yield Attached(name, kind, plain, str(one.get("ContentID") or "").strip("<>"))


def _text(found: object) -> str | None:
    return found if isinstance(found, str) and found else None


def _dicts(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
