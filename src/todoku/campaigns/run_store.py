"""What the planner reads and writes in the database; every write is a compare-and-set. Synchronous."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from todoku.campaigns import audiences
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.transitions import Act, Raced, change_campaign, decide, record
from todoku.campaigns.types import CampaignContent, CampaignState, Reason, RunState
from todoku.delivery.types import RunBalance, RunOrder
from todoku.guests.types import Audience
from todoku.projects import queries as project_queries
from todoku.projects.types import ProjectInfo

PLANNER = "planner"
_WISHES = {RunState.SEALED: "sealed", RunState.SENDING: "sealed", RunState.STOPPED: "stopped"}  # else paused
_LIGHT = (
    "id",
    "project_id",
    "campaign_id",
    "state",
    "seal",
    "version",
    "order_version",
    "due_at",
    "latest_start_at",
    "started_at",
    "changed_at",
    "sealed_at",
    "planned",
    "lease_until",
    "told_journal",
)
_CHANGEABLE = frozenset({"project_id", "run_id", "state", "due_at_utc", "latest_finish_at_utc"})  # not kept in `order`


@dataclass(frozen=True, slots=True)
class OpenRun:
    """One run that the planner has to look at. to_send: None until it is sealed."""

    id: UUID
    project_id: str
    campaign_id: UUID
    state: RunState
    seal: int
    version: int
    order_version: int
    due_at: datetime
    latest_start_at: datetime
    started_at: datetime | None
    changed_at: datetime
    sealed_at: datetime | None
    planned: int
    lease_until: datetime | None
    told_journal: bool
    to_send: int | None

    @property
    def sealed(self) -> bool:
        """Tell whether the run's audience is frozen."""
        return self.to_send is not None


@dataclass(frozen=True, slots=True)
class SealJob:
    """A run claimed for sealing. seal: the number that is this attempt's alone."""

    run_id: UUID
    project_id: str
    campaign_id: UUID
    seal: int
    sealer: str
    due_at: datetime
    latest_finish_at: datetime
    content: CampaignContent
    audience: Audience
    project: ProjectInfo
    expected_planned: int | None


def open_runs(reach_utc: datetime) -> list[OpenRun]:
    """Return the runs that are due up to reach_utc or sealed and not yet closed, by due time; one statement.

    Of all projects: the planner is a role, not a person.
    """
    waiting = Q(state__in=(RunState.PLANNED, RunState.SEALING), due_at__lte=reach_utc)
    rows = (
        Run.objects.filter(waiting | Q(order__isnull=False), closed_at__isnull=True)
        .order_by("due_at", "id")
        .values(*_LIGHT, "order__to_send")
    )
    return [_open_run(dict(row)) for row in rows]


def claim(run: OpenRun, sealer: str, now_utc: datetime, lease_seconds: float) -> SealJob | None:
    """Take the run for sealing under the next seal number; None when somebody else has it."""
    free = Q(state=RunState.PLANNED) | Q(state=RunState.SEALING, lease_until__lt=now_utc)
    with transaction.atomic():
        claimed = Run.objects.filter(free, project_id=run.project_id, id=run.id, seal=run.seal).update(
            state=RunState.SEALING,
            seal=F("seal") + 1,
            sealer=sealer,
            lease_until=now_utc + timedelta(seconds=lease_seconds),
            version=F("version") + 1,
            changed_at=now_utc,
        )
        if claimed != 1:
            return None
        row = Run.objects.select_related("campaign").get(project_id=run.project_id, id=run.id)
        campaign = row.campaign
        return SealJob(
            run_id=row.id,
            project_id=row.project_id,
            campaign_id=campaign.id,
            seal=row.seal,
            sealer=sealer,
            due_at=row.due_at,
            latest_finish_at=row.latest_finish_at,
            content=CampaignContent(campaign.subject, campaign.html, campaign.text),
            audience=audiences.from_json(campaign.audience),
            project=project_queries.get_project(row.project_id),
            expected_planned=row.expected_planned,
        )


def renew(job: SealJob, now_utc: datetime, lease_seconds: float) -> bool:
    """Say that the sealing goes on; False when the claim is lost (paused, stopped, taken over)."""
    return _claimed(job).update(lease_until=now_utc + timedelta(seconds=lease_seconds)) == 1


def release(job: SealJob, now_utc: datetime) -> None:
    """Give the claim back, so that another planner need not wait for the lease to run out."""
    _claimed(job).update(state=RunState.PLANNED, sealer="", lease_until=None, changed_at=now_utc)


def mark_sealed(job: SealJob, order: RunOrder, now_utc: datetime) -> bool:
    """Make the seal the run's one seal; False when the claim was lost meanwhile and nothing of it may count."""
    fixed = {name: value for name, value in asdict(order).items() if name not in _CHANGEABLE}
    planned = order.to_send + order.not_sendable
    with transaction.atomic():
        changed = _claimed(job).update(
            state=RunState.SEALED,
            sealed_at=now_utc,
            changed_at=now_utc,
            lease_until=None,
            planned=planned,
            told_journal=order.not_sendable == 0,
            order=fixed,
            version=F("version") + 1,
        )
        if changed == 1:
            detail = f"seal {job.seal}: {order.to_send} to send, {order.not_sendable} not sendable"
            record(Act("run.sealed", PLANNER, now_utc, detail), job.project_id, job.campaign_id, job.run_id)
    return changed == 1


def hold_claimed(job: SealJob, reason: Reason, now_utc: datetime) -> bool:
    """Let a person decide about a run that can't be sealed as it is; False when the claim was lost."""
    with transaction.atomic():
        changed = _claimed(job).update(
            state=RunState.HELD,
            resume_to=RunState.PLANNED,
            reason=reason.en,
            reason_ja=reason.ja,
            lease_until=None,
            changed_at=now_utc,
            version=F("version") + 1,
        )
        if changed == 1:
            record(Act("run.held", PLANNER, now_utc, reason.en), job.project_id, job.campaign_id, job.run_id)
    return changed == 1


def hold(run: OpenRun, reason: Reason, now_utc: datetime) -> bool:
    """Let a person decide about a run that did not start in time; False when it was changed meanwhile."""
    back = RunState.SEALED if run.sealed else RunState.PLANNED
    with transaction.atomic():
        changed = _same(run).update(
            state=RunState.HELD,
            resume_to=back,
            reason=reason.en,
            reason_ja=reason.ja,
            lease_until=None,
            changed_at=now_utc,
            version=F("version") + 1,
        )
        if changed == 1:
            record(Act("run.held", PLANNER, now_utc, reason.en), run.project_id, run.campaign_id, run.id)
    return changed == 1


def order_of(run: OpenRun) -> tuple[RunOrder, int] | None:
    """Return the order that senders should have in hand now, and the run's version; None when it is closed."""
    row = Run.objects.filter(project_id=run.project_id, id=run.id, closed_at__isnull=True, order__isnull=False).first()
    if row is None or row.order is None:
        return None
    order = RunOrder(
        project_id=row.project_id,
        run_id=row.id.hex,
        state=_WISHES.get(RunState(row.state), "paused"),
        due_at_utc=row.due_at,
        latest_finish_at_utc=row.latest_finish_at,
        **row.order,
    )
    return order, row.version


def mark_ordered(run: OpenRun, version: int) -> None:
    """Note that senders have this version's order in hand; never goes back."""
    Run.objects.filter(project_id=run.project_id, id=run.id, order_version__lt=version).update(order_version=version)


def mark_told(run: OpenRun) -> None:
    """Note that the journal has the people who were left out."""
    Run.objects.filter(project_id=run.project_id, id=run.id, seal=run.seal).update(told_journal=True)


def mark_started(run: OpenRun, started_at: datetime, now_utc: datetime) -> bool:
    """The first message is on its way: sealed -> sending, and the campaign is active.

    The version stays: senders need not hear what they told us.
    """

    def work() -> bool:
        if _same(run).update(state=RunState.SENDING, started_at=started_at, changed_at=now_utc) != 1:
            return False
        _lead_campaign(run, CampaignState.ACTIVE, (CampaignState.SCHEDULED,))
        late = max(0.0, (started_at - run.due_at).total_seconds())
        record(Act("run.started", PLANNER, now_utc, f"{late:.1f} s late"), run.project_id, run.campaign_id, run.id)
        return True

    return decide(work)


def mark_finished(run: OpenRun, balance: RunBalance, now_utc: datetime) -> bool:
    """Everybody has a terminal state: close the run's balance, and the campaign is finished."""
    tallies = {name: count for name, count in balance.as_dict().items() if name not in {"planned", "pending"}}

    def work() -> bool:
        changed = _same(run).update(
            state=RunState.FINISHED,
            resume_to="",
            finished_at=now_utc,
            changed_at=now_utc,
            tallies=tallies,
            started_at=run.started_at or run.due_at,
        )
        if changed != 1:
            return False
        open_states = (CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED)
        _lead_campaign(run, CampaignState.FINISHED, open_states)
        detail = ", ".join(f"{name} {count}" for name, count in balance.as_dict().items())
        record(Act("run.finished", PLANNER, now_utc, detail), run.project_id, run.campaign_id, run.id)
        return True

    return decide(work)


def mark_closed(run: OpenRun, now_utc: datetime) -> None:
    """Note that the bus holds nothing of this run any more but its journal."""
    Run.objects.filter(project_id=run.project_id, id=run.id, closed_at__isnull=True).update(closed_at=now_utc)


def closed_among(run_ids: list[UUID]) -> set[UUID]:
    """Return which of these runs are closed."""
    return set(Run.objects.filter(id__in=run_ids, closed_at__isnull=False).values_list("id", flat=True))


def _open_run(row: dict[str, Any]) -> OpenRun:
    to_send = row.pop("order__to_send")
    row["state"] = RunState(row["state"])
    return OpenRun(**row, to_send=to_send)


def _claimed(job: SealJob) -> QuerySet[Run]:
    return Run.objects.filter(
        project_id=job.project_id, id=job.run_id, state=RunState.SEALING, seal=job.seal, sealer=job.sealer
    )


def _same(run: OpenRun) -> QuerySet[Run]:
    return Run.objects.filter(project_id=run.project_id, id=run.id, state=run.state, seal=run.seal, version=run.version)


def _lead_campaign(run: OpenRun, state: CampaignState, from_states: tuple[CampaignState, ...]) -> None:
    """Let the campaign follow its run; raises Raced when a person changes it at this moment."""
    campaign = Campaign.objects.get(project_id=run.project_id, id=run.campaign_id)
    if CampaignState(campaign.state) in from_states:
        change_campaign(campaign, state=state)
    elif campaign.state == CampaignState.DRAFT:
        raise Raced
