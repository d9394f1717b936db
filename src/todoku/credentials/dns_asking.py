"""Ask DNS whether it answers with the record of a DKIM key (RFC 6376 section 3.6.1)."""

from __future__ import annotations

import asyncio
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
import structlog

from todoku.credentials.served_types import DnsAnswer, DnsFinding, ServedKind, ServedRow
from todoku.credentials.sightings import SightingBook
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

ASKED_SECONDS: Final = 10.0
_AT_ONCE: Final = 16


async def ask_dns(
    name: str, record: str, clock: Clock, resolver: dns.asyncresolver.Resolver | None = None
) -> DnsAnswer:
    """Ask for a record now. resolver: None = the machine's own. Raises nothing: trouble is an answer too."""
    try:
        answer = await (resolver or _resolver()).resolve(dns.name.from_text(name), "TXT")
        texts = [b"".join(line.strings).decode("ascii", "replace") for line in answer]
        finding = finding_of(texts, record)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        finding = DnsFinding.ABSENT
    except (dns.exception.DNSException, OSError) as error:
        log.warning("dkim.dns_not_answered", name=name, error=type(error).__name__)
        finding = DnsFinding.NO_ANSWER
    return DnsAnswer(finding=finding, asked_at_utc=clock.now_utc(), record=record)


async def ask_for_keys(
    rows: list[ServedRow], book: SightingBook, clock: Clock, resolver: dns.asyncresolver.Resolver | None = None
) -> dict[str, DnsAnswer]:
    """Ask for every DKIM key among the rows, and keep what was answered; raises the bus's transient errors."""
    records = {row.name: row.record for row in rows if row.kind is ServedKind.DKIM_KEY and row.record}
    room = asyncio.Semaphore(_AT_ONCE)

    async def ask(name: str, record: str) -> DnsAnswer:
        async with room:
            answer = await ask_dns(name, record, clock, resolver)
        await book.note_dns(name, answer)
        return answer

    answers = await asyncio.gather(*(ask(name, record) for name, record in records.items()))
    return dict(zip(records, answers, strict=True))


def finding_of(texts: list[str], record: str) -> DnsFinding:
    """Compare the TXT records that DNS gave with the one that there should be."""
    wanted = _tags(record)
    keys = [tags for tags in map(_tags, texts) if "p" in tags and tags.get("v", "DKIM1") == "DKIM1"]
    if not keys:
        return DnsFinding.ABSENT
    if len(keys) > 1:  # section 3.6.2.2: what receivers do then is undefined
        return DnsFinding.ANOTHER
    if not keys[0]["p"]:
        return DnsFinding.REVOKED
    same = keys[0]["p"] == wanted["p"] and keys[0].get("k", "rsa") == wanted.get("k", "rsa")
    return DnsFinding.FOUND if same else DnsFinding.ANOTHER


def _resolver() -> dns.asyncresolver.Resolver:
    made = dns.asyncresolver.Resolver()
    made.lifetime = ASKED_SECONDS
    return made


def _tags(text: str) -> dict[str, str]:
    """Return the tags of a record, without blanks inside values (RFC 6376 section 3.2)."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): "".join(value.split()) for name, found, value in pairs if found}
