"""The installation's own inventory: what its doors show and what signs its mail, on whatever machine that is done."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from todoku.credentials.facts import condition_of, life_left
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.served_types import DnsAnswer, DnsFinding, Place, Report, ServedKind, ServedRow, Sighting
from todoku.credentials.sightings import SEEN_WITHIN_SECONDS, SightingBook
from todoku.credentials.types import INSTALLATION, Condition, Facts, Notes, Row
from todoku.kernel.clock import Clock
from todoku.sources.credentials import CredentialKind

_NOTHING = Facts()


async def installation_rows(
    book: CredentialBook, sightings: SightingBook, clock: Clock, *, domains: Collection[str] | None = None
) -> list[ServedRow]:
    """Return what the installation shows to others, certificates first.

    domains: whose DKIM keys are wanted, with those of the domains above them; None = of all. A project's people may see
    what serves their project, and must not learn the names of others. Raises the bus's transient errors.
    """
    kept = {row.credential_id: row for row in await book.rows(INSTALLATION)}
    reports = await sightings.reports()
    answers = await sightings.dns_answers()
    now_utc = clock.now_utc()
    seen = [
        _seen(report, one, kept.get(one.credential_id), answers.get(one.name), now_utc)
        for report in reports
        for one in report.sightings
        if one.kind is not ServedKind.DKIM_KEY or domains is None or _serves(one.domain, domains)
    ]
    rows = [_kept(row, seen) for row in kept.values() if row.kind is CredentialKind.TLS_CERTIFICATE]
    return sorted([*rows, *seen], key=lambda row: (row.kind is ServedKind.DKIM_KEY, row.name, row.machine))


def sender_domains(sender_address: str) -> list[str]:
    """Return the domain of a project's sender, for `installation_rows`; none when it has no usable one."""
    domain = sender_address.rpartition("@")[2].lower()
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            return []
    return [domain] if domain else []


def _serves(key_domain: str, domains: Collection[str]) -> bool:
    return any(domain == key_domain or domain.endswith(f".{key_domain}") for domain in domains)


def _seen(report: Report, one: Sighting, kept: Row | None, dns: DnsAnswer | None, now_utc: datetime) -> ServedRow:
    if dns is not None and dns.record != one.record:
        dns = None  # of an older key
    notes = Notes(
        used_at_utc=one.used_at_utc,
        renewal_at_utc=one.trouble_at_utc or (one.since_utc if one.kind is ServedKind.TLS_CERTIFICATE else None),
        renewal_why=one.trouble,
    )
    facts = one.facts or _NOTHING
    left = life_left(facts, one.since_utc or report.at_utc, now_utc)
    silent = now_utc - report.at_utc > timedelta(seconds=SEEN_WITHIN_SECONDS)
    return ServedRow(
        kind=one.kind,
        place=one.place,
        name=one.name,
        machine=report.machine,
        facts=facts,
        notes=notes,
        condition=Condition.NOT_SEEN if silent else _condition(one, notes, left, dns, now_utc),
        life_left=left,
        in_use=one.in_use,
        domain=one.domain,
        since_utc=one.since_utc,
        seen_at_utc=report.at_utc,
        credential_id=one.credential_id,
        renewed_by=kept.renewed_by if kept is not None else "",
        record=one.record,
        dns=dns,
    )


def _condition(one: Sighting, notes: Notes, left: float | None, dns: DnsAnswer | None, now_utc: datetime) -> Condition:
    if one.facts is None:
        return Condition.UNREADABLE
    if not one.in_use:
        return Condition.WAITING
    wrong = dns is not None and dns.finding in {DnsFinding.ABSENT, DnsFinding.ANOTHER, DnsFinding.REVOKED}
    if wrong:
        return Condition.NOT_IN_DNS
    return condition_of(one.facts, notes, left, now_utc)


def _kept(row: Row, seen: list[ServedRow]) -> ServedRow:
    """Return the row of a credential of the installation; doors that show it tell of its use."""
    shown = [
        one
        for one in seen
        if one.place is Place.SMTP_DOOR and one.facts.fingerprint == row.facts.fingerprint and row.facts.fingerprint
    ]
    used = [one.notes.used_at_utc for one in shown if one.notes.used_at_utc is not None]
    condition = row.condition
    if condition is Condition.UNPROVEN and used:
        condition = Condition.GOOD
    if not row.facts.fingerprint and condition is not Condition.RENEWAL_FAILED:
        condition = Condition.WAITING
    return ServedRow(
        kind=ServedKind.TLS_CERTIFICATE,
        place=Place.INVENTORY,
        name=row.credential_id,
        machine="",
        facts=row.facts,
        notes=Notes(
            used_at_utc=max(used, default=None),
            renewal_at_utc=row.notes.renewal_at_utc,
            renewal_why=row.notes.renewal_why,
        ),
        condition=condition,
        life_left=row.life_left,
        in_use=bool(shown),
        credential_id=row.credential_id,
        renewed_by=row.renewed_by,
        shown_by=[one.machine for one in shown],
    )
