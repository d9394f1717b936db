"""What people do with campaigns; the only writes of this room besides the planner's.

Every function is one transaction and a compare-and-set: of two people who press at once one wins, the other is told
(WrongState). Each leaves an audit line and a log line of the same name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from todoku.campaigns import audiences, readiness
from todoku.campaigns.errors import NameMissing, NotSchedulable, WrongState
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.transitions import (
    OVER,
    Act,
    Raced,
    change_campaign,
    change_run,
    decide,
    find_campaign,
    newest_run,
    record,
    require_state,
)
from todoku.campaigns.types import CampaignContent, CampaignState, RunState
from todoku.guests.types import Audience
from todoku.kernel.clock import Clock, SystemClock, require_aware
from todoku.kernel.ids import new_id

LATEST_START = timedelta(hours=4)  # later than this nobody is surprised by our mail without having been asked
LATEST_FINISH = timedelta(hours=24)  # temporary answers are retried until then
START_MARGIN = timedelta(seconds=5)  # senders may have begun before the planner saw it
_SYSTEM_CLOCK = SystemClock()


def create(project_id: str, *, name: str, content: CampaignContent, audience: Audience, by: str, clock: Clock) -> UUID:
    """Make a draft; returns its id. Templates may still be wrong: `schedule` looks at them. Raises NameMissing."""
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
        created_by=by,
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
) -> None:
    """Change a draft. version: the one that was read; raises WrongState when somebody changed it since."""
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
        )
        record(Act("campaign.updated", by, now_utc), project_id, campaign_id)

    decide(work)


def schedule(project_id: str, campaign_id: UUID, *, due_at_utc: datetime, by: str, clock: Clock) -> None:
    """Plan the draft's run for its due time; raises NotSchedulable with all obstacles, WrongState."""
    require_aware(due_at_utc)
    now_utc = clock.now_utc()
    draft = find_campaign(project_id, campaign_id)
    require_state(draft, CampaignState.DRAFT)
    _require_ready(draft, due_at_utc, now_utc)

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        if campaign.version != draft.version:
            raise WrongState("somebody changed the campaign just now", todo="look at it again, then schedule it")
        _plan(campaign, due_at_utc, Act("campaign.scheduled", by, now_utc, f"due {due_at_utc.isoformat()}"))

    decide(work)


def send_now(project_id: str, campaign_id: UUID, *, by: str, clock: Clock) -> None:
    """Send a draft, a scheduled campaign or a held run at once; raises NotSchedulable, WrongState."""
    now_utc = clock.now_utc()
    seen = find_campaign(project_id, campaign_id)
    require_state(seen, CampaignState.DRAFT, CampaignState.SCHEDULED)
    if seen.state == CampaignState.DRAFT:
        _require_ready(seen, now_utc, now_utc)

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        if campaign.version != seen.version:
            raise WrongState("somebody changed the campaign just now", todo="look at it again, then send it")
        act = Act("campaign.sent_now", by, now_utc)
        if campaign.state == CampaignState.DRAFT:
            _plan(campaign, now_utc, act)
            return
        run = _require_run(campaign)
        if RunState(run.state) in OVER:
            raise WrongState(f"the run is {run.state}", todo="duplicate the campaign")
        held = run.state == RunState.HELD
        change_run(
            run,
            now_utc,
            state=run.resume_to if held else run.state,
            reason="",
            reason_ja="",
            resume_to="",
            **_times(now_utc),
        )
        change_campaign(campaign, due_at=now_utc)
        record(act, project_id, campaign_id, run.id)

    decide(work)


def pause(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Keep a scheduled or active campaign from going on; senders obey within one window. Raises WrongState."""
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, CampaignState.SCHEDULED, CampaignState.ACTIVE)
        run = _require_run(campaign)
        state = RunState(run.state)
        if state in OVER or state is RunState.PAUSED:
            raise WrongState(f"the run is {run.state}")
        back = {RunState.SEALED: RunState.SEALED, RunState.SENDING: RunState.SENDING}.get(state, RunState.PLANNED)
        if state is RunState.HELD:
            back = RunState(run.resume_to)
        change_run(run, now_utc, state=RunState.PAUSED, resume_to=back, reason=reason, reason_ja="")
        change_campaign(campaign, state=CampaignState.PAUSED)
        record(Act("campaign.paused", by, now_utc, reason), project_id, campaign_id, run.id)

    decide(work)


def resume(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Let a paused campaign, or a held run, go on; what became late by it is sent at once. Raises WrongState."""
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        run = _require_run(campaign)
        if campaign.state != CampaignState.PAUSED and run.state != RunState.HELD:
            raise WrongState(f"the campaign is {campaign.state} and its run {run.state}; there is nothing to resume")
        back = RunState(run.resume_to)
        change_run(
            run,
            now_utc,
            state=back,
            resume_to="",
            reason="",
            reason_ja="",
            latest_start_at=max(run.latest_start_at, now_utc + LATEST_START),
            latest_finish_at=max(run.latest_finish_at, now_utc + LATEST_FINISH),
        )
        active = back is RunState.SENDING or run.started_at is not None
        change_campaign(campaign, state=CampaignState.ACTIVE if active else CampaignState.SCHEDULED)
        record(Act("campaign.resumed", by, now_utc, reason), project_id, campaign_id, run.id)

    decide(work)


def stop(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """End a campaign for good; what was not sent stays pending in its balance. Raises WrongState."""
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED)
        run = _require_run(campaign)
        _stop_run(run, now_utc, reason)
        change_campaign(campaign, state=CampaignState.STOPPED)
        record(Act("campaign.stopped", by, now_utc, reason), project_id, campaign_id, run.id)

    decide(work)


def back_to_draft(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Make a scheduled or stopped campaign editable again; its run is over. Raises WrongState once it may be leaving.

    A stopped campaign that is scheduled again mails everybody of its audience again, also those whom the stopped run
    reached: pages say so.
    """
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, CampaignState.SCHEDULED, CampaignState.STOPPED)
        run = _require_run(campaign)
        if RunState(run.state) not in OVER:
            leaving = run.state == RunState.SEALED and now_utc >= run.due_at - START_MARGIN
            if leaving or run.started_at is not None:
                raise WrongState("the run is leaving already", todo="pause or stop it")
            _stop_run(run, now_utc, "back to draft")
        change_campaign(campaign, state=CampaignState.DRAFT, due_at=None)
        record(Act("campaign.back_to_draft", by, now_utc, reason), project_id, campaign_id, run.id)

    decide(work)


def duplicate(project_id: str, campaign_id: UUID, *, by: str, clock: Clock) -> UUID:
    """Make a new draft with the same words and audience; returns its id."""
    original = find_campaign(project_id, campaign_id)
    return create(
        project_id,
        name=f"{original.name[:190]} (2)",
        content=CampaignContent(original.subject, original.html, original.text),
        audience=audiences.from_json(original.audience),
        by=by,
        clock=clock,
    )


def _plan(campaign: Campaign, due_at_utc: datetime, act: Act) -> None:
    run = Run(
        id=new_id(),
        project_id=campaign.project_id,
        campaign=campaign,
        occurrence=campaign.occurrences + 1,
        state=RunState.PLANNED,
        created_at=act.at_utc,
        changed_at=act.at_utc,
        **_times(due_at_utc),
    )
    change_campaign(campaign, state=CampaignState.SCHEDULED, due_at=due_at_utc, occurrences=campaign.occurrences + 1)
    run.save(force_insert=True)
    record(act, campaign.project_id, campaign.id, run.id)


def _times(due_at_utc: datetime) -> dict[str, datetime]:
    return {
        "due_at": due_at_utc,
        "latest_start_at": due_at_utc + LATEST_START,
        "latest_finish_at": due_at_utc + LATEST_FINISH,
    }


def _stop_run(run: Run, now_utc: datetime, reason: str) -> None:
    if RunState(run.state) in OVER:
        raise Raced  # the planner closed it just now; its campaign follows in the same transaction
    nothing_on_the_bus = run.order is None
    change_run(
        run,
        now_utc,
        state=RunState.STOPPED,
        reason=reason,
        reason_ja="",
        resume_to="",
        closed_at=now_utc if nothing_on_the_bus else None,
    )


def _require_ready(campaign: Campaign, due_at_utc: datetime, now_utc: datetime) -> None:
    found = readiness.obstacles(
        campaign.project_id,
        CampaignContent(campaign.subject, campaign.html, campaign.text),
        audiences.from_json(campaign.audience),
        due_at_utc=due_at_utc,
        now_utc=now_utc,
    )
    if found:
        raise NotSchedulable(found)


def _require_run(campaign: Campaign) -> Run:
    run = newest_run(campaign)
    if run is None:
        raise WrongState(f"the campaign is {campaign.state} and has no run")
    return run


def _require_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 200:
        raise NameMissing("a campaign needs a name of 1 to 200 characters")
    return name
