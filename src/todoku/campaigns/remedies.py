"""What a person does about runs that were late, held, missed or did not reach everybody.

Use through `campaigns.services`. Each is one transaction; of two who press at once one wins, the other is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from todoku.campaigns import undelivered
from todoku.campaigns.errors import CampaignsError, NotSchedulable, WrongState
from todoku.campaigns.following import reopen
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.occurrence_desk import miss_unbegun
from todoku.campaigns.readiness import content_obstacles
from todoku.campaigns.run_making import new_run, plan_of, revived_times
from todoku.campaigns.scheduling import hurry
from todoku.campaigns.transitions import (
    WAITING,
    Act,
    change_campaign,
    change_run,
    decide,
    find_campaign,
    find_run,
    record,
)
from todoku.campaigns.types import (
    CampaignContent,
    CampaignState,
    Obstacle,
    Reason,
    RemedyResult,
    RunKind,
    RunState,
)
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import RecipientState
from todoku.kernel.clock import Clock
from todoku.kernel.errors import TodokuError
from todoku.projects import queries as project_queries

REMEDIES = ("send_now", "resend", "skip", "acknowledge")
# What "send to those not reached" means when nobody says more: never who got it, who refused it, who may have got it.
NOT_REACHED = (RecipientState.EXPIRED, RecipientState.PENDING)
_RESENDABLE = tuple(state for state in RecipientState if state is not RecipientState.SENT)


def send_run_now(project_id: str, run_id: UUID, *, by: str, clock: Clock) -> None:
    """Send one held, missed, late or coming run as soon as possible; raises WrongState.

    Its due time stays when it has passed, so that it shows how late it left; its limits count from now. A missed run
    is sealed anew: those who left or came in the meantime are left out or mailed.
    """
    now_utc = clock.now_utc()

    def work() -> None:
        run = find_run(project_id, run_id)
        campaign = find_campaign(project_id, run.campaign_id)
        _require_sendable(run, campaign)
        state = RunState(run.state)
        if state is RunState.MISSED:
            _revive(run, campaign, now_utc)
        elif state is RunState.HELD or run.due_at > now_utc or run.latest_start_at < now_utc:
            hurry(run, plan_of(campaign), now_utc)
        else:
            raise WrongState("it leaves as soon as it can already", todo="wait, or look why it is late")
        record(Act("run.sent_now", by, now_utc), project_id, campaign.id, run.id)

    decide(work)


def skip_run(project_id: str, run_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Let one run go that has not begun: it ends as missed, by a person; raises WrongState."""
    now_utc = clock.now_utc()

    def work() -> None:
        run = find_run(project_id, run_id)
        if run.started_at is not None or RunState(run.state) not in (*WAITING, RunState.HELD, RunState.PAUSED):
            raise WrongState(f"the run is {run.state} and can't be left out", todo="stop the campaign instead")
        words = reason.strip() or f"left out by {by}"
        miss_unbegun(run, Reason(words, ""), Act("run.skipped", by, now_utc, words))

    decide(work)


def send_to_not_reached(
    project_id: str,
    run_id: UUID,
    states: Sequence[RecipientState | str] = NOT_REACHED,
    *,
    by: str,
    clock: Clock,
) -> UUID:
    """Make a run that sends the same words to exactly those in these states of an ended run; returns its id.

    `unknown` is sent only when the caller names it: a person then says that a doubled mail is the smaller harm.
    Consent and suppression are looked at anew. Each state of a run can be sent once; who is not reached then is found
    in the new run. Raises WrongState, NotSchedulable.
    """
    now_utc = clock.now_utc()
    wanted = _wanted(states)

    def work() -> UUID:
        source = find_run(project_id, run_id)
        campaign = find_campaign(project_id, source.campaign_id)
        _require_ended(source, campaign)
        _require_first_time(source, wanted)
        number = _number_of(source, wanted)
        content = _words_of(source, campaign)
        found = content_obstacles(project_queries.get_project(project_id), content)
        if found:
            raise NotSchedulable(found)
        run = new_run(
            campaign,
            now_utc,
            now_utc,
            kind=RunKind.RESEND,
            source_run=source.id,
            source_states=[state.value for state in wanted],
            content={"subject": content.subject, "html": content.html, "text": content.text},
            expected_planned=number,
            awaits_approval=False,
        )
        change_campaign(campaign)  # of two who press at once the second reads again and finds this run
        run.save(force_insert=True)
        reopen(campaign)
        detail = f"{number} people of run {source.id}: {', '.join(state.value for state in wanted)}"
        record(Act("run.resend_planned", by, now_utc, detail), project_id, campaign.id, run.id)
        return run.id

    return decide(work)


def acknowledge(project_id: str, run_id: UUID, *, by: str, clock: Clock) -> None:
    """Note that somebody has seen what happened to the run; it leaves the page of what happened while away."""
    now_utc = clock.now_utc()

    def work() -> None:
        run = find_run(project_id, run_id)
        seen = Run.objects.filter(project_id=project_id, id=run.id, acknowledged_at__isnull=True)
        if seen.update(acknowledged_by=by, acknowledged_at=now_utc) == 1:
            record(Act("run.acknowledged", by, now_utc), project_id, run.campaign_id, run.id)

    decide(work)


def remedy(
    project_id: str, run_ids: Sequence[UUID], action: str, *, by: str, clock: Clock, reason: str = ""
) -> list[RemedyResult]:
    """Do one of REMEDIES for many runs, each by itself: one that can't be helped keeps no other from it.

    Raises ValueError for another action.
    """
    if action not in REMEDIES:
        raise ValueError(f"action must be one of {', '.join(REMEDIES)}, not {action!r}")
    results: list[RemedyResult] = []
    for run_id in dict.fromkeys(run_ids):
        try:
            new_run_id = None
            if action == "send_now":
                send_run_now(project_id, run_id, by=by, clock=clock)
            elif action == "skip":
                skip_run(project_id, run_id, by=by, reason=reason, clock=clock)
            elif action == "resend":
                new_run_id = send_to_not_reached(project_id, run_id, by=by, clock=clock)
            else:
                acknowledge(project_id, run_id, by=by, clock=clock)
            results.append(RemedyResult(run_id, new_run_id))
        except (CampaignsError, TodokuError) as error:
            results.append(RemedyResult(run_id, problem=str(error)))
    return results


def _require_sendable(run: Run, campaign: Campaign) -> None:
    state = RunState(run.state)
    if run.kind == RunKind.TEST:
        raise WrongState("a test is not sent again", todo="send a new test")
    if campaign.state in (CampaignState.PAUSED, CampaignState.DRAFT):
        raise WrongState(f"the campaign is {campaign.state}", todo="resume it first")
    if state not in (*WAITING, RunState.HELD, RunState.MISSED) or run.started_at is not None:
        raise WrongState(f"the run is {state}", todo="send to those not reached, or duplicate the campaign")
    if run.awaits_approval:
        raise WrongState("the campaign waits for a second person's approval", todo="have it approved")


def _revive(run: Run, campaign: Campaign, now_utc: datetime) -> None:
    if run.closed_at is None:
        raise WrongState("the run is being cleared from the bus", todo="try again in a minute")
    change_run(
        run,
        now_utc,
        state=RunState.PLANNED,
        reason="",
        reason_ja="",
        resume_to="",
        order=None,
        order_version=0,
        told_journal=False,
        planned=0,
        tallies=None,
        sealed_at=None,
        pre_sealed_at=None,
        refresh_at=None,
        closed_at=None,
        acknowledged_at=None,
        acknowledged_by="",
        **revived_times(run, plan_of(campaign), now_utc),
    )
    reopen(campaign)


def _wanted(states: Sequence[RecipientState | str]) -> tuple[RecipientState, ...]:
    try:
        wanted = tuple(dict.fromkeys(RecipientState(state) for state in states))
    except ValueError as error:
        raise NotSchedulable([Obstacle("states", str(error), "状態の指定が正しくありません")]) from error
    if not wanted or any(state not in _RESENDABLE for state in wanted):
        raise NotSchedulable(
            [
                Obstacle(
                    "states",
                    "choose at least one state, and not `sent`: those have it",
                    "送信済み以外の状態を1つ以上選んでください",
                )
            ]
        )
    return wanted


def _require_ended(source: Run, campaign: Campaign) -> None:
    if source.kind == RunKind.TEST or source.state not in (RunState.FINISHED, RunState.STOPPED):
        raise WrongState(f"the run is {source.state}; only after its end it is known who was not reached")
    if campaign.state in (CampaignState.DRAFT, CampaignState.PAUSED):
        raise WrongState(f"the campaign is {campaign.state}", todo="resume or schedule it first, or duplicate it")


def _require_first_time(source: Run, wanted: Sequence[RecipientState]) -> None:
    """Refuse a state that another resend has already: it would mail twice whom that one reached."""
    others = Run.objects.filter(project_id=source.project_id, source_run=source.id, kind=RunKind.RESEND)
    never_left = {RunState.MISSED.value, RunState.STOPPED.value}
    for states, state, started_at in others.values_list("source_states", "state", "started_at"):
        if state in never_left and started_at is None:
            continue
        again = [one.value for one in wanted if one.value in states]
        if again:
            raise WrongState(
                f"a run to those who are {', '.join(again)} was made already",
                kept="that run",
                todo="look there; who was not reached by it can be sent to from it",
            )


def _number_of(source: Run, wanted: Sequence[RecipientState]) -> int:
    tallies = source.tallies or ledger.tallies(source.project_id, [source.id]).get(source.id, {})
    counts: dict[str, int] = {**tallies, "pending": source.planned - sum(tallies.values())}
    number = sum(counts.get(state.value, 0) for state in wanted)
    if number <= 0:
        raise NotSchedulable(
            [Obstacle("nobody_left", "nobody is in these states", "その状態の方はいません")],
        )
    if RecipientState.PENDING in wanted and counts["pending"] > 0 and not undelivered.is_kept(source):
        raise WrongState("the names of those whom the stop left out are being gathered", todo="try again in a minute")
    return number


def _words_of(source: Run, campaign: Campaign) -> CampaignContent:
    order = source.order
    if order is None:
        return CampaignContent(campaign.subject, campaign.html, campaign.text)
    return CampaignContent(order["subject_template"], order["html_template"], order["text_template"])
