"""Mailgun routes with forward(): a form with the whole mail (`body-mime`, for addresses that end in `mime`), or pieces.

Source: documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from todoku.sources.errors import CredentialRefused
from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.forms import Form, read_form
from todoku.sources.webhook.proofs import first_that_proves, proven_by_mailgun
from todoku.sources.webhook.types import Attached, Call, Handed, Parts, Provider, WebhookPlace, tidy_address

# Mailgun tries for 8 hours, and it is not documented whether a repetition is signed anew: three times that long.
OLDEST_SIGNATURE: Final = timedelta(hours=24)
_YOUNGEST_SIGNATURE: Final = timedelta(hours=1)  # a clock of ours that goes wrong by more is noticed elsewhere


def read_mailgun(call: Call, place: WebhookPlace, now_utc: datetime) -> Handed:
    """Return what a call hands over; raises CredentialRefused, MalformedCall."""
    try:
        form = read_form(call)
    except MalformedCall as error:
        raise MalformedCall(error.what, proven=not place.secrets) from error
    credential_id = _prove(form, place, now_utc)
    raw = form.get("body-mime")
    parts = None
    if raw is None or not raw.content:
        parts = _parts_of(form)
    return Handed(
        raw=raw.content if parts is None and raw is not None else None,
        parts=parts,
        mail_from=tidy_address(form.text("sender")),
        rcpt_to=tidy_address(form.text("recipient")),
        credential_id=credential_id,
        once=form.text("token") if place.secrets else "",
    )


def _prove(form: Form, place: WebhookPlace, now_utc: datetime) -> str:
    token, timestamp, signature = form.text("token"), form.text("timestamp"), form.text("signature")
    credential_id = first_that_proves(
        place.secrets,
        lambda secret: proven_by_mailgun(token, timestamp, signature, secret),
        "the signature of the call",
    )
    if not place.secrets:
        return credential_id
    age = now_utc.timestamp() - int(timestamp) if timestamp.isascii() and timestamp.isdigit() else None
    if age is None or not -_YOUNGEST_SIGNATURE.total_seconds() <= age <= OLDEST_SIGNATURE.total_seconds():
        raise CredentialRefused(
            f"the call was signed at {timestamp[:20]!r}, which is not within the last 24 hours",
            kept="nothing: this may be a call of somebody else who repeats it",
            todo="compare the clock of this machine with a true one",
        )
    return credential_id


def _parts_of(form: Form) -> Parts:
    try:
        headers = msgspec.json.decode(form.text("message-headers"), type=list[tuple[str, str]])
    except msgspec.MsgspecError as error:
        raise MalformedCall("the call has neither `body-mime` nor `message-headers`") from error
    return Parts(
        Provider.MAILGUN,
        tuple(headers),
        text=form.text("body-plain") or None,
        html=form.text("body-html") or None,
        attached=tuple(
            Attached(file.filename or "", file.content_type, file.content, _content_ids(form).get(file.name, ""))
            for file in form.files
        ),
    )


def _content_ids(form: Form) -> dict[str, str]:
    """Return which file is which inline part."""
    try:
        found = msgspec.json.decode(form.text("content-id-map") or "{}", type=dict[str, str])
    except msgspec.MsgspecError:
        return {}
    return {name: content_id.strip("<>") for content_id, name in found.items()}
