"""Whom a claimed run goes to, as packing reads it: a campaign's audience, those of another run, or typed addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID
from zoneinfo import ZoneInfo

from todoku.campaigns import readiness, undelivered
from todoku.campaigns.packing import GROUP_ROWS, PackJob, Row
from todoku.campaigns.seal_claims import SealJob
from todoku.campaigns.types import RunKind
from todoku.campaigns.unsubscribe import installation_key
from todoku.delivery.engine.sealing import BATCH_SIZE
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import RecipientState
from todoku.guests import queries as guest_queries
from todoku.guests.types import AudienceCopy, AudienceMember
from todoku.kernel.clock import Clock

_NOBODY = "00000000-0000-0000-0000-000000000000"  # a test's address belongs to no guest


@dataclass(frozen=True, slots=True)
class AudienceSource:
    """What to pack. people: rows that only this process can read; None: the job says how, in any process."""

    job: PackJob
    people: Callable[[], Iterator[list[Row]]] | None = None


def audience_of(job: SealJob, unsubscribe_base_url: str, clock: Clock) -> AudienceSource:
    """Say how the run's audience is read; a few statements, no row is read yet."""
    today = clock.now_utc().astimezone(ZoneInfo(job.project.time_zone)).date()
    if job.kind is RunKind.TEST:
        return AudienceSource(_pack_job(job, unsubscribe_base_url, clock, rows=_test_rows(job)))
    if job.kind is RunKind.RESEND:
        people = _unreached(job, clock)
        return AudienceSource(_pack_job(job, unsubscribe_base_url, clock), people)
    source = guest_queries.audience_copy(job.project_id, job.audience, today=today, clock=clock)
    return AudienceSource(_pack_job(job, unsubscribe_base_url, clock, source=source))


def _pack_job(
    job: SealJob,
    unsubscribe_base_url: str,
    clock: Clock,
    *,
    source: AudienceCopy | None = None,
    rows: tuple[Row, ...] = (),
) -> PackJob:
    return PackJob(
        project_id=job.project_id,
        run_id=job.run_id.hex,
        seal=job.seal,
        now_utc=clock.now_utc(),
        subject=job.content.subject,
        html=job.content.html,
        text=job.content.text,
        shared_values=readiness.project_values(job.project),
        unsubscribe_base_url=unsubscribe_base_url,
        token_key=installation_key(),
        batch_size=BATCH_SIZE,
        due_at_utc=job.due_at,
        time_zone=job.project.time_zone,
        by_zone=job.plan.recipient_zone and job.kind is RunKind.CAMPAIGN,
        connection=source.connection if source is not None else "",
        statement=source.statement if source is not None else "",
        shop_names=dict(source.shop_names) if source is not None else {},
        rows=rows,
    )


def _test_rows(job: SealJob) -> tuple[Row, ...]:
    """Return the typed addresses, each with the same guest's values; those that bounced or complained are left out."""
    guest = job.test_guest
    known = guest_queries.undeliverable(job.project_id, job.test_addresses)
    return tuple(
        (
            _NOBODY,
            address,
            str(guest.get("name") or ""),
            str(guest.get("visits") or 0),
            str(guest.get("last_visit_on") or ""),
            str(guest.get("last_shop_name") or ""),
            known.get(address, ""),
            "",
        )
        for address in job.test_addresses
    )


def _unreached(job: SealJob, clock: Clock) -> Callable[[], Iterator[list[Row]]]:
    def read() -> Iterator[list[Row]]:
        people = _people_of(job)
        while group := list(islice(people, GROUP_ROWS)):
            members = guest_queries.listed_people(job.project_id, group, clock=clock)
            yield [_row(member) for member in members]

    return read


def _people_of(job: SealJob) -> Iterator[tuple[UUID, str]]:
    if job.source_run is None:
        return
    states = [RecipientState(state) for state in job.source_states if state != RecipientState.PENDING]
    if states:
        for row in ledger.run_rows(job.project_id, job.source_run, states):
            if row.guest_id is not None:
                yield row.guest_id, row.address
    if RecipientState.PENDING in job.source_states:
        for chunk in undelivered.stream(job.project_id, job.source_run):
            yield from chunk


def _row(member: AudienceMember) -> Row:
    day = member.last_visit_on
    return (
        str(member.guest_id),
        member.address,
        member.name,
        str(member.visits),
        day.isoformat() if day is not None else "",
        member.last_shop_name,
        member.not_sendable,
        member.time_zone,
    )
