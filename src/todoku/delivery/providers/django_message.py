"""A composed message taken apart again, for providers that take parts and not MIME."""

from __future__ import annotations

import email
import email.policy
from email.headerregistry import Address
from email.message import EmailMessage as StandardMessage
from typing import Any

from django.core.mail import EmailMultiAlternatives

# what providers write themselves, and what the parts say already
_NOT_EXTRA = frozenset(
    {
        "from",
        "to",
        "subject",
        "reply-to",
        "date",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "dkim-signature",
    }
)


def django_message(content: bytes, rcpt_to: str) -> EmailMultiAlternatives:
    """Return the message as Django knows it, to one recipient. content: as `mail.compose` makes it.

    The To header's name is kept, its address is the envelope's. Header names are kept as they are, so Message-ID,
    List-Unsubscribe and X-Todoku-Recipient come back in the provider's events.
    """
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(parsed, StandardMessage)
    text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    extra = {name: str(value) for name, value in parsed.items() if name.lower() not in _NOT_EXTRA}
    message = EmailMultiAlternatives(
        subject=str(parsed["Subject"] or ""),
        body=text.get_content() if text is not None else "",
        from_email=_mailbox(*_first(parsed["From"])),
        to=[_mailbox(_first(parsed["To"])[0], rcpt_to)],
        reply_to=[_mailbox(*_first(parsed["Reply-To"]))] if parsed["Reply-To"] else None,
        headers=extra,
    )
    if html is not None:
        if text is None:
            message.body, message.content_subtype = html.get_content(), "html"
        else:
            message.attach_alternative(html.get_content(), "text/html")
    return message


def _first(header: Any) -> tuple[str, str]:
    """Return display name and address of the first mailbox."""
    addresses: tuple[Address, ...] = header.addresses if header is not None else ()
    return (addresses[0].display_name, addresses[0].addr_spec) if addresses else ("", "")


def _mailbox(name: str, address: str) -> str:
    if not name:
        return address
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'
