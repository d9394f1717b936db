"""Who seals a run, under which number, and what comes of it; every write is a compare-and-set. Synchronous.

A number (`attempt`) belongs to one attempt of one planner. The seal that counts (`seal`) changes only when an attempt
was finished by the planner that still held the claim; a run that begins settles it for good (the start record).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest

from todoku.campaigns import audiences
from todoku.campaigns.models import Audit, Run
from todoku.campaigns.run_making import plan_of
from todoku.campaigns.transitions import Act, record
from todoku.campaigns.types import CampaignContent, Plan, Reason, RunKind, RunState
from todoku.delivery.types import RunOrder
from todoku.guests.types import Audience
from todoku.projects import queries as project_queries
from todoku.projects.types import ProjectInfo

PLANNER = "planner"
# What is not kept in `order`: it is taken from the run and its campaign whenever the order is posted.
CHANGEABLE = frozenset(
    {
        "project_id",
        "run_id",
        "state",
        "due_at_utc",
        "latest_finish_at_utc",
        "latest_start_at_utc",
        "pace_per_second",
        "quiet",
        "transport",
        "version",
    }
)
FIRST_RELEASE = "first_release_at"  # beside the order's fields in `order`: when the first recipient's zone is due


class Claimable(Protocol):
    """A run as it was seen."""

    @property
    def id(self) -> UUID: ...

    @property
    def project_id(self) -> str: ...

    @property
    def state(self) -> RunState: ...

    @property
    def attempt(self) -> int: ...


@dataclass(frozen=True, slots=True)
class SealJob:
    """A run claimed for sealing. seal: the number that is this attempt's alone; older: numbers of attempts before it.

    refresh: a seal of the day before is in place, and stays until this one is finished. provisional: this is that seal
    of the day before, to be replaced at refresh_at. counting: the seal that counts now, 0 when there is none.
    """

    run_id: UUID
    project_id: str
    campaign_id: UUID
    seal: int
    counting: int
    sealer: str
    kind: RunKind
    due_at: datetime
    latest_finish_at: datetime
    content: CampaignContent
    audience: Audience
    plan: Plan
    project: ProjectInfo
    expected_planned: int | None
    source_run: UUID | None
    source_states: tuple[str, ...]
    test_addresses: tuple[str, ...]
    test_guest: dict[str, Any]
    refresh: bool = False
    provisional: bool = False
    refresh_at: datetime | None = None

    @property
    def abandoned(self) -> list[int]:
        """Return the numbers of earlier attempts that no order ever named, or names no more."""
        return [number for number in range(1, self.seal) if number != self.counting]


def claim(
    run: Claimable, sealer: str, now_utc: datetime, lease_seconds: float, *, refresh_at: datetime | None = None
) -> SealJob | None:
    """Take the run for sealing under the next number; None when somebody else has it.

    refresh_at: when a provisional seal is wanted, the moment at which it is to be replaced; None = the seal is final.
    """
    refresh = run.state is RunState.SEALED
    lease_until = now_utc + timedelta(seconds=lease_seconds)
    number = Greatest(F("attempt"), F("seal")) + 1
    rows = Run.objects.filter(project_id=run.project_id, id=run.id, attempt=run.attempt, started_at__isnull=True)
    with transaction.atomic():
        if refresh:
            unleased = Q(lease_until__isnull=True) | Q(lease_until__lt=now_utc)
            older = rows.filter(unleased, state=RunState.SEALED, pre_sealed_at__isnull=False, sealed_at__isnull=True)
            claimed = older.update(attempt=number, sealer=sealer, lease_until=lease_until)
        else:
            free = Q(state=RunState.PLANNED) | Q(state=RunState.SEALING, lease_until__lt=now_utc)
            claimed = rows.filter(free).update(
                state=RunState.SEALING,
                attempt=number,
                sealer=sealer,
                lease_until=lease_until,
                version=F("version") + 1,
                changed_at=now_utc,
            )
        return _job(run, sealer, refresh, refresh_at) if claimed == 1 else None


def renew(job: SealJob, now_utc: datetime, lease_seconds: float) -> bool:
    """Say that the sealing goes on; False when the claim is lost (paused, stopped, begun, taken over)."""
    return _claimed(job).update(lease_until=now_utc + timedelta(seconds=lease_seconds)) == 1


def release(job: SealJob, now_utc: datetime) -> None:
    """Give the claim back, so that another planner need not wait for the lease to run out."""
    changes: dict[str, Any] = {"sealer": "", "lease_until": None}
    if not job.refresh:
        changes |= {"state": RunState.PLANNED, "changed_at": now_utc}
    _claimed(job).update(**changes)


def mark_sealed(job: SealJob, order: RunOrder, now_utc: datetime, *, first_release_utc: datetime | None = None) -> bool:
    """Make the seal the run's one seal; False when the claim was lost meanwhile and nothing of it may count."""
    kept = fixed_part(order)
    if first_release_utc is not None:
        kept[FIRST_RELEASE] = first_release_utc.isoformat()
    moments = (
        {"pre_sealed_at": now_utc, "refresh_at": job.refresh_at}
        if job.provisional
        else {"sealed_at": now_utc, "refresh_at": None}
    )
    with transaction.atomic():
        changed = _claimed(job).update(
            state=RunState.SEALED,
            seal=job.seal,
            changed_at=now_utc,
            lease_until=None,
            sealer="",
            planned=order.to_send + order.not_sendable,
            told_journal=False,
            order=kept,
            version=F("version") + 1,
            **moments,
        )
        if changed == 1:
            detail = f"seal {job.seal}: {order.to_send} to send, {order.not_sendable} not sendable"
            action = "run.pre_sealed" if job.provisional else "run.sealed"
            record(Act(action, PLANNER, now_utc, detail), job.project_id, job.campaign_id, job.run_id)
    return changed == 1


def hold_claimed(job: SealJob, reason: Reason, now_utc: datetime, *, planned: int | None = None) -> bool:
    """Let a person decide about a run that can't be sealed as it is; False when the claim was lost.

    planned: how large the audience is now; whoever lets the run go on has seen that number.
    """
    known = {} if planned is None else {"expected_planned": planned}
    with transaction.atomic():
        changed = _claimed(job).update(
            state=RunState.HELD,
            resume_to=RunState.SEALED if job.refresh else RunState.PLANNED,
            reason=reason.en,
            reason_ja=reason.ja,
            lease_until=None,
            sealer="",
            changed_at=now_utc,
            version=F("version") + 1,
            **known,
        )
        if changed == 1:
            record(Act("run.held", PLANNER, now_utc, reason.en), job.project_id, job.campaign_id, job.run_id)
    return changed == 1


def was_held_for(job: SealJob, word: str) -> bool:
    """Tell whether this run was held for such a reason before: then a person has let it go on knowingly."""
    lines = Audit.objects.filter(project_id=job.project_id, run_id=job.run_id, action="run.held", by=PLANNER)
    return lines.filter(detail__contains=word).exists()


def fixed_part(order: RunOrder) -> dict[str, Any]:
    """Return what of an order never changes after the seal, as the run keeps it."""
    return {name: value for name, value in asdict(order).items() if name not in CHANGEABLE}


def _job(run: Claimable, sealer: str, refresh: bool, refresh_at: datetime | None) -> SealJob:
    row = Run.objects.select_related("campaign").get(project_id=run.project_id, id=run.id)
    campaign = row.campaign
    words = row.content or {"subject": campaign.subject, "html": campaign.html, "text": campaign.text}
    return SealJob(
        run_id=row.id,
        project_id=row.project_id,
        campaign_id=campaign.id,
        seal=row.attempt,
        counting=row.seal if row.order is not None else 0,
        sealer=sealer,
        kind=RunKind(row.kind),
        due_at=row.due_at,
        latest_finish_at=row.latest_finish_at,
        content=CampaignContent(words["subject"], words["html"], words["text"]),
        audience=audiences.from_json(campaign.audience),
        plan=plan_of(campaign),
        project=project_queries.get_project(row.project_id),
        expected_planned=row.expected_planned,
        source_run=row.source_run,
        source_states=tuple(row.source_states),
        test_addresses=tuple(row.test_addresses),
        test_guest=dict(row.test_guest or {}),
        refresh=refresh,
        provisional=refresh_at is not None,
        refresh_at=refresh_at,
    )


def _claimed(job: SealJob) -> QuerySet[Run]:
    return Run.objects.filter(
        project_id=job.project_id,
        id=job.run_id,
        state=RunState.SEALED if job.refresh else RunState.SEALING,
        attempt=job.seal,
        sealer=job.sealer,
        started_at__isnull=True,
    )
