"""How a campaign follows its runs; called inside the transaction that changes a run."""

from __future__ import annotations

from uuid import UUID

from todoku.campaigns.models import Campaign
from todoku.campaigns.transitions import Act, change_campaign, has_started_once, record, runs_not_over
from todoku.campaigns.types import CampaignState, RunKind

_OPEN = (CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED)


def run_began(project_id: str, campaign_id: UUID, kind: RunKind | str) -> None:
    """The first message of a run is on its way: a scheduled campaign is active. Tests change nothing.

    Raises Raced when a person changes the campaign at this moment.
    """
    if kind == RunKind.TEST:
        return
    campaign = Campaign.objects.get(project_id=project_id, id=campaign_id)
    if campaign.state == CampaignState.SCHEDULED:
        change_campaign(campaign, state=CampaignState.ACTIVE)


def run_ended(project_id: str, campaign_id: UUID, kind: RunKind | str, act: Act) -> None:
    """A run is over: the campaign is finished when it was the last and no further occurrence will come.

    Raises Raced when a person changes the campaign at this moment.
    """
    if kind == RunKind.TEST:
        return
    campaign = Campaign.objects.get(project_id=project_id, id=campaign_id)
    if CampaignState(campaign.state) not in _OPEN or campaign.scheduled_through is not None:
        return
    if not runs_not_over(campaign):
        change_campaign(campaign, state=CampaignState.FINISHED)
        record(Act("campaign.finished", act.by, act.at_utc), project_id, campaign_id)


def open_state(campaign: Campaign) -> CampaignState:
    """Return what a campaign with runs to come is: active once anything of it has left, scheduled before."""
    return CampaignState.ACTIVE if has_started_once(campaign) else CampaignState.SCHEDULED


def reopen(campaign: Campaign) -> None:
    """Let a campaign that was over follow a run again that a person revived or added. Raises Raced."""
    if CampaignState(campaign.state) in (CampaignState.FINISHED, CampaignState.STOPPED):
        change_campaign(campaign, state=open_state(campaign))
