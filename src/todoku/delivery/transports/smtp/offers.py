"""What a relay offers (RFC 5321 section 4.1.1.1), and what its refusals mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from todoku.delivery.transports.smtp.replies import Reply
from todoku.delivery.types import AnswerKind

_STATUS = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})(?!\S)")

# A basic code 4yz that carries one of these will never turn into a 2yz: the relay contradicts itself, and the
# enhanced code is the more exact one (RFC 3463 section 3.2, 3.4; RFC 7505 and 6531 for the last ones).
NEVER: Final = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.3.4", "5.6.7"})


class EnhancedStatus(NamedTuple):
    """An enhanced status code (RFC 3463)."""

    status_class: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.status_class}.{self.subject}.{self.detail}"


@dataclass(frozen=True, slots=True)
class Offers:
    """What the relay said in its EHLO answer. size: largest message in octets, 0 = not said. auth: upper case."""

    pipelining: bool = False
    eight_bit: bool = False
    size: int = 0
    says_size: bool = False
    chunking: bool = False
    utf8: bool = False
    starttls: bool = False
    auth: frozenset[str] = frozenset()


def read_offers(reply: Reply) -> Offers:
    """Read the EHLO answer; its first line is the relay's name."""
    keywords: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        # "AUTH=PLAIN LOGIN" is how servers spoke before RFC 2554; some still say it beside the right form
        words = line.upper().replace("AUTH=", "AUTH ", 1).split()
        if words:
            keywords.setdefault(words[0], []).extend(words[1:])
    size = keywords.get("SIZE", [""])[:1]
    return Offers(
        pipelining="PIPELINING" in keywords,
        eight_bit="8BITMIME" in keywords,
        size=int(size[0]) if size and size[0].isascii() and size[0].isdigit() else 0,
        says_size="SIZE" in keywords,
        chunking="CHUNKING" in keywords,
        utf8="SMTPUTF8" in keywords,
        starttls="STARTTLS" in keywords,
        auth=frozenset(keywords.get("AUTH", ())),
    )


def status_of(text: str) -> EnhancedStatus | None:
    """Return the enhanced status code at the beginning of a reply's text, None when there is none.

    text: a reply with its basic code ("550 5.1.1 nobody"), as `Answer.text` keeps it, or without.
    """
    if text[:3].isdigit():
        text = text[3:]
    match = _STATUS.match(text)
    return EnhancedStatus(int(match[1]), int(match[2]), int(match[3])) if match else None


def kind_of(reply: Reply) -> AnswerKind:
    """Return what a reply to a message or its recipient means.

    The basic code decides, but for a 4yz that says "never" by its enhanced code (`NEVER`). Throttling (4.7.x,
    421 4.7.0, 450 4.2.1) is temporary, policy refusals (5.7.x) are permanent, as the basic codes say.
    """
    if reply.code < 300:
        return AnswerKind.ACCEPTED
    if reply.code >= 500 or str(status_of(reply.text)) in NEVER:
        return AnswerKind.PERMANENT
    return AnswerKind.TEMPORARY
