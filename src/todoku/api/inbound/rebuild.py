"""Make a mail of the pieces that a provider took it to, with the message of django-anymail; needs `todoku[anymail]`."""

from __future__ import annotations

import hashlib
import re
from email.encoders import encode_base64
from email.policy import SMTP
from typing import Final

from anymail.inbound import AnymailInboundMessage

from todoku.sources.webhook.types import Attached, Parts

MARK: Final = "X-Todoku-Rebuilt"
_NAME: Final = re.compile(r"[!-9;-~]{1,200}")  # RFC 5322 section 2.2
# Also U+0085, U+2028 and their like: the standard library takes them for ends of lines and writes CR LF there.
_NOT_IN_HEADERS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+")
_OURS: Final = re.compile(r"content-|mime-version$|x-todoku-", re.IGNORECASE)  # of the whole that is not there any more
_TYPE: Final = re.compile(r"(?:application|audio|font|image|model|text|video)/[A-Za-z0-9!#$&^_.+-]{1,100}")
# Headers as the provider wrote them, in UTF-8 (RFC 6532): folding and encoding them anew can only lose.
_POLICY: Final = SMTP.clone(utf8=True, refold_source="none", max_line_length=None)


def rebuild(parts: Parts) -> bytes:
    """Return a mail with these headers, bodies and attachments; the same parts always make the same bytes.

    Its header X-Todoku-Rebuilt names the provider: no DKIM signature in it can be verified, whoever signed it. Bodies
    and attachments are in base64; bodies are UTF-8. No header of the parts can begin another one or end them all.
    """
    lines = [f"{MARK}: {parts.provider}"]
    for name, value in parts.headers:
        if _NAME.fullmatch(name) and not _OURS.match(name):
            lines.append(f"{name}: {_NOT_IN_HEADERS.sub(' ', value).strip()}")
    message = AnymailInboundMessage.construct(
        raw_headers=_writable("\n".join(lines)) + "\n\n",
        text=_writable(parts.text) if parts.text is not None else None,
        html=_writable(parts.html) if parts.html is not None else None,
        attachments=[_attachment(one) for one in parts.attached],
    )
    name = _digest_of(parts)
    for number, part in enumerate(part for part in message.walk() if part.get_content_maintype() == "multipart"):
        part.set_boundary(f"=_{name}_{number}")  # the standard library's would be random
    return bytes(message.as_bytes(policy=_POLICY))


def _attachment(one: Attached) -> AnymailInboundMessage:
    kind = one.content_type.partition(";")[0].strip().lower()
    charset = re.search(r'charset="?([A-Za-z0-9._-]{1,40})', one.content_type, re.IGNORECASE)
    part = AnymailInboundMessage.construct_attachment(
        content_type=kind if _TYPE.fullmatch(kind) else "application/octet-stream",
        content=one.content,
        filename=_NOT_IN_HEADERS.sub(" ", _writable(one.name))[:255] or None,
        content_id=_NOT_IN_HEADERS.sub("", _writable(one.content_id))[:200] or None,
    )
    if charset and kind.startswith("text/"):
        part.set_param("charset", charset[1])
    encode_base64(part)
    return part


def _writable(text: str) -> str:
    """Return the text without halves of characters, which UTF-8 can't write."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _digest_of(parts: Parts) -> str:
    digest = hashlib.sha256()
    texts = [text for header in parts.headers for text in header]
    texts += [parts.provider, repr(parts.text), repr(parts.html)]
    for one in parts.attached:
        texts += [one.name, one.content_type, one.content_id, hashlib.sha256(one.content).hexdigest()]
    for text in texts:
        plain = text.encode("utf-8", "replace")
        digest.update(len(plain).to_bytes(8, "big") + plain)
    return digest.hexdigest()[:32]
