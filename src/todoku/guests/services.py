"""The only writes of the guests room."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

import structlog
from django.db import transaction

from todoku.guests import store
from todoku.guests.errors import NotAnAddress
from todoku.guests.models import Consent, Suppression
from todoku.guests.persons import EMAIL, Claim, Joined, identities_of, join
from todoku.guests.phones import as_e164
from todoku.guests.types import ImportResult, PersonImport, SuppressionReason, VisitFact
from todoku.kernel.addresses import comparable_address, is_addr_spec
from todoku.kernel.clock import Clock, require_aware

log = structlog.get_logger(__name__)

# A later reason replaces an earlier one only when it is weightier: a bounce says less than a person's own word.
_WEIGHT = {
    SuppressionReason.BOUNCED: 0,
    SuppressionReason.MANUAL: 1,
    SuppressionReason.UNSUBSCRIBED: 2,
    SuppressionReason.COMPLAINED: 3,
}


def record_visits(project_id: str, visits: Sequence[VisitFact]) -> None:
    """Note what reservations say about their guests, making and merging people as phones and mail addresses prove.

    Idempotent; handing over a reservation again replaces what it said. At most 12 statements for any number; joins
    an outer transaction. Whatever the order, the same visits end at the same person; a name alone joins nobody.
    """
    latest = {visit.reservation_id: visit for visit in visits}
    if not latest:
        return
    with transaction.atomic():
        # every statement counts, not only the latest: a phone that was corrected still proves who it is
        claims = [Claim(visit.reservation_id, identities_of(visit.phone, visit.email)) for visit in visits]
        joined = _join(project_id, claims)
        guest_of = {claim.reservation_id: guest for claim, guest in zip(claims, joined.guests, strict=True)}
        store.upsert_visits(project_id, {key: (visit, guest_of[key]) for key, visit in latest.items()})
        store.refresh_names(project_id, sorted(set(joined.guests)))


def forget_visits(project_id: str, reservation_ids: Sequence[UUID]) -> None:
    """Take back what reservations had said about their guests; 3 statements, joins an outer transaction.

    The people stay, and so does every phone and mail address that proved who they are.
    """
    with transaction.atomic():
        store.lock_project(project_id)
        guests = store.remove_visits(project_id, reservation_ids)
        if guests:
            store.refresh_names(project_id, guests)


def refresh_statistics() -> None:
    """Let PostgreSQL count this room's tables again; for who has filled them quickly."""
    store.analyze()


def import_people(project_id: str, people: Sequence[PersonImport]) -> ImportResult:
    """Take in a list of people with their proofs of consent, all or none; doing it again changes nothing.

    A line without a usable phone or mail address is refused ("no_phone_or_address"): it would be a new person at
    every import; so is one with a time zone that does not exist ("time_zone_unknown"). A consent counts with a source,
    a moment and a mail address, and never revives a withdrawn one.
    """
    claims: list[Claim] = []
    accepted: list[PersonImport] = []
    refused: list[tuple[int, str]] = []
    for index, person in enumerate(people):
        identities = identities_of(as_e164(person.phone) if person.phone else None, _plain(person.email or ""))
        if not identities:
            refused.append((index, "no_phone_or_address"))
            continue
        if person.time_zone and person.time_zone not in _time_zones():
            refused.append((index, "time_zone_unknown"))
            continue
        claims.append(Claim(None, identities))
        accepted.append(person)
    if not claims:
        return ImportResult(0, 0, tuple(refused))
    with transaction.atomic():
        joined = _join(project_id, claims)
        given = _imported(joined, accepted)
        store.note_imported(project_id, given)
        store.refresh_names(project_id, sorted(given))
        consents = [row for claim, person in zip(claims, accepted, strict=True) for row in _consent_rows(claim, person)]
        if consents:
            store.insert_consents(project_id, consents)
    store.analyze()
    created = len(joined.created)
    log.info("guests.imported", project_id=project_id, lines=len(people), created=created, refused=len(refused))
    return ImportResult(created, len(accepted) - created, tuple(refused))


def give_consent(
    project_id: str, address: str, *, source: str, wording: str, clock: Clock, given_at_utc: datetime | None = None
) -> bool:
    """Keep the proof that the owner of the address agreed to mails; True when it is new.

    Raises NotAnAddress. A consent that is in force stays as it is; suppressions are not lifted by it.
    """
    written, comparable = _address(address)
    given_at = require_aware(given_at_utc or clock.now_utc())
    _row, created = Consent.objects.get_or_create(
        project_id=project_id,
        comparable=comparable,
        withdrawn_at=None,
        defaults={
            "address": written,
            "given_at": given_at,
            "source": _plain(source),
            "wording": _plain(wording),
        },
    )
    if created:
        log.info("consent.given", project_id=project_id, address=comparable, source=_plain(source))
    return created


def withdraw_consent(project_id: str, address: str, *, by: str, clock: Clock) -> bool:
    """Note on the proof that the consent ended; True when there was one in force. Raises NotAnAddress."""
    _written, comparable = _address(address)
    rows = Consent.objects.filter(project_id=project_id, comparable=comparable, withdrawn_at__isnull=True)
    withdrawn = rows.update(withdrawn_at=clock.now_utc()) > 0
    if withdrawn:
        log.info("consent.withdrawn", project_id=project_id, address=comparable, by=by)
    return withdrawn


def suppress(project_id: str, address: str, reason: SuppressionReason, *, evidence: str, clock: Clock) -> bool:
    """Stop all campaigns to the address; True when that is new, or its reason became weightier.

    evidence: what proves it (a bounce's text, a form). Weight: complained > unsubscribed > manual > bounced.
    Raises NotAnAddress.
    """
    written, comparable = _address(address)
    with transaction.atomic():
        row, created = Suppression.objects.select_for_update().get_or_create(
            project_id=project_id,
            comparable=comparable,
            lifted_at=None,
            defaults={
                "address": written,
                "reason": reason.value,
                "evidence": _plain(evidence),
                "since": clock.now_utc(),
            },
        )
        weightier = not created and _WEIGHT[reason] > _WEIGHT[SuppressionReason(row.reason)]
        if weightier:
            row.reason, row.evidence, row.since = reason.value, _plain(evidence), clock.now_utc()
            row.save(update_fields=["reason", "evidence", "since"])
    if created or weightier:
        log.info("address.suppressed", project_id=project_id, address=comparable, reason=reason.value)
    return created or weightier


def allow_again(project_id: str, address: str, *, by: str, clock: Clock) -> bool:
    """Lift the suppression of the address; the row stays as history. True when there was one. Raises NotAnAddress."""
    _written, comparable = _address(address)
    rows = Suppression.objects.filter(project_id=project_id, comparable=comparable, lifted_at__isnull=True)
    lifted = rows.update(lifted_at=clock.now_utc(), lifted_by=_plain(by)[:254]) > 0
    if lifted:
        log.info("address.allowed_again", project_id=project_id, address=comparable, by=by)
    return lifted


def _join(project_id: str, claims: Sequence[Claim]) -> Joined:
    store.lock_project(project_id)
    reservations = sorted({claim.reservation_id for claim in claims if claim.reservation_id is not None})
    identities = list({identity: None for claim in claims for identity in claim.identities})
    visits = store.guests_of_visits(project_id, reservations) if reservations else {}
    known = store.guests_of_identities(project_id, identities) if identities else {}
    joined = join(claims, visits, known)
    if joined.created:
        store.insert_guests(project_id, joined.created)
    if joined.identities:
        store.insert_identities(project_id, joined.identities)
    if joined.merged:
        store.move_merged(joined.merged)
        for lost, kept in joined.merged.items():
            log.info("guest.merged", project_id=project_id, guest_id=str(kept), merged_guest_id=str(lost))
    return joined


def _imported(joined: Joined, people: Sequence[PersonImport]) -> dict[UUID, tuple[str, str, str]]:
    given: dict[UUID, tuple[str, str, str]] = {}
    for guest, person in zip(joined.guests, people, strict=True):
        name, kana, time_zone = given.get(guest, ("", "", ""))
        given[guest] = (_plain(person.name) or name, _plain(person.kana) or kana, person.time_zone or time_zone)
    return given


def _consent_rows(claim: Claim, person: PersonImport) -> list[dict[str, Any]]:
    if not person.consent_source or person.consent_given_at_utc is None:
        return []
    return [
        {
            "comparable": identity.value,
            "address": identity.written,
            "given_at": require_aware(person.consent_given_at_utc),
            "source": _plain(person.consent_source),
            "wording": _plain(person.consent_wording),
        }
        for identity in claim.identities
        if identity.kind == EMAIL
    ]


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())  # reads 600 files: 20 ms


def _address(text: str) -> tuple[str, str]:
    written = text.strip()
    if not is_addr_spec(written) or "\x00" in written:
        raise NotAnAddress(f"{written[:100]!r} is not a mail address")
    return written, comparable_address(written)


def _plain(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8").strip()
