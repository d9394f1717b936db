"""SendGrid Inbound Parse: a form with the whole mail (`email`, "POST the raw, full MIME message"), or with its pieces.

Source: twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook.
"""

from __future__ import annotations

import re
from typing import Any, Final

from todoku.mail.charsets import decode_bytes
from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.forms import Form, read_form, read_json
from todoku.sources.webhook.proofs import first_that_proves, proven_by_password, proven_by_sendgrid
from todoku.sources.webhook.types import Attached, Call, Handed, Parts, Provider, WebhookPlace, tidy_address

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def read_sendgrid(call: Call, place: WebhookPlace) -> Handed:
    """Return what a call hands over; raises CredentialRefused, MalformedCall."""
    credential_id = first_that_proves(
        place.secrets,
        lambda secret: proven_by_password(call, secret) or proven_by_sendgrid(call, secret),
        "the password or signature of the call",
    )
    form = read_form(call)
    envelope = _json_of(form, "envelope")
    recipients = envelope.get("to")
    raw = form.get("email")
    parts = None
    if raw is None or not raw.content:
        parts = _parts_of(form)
    return Handed(
        raw=raw.content if parts is None and raw is not None else None,
        parts=parts,
        mail_from=tidy_address(envelope.get("from")),
        rcpt_to=tidy_address(recipients[0]) if isinstance(recipients, list) and recipients else "",
        credential_id=credential_id,
    )


def _parts_of(form: Form) -> Parts:
    if form.get("headers") is None:
        raise MalformedCall("the call has neither `email` nor `headers`", todo="is this an event webhook?")
    charsets = _json_of(form, "charsets")
    infos = _json_of(form, "attachment-info")
    attached = []
    for file in form.files:
        info = infos.get(file.name)
        info = info if isinstance(info, dict) else {}
        name = file.filename or str(info.get("filename") or info.get("name") or "")
        content_id = str(info.get("content-id") or "").strip("<>")
        attached.append(Attached(name, file.content_type or str(info.get("type") or ""), file.content, content_id))
    return Parts(
        Provider.SENDGRID,
        tuple(split_headers(_decoded(form, "headers", None) or "")),
        text=_decoded(form, "text", charsets.get("text")),
        html=_decoded(form, "html", charsets.get("html")),
        attached=tuple(attached),
    )


def split_headers(block: str) -> list[tuple[str, str]]:
    """Return the headers of a block (RFC 5322 section 2.2), unfolded; lines that are no header are left out."""
    headers: list[tuple[str, str]] = []
    for line in _LINE_END.split(block):  # splitlines would cut at U+2028 and U+0085 too, which a value may hold
        if line[:1] in {" ", "\t"}:
            if headers:
                headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip(), value.strip()))
    return headers


def _decoded(form: Form, name: str, charset: object) -> str | None:
    found = form.get(name)
    if found is None:
        return None
    return decode_bytes(found.content, charset if isinstance(charset, str) else "utf-8").text


def _json_of(form: Form, name: str) -> dict[str, Any]:
    """Return a field of JSON; what is beside the mail and can't be read is left out, the mail is what counts."""
    try:
        return read_json(form.text(name)) if form.get(name) is not None else {}
    except MalformedCall:
        return {}
