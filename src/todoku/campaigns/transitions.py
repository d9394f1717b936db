"""Change a campaign or a run by compare-and-set, with its audit line and its log line; inside this room only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F, QuerySet
from psycopg.errors import DeadlockDetected

from todoku.campaigns.errors import CampaignMissing, WrongState
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.types import CampaignState, RunKind, RunState

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
_ATTEMPTS = 8

OVER = (RunState.FINISHED, RunState.STOPPED, RunState.MISSED)
WAITING = (RunState.PLANNED, RunState.SEALING, RunState.SEALED)
START_MARGIN = timedelta(seconds=5)  # senders may have begun before the planner saw it


class Raced(Exception):
    """Somebody changed the row between our read and our write; read again and decide anew."""


@dataclass(frozen=True, slots=True)
class Act:
    """Who does what, when. action is the name in audit and log."""

    action: str
    by: str
    at_utc: datetime
    detail: str = ""


def decide(work: Callable[[], Result]) -> Result:
    """Run work in a transaction; again when it raced with somebody, because then the decision may be another."""
    for _ in range(_ATTEMPTS):
        try:
            with transaction.atomic():
                return work()
        except Raced:
            continue
        except OperationalError as error:
            # two who lock a campaign and its runs in different order; PostgreSQL ended one of them
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
        except IntegrityError as error:
            # somebody numbered the same occurrence between our read and our write
            if "run_once_per_occurrence" not in str(error):
                raise
    raise WrongState("the campaign changes too fast to be changed", todo="look at it again, then try again")


def find_campaign(project_id: str, campaign_id: UUID) -> Campaign:
    """Return the campaign; raises CampaignMissing, also when it belongs to another project."""
    row = Campaign.objects.filter(project_id=project_id, id=campaign_id).first()
    if row is None:
        raise CampaignMissing(f"there is no campaign {campaign_id} in this project")
    return row


def find_run(project_id: str, run_id: UUID) -> Run:
    """Return the run with its campaign; raises CampaignMissing, also when it belongs to another project."""
    row = Run.objects.filter(project_id=project_id, id=run_id).select_related("campaign").first()
    if row is None:
        raise CampaignMissing(f"there is no run {run_id} in this project")
    return row


def runs_not_over(campaign: Campaign) -> list[Run]:
    """Return the campaign's runs that are not over, tests left aside, by due time."""
    return list(rows_of(campaign).exclude(state__in=OVER).order_by("due_at", "created_at", "id"))


def has_started_once(campaign: Campaign) -> bool:
    """Tell whether any run of the campaign, tests left aside, has begun to leave."""
    return rows_of(campaign).filter(started_at__isnull=False).exists()


def may_be_leaving(run: Run, now_utc: datetime) -> bool:
    """Tell whether a sender has begun the run, or may have without the planner having seen it yet."""
    if run.started_at is not None:
        return True
    if run.order is None or run.state not in WAITING:
        return False
    # by the recipients' own zones the first message may be due before the run is
    first = run.order.get("first_release_at")
    begins_at = min(run.due_at, datetime.fromisoformat(first)) if first else run.due_at
    return now_utc >= begins_at - START_MARGIN


def rows_of(campaign: Campaign) -> QuerySet[Run]:
    """Return the campaign's runs, tests left aside."""
    return Run.objects.filter(project_id=campaign.project_id, campaign=campaign).exclude(kind=RunKind.TEST)


def require_state(campaign: Campaign, *allowed: CampaignState) -> None:
    """Raise WrongState unless the campaign is in one of these states."""
    if CampaignState(campaign.state) not in allowed:
        raise WrongState(
            f"the campaign is {campaign.state}; this needs {' or '.join(allowed)}",
            kept="the campaign as it is",
            todo="look at it again: somebody may have been faster",
        )


def change_campaign(campaign: Campaign, **changes: Any) -> None:
    """Write the changes, to the object in hand too, when nobody changed the row since it was read; raises Raced."""
    changed = Campaign.objects.filter(
        project_id=campaign.project_id, id=campaign.id, state=campaign.state, version=campaign.version
    ).update(version=F("version") + 1, **changes)
    if changed != 1:
        raise Raced
    _keep_in_step(campaign, changes)


def change_run(run: Run, at_utc: datetime, **changes: Any) -> None:
    """Write the changes, to the object in hand too, when nobody changed the row since it was read; raises Raced."""
    changed = Run.objects.filter(
        project_id=run.project_id, id=run.id, state=run.state, seal=run.seal, version=run.version
    ).update(version=F("version") + 1, changed_at=at_utc, **changes)
    if changed != 1:
        raise Raced
    _keep_in_step(run, {"changed_at": at_utc, **changes})


def change_runs(rows: QuerySet[Run], at_utc: datetime, **changes: Any) -> int:
    """Write the changes to all rows that are as asked for at this moment, in one statement; returns how many."""
    return rows.update(version=F("version") + 1, changed_at=at_utc, **changes)


def _keep_in_step(row: Campaign | Run, changes: Mapping[str, Any]) -> None:
    row.version += 1
    for name, value in changes.items():
        setattr(row, name, value)


def record_all(act: Act, project_id: str, campaign_id: UUID, run_ids: Sequence[UUID]) -> None:
    """Write the same audit line for many runs in one statement."""
    Audit.objects.bulk_create(
        Audit(
            project_id=project_id,
            campaign_id=campaign_id,
            run_id=run_id,
            at=act.at_utc,
            by=act.by,
            action=act.action,
            detail=act.detail,
        )
        for run_id in run_ids
    )
    number = len(run_ids)
    names = {"project_id": project_id, "campaign_id": str(campaign_id), "runs": number}
    if number:
        transaction.on_commit(lambda: log.info(act.action, **names, detail=act.detail))


def record(act: Act, project_id: str, campaign_id: UUID, run_id: UUID | None = None) -> None:
    """Write the audit line, and the log line once the transaction is kept."""
    Audit.objects.create(
        project_id=project_id,
        campaign_id=campaign_id,
        run_id=run_id,
        at=act.at_utc,
        by=act.by,
        action=act.action,
        detail=act.detail,
    )
    names = {"project_id": project_id, "campaign_id": str(campaign_id), "run_id": str(run_id) if run_id else None}
    transaction.on_commit(lambda: log.info(act.action, **names, detail=act.detail))
