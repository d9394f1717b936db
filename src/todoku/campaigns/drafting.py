"""Write, change and copy drafts. Use through `campaigns.services`."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from uuid import UUID

from todoku.campaigns import audiences, plans
from todoku.campaigns.errors import NameMissing, WrongState
from todoku.campaigns.models import Campaign
from todoku.campaigns.run_making import plan_of
from todoku.campaigns.transitions import Act, change_campaign, decide, find_campaign, record, require_state
from todoku.campaigns.types import CampaignContent, CampaignState, Plan
from todoku.guests.types import Audience
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.ids import new_id

_SYSTEM_CLOCK = SystemClock()
_NUMBERED = re.compile(r" \(\d+\)\Z")


def create(
    project_id: str,
    *,
    name: str,
    content: CampaignContent,
    audience: Audience,
    by: str,
    clock: Clock,
    plan: Plan | None = None,
) -> UUID:
    """Make a draft; returns its id. Templates and plan may still be wrong: `schedule` looks. Raises NameMissing."""
    now_utc = clock.now_utc()
    campaign = Campaign(
        id=new_id(),
        project_id=project_id,
        name=_require_name(name),
        state=CampaignState.DRAFT,
        subject=content.subject,
        html=content.html,
        text=content.text,
        audience=audiences.to_json(audience),
        plan=plans.to_json(plan or Plan()),
        created_by=by,
        edited_by=by,
        created_at=now_utc,
    )

    def work() -> UUID:
        campaign.save(force_insert=True)
        record(Act("campaign.created", by, now_utc, campaign.name), project_id, campaign.id)
        return campaign.id

    return decide(work)


def update(
    project_id: str,
    campaign_id: UUID,
    *,
    name: str,
    content: CampaignContent,
    audience: Audience,
    version: int,
    by: str,
    clock: Clock = _SYSTEM_CLOCK,
    plan: Plan | None = None,
) -> None:
    """Change a draft. version: the one that was read; raises WrongState when somebody changed it since.

    plan None leaves the plan as it is.
    """
    now_utc = clock.now_utc()
    name = _require_name(name)

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, CampaignState.DRAFT)
        if campaign.version != version:
            raise WrongState(
                "the campaign was changed by somebody else since it was opened",
                kept="their version",
                todo="open it again and bring in what you changed",
            )
        change_campaign(
            campaign,
            name=name,
            subject=content.subject,
            html=content.html,
            text=content.text,
            audience=audiences.to_json(audience),
            plan=plans.to_json(plan) if plan is not None else campaign.plan,
            edited_by=by,
        )
        record(Act("campaign.updated", by, now_utc), project_id, campaign_id)

    decide(work)


def duplicate(project_id: str, campaign_id: UUID, *, by: str, clock: Clock) -> UUID:
    """Make a new draft with the same words, audience and plan; returns its id. A repetition begins anew."""
    original = find_campaign(project_id, campaign_id)
    plan = plan_of(original)
    if plan.repeat is not None:
        plan = replace(plan, repeat=replace(plan.repeat, starts_at_utc=None))
    return create(
        project_id,
        name=_free_name(original),
        content=CampaignContent(original.subject, original.html, original.text),
        audience=audiences.from_json(original.audience),
        by=by,
        clock=clock,
        plan=plan,
    )


def _free_name(original: Campaign) -> str:
    """Return the name with the next number that no campaign of the project has: "X" and "X (2)" give "X (3)"."""
    plain = _NUMBERED.sub("", original.name)[:190]
    taken = set(
        Campaign.objects.filter(project_id=original.project_id, name__startswith=plain).values_list("name", flat=True)
    )
    return next(name for number in count(2) if (name := f"{plain} ({number})") not in taken)


def _require_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 200:
        raise NameMissing("a campaign needs a name of 1 to 200 characters")
    return name
