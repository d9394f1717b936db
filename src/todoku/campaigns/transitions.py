"""Change a campaign or a run by compare-and-set, with its audit line and its log line; inside this room only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F

from todoku.campaigns.errors import CampaignMissing, WrongState
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.types import CampaignState, RunState

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
_ATTEMPTS = 8

OVER = (RunState.FINISHED, RunState.STOPPED, RunState.MISSED)


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
    raise WrongState("the campaign changes too fast to be changed", todo="look at it again, then try again")


def find_campaign(project_id: str, campaign_id: UUID) -> Campaign:
    """Return the campaign; raises CampaignMissing, also when it belongs to another project."""
    row = Campaign.objects.filter(project_id=project_id, id=campaign_id).first()
    if row is None:
        raise CampaignMissing(f"there is no campaign {campaign_id} in this project")
    return row


def newest_run(campaign: Campaign) -> Run | None:
    """Return the campaign's newest run."""
    return Run.objects.filter(project_id=campaign.project_id, campaign=campaign).order_by("-created_at", "-id").first()


def require_state(campaign: Campaign, *allowed: CampaignState) -> None:
    """Raise WrongState unless the campaign is in one of these states."""
    if CampaignState(campaign.state) not in allowed:
        raise WrongState(
            f"the campaign is {campaign.state}; this needs {' or '.join(allowed)}",
            kept="the campaign as it is",
            todo="look at it again: somebody may have been faster",
        )


def change_campaign(campaign: Campaign, **changes: Any) -> None:
    """Write the changes when nobody changed the row since it was read; raises Raced."""
    changed = Campaign.objects.filter(
        project_id=campaign.project_id, id=campaign.id, state=campaign.state, version=campaign.version
    ).update(version=F("version") + 1, **changes)
    if changed != 1:
        raise Raced


def change_run(run: Run, at_utc: datetime, **changes: Any) -> None:
    """Write the changes when nobody changed the row since it was read; raises Raced."""
    changed = Run.objects.filter(
        project_id=run.project_id, id=run.id, state=run.state, seal=run.seal, version=run.version
    ).update(version=F("version") + 1, changed_at=at_utc, **changes)
    if changed != 1:
        raise Raced


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
